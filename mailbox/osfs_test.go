package mailbox

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernels are the ways to do without what a kernel or file system may lack.
var kernels = map[string]func(*kernel, uint64){
	"all there":        func(*kernel, uint64) {},
	"no openat2":       func(k *kernel, _ uint64) { k.noOpenat2.Store(true) },
	"no /proc":         func(k *kernel, _ uint64) { k.noProc = true; k.tmpfileMayFail.Store(true) },
	"no unnamed files": func(k *kernel, dev uint64) { k.noTmpfile[dev] = true; k.tmpfileMayFail.Store(true) },
}

func TestDeliveryWithWhatThereIs(t *testing.T) {
	for name, lack := range kernels {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			var st unix.Stat_t
			if err := unix.Stat(root, &st); err != nil {
				t.Fatal(err)
			}
			s, err := Open(root, Options{Host: "mx"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			lack(s.fs.(*osFS).kernel, uint64(st.Dev))
			box, err := s.Maildir("example.org", "bob")
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				deliverOne(t, box)
			}
			for folder, want := range map[string]int{"new": 2, "tmp": 0, "cur": 0} {
				names, err := os.ReadDir(root + "/example.org/bob/" + folder)
				if err != nil || len(names) != want {
					t.Errorf("%d files in %s, %v", len(names), folder, err)
				}
			}
			if err := os.RemoveAll(root + "/example.org/bob/new"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("cur", root+"/example.org/bob/new"); err != nil {
				t.Fatal(err)
			}
			if _, err := box.Begin(Arrival{}); err == nil {
				t.Error("a symbolic link was followed")
			}
		})
	}
}

func deliverOne(t *testing.T, box *Maildir) {
	t.Helper()
	d, err := box.Begin(Arrival{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if _, err := io.WriteString(d, "hello\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Sync(), d.Commit()); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatCannotBeNamed(t *testing.T) {
	root := t.TempDir()
	k := newKernel(Modes{}, nil)
	fsys, err := k.open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	d, err := fsys.OpenDir(".")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Tmpfile(); err != nil {
		t.Fatal("no unnamed files here; TMPDIR must be where there are:", err)
	}
	d.(*osDir).noteNoTmpfile()
	if _, err := d.Tmpfile(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Tmpfile: %v", err)
	}
}

// What a Syncer has done counts, error or not; for the rest there are the system
// calls, which tell here of a descriptor that is none.
func TestSyncer(t *testing.T) {
	const none = 1 << 20
	for _, test := range []struct {
		syncer Syncer
		want   error
	}{
		{nil, unix.EBADF},
		{syncs{done: false}, unix.EBADF},
		{syncs{done: true}, nil},
		{syncs{done: true, err: unix.EIO}, unix.EIO},
	} {
		k := newKernel(Modes{}, test.syncer)
		if err := k.fsync(none); err != test.want {
			t.Errorf("%+v: fsync: %v, want %v", test.syncer, err, test.want)
		}
		if err := k.fdatasync(none); err != test.want {
			t.Errorf("%+v: fdatasync: %v, want %v", test.syncer, err, test.want)
		}
	}
}

// syncs is a Syncer that says of everything the same.
type syncs struct {
	done bool
	err  error
}

func (s syncs) Fsync(int) (bool, error)     { return s.done, s.err }
func (s syncs) Fdatasync(int) (bool, error) { return s.done, s.err }

func TestMoveNeverReplaces(t *testing.T) {
	for _, link := range []bool{false, true} {
		root := t.TempDir()
		fsys, err := OpenFS(root, Modes{})
		if err != nil {
			t.Fatal(err)
		}
		defer fsys.Close()
		dir, err := fsys.OpenDir(".")
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		for _, name := range []string{"a", "b"} {
			if err := os.WriteFile(root+"/"+name, []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d := dir.(*osDir)
		move := func(from, to string) error {
			if link {
				return d.moveByLink(from, d, to)
			}
			return d.Move(from, d, to)
		}
		if err := move("a", "b"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("onto another: %v", err)
		}
		if err := move("a", "c"); err != nil {
			t.Error(err)
		}
		if err := move("a", "d"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of nothing: %v", err)
		}
		names, err := os.ReadDir(root)
		if err != nil || len(names) != 2 || names[0].Name() != "b" || names[1].Name() != "c" {
			t.Errorf("found %v, %v", names, err)
		}
		// A link that was made, and whose answer was lost, is asked for again.
		if err := os.Link(root+"/c", root+"/e"); err != nil {
			t.Fatal(err)
		}
		if err := d.moveByLink("c", d, "e"); err != nil {
			t.Errorf("again: %v", err)
		}
	}
}

func TestWriteAll(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789"), 10)
	tests := []struct {
		name    string
		answers []any // a number of octets, or an errno; then all
		want    int
		err     error
	}{
		{name: "at once", want: 100},
		{name: "interrupted", answers: []any{unix.EINTR, unix.EINTR}, want: 100},
		{name: "in pieces", answers: []any{1, 50, unix.EINTR, 2}, want: 100},
		{name: "disk full", answers: []any{30, unix.ENOSPC}, want: 30, err: unix.ENOSPC},
		{name: "nothing", answers: []any{0}, err: io.ErrShortWrite},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []byte
			n, err := writeAll(func(p []byte) (int, error) {
				if len(tt.answers) == 0 {
					got = append(got, p...)
					return len(p), nil
				}
				answer := tt.answers[0]
				tt.answers = tt.answers[1:]
				if errno, ok := answer.(unix.Errno); ok {
					return -1, errno
				}
				got = append(got, p[:answer.(int)]...)
				return answer.(int), nil
			}, text)
			if n != tt.want || err != tt.err || !bytes.Equal(got, text[:tt.want]) {
				t.Errorf("wrote %d, %v: %q", n, err, got)
			}
		})
	}
}

func TestRetry(t *testing.T) {
	answers := []error{unix.EINTR, unix.EINTR, unix.EIO}
	err := retry(func() error {
		err := answers[0]
		answers = slices.Delete(answers, 0, 1)
		return err
	})
	if err != unix.EIO || len(answers) != 0 {
		t.Errorf("%v with %d left", err, len(answers))
	}
}

// A file that has just come to tmp/ may have an old time of modification.
func TestOldIsWhatNothingWasDoneTo(t *testing.T) {
	root := t.TempDir()
	fsys, err := OpenFS(root, Modes{})
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	dir, err := fsys.OpenDir(".")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	all := func(string) bool { return true }
	old := time.Now().Add(-100 * time.Hour)
	err = errors.Join(
		os.Mkdir(root+"/folder", 0o700),
		os.Symlink("file", root+"/link"),
		os.WriteFile(root+"/file", nil, 0o600),
		os.Chtimes(root+"/file", old, old),
		removeOld(dir, time.Now().Add(-abandoned), all))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(root + "/file"); err != nil {
		t.Error(err)
	}
	if err := removeOld(dir, time.Now().Add(time.Hour), all); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(root)
	if err != nil || len(left) != 2 { // what a delivery did not make is not removed
		t.Errorf("left: %v, %v", left, err)
	}
}
