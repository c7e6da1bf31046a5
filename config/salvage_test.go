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
		sure bool
	}{
		{good, own, true},
		{good + "unknown = 7\n", own, true},
		{good + "control = '/run/y/mda.sock'\n", [3]string{own[0], "/run/y/mda.sock", own[2]}, true},
		{"x = \"\n" + good, own, true},
		{"= 5\n[[\nx = [\n" + good, own, true},
		{good + "\xff\x00", own, true},
		{good + "x = {", own, true},
		{"state = 5\n[mx]\ncontrol = \"mx.sock\n[mda]\ncontrol = ''\n", none, false},
		{"mx.control = '/run/x/mx.sock'\nmx.control = \nmda.control = 7", [3]string{"/run/x/mx.sock", none[1], none[2]}, false},
		{"[mx.tls]\ncontrol = '/x'\n[\n", none, false},
		{"control = '/x'\n[\n", none, false},
		{"", none, true},
		{"# control = 'x'\nhostname = control.example.com\n", none, true},
		{"[mx]\ncontrol = '/run/control.sock'\nx = \n", [3]string{"/run/control.sock", none[1], none[2]}, true},
		{"[mx]\ncontrol='/run/b/mx.sock'\n[mda\ncontrol='/run/b/mda.sock'\n", [3]string{"/run/b/mx.sock", "/run/b/mda.sock", none[2]}, true},
		{"[mx]\ncontrol='/run/b/mx.sock'\n['mda\ncontrol='/run/b/mda.sock'\n", [3]string{"/run/b/mx.sock", "/run/b/mda.sock", none[2]}, true},
		{"[mx]\ncontrol='/run/b/mx.sock'\nmda]\ncontrol='/run/b/mda.sock'\n", [3]string{"/run/b/mda.sock", none[1], none[2]}, false},
		{"[mx]\ncontrol = '/run/b/mx.sock' # caf\xe9\n", none, false},
		{"[mx]\ncontrol = '/run/b/mx.sock\n", none, false},
		{"[mx]\ncontrol: '/run/b/mx.sock'\n", none, false},
		{"[mx]\rcontrol = '/run/b/mx.sock'\r", none, false},
		{"[mx]\ncontrl = '/run/b/mx.sock'\n", none, false},
		{"[xm]\ncontrol = '/run/b/mx.sock'\n", none, false},
		{"[mx]\ncontrol = 5\n", none, false},
		{"mx = { control = '/run/b/mx.sock', x = 1 }\n", [3]string{"/run/b/mx.sock", none[1], none[2]}, true},
		{"mx = { control = '/run/b/mx.sock'\n", none, false},
		{"[\x00m\x00x\x00]\x00", none, false},
	} {
		write(t, name, tt.text)
		c, sure, err := Salvage(name)
		_, want := Load(name)
		if (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
			t.Errorf("%q: %v, but Load: %v", tt.text, err, want)
		}
		if sure != (tt.sure || err == nil) {
			t.Errorf("%q: sure is %v", tt.text, sure)
		}
		if got := [3]string{c.MX.Control, c.MDA.Control, c.State}; got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
	if c, _, err := Salvage(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || c.State != d.State {
		t.Errorf("no file: %v, %v", c, err)
	}
}
