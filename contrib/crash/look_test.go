package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// stored returns a message as the daemon stores it.
func stored(id string) []byte {
	return append([]byte("Return-Path: <lab@client.example>\nReceived: by mx.example\n"), text(id)...)
}

func mboxOf(messages ...[]byte) (mbox []byte) {
	for _, m := range messages {
		mbox = append(mbox, "From lab@client.example Thu Jan  1 00:00:00 2026\n"...)
		mbox = append(append(mbox, m...), '\n')
	}
	return mbox
}

func zeroed(b []byte, from, to int) []byte {
	b = bytes.Clone(b)
	clear(b[from:to])
	return b
}

func TestLook(t *testing.T) {
	a, b := stored("a"), stored("b")
	tests := []struct {
		name, path string
		content    []byte
		whole      int
		partial    int
		tails      int
	}{
		{"whole", "d/ann/new/1", a, 1, 0, 0},
		{"read", "d/ann/cur/1:2,S", a, 1, 0, 0},
		{"in a folder", "d/ann/.lists/new/1", a, 1, 0, 0},
		{"unseen", "d/ann/tmp/1", a[:10], 0, 0, 0},
		{"empty", "d/ann/new/1", nil, 0, 1, 0},
		{"cut", "d/ann/new/1", a[:len(a)-1], 0, 1, 0},
		{"more than one", "d/ann/new/1", append(bytes.Clone(a), 'x'), 0, 1, 0},
		{"zeros of the right length", "d/ann/new/1", make([]byte, len(a)), 0, 1, 0},
		{"zeros at the end", "d/ann/new/1", zeroed(a, len(a)-5, len(a)), 0, 1, 0},
		{"zeros in the trace", "d/ann/new/1", zeroed(a, 40, 45), 0, 1, 0},
		{"no trace", "d/ann/new/1", text("a"), 0, 1, 0},
		{"mbox", "d/dan.mbox", mboxOf(a, b), 2, 0, 0},
		{"mbox, torn", "d/dan.mbox", mboxOf(a, b[:100]), 1, 0, 1},
		{"mbox, torn before its separator ends", "d/dan.mbox", append(mboxOf(a), "Fro"...), 0, 0, 1},
		{"mbox, torn in the middle", "d/dan.mbox", mboxOf(append(bytes.Clone(a[:100]), 10), b), 1, 1, 0},
		{"mbox, zeros", "d/dan.mbox", append(mboxOf(a), make([]byte, 100)...), 0, 0, 1},
		{"beside an mbox", "d/.dan.mbox.journal", a[:10], 0, 0, 0},
	}
	for _, tt := range tests {
		store := t.TempDir()
		path := filepath.Join(store, tt.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Look(store)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.whole) != tt.whole || len(f.partial) != tt.partial || len(f.tails) != tt.tails {
			t.Errorf("%s: %d whole, %q partial, %q torn", tt.name, len(f.whole), f.partial, f.tails)
		}
	}
}

func TestPlaces(t *testing.T) {
	for address, want := range map[string]string{
		"ann@maildir.example":       "maildir.example/ann",
		"ann+lists@maildir.example": "maildir.example/ann/.lists",
		"dan@mbox.example":          "mbox.example/dan.mbox",
	} {
		if got := placeOf(address); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

// The verdict misses nothing.
func TestCompare(t *testing.T) {
	promised, unheard := split([]Mark{{"1", "ann@maildir.example", false}, {"1", "ann@maildir.example", true}, {"2", "ann@maildir.example", false}})
	if len(promised) != 1 || len(unheard) != 1 || unheard[0].Message != "2" {
		t.Fatalf("promised %v, unheard %v", promised, unheard)
	}
	var v Verdict
	v.compare(&Found{whole: map[Copy]int{{"1", "maildir.example/bob"}: 1}, partial: []string{"x"}}, promised)
	if v.Lost != 1 || v.Partial != 1 || v.Looked != 1 || v.First == "" {
		t.Errorf("%+v", v)
	}
}
