package config

import (
	"hash/maphash"
	"math/bits"
	"strings"
)

// names is a set of many short strings: one text that holds them all, and a
// hash table of numbers. The collector of garbage finds two pointers in it, and
// not one for each name.
//
// A million names of twelve octets take 24 MB, a third of what they would in a
// map[string]struct{}, and are built and found as fast (BenchmarkNames).
type names struct {
	seed  maphash.Seed
	text  strings.Builder // the names, one behind the other
	ends  []uint32        // where each one ends
	slots []uint32        // the number of a name, counted from one; 0: free
}

// newNames returns a set for at most n names, of about so many octets in all.
func newNames(n, octets int) *names {
	s := &names{
		seed:  maphash.MakeSeed(),
		ends:  make([]uint32, 0, n),
		slots: make([]uint32, 1<<bits.Len(uint(n+n/2))), // some remain free, where a search ends
	}
	s.text.Grow(octets)
	return s
}

// add puts name into the set, and reports whether it is new there.
func (s *names) add(name string) bool {
	at, found := s.slot([]byte(name))
	if found {
		return false
	}
	s.text.WriteString(name)
	s.ends = append(s.ends, uint32(s.text.Len()))
	s.slots[at] = uint32(len(s.ends))
	return true
}

// find returns name as the set holds it.
func (s *names) find(name []byte) (string, bool) {
	if s == nil || len(s.ends) == 0 {
		return "", false
	}
	at, found := s.slot(name)
	if !found {
		return "", false
	}
	return s.name(s.slots[at]), true
}

func (s *names) len() int {
	if s == nil {
		return 0
	}
	return len(s.ends)
}

// number returns which name of the set this is, counted from one.
func (s *names) number(name string) int {
	at, _ := s.slot([]byte(name))
	return int(s.slots[at])
}

// slot returns where name is, or where it would go.
func (s *names) slot(name []byte) (at int, found bool) {
	mask := uint64(len(s.slots) - 1)
	for i := maphash.Bytes(s.seed, name) & mask; ; i = (i + 1) & mask {
		n := s.slots[i]
		if n == 0 {
			return int(i), false
		}
		if s.name(n) == string(name) {
			return int(i), true
		}
	}
}

// name returns the name of number n.
func (s *names) name(n uint32) string {
	start := uint32(0)
	if n > 1 {
		start = s.ends[n-2]
	}
	return s.text.String()[start:s.ends[n-1]]
}
