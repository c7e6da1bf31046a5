package mailbox_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"postern/internal/crashfs"
	"postern/mailbox"
)

// stored is the model: what a file holds of a message on the wire, and its name's
// ending.
func stored(wire []byte) (text, ending string) {
	text = strings.ReplaceAll(string(wire), "\r\n", "\n")
	bare := strings.Count(text, "\n") - strings.Count(text, "\r\n")
	return text, fmt.Sprintf(",S=%d,W=%d", len(text), len(text)+bare)
}

// checkStored delivers msg in pieces of the sizes in cuts, over and over, and
// compares what is found with the model.
func checkStored(t *testing.T, msg, cuts []byte) {
	t.Helper()
	disk := crashfs.New()
	box := maildir(t, store(disk), "bob")
	d, err := box.Begin(mailbox.Arrival{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if len(bytes.Trim(cuts, "\x00")) == 0 {
		cuts = []byte{255}
	}
	for i, left := 0, msg; len(left) > 0; i++ {
		cut := cuts[i%len(cuts)]
		n := min(int(cut)<<(cut/64*4), len(left)) // small ones and large ones
		piece := bytes.Clone(left[:n])
		if got, err := d.Write(piece); got != n || err != nil {
			t.Fatalf("Write of %d octets: %d, %v", n, got, err)
		}
		clear(piece) // it was lent
		left = left[n:]
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	want, ending := stored(msg)
	found := disk.Files("bob/new")
	for name, got := range found {
		if got != want || !strings.HasSuffix(name, ending) {
			t.Errorf("%q, %v: stored %q as %s, want %q as *%s", msg, cuts, got, name, want, ending)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d files", len(found))
	}
}

var lineTests = []string{
	"", "\r\n", "\n", "\r", "a", "a\r\n", "a\nb", "a\rb", "\r\r\n", "a\r\r\nb", "\r\n\r\n", "\n\r", "\r\r", "\r\n\r",
	"a\x00b\xff\r\n", "\r\r\r\n\n\r", wire,
}

func TestLineEnds(t *testing.T) {
	for _, msg := range lineTests {
		for cut := range 4 {
			checkStored(t, []byte(msg), []byte{byte(cut), 1})
		}
	}
}

// Around the sizes at which the buffer grows and is written, every way to end a
// line must come out right.
func TestLineEndsAtTheEndOfTheBuffer(t *testing.T) {
	for _, size := range []int{16 << 10, 256 << 10} {
		for shift := -3; shift <= 3; shift++ {
			for _, end := range []string{"\r\n", "\n", "\r\r\n", "\r", "\n\n"} {
				msg := strings.Repeat("x", size+shift) + end + "y\r\n"
				checkStored(t, []byte(msg), []byte{255})
				msg = strings.Repeat("x", 15+shift) + "\r\n" + strings.Repeat("123456789012345\r\n", size/16-1) + end + "y"
				checkStored(t, []byte(msg), []byte{255, 100})
			}
		}
	}
}

func FuzzStored(f *testing.F) {
	for _, msg := range lineTests {
		f.Add([]byte(msg), []byte{1}, uint16(0))
	}
	f.Add([]byte("\r\n"), []byte{255, 0, 3}, uint16(60000))
	f.Fuzz(func(t *testing.T, msg, cuts []byte, repeat uint16) {
		if n := len(msg); n > 0 {
			msg = bytes.Repeat(msg, 1+min(int(repeat), 600<<10/n))
		}
		checkStored(t, msg, cuts)
	})
}
