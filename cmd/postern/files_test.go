package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(text), 0o600))
}

func mkdir(t testing.TB, name string) { t.Helper(); must(t, os.MkdirAll(name, 0o755)) }

func rename(t testing.TB, dir, from, to string) {
	t.Helper()
	must(t, os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)))
}

// link makes name lead to target, at once.
func link(t testing.TB, target, name string) {
	t.Helper()
	must(t, os.Symlink(target, name+".tmp"))
	must(t, os.Rename(name+".tmp", name))
}

// newWatching runs watch until what it returns is called.
func newWatching(t testing.TB, watch func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := watch(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() { cancel(); wg.Wait() }
}
