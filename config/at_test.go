package config

import (
	"fmt"
	"path/filepath"
	"testing"
)

// The last generations are to be had by their names, for transactions that began
// with them.
func TestAt(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.toml"), mapOf("one"))
	g, _ := open(t, dir)
	ids := []string{g.Current().ID()}
	for i := range maxRecent + 1 {
		write(t, filepath.Join(dir, "a.toml"), mapOf("one", fmt.Sprint("x", i)))
		if err := g.Reload(Request{}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, g.Current().ID())
	}
	for i, id := range ids {
		want := id
		if i == 0 { // it is too long ago
			want = g.Current().ID()
		}
		if got := g.At(id).ID(); got != want {
			t.Errorf("generation %d is %s, not %s", i, got, want)
		}
	}
	if g.At("") != g.Current() || g.At("unknown") != g.Current() {
		t.Error("any other is not the one that serves")
	}
}
