package peer

import (
	"reflect"
	"testing"
	"time"
)

func TestParseFetch(t *testing.T) {
	const text = `* 3 FETCH (UID 7 FLAGS (\Seen \Recent) INTERNALDATE "22-Nov-2026 06:57:23 +0100" RFC822.SIZE 12 BODY[] {12})`
	got, ok := parseFetch(text, []byte("hello\r\n"))
	want := Stored{
		ID: "7", Size: 12, Flags: []string{`\Seen`, `\Recent`}, Octets: []byte("hello\r\n"),
		Received: time.Date(2026, 11, 22, 5, 57, 23, 0, time.UTC),
	}
	if !ok || !got.Received.Equal(want.Received) {
		t.Errorf("%v, received %v", ok, got.Received)
	}
	got.Received = want.Received
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if m, ok := parseFetch("* 3 EXISTS", nil); ok {
		t.Errorf("%+v", m)
	}
}

func TestParseTrace(t *testing.T) {
	const trace = `12  fsync(5</a/b>)                    = 0
12  openat(AT_FDCWD</>, "x", O_RDONLY <unfinished ...>
13  linkat(AT_FDCWD, "/proc/self/fd/7", 9</new>, "m", AT_SYMLINK_FOLLOW) = -1 EEXIST (File exists)
12  <... openat resumed>)             = 6</x>
13  --- SIGURG {si_signo=SIGURG} ---
13  +++ exited with 0 +++
13  read(3<pipe:[1]>,  <unfinished ...>
14  write(3<socket:[1]>, "250 = (ok)\r\n", 12) = 12
14  write(3<socket:[1]>, "221 bye\r\n", 9 <detached ...>
`
	want := []Call{
		{12, "fsync", "5</a/b>", "0"},
		{13, "linkat", `AT_FDCWD, "/proc/self/fd/7", 9</new>, "m", AT_SYMLINK_FOLLOW`, "-1 EEXIST (File exists)"},
		{12, "openat", `AT_FDCWD</>, "x", O_RDONLY`, "6</x>"},
		{14, "write", `3<socket:[1]>, "250 = (ok)\r\n", 12`, "12"},
		{13, "read", "3<pipe:[1]>, ", "?"},
		{14, "write", `3<socket:[1]>, "221 bye\r\n", 9`, "?"},
	}
	if got := parseTrace([]byte(trace)); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestTail(t *testing.T) {
	for _, test := range []struct {
		n       int
		s, want string
	}{
		{1, "a\nb\n", "b"}, {2, "a\nb\n", "a\nb"}, {3, "a\nb", "a\nb"}, {1, "", ""}, {2, "a\nb\nc", "b\nc"},
	} {
		if got := tail(test.s, test.n); got != test.want {
			t.Errorf("tail(%q, %d) = %q, want %q", test.s, test.n, got, test.want)
		}
	}
}
