package mailbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	reader "github.com/emersion/go-maildir"

	"postern/mailbox"
)

// openStore returns a Store on a new folder of the real disk, and the folder.
func openStore(t testing.TB, o mailbox.Options) (*mailbox.Store, string) {
	t.Helper()
	root := t.TempDir()
	if o.Host == "" {
		o.Host = "mx.example"
	}
	s, err := mailbox.Open(root, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, root
}

// files returns the content of each file in the folder dir.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = string(text)
	}
	return found
}

func TestAnotherReaderFindsIt(t *testing.T) {
	s, root := openStore(t, mailbox.Options{Host: "mx:25/a,b"})
	if err := deliver(maildir(t, s, "example.org", "bob"), wire); err != nil {
		t.Fatal(err)
	}
	dir := reader.Dir(filepath.Join(root, "example.org", "bob"))
	unseen, err := dir.Unseen()
	if err != nil || len(unseen) != 1 {
		t.Fatalf("%d unseen, %v", len(unseen), err)
	}
	if key := unseen[0].Key(); !strings.HasSuffix(key, `.mx\07225\057a\054b,S=51,W=55`) {
		t.Errorf("key is %s", key)
	}
	walked := 0
	err = dir.Walk(func(m *reader.Message) error {
		walked++
		r, err := m.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		text, err := io.ReadAll(r)
		if string(text) != onDisk {
			t.Errorf("read %q", text)
		}
		info, serr := os.Stat(m.Filename())
		if serr == nil && !info.ModTime().Equal(received) {
			t.Errorf("modified at %v, received at %v", info.ModTime(), received)
		}
		return errors.Join(err, serr)
	})
	if err != nil || walked != 1 {
		t.Errorf("walked over %d messages, %v", walked, err)
	}
}

