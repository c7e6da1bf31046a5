package config

import (
	"fmt"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"
)

// nameOf returns one of many names, every other one a long one.
func nameOf(i int) string {
	return fmt.Sprintf("user%d%s", i, strings.Repeat(".longer", i%2*2))
}

func TestNames(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 7, 8, 1000} {
		s := newNames(n)
		for i := range n {
			if !s.add(nameOf(i)) {
				t.Errorf("of %d: %d is not new", n, i)
			}
		}
		for i := range n {
			name := nameOf(i)
			if got, ok := s.find([]byte(name)); !ok || got != name {
				t.Errorf("of %d: find(%q) = %q, %v", n, name, got, ok)
			}
			if s.add(name) {
				t.Errorf("of %d: %q is new twice", n, name)
			}
		}
		for _, other := range []string{"", "user", nameOf(n), nameOf(n + 1), "user0user1", "user0\x00", strings.Repeat("long", 16)} {
			if got, ok := s.find([]byte(other)); ok {
				t.Errorf("of %d: find(%q) = %q", n, other, got)
			}
		}
		seen := make(map[string]bool)
		for name := range s.all {
			seen[name] = true
		}
		if len(seen) != n || n > 0 && !(seen[nameOf(0)] && seen[nameOf(n-1)]) {
			t.Errorf("of %d: it yields %d", n, len(seen))
		}
		if s.len() != n {
			t.Errorf("len = %d, not %d", s.len(), n)
		}
	}
}

// BenchmarkNames compares forms in memory for the names of a large domain: what
// they cost to build, to hold and to ask.
func BenchmarkNames(b *testing.B) {
	const n = 1_000_000
	text := strings.Builder{}
	for i := range n {
		fmt.Fprintf(&text, "user%08d ", uint32(i)*2654435761%100_000_000)
	}
	all := slices.Compact(slices.Sorted(strings.FieldsSeq(text.String())))
	inOrder := strings.Fields(text.String())

	set := func() func([]byte) bool {
		s := newNames(len(inOrder))
		for _, name := range inOrder {
			s.add(name)
		}
		return func(key []byte) bool { _, ok := s.find(key); return ok }
	}
	hash := func() func([]byte) bool {
		m := make(map[string]struct{}, len(inOrder))
		for _, name := range inOrder {
			m[strings.Clone(name)] = struct{}{}
		}
		return func(key []byte) bool { _, ok := m[string(key)]; return ok }
	}
	sorted := func() func([]byte) bool {
		s := make([]string, len(inOrder))
		for i, name := range inOrder {
			s[i] = strings.Clone(name)
		}
		slices.Sort(s)
		return func(key []byte) bool {
			i := sort.Search(len(s), func(i int) bool { return s[i] >= string(key) })
			return i < len(s) && s[i] == string(key)
		}
	}
	for name, build := range map[string]func() func([]byte) bool{"set": set, "map": hash, "sorted": sorted} {
		b.Run(name+"/build", func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var keep func([]byte) bool
			for range b.N {
				keep = build()
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-held")
			runtime.KeepAlive(keep)
		})
		find := build()
		b.Run(name+"/find", func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if !find([]byte(all[i*7919%len(all)])) {
					b.Fatal("not found")
				}
			}
		})
	}
}
