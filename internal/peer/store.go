package peer

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A File is a message in a Maildir.
type File struct {
	Path string
	Name string
	New  bool // in new/, not in cur/
}

// Maildir returns the files in new/ and cur/ of the Maildir, oldest name
// first. A folder that does not exist is empty.
func Maildir(t testing.TB, dir string) []File {
	t.Helper()
	var all []File
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !os.IsNotExist(err) {
			t.Fatalf("peer: %v", err)
		}
		for _, e := range entries {
			all = append(all, File{Path: filepath.Join(dir, sub, e.Name()), Name: e.Name(), New: sub == "new"})
		}
	}
	return all
}

// Read returns the message as it stands in the file, also if a reader of the
// mailbox has moved it to cur/ meanwhile.
func (f File) Read(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Path)
	if os.IsNotExist(err) {
		moved, _ := filepath.Glob(filepath.Join(filepath.Dir(f.Path), "../cur", f.Name+":2,*"))
		if len(moved) == 1 {
			b, err = os.ReadFile(moved[0])
		}
	}
	if err != nil {
		t.Fatalf("peer: %v", err)
	}
	return b
}

// A Census says how many copies of each message a store holds: by address,
// local@domain, and by index.
type Census map[string]map[int]int

// TakeCensus reads all Maildirs <store>/<domain>/<user>. The test fails if a
// file is there that is not a whole message of the generator.
func TakeCensus(t testing.TB, store string, g Generator) Census {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(store, "*", "*"))
	if err != nil {
		t.Fatalf("peer: %v", err)
	}
	census := make(Census)
	for _, dir := range dirs {
		addr := filepath.Base(dir) + "@" + filepath.Base(filepath.Dir(dir))
		for _, file := range Maildir(t, dir) {
			msg, err := g.Identify(file.Read(t))
			if err != nil {
				t.Errorf("%s: %v", file.Path, err)
				continue
			}
			census.add(addr, msg.Index)
		}
	}
	return census
}

func (c Census) add(addr string, index int) {
	if c[addr] == nil {
		c[addr] = make(map[int]int)
	}
	c[addr][index]++
}

// Total returns the number of copies in all mailboxes.
func (c Census) Total() (n int) {
	for _, box := range c {
		for _, copies := range box {
			n += copies
		}
	}
	return n
}

// Lost returns what was promised and is not there: a line for each recipient
// for whom the server answered 2xx after the message, and in whose mailbox it
// is not. Sub-addresses (user+detail) count as their user.
func (c Census) Lost(results []Result) (lost []string) {
	for _, r := range results {
		for i, to := range r.To {
			if r.Replies[i].Positive() && c[mailboxOf(to)][r.Index] == 0 {
				lost = append(lost, fmt.Sprintf("message %d to %s: %v", r.Index, to, r.Replies[i]))
			}
		}
	}
	return lost
}

// Doubled returns a line for each message that is in a mailbox more than once.
func (c Census) Doubled() (doubled []string) {
	for _, addr := range slices.Sorted(maps.Keys(c)) {
		for _, index := range slices.Sorted(maps.Keys(c[addr])) {
			if n := c[addr][index]; n > 1 {
				doubled = append(doubled, fmt.Sprintf("message %d: %d times in %s", index, n, addr))
			}
		}
	}
	return doubled
}

func mailboxOf(addr string) string {
	local, domain, _ := strings.Cut(addr, "@")
	local, _, _ = strings.Cut(local, "+")
	return local + "@" + domain
}
