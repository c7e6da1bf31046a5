package fence

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// inside is set for the process that is inside a fence, to the folder that it is tried
// in: it cannot be taken down again.
const inside = "POSTERN_TEST_INSIDE"

// What is outside of a fence is neither read nor written, nor linked to; what is inside
// is, as far as it is said.
func TestClose(t *testing.T) {
	dir := os.Getenv(inside)
	if dir == "" {
		dir = t.TempDir()
		for _, name := range []string{"read/a", "write/a", "write/b/c", "names/a", "list/a", "outside/a"} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestClose$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	f := Fence{Read: []string{"/proc", at("read"), at("absent")}, Write: []string{at("write")}, Names: []string{at("names")}, List: []string{at("list")}}
	if err := errors.Join(NoNewPrivileges(), f.Close()); err != nil {
		t.Fatal(err)
	}
	read := func(name string) error { _, err := os.ReadFile(at(name)); return err }
	list := func(name string) error { _, err := os.ReadDir(at(name)); return err }
	write := func(name string) error { return os.WriteFile(at(name), nil, 0o644) }
	for _, tt := range []struct {
		what string
		err  error
		ok   bool
	}{
		{"read what is read", read("read/a"), true},
		{"write what is read", write("read/new"), false},
		{"read what is written", read("write/a"), true},
		{"write what is written", write("write/b/new"), true},
		{"link within what is written", os.Link(at("write/a"), at("write/b/a")), true},
		{"rename within what is written", os.Rename(at("write/b/c"), at("write/c")), true},
		{"list where names are read", list("list"), true},
		{"read a file where names are", read("list/a"), false},
		{"remove a socket", os.Remove(at("names/a")), true},
		{"write where sockets are", write("names/new"), false},
		{"read outside", read("outside/a"), false},
		{"list outside", list("outside"), false},
		{"write outside", write("outside/new"), false},
		{"move outside", os.Rename(at("write/a"), at("outside/b")), false},
	} {
		if ok := tt.err == nil; ok != tt.ok || !ok && !errors.Is(tt.err, fs.ErrPermission) {
			t.Errorf("%s: %v", tt.what, tt.err)
		}
	}
}

func TestWithin(t *testing.T) {
	f := Fence{Write: []string{"/var/mail", "/srv/a"}}
	for path, want := range map[string]bool{
		"/var/mail": true, "/var/mail/b": true, "/var/mailbox": false, "/var": false, "/srv/a/b/c": true, "/srv/ab": false, "/": false,
	} {
		if f.Within(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
	if !(Fence{Write: []string{"/"}}).Within("/anywhere") {
		t.Error("something is not below /")
	}
}

// Where links in a folder lead to is read, too: the folders, for their files are
// replaced.
func TestWithTargets(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"maps", "elsewhere"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "elsewhere/a.toml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link("../elsewhere/a.toml", "maps/a.toml")
	link("maps", "now")
	at := func(name string) string { return filepath.Join(dir, name) }
	if got, want := WithTargets(at("now")), []string{at("now"), at("maps"), dir, at("elsewhere")}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := WithTargets(at("elsewhere")); !slices.Equal(got, []string{at("elsewhere"), at("elsewhere")}) {
		t.Errorf("without a link: %q", got)
	}
	if got := Existing(at("maps/not/there")); got != at("maps") {
		t.Errorf("%q is there", got)
	}
	if got := Existing(at("elsewhere/a.toml/below")); got != at("elsewhere") {
		t.Errorf("%q is a folder", got)
	}
}
