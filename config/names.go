package config

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"strings"
)

// names is a set of many short strings: a hash table whose slots hold the names
// themselves, so that one look into memory finds most. The collector of garbage
// finds two pointers in it, and not one for each name.
//
// A million names take 34 MB, less than half of what they would in a
// map[string]struct{}, and are found faster (BenchmarkNames).
type names struct {
	seed  maphash.Seed
	slots []slot
	text  strings.Builder // the longer names, one behind the other
	count int
}

// A slot is free if it begins with 0; or else it holds its length and a name of at
// most maxInline octets; or long, the length, two octets of nothing, half of its
// hash, and where the name is in text.
type slot [1 + maxInline]byte

const (
	maxInline = 15
	long      = 0xff
)

// newNames returns a set for at most n names.
func newNames(n int) *names {
	return &names{
		seed:  maphash.MakeSeed(),
		slots: make([]slot, 1<<bits.Len(uint(n+n/4))), // some remain free, where a search ends
	}
}

// add puts name, of at most maxLocal octets, into the set, and reports whether it
// is new there.
func (s *names) add(name string) bool {
	at, wanted, found := s.search([]byte(name))
	if found {
		return false
	}
	if wanted[0] == long {
		binary.LittleEndian.PutUint64(wanted[8:], uint64(s.text.Len()))
		s.text.WriteString(name)
	}
	s.slots[at] = wanted
	s.count++
	return true
}

// find returns name as the set holds it.
func (s *names) find(name []byte) (string, bool) {
	if s == nil || s.count == 0 || len(name) == 0 {
		return "", false
	}
	at, _, found := s.search(name)
	if !found {
		return "", false
	}
	return s.name(&s.slots[at]), true
}

func (s *names) len() int {
	if s == nil {
		return 0
	}
	return s.count
}

// search returns where name is, or where it would go and what would be there, but
// for the place of a longer one.
func (s *names) search(name []byte) (at int, wanted slot, found bool) {
	hash, mask := maphash.Bytes(s.seed, name), uint64(len(s.slots)-1)
	if len(name) <= maxInline {
		wanted[0] = byte(len(name))
		copy(wanted[1:], name)
	} else {
		wanted[0], wanted[1] = long, byte(len(name))
		binary.LittleEndian.PutUint32(wanted[4:], uint32(hash>>32))
	}
	for i := hash & mask; ; i = (i + 1) & mask {
		switch here := &s.slots[i]; {
		case here[0] == 0:
			return int(i), wanted, false
		case *here == wanted:
			return int(i), wanted, true
		case here[0] == long && [8]byte(here[:8]) == [8]byte(wanted[:8]) && s.name(here) == string(name):
			return int(i), wanted, true
		}
	}
}

// name returns the name that a slot holds, or leads to.
func (s *names) name(here *slot) string {
	if here[0] != long {
		return string(here[1 : 1+here[0]])
	}
	at := binary.LittleEndian.Uint64(here[8:])
	return s.text.String()[at : at+uint64(here[1])]
}

// all yields the names, in no order.
func (s *names) all(yield func(string) bool) {
	if s == nil {
		return
	}
	for i := range s.slots {
		if here := &s.slots[i]; here[0] != 0 && !yield(s.name(here)) {
			return
		}
	}
}
