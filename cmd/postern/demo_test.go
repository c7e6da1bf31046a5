package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/peer"
)

// What the demo suggests to type works in another terminal, though nothing called
// postern is installed and the folder's name has a space in it.
func TestDemoSuggestsWhatWorks(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(peer.Dir(t), "a demo")
	p := peer.Start(t, exec.Command(binary, "demo", "--dir", dir, "--listen", peer.Addr(t)))
	p.WaitOutput("serves at once")
	for line := range strings.Lines(p.Output()) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "ls ") && !strings.HasSuffix(line, " status") {
			continue
		}
		shell := exec.Command("sh", "-ec", line)
		shell.Dir = "/"
		if out, err := shell.CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	if !strings.Contains(p.Output(), binary+" --config '"+dir+"'/postern.toml status\n") {
		t.Errorf("%s", p.Output())
	}
}

// The program's name is enough where a shell finds it by that, and not another one.
func TestTyped(t *testing.T) {
	installed, other := filepath.Join(t.TempDir(), "postern"), filepath.Join(t.TempDir(), "it's mine")
	for _, name := range []string{installed, other} {
		if err := os.WriteFile(name, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	quoted := `'` + strings.ReplaceAll(other, `'`, `'\''`) + `'`
	t.Setenv("PATH", t.TempDir())
	if got := typed(installed); got != installed {
		t.Errorf("%s", got)
	}
	t.Setenv("PATH", filepath.Dir(installed))
	if got := typed(installed); got != "postern" {
		t.Errorf("%s", got)
	}
	if got := typed(other); got != quoted {
		t.Errorf("%s, not %s", got, quoted)
	}
}