func TestModesWhateverTheUmask(t *testing.T) {
	tests := []struct {
		umask     int
		modes     mailbox.Modes
		file, dir fs.FileMode
	}{
		{umask: 0o022, file: 0o600, dir: 0o700},
		{umask: 0o000, file: 0o600, dir: 0o700},
		{umask: 0o777, file: 0o600, dir: 0o700},
		{umask: 0o177, file: 0o600, dir: 0o700},
		{umask: 0o077, modes: mailbox.Modes{File: 0o660, Dir: 0o770 | fs.ModeSetgid}, file: 0o660, dir: 0o770 | fs.ModeSetgid},
		{umask: 0o022, modes: mailbox.Modes{File: 0o640, Dir: 0o750}, file: 0o640, dir: 0o750},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%03o %03o", tt.umask, tt.modes.File), func(t *testing.T) {
			dir := t.TempDir()
			defer syscall.Umask(syscall.Umask(tt.umask))
			s, err := mailbox.Open(dir, mailbox.Options{Host: "mx", Modes: tt.modes})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := deliver(maildir(t, s, "example.org", "bob"), wire); err != nil {
				t.Fatal(err)
			}
			err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || path == dir {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				want := tt.file
				if e.IsDir() {
					want = tt.dir | fs.ModeDir
				}
				if info.Mode() != want {
					t.Errorf("%s has %v, want %v", path, info.Mode(), want)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("run this as root, as contrib/check does: only root gives files to any group")
	}
	const group = 12345
	s, root := openStore(t, mailbox.Options{Modes: mailbox.Modes{File: 0o660, Dir: 0o770 | fs.ModeSetgid, Group: group}})
	if err := deliver(maildir(t, s, "example.org", "bob"), wire); err != nil {
		t.Fatal(err)
	}
	found := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		found++
		if gid := info.Sys().(*syscall.Stat_t).Gid; gid != group {
			t.Errorf("%s has group %d", path, gid)
		}
		if e.IsDir() && info.Mode()&fs.ModeSetgid == 0 {
			t.Errorf("%s has %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || found != 6 {
		t.Errorf("found %d, %v", found, err)
	}
}

func TestNoSymbolicLinkIsFollowed(t *testing.T) {
	tests := []struct{ link, target string }{
		{"example.org", "../elsewhere"},
		{"example.org", "other.org"}, // inside of the store is no better: it is somebody else's
		{"example.org/bob", "../../elsewhere"},
		{"example.org/bob", "ann"},
		{"example.org/bob/new", "../../../elsewhere/new"},
		{"example.org/bob/new", "../ann/new"},
		{"example.org/bob/new", "cur"},
	}
	for _, tt := range tests {
		for _, absolute := range []bool{false, true} {
			s, root := openStore(t, mailbox.Options{})
			for _, dir := range []string{"elsewhere/new", "elsewhere/bob/new", "other.org/bob/new", "example.org/ann/new", "example.org/bob/new", "example.org/bob/cur"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			// The Store has seen the Maildir in order, and believes in it.
			if err := deliver(maildir(t, s, "example.org", "bob"), wire); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(root, tt.link)
			if err := os.RemoveAll(link); err != nil {
				t.Fatal(err)
			}
			target := tt.target
			if absolute {
				target = filepath.Join(filepath.Dir(link), target)
			}
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			err := deliver(maildir(t, s, "example.org", "bob"), wire)
			if !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.ENOTDIR) {
				t.Errorf("%s -> %s: %v", tt.link, target, err)
			}
			if s, err = mailbox.Open(root, mailbox.Options{}); err != nil {
				t.Fatal(err)
			}
			err = deliver(maildir(t, s, "example.org", "bob"), wire)
			if !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.ENOTDIR) {
				t.Errorf("%s -> %s, not seen before: %v", tt.link, target, err)
			}
			s.Close()
		}
	}
}

func TestNamesThatCouldDoHarm(t *testing.T) {
	s, _ := openStore(t, mailbox.Options{})
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/", ".hidden", "-rf", "a\x00b", "a\nb", "\x7f", "a\xff", strings.Repeat("x", 256)} {
		if _, err := s.Maildir("example.org", name); err == nil {
			t.Errorf("user %q was taken", name)
		}
		if _, err := s.Maildir(name, "bob"); err == nil {
			t.Errorf("domain %q was taken", name)
		}
	}
	for _, name := range []string{"example.org", "bob+tag", "bøb", "a b", "xn--bcher-kva.example", "'", "bob.", "~", "*"} {
		if _, err := s.Maildir(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, path := range []string{"", "/", "home/bob", "/home/../bob", "/home/bob/", "//bob", "/home/b\x00b", "."} {
		if _, err := s.MaildirAt(path); err == nil {
			t.Errorf("path %q was taken", path)
		}
	}
}

func TestMissingRoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "mail")
	if _, err := mailbox.Open(root, mailbox.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := mailbox.Open(root, mailbox.Options{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Open of a file: %v", err)
	}
}

func TestMaildirAt(t *testing.T) {
	s, _ := openStore(t, mailbox.Options{})
	home := t.TempDir()
	at := func(path string) *mailbox.Maildir {
		t.Helper()
		box, err := s.MaildirAt(path)
		if err != nil {
			t.Fatal(err)
		}
		return box
	}
	if err := deliver(at(home+"/.Maildir"), wire); err != nil {
		t.Error(err)
	}
	if found := files(t, home+"/.Maildir/new"); len(found) != 1 {
		t.Errorf("found %q", found)
	}
	if err := deliver(at(home+"/nobody/Maildir"), wire); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the parent: %v", err)
	}
	if err := os.Symlink(home+"/.Maildir", home+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := deliver(at(home+"/link"), wire); !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("through a link: %v", err)
	}
	if err := deliver(at(home+"/link/sub"), wire); err != nil {
		t.Errorf("the administrator may have links: %v", err)
	}
}

func TestMaildirRemovedMeanwhile(t *testing.T) {
	s, root := openStore(t, mailbox.Options{})
	box := maildir(t, s, "example.org", "bob")
	for range 2 {
		if err := deliver(box, wire); err != nil {
			t.Fatal(err)
		}
		if found := files(t, root+"/example.org/bob/new"); len(found) != 1 {
			t.Errorf("found %q", found)
		}
		if err := os.RemoveAll(root + "/example.org"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	const deliverers, each = 32, 10
	for _, syncs := range []int{1, 64} {
		s, root := openStore(t, mailbox.Options{Syncs: syncs})
		text := func(i, j int) string {
			return fmt.Sprintf("Subject: %d of %d\r\n\r\n%s\r\n", j, i, strings.Repeat("x", i*j*40))
		}
		var wg sync.WaitGroup
		var want []string
		for i := range deliverers {
			box := maildir(t, s, "example.org", "bob")
			wg.Go(func() {
				for j := range each {
					if err := deliver(box, text(i, j)); err != nil {
						t.Error(err)
					}
				}
			})
			for j := range each {
				want = append(want, strings.ReplaceAll(text(i, j), "\r\n", "\n"))
			}
		}
		wg.Wait()
		found := slices.Collect(maps.Values(files(t, root+"/example.org/bob/new")))
		slices.Sort(found)
		slices.Sort(want)
		if !slices.Equal(found, want) {
			t.Errorf("%d messages found, %d delivered, or they differ", len(found), len(want))
		}
		if left := files(t, root+"/example.org/bob/tmp"); len(left) != 0 {
			t.Errorf("left in tmp: %d", len(left))
		}
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	s, root := openStore(t, mailbox.Options{})
	box := maildir(t, s, "example.org", "bob")
	before := openFiles(t)
	for phase := range 3 {
		d, err := box.Begin(mailbox.Arrival{})
		if err != nil {
			t.Fatal(err)
		}
		if phase > 0 {
			if _, err := d.Write(bytes.Repeat([]byte("x"), 300<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if phase > 1 {
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		d.Abort()
		d.Abort()
		if _, err := d.Write([]byte("x")); err == nil {
			t.Error("wrote after Abort")
		}
		if d.Sync() == nil || d.Commit() == nil {
			t.Error("synced or committed after Abort")
		}
	}
	for _, dir := range []string{"new", "tmp", "cur"} {
		if left := files(t, root+"/example.org/bob/"+dir); len(left) != 0 {
			t.Errorf("left in %s: %d", dir, len(left))
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
