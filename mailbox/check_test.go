package mailbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/mailbox"
)

// findings returns what a check finds, as "problem path", and repairs it if told.
func findings(t *testing.T, l *mailbox.Limited, root string, repair bool) []string {
	t.Helper()
	var all []string
	for f, err := range l.Check(time.Now().Add(48 * time.Hour)) { // what was made now is old then
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, f.Path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %s", f.Problem, name))
		if !repair {
			continue
		}
		if err := f.Repair(); (err == nil) != f.Repairable() {
			t.Errorf("repair %+v: %v", f, err)
		}
	}
	slices.Sort(all)
	return all
}

func plant(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	root := t.TempDir()
	store, err := mailbox.Open(root, mailbox.Options{Host: "mda.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	box, err := store.Maildir("ann")
	if err != nil {
		t.Fatal(err)
	}
	limited := box.Limit(mailbox.Quota{Octets: 1 << 20})
	if got := findings(t, limited, root, false); len(got) != 0 {
		t.Errorf("before the first delivery: %q", got)
	}
	lists, err := box.Folder("lists")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []mailbox.Mailbox{limited, lists} {
		d, err := m.Begin(mailbox.Arrival{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
		if _, err := d.Write([]byte("A: b\r\n\r\nlone\nlast")); err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := limited.Room(2 << 20); err == nil { // has maildirsize written
		t.Error("no limit")
	}
	if got := findings(t, limited, root, false); len(got) != 0 {
		t.Errorf("what we wrote: %q", got)
	}

	ann := filepath.Join(root, "ann")
	plant(t, ann+"/cur/a,S=5,W=9:2,S", "1\n2\r\n", 0o600)
	plant(t, ann+"/cur/b,S=5:2,", "1\n2\r\n", 0o600)
	plant(t, ann+"/.lists/new/c,S=1", "1\n2\r\n", 0o600)
	plant(t, ann+"/cur/packed,S=999,W=999:2,", "\x1f\x8b...", 0o600)
	plant(t, ann+"/cur/plain", "1\n", 0o604)
	plant(t, ann+"/cur/mine", "1\n", 0o400)
	plant(t, ann+"/tmp/dead", "half", 0o600)
	plant(t, ann+"/.lists/tmp/dead", "half", 0o600)
	plant(t, ann+"/maildirfolder", "", 0o600)
	if err := os.Symlink("/etc/passwd", ann+"/cur/link"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kind ann/cur/link", "maildirfolder ann/maildirfolder", "mode ann/cur/mine", "mode ann/cur/plain", "quota ann/maildirsize",
		"size ann/.lists/new/c,S=1", "size ann/cur/a,S=5,W=9:2,S",
		"stale ann/.lists/tmp/dead", "stale ann/tmp/dead",
	}
	for range 2 { // a check changes nothing
		if got := findings(t, limited, root, false); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	findings(t, limited, root, true)
	if got := findings(t, limited, root, false); !slices.Equal(got, []string{"kind ann/cur/link"}) {
		t.Errorf("after the repair: %q", got)
	}
	for _, name := range []string{"cur/a,S=5,W=6:2,S", ".lists/new/c,S=5", "cur/link"} {
		if _, err := os.Lstat(filepath.Join(ann, name)); err != nil {
			t.Error(err)
		}
	}
}

// Whoever has heard enough is not told more.
func TestCheckStops(t *testing.T) {
	root := t.TempDir()
	store, err := mailbox.Open(root, mailbox.Options{Host: "mda.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	box, err := store.Maildir("ann")
	if err != nil {
		t.Fatal(err)
	}
	d, err := box.Begin(mailbox.Arrival{})
	if err != nil {
		t.Fatal(err)
	}
	d.Abort()
	for i := range 5 {
		plant(t, filepath.Join(root, fmt.Sprintf("ann/new/%d,S=1", i)), "xx", 0o600)
	}
	l := box.Limit(mailbox.Quota{})
	heard := 0
	for _, err := range l.Check(time.Now()) {
		if heard++; err != nil || heard == 2 {
			break
		}
	}
	if heard != 2 {
		t.Errorf("heard of %d", heard)
	}
}

func TestCheckMbox(t *testing.T) {
	root := t.TempDir()
	store, err := mailbox.Open(root, mailbox.Options{Host: "mda.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	box, err := store.Mbox("ann")
	if err != nil {
		t.Fatal(err)
	}
	check := func() (lines []string) {
		t.Helper()
		for f, err := range box.Check(time.Now()) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Path != filepath.Join(root, "ann") || f.Problem != mailbox.BrokenFrom || f.Repairable() {
				t.Errorf("%+v", f)
			}
			lines = append(lines, f.Text)
		}
		return lines
	}
	if got := check(); len(got) != 0 {
		t.Errorf("before the first delivery: %q", got)
	}
	for range 2 {
		d, err := box.Begin(mailbox.Arrival{Sender: "a b@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
		if _, err := d.Write([]byte("A: b\r\n\r\nFrom here\r\n\r\nFrom there\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if got := check(); len(got) != 0 {
		t.Errorf("what we wrote: %q", got)
	}
	const from = "From ann@example.com Sun Nov 22 08:00:00 2026\n"
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{from + "A: b\n\nx\n\n" + from + "A: b\n\n", nil},
		{"From a Sun Nov  1 08:00 2026\n\nFrom a Sun Nov 22 08:00:00 2026 +0100\n\nFrom a Sun Nov 22 08:00:00 CET 2026\n", nil},
		{"A: b\n", []string{`line 1 does not begin with "From "`}},
		{from + "\n" + strings.Repeat("x", 200<<10) + "From " + from, nil},
		{from + "A: b\n\nFrom here on\n" + from, []string{
			`line 4 begins with "From ", and has no date`, `line 5 begins with "From ", and follows no empty line`}},

		// A length counts if it is right, as mboxcl2 has it.
		{from + "Content-Length: 12\n\nx\nFrom here\n\n" + from + "Content-Length: 5\n\nFrom \n", nil},
		{from + "content-length:12\r\n\r\nx\r\nFrom her\n\r\n" + from + "A: b\n\n", nil},
		{from + "Content-Length: 11\n\nx\nFrom here\n\n" + from + "A: b\n\n", nil},                                                              // without the last line end
		{from + "Content-Length: 13\n\nx\nFrom here\n\n" + from + "A: b\n\nFrom x\n", []string{`line 10 begins with "From ", and has no date`}}, // with the empty line
		{from + "Content-Length: 12\n\nx\nFrom here\n" + from + "A: b\n\n", nil},                                                                // without one
		{from + "Content-Length: 0\n\n\n" + from + "Content-Length: 0\n\n", nil},
		{from + "Content-Length: 1\n\n\n" + from + "A: b\n\n", nil},
		{from + "Content-Length: " + fmt.Sprint(len("x\n"+from)) + "\n\nx\n" + from + "\n" + from + "A: b\n\n", nil},
		{from + "Content-Length: 210000\n\n" + strings.Repeat("From x\n", 30_000) + "\n" + from + "\nFrom\n", nil},

		// One that leads elsewhere, as whoever sends may write, does not.
		{from + "Content-Length: 10\n\nx\nFrom here\n\n" + from + "A: b\n\n", []string{`line 5 begins with "From ", and has no date`}},
		{from + "Content-Length: 2\n\nx\nFrom here\n\n" + from + "A: b\n\n", []string{`line 5 begins with "From ", and has no date`}},
		{from + "Content-Length: 9\n\nFrom y\nx\nFrom here\n", []string{`line 4 begins with "From ", and has no date`, `line 6 begins with "From ", and has no date`}},
		{from + "Content-Length: 11\n\nFrom y\nsee " + from, []string{`line 4 begins with "From ", and has no date`}},
		{from + "Content-Length: 9999\n\nx\nFrom here\n", []string{`line 5 begins with "From ", and has no date`}},
		{from + "Content-Length: 9223372036854775807\n\nFrom here\n", []string{`line 4 begins with "From ", and has no date`}},
		{from + "Content-Length: 99999999999999999999\n\nFrom here\n", []string{`line 4 begins with "From ", and has no date`}},
		{from + "Content-Length: -1\n\nFrom here\n", []string{`line 4 begins with "From ", and has no date`}},
		{from + "Content-Length: 10\nContent-Length: 9\n\nFrom here\n", []string{`line 5 begins with "From ", and has no date`}},
		{from + "A: b\n\nContent-Length: 10\n\nFrom here\n", []string{`line 6 begins with "From ", and has no date`}},
		{from + "Content-Length: 10\n\nFrom here\n\n" + from + "\nFrom there\n", []string{`line 8 begins with "From ", and has no date`}},
	} {
		plant(t, filepath.Join(root, "ann"), tt.text, 0o600)
		if got := check(); !slices.Equal(got, tt.want) {
			t.Errorf("%.100q: got %.1000q, want %q", tt.text, fmt.Sprint(got), tt.want)
		}
	}
}

// What deliveries that died left beside an mbox, and a part of a message at its
// end, are found, and go. What is young may be under way.
func TestCheckBesideMbox(t *testing.T) {
	root := t.TempDir()
	store, err := mailbox.Open(root, mailbox.Options{Host: "mda.example"})
	must(t, "Open", err, nil)
	defer store.Close()
	box, err := store.Mbox("example.org", "ann")
	must(t, "Mbox", err, nil)
	must(t, "deliver", deliver(box, wire), nil)
	dir := filepath.Join(root, "example.org")
	plant(t, dir+"/ann", messageInMbox+"Fro", 0o640+0o004)
	plant(t, dir+"/.ann.journal", fmt.Sprintf("From y\nd: e\n\nlost\n\nat %019d\n", len(messageInMbox)), 0o600)
	plant(t, dir+"/.ann.waiting.1", "half", 0o600)
	plant(t, dir+"/ann.lock", "", 0o600)
	plant(t, dir+"/.bob.waiting.1", "another's", 0o600)
	check := func(now time.Time, repair bool) (all []string) {
		t.Helper()
		for f, err := range box.Check(now) {
			must(t, "Check", err, nil)
			all = append(all, fmt.Sprintf("%s %s", f.Problem, filepath.Base(f.Path)))
			if repair {
				must(t, "Repair", f.Repair(), nil)
			}
		}
		slices.Sort(all)
		return all
	}
	if got := check(time.Now(), false); !slices.Equal(got, []string{"mode ann"}) {
		t.Errorf("at once: %q", got)
	}
	later := time.Now().Add(48 * time.Hour)
	want := []string{"mode ann", "stale .ann.waiting.1", "stale ann.lock", "torn .ann.journal"}
	if got := check(later, false); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	must(t, "Remove", os.Remove(dir+"/ann.lock"), nil) // or the repair of the journal waits for it
	check(later, true)
	if got := check(later, false); len(got) > 0 {
		t.Errorf("after the repair: %q", got)
	}
	if b, err := os.ReadFile(dir + "/ann"); err != nil || string(b) != messageInMbox {
		t.Errorf("mbox %q, %v", b, err)
	}
}

// Root gives files back to whom the mailbox belongs to, unless they have another
// name, by which they may be somebody else's.
func TestCheckOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root may give files away: run it as root, as contrib/check does")
	}
	store, root := openStore(t, mailbox.Options{})
	box := maildir(t, store, "ann")
	must(t, "deliver", deliver(box, wire), nil)
	l := box.Limit(mailbox.Quota{})
	for _, name := range []string{"one", "two"} {
		plant(t, root+"/ann/cur/"+name, "1\n", 0o600)
		must(t, "Chown", os.Chown(root+"/ann/cur/"+name, 12345, -1), nil)
	}
	must(t, "Link", os.Link(root+"/ann/cur/two", root+"/elsewhere"), nil)
	for f, err := range l.Check(time.Now()) {
		must(t, "Check", err, nil)
		if err := f.Repair(); (err == nil) != strings.HasSuffix(f.Path, "one") {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if got := findings(t, l, root, false); !slices.Equal(got, []string{"owner ann/cur/two"}) {
		t.Errorf("after the repair: %q", got)
	}
}
