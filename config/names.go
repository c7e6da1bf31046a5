package config

import (
	"hash/maphash"
	"math/bits"
	"strings"
)

// names is a set of many short strings: one text that holds them all, each behind
// its length, and a hash table of where they are in it. The collector of garbage
// finds two pointers in it, and not one for each name.
//
// A name that is there is found with two looks into memory, one that is not mostly
// with one, since the table has half of each hash, too. A million names of twelve
// octets take 29 MB, less than half of what they would in a map[string]struct{}
// (BenchmarkNames).
type names struct {
	seed  maphash.Seed
	text  strings.Builder
	slots []uint64 // half of a name's hash, and one more than where its length is in text; 0: free
	count int
}

// newNames returns a set for at most n names, of about so many octets in all.
func newNames(n, octets int) *names {
	s := &names{
		seed:  maphash.MakeSeed(),
		slots: make([]uint64, 1<<bits.Len(uint(n+n/4))), // some remain free, where a search ends
	}
	s.text.Grow(octets + n)
	return s
}

// add puts name, of at most maxLocal octets, into the set, and reports whether it
// is new there.
func (s *names) add(name string) bool {
	at, hash, found := s.slot([]byte(name))
	if found {
		return false
	}
	s.slots[at] = hash | uint64(s.text.Len()+1)
	s.text.WriteByte(byte(len(name)))
	s.text.WriteString(name)
	s.count++
	return true
}

// find returns name as the set holds it.
func (s *names) find(name []byte) (string, bool) {
	if s == nil || s.count == 0 {
		return "", false
	}
	at, _, found := s.slot(name)
	if !found {
		return "", false
	}
	return s.name(s.slots[at]), true
}

func (s *names) len() int {
	if s == nil {
		return 0
	}
	return s.count
}

const half = 1<<32 - 1

// slot returns where name is, or where it would go with its half of the hash.
func (s *names) slot(name []byte) (at int, hash uint64, found bool) {
	mask := uint64(len(s.slots) - 1)
	hash = maphash.Bytes(s.seed, name)
	i := hash & mask
	hash &^= half
	for ; ; i = (i + 1) & mask {
		n := s.slots[i]
		if n == 0 {
			return int(i), hash, false
		}
		if n&^half == hash && s.name(n) == string(name) {
			return int(i), hash, true
		}
	}
}

// name returns the name that a slot leads to.
func (s *names) name(slot uint64) string {
	text, at := s.text.String(), slot&half
	return text[at : at+uint64(text[at-1])]
}

// all yields the names, in the order in which they were added.
func (s *names) all(yield func(string) bool) {
	if s == nil {
		return
	}
	for text := s.text.String(); text != ""; {
		end := 1 + int(text[0])
		if !yield(text[1:end]) {
			return
		}
		text = text[end:]
	}
}
