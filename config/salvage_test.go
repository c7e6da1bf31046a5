package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

// Where the servers are asked is found in a file with whatever mistake.
func TestSalvage(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "postern.toml")
	const good = "hostname = \"mx.example.com\"\nstate = \"state\"\n[mx] # here\ncontrol = \"mx.sock\"\nlisten = [\n  \"[::]:25\",\n]\n[[filters]]\ncontrol = \"no.sock\"\n[ mda ]\ncontrol='/run/x/mda.sock' # there\n"
	own := [3]string{filepath.Join(dir, "mx.sock"), "/run/x/mda.sock", filepath.Join(dir, "state")}
	d := defaults()
	none := [3]string{d.MX.Control, d.MDA.Control, d.State}
	for _, tt := range []struct {
		text string
		want [3]string
	}{
		{good, own},
		{good + "unknown = 7\n", own},
		{good + "control = '/run/y/mda.sock'\n", [3]string{own[0], "/run/y/mda.sock", own[2]}},
		{"x = \"\n" + good, own},
		{"= 5\n[[\nx = [\n" + good, own},
		{good + "\xff\x00", own},
		{good + "x = {", own},
		{"state = 5\n[mx]\ncontrol = \"mx.sock\n[mda]\ncontrol = ''\n", none},
		{"mx.control = '/run/x/mx.sock'\nmx.control = \nmda.control = 7", [3]string{"/run/x/mx.sock", none[1], none[2]}},
		{"[mx.tls]\ncontrol = '/x'\n[\n", none},
		{"control = '/x'\n[\n", none},
		{"", none},
	} {
		write(t, name, tt.text)
		c, err := Salvage(name)
		_, want := Load(name)
		if (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
			t.Errorf("%q: %v, but Load: %v", tt.text, err, want)
		}
		if got := [3]string{c.MX.Control, c.MDA.Control, c.State}; got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
	if c, err := Salvage(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || c.State != d.State {
		t.Errorf("no file: %v, %v", c, err)
	}
}
