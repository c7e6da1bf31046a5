package control

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func serve(t *testing.T, verbs map[string]Verb) string {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, verbs) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestCall(t *testing.T) {
	path := serve(t, map[string]Verb{
		"double": func(_ context.Context, arg json.RawMessage) (any, error) {
			var n int
			err := json.Unmarshal(arg, &n)
			return 2 * n, err
		},
		"fail": func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("no: because") },
	})
	var n int
	if err := Call(t.Context(), path, "double", 21, &n); err != nil || n != 42 {
		t.Errorf("double: %d, %v", n, err)
	}
	if err := Call(t.Context(), path, "double", "x", &n); err == nil {
		t.Error("a bad argument passed")
	}
	if err := Call(t.Context(), path, "fail", nil, nil); err == nil || err.Error() != "no: because" {
		t.Errorf("fail: %v", err)
	}
	if err := Call(t.Context(), path, "unknown", nil, nil); err == nil || !strings.Contains(err.Error(), "ask the server at "+path+" for unknown: it does not know that") {
		t.Errorf("unknown: %v", err)
	}
	if err := Call(t.Context(), path, "double", strings.Repeat("x", maxRequest), &n); err == nil {
		t.Error("an endless argument passed")
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	l, err := Listen(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path, 0o600); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second listener: %v", err)
	}
	l.SetUnlinkOnClose(false) // as after a crash
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Listen(path, 0o600); err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	_ = l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file, 0o600); err == nil {
		t.Error("a file was replaced")
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file: %q, %v", content, err)
	}
}
