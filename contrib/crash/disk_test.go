package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

// contents returns the first octet of each page.
func contents(d *Disk) string {
	var b strings.Builder
	for i := range d.pages {
		var octet [1]byte
		d.ReadAt(octet[:], int64(i)*pageSize)
		b.WriteByte(max(octet[0], '.'))
	}
	return b.String()
}

func TestDiskReadsWhatWasWritten(t *testing.T) {
	d := NewDisk(3 * pageSize)
	d.WriteAt(fill('a', 2*pageSize), 0)
	d.WriteAt(fill('b', 1000), pageSize-500)
	got := make([]byte, 3*pageSize+10)
	d.ReadAt(got, 0)
	want := slices.Concat(fill('a', pageSize-500), fill('b', 1000), fill('a', pageSize-500), fill(0, pageSize+10))
	if !bytes.Equal(got, want) {
		t.Error("the disk has something else")
	}
	d.WriteAt(fill(0, pageSize), 0)
	if d.pages[0] != nil {
		t.Error("a page of zeros is kept")
	}
}

// What was flushed is in every state, what was written later in some, torn
// between pages, and what was not yet written in none.
func TestStates(t *testing.T) {
	d := NewDisk(6 * pageSize)
	d.WriteAt(fill('o', pageSize), 5*pageSize)
	d.Record()
	d.WriteAt(fill('a', pageSize), 0)
	d.Flush()
	d.Mark(Mark{Message: "1", Acked: true})
	d.WriteAt(fill('b', 2*pageSize), pageSize)
	h := d.Stop()
	seen := make(map[string]bool)
	for s := range h.States(3000, 1) {
		got := contents(s.Disk)
		seen[got] = true
		if len(s.Marks) > 0 && got[0] != 'a' {
			t.Fatalf("%s: %s, and it was promised", s.name, got)
		}
		if len(s.Marks) == 0 && strings.Contains(got, "b") {
			t.Fatalf("%s: %s, and b was written later", s.name, got)
		}
	}
	for _, want := range []string{".....o", "a....o", "ab...o", "a.b..o", "abb..o"} {
		if !seen[want] {
			t.Errorf("no state is %s", want)
		}
		delete(seen, want)
	}
	for got := range seen {
		t.Errorf("a state is %s", got)
	}
}

// A state is a disk of its own.
func TestStatesShareNothing(t *testing.T) {
	d := NewDisk(pageSize)
	d.Record()
	d.WriteAt(fill('a', pageSize), 0)
	d.Flush()
	d.Mark(Mark{Acked: true})
	for s := range d.Stop().States(20, 1) {
		if len(s.Marks) == 0 {
			continue
		}
		if got := contents(s.Disk); got != "a" {
			t.Fatalf("%s: %s", s.name, got)
		}
		s.Disk.WriteAt(fill('x', 10), 0)
		if s.Disk.first[0][0] != 'a' {
			t.Fatal("the state's first pages changed, too")
		}
	}
}
