package crashfs

import (
	"bytes"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
)

// maxBits bounds the disks that Fates enumerates: beyond, it samples as many.
const maxBits = 12

// Fates returns the disks that may be found after a loss of power now. The
// first has nothing but what was synced, the last has everything. They do not
// fail any more and do not change d.
func (d *Disk) Fates() iter.Seq[*Disk] {
	return func(yield func(*Disk) bool) {
		d.mu.Lock()
		bits := undecided(d.root, d.Ordered, make(map[*node]bool))
		d.mu.Unlock()
		for committed := range len(d.log) + 1 {
			for choice := range choices(bits) {
				if !yield(d.after(committed, choice)) {
					return
				}
			}
		}
	}
}

// choices returns all numbers of so many bits, or if they are too many some of
// them, from all zeros to all ones.
func choices(bits int) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		all := uint64(1)<<min(bits, 63) - 1
		rnd := rand.New(rand.NewPCG(uint64(bits), 1))
		for i := range min(all, 1<<maxBits-1) + 1 {
			choice := i
			if bits > maxBits && i > 0 {
				choice = rnd.Uint64() & all
			}
			if i == 1<<maxBits-1 {
				choice = all
			}
			if !yield(choice) {
				return
			}
		}
	}
}

// Worst returns the first of Fates: what is left if only that is, which was
// promised to be.
func (d *Disk) Worst() *Disk {
	for after := range d.Fates() {
		return after
	}
	return nil
}

// after returns the disk when so many changes were committed of those that are
// not yet, and choice decided the rest.
func (d *Disk) after(committed int, choice uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := New()
	after.NoTmpfile, after.NoLink, after.Ordered, after.NamesByFile = d.NoTmpfile, d.NoLink, d.Ordered, d.NamesByFile
	after.nodes = d.nodes
	after.root = (&fate{choice: choice, ordered: d.Ordered, log: d.log[:committed]}).survive(d.root)
	return after
}

// A fate decides, bit by bit, what survives of what was not synced.
type fate struct {
	choice  uint64
	used    int
	met     map[*node]*node
	ordered bool     // names are not decided one by one,
	log     []change // but these changes survive
}

// onDisk returns what is on disk of n for sure.
func (f *fate) onDisk(n *node) (names map[string]*node, data []byte) {
	names, data = maps.Clone(n.syncedNames), n.synced
	for _, c := range f.log {
		if c.node == n {
			c.apply(names, &data)
		}
	}
	return names, data
}

// next takes one decision: whether a thing survives.
func (f *fate) next() bool {
	survives := f.choice>>min(f.used, 63)&1 == 1
	f.used++
	return survives
}

// undecided returns how many decisions there are about n and all below it, as
// programs see it and as it is on disk.
func undecided(n *node, ordered bool, met map[*node]bool) int {
	if n == nil || met[n] {
		return 0
	}
	met[n] = true
	if !n.folder {
		if bytes.Equal(n.data, n.synced) {
			return 0
		}
		return 2
	}
	bits := 0
	if !ordered {
		bits = len(n.changed())
	}
	for _, names := range []map[string]*node{n.names, n.syncedNames} {
		for _, child := range names {
			bits += undecided(child, ordered, met)
		}
	}
	return bits
}

// survive returns what becomes of n and all below it.
func (f *fate) survive(n *node) *node {
	if f.met == nil {
		f.met = make(map[*node]*node)
	}
	if m := f.met[n]; m != nil {
		return m
	}
	if !n.folder {
		m := &node{id: n.id, time: n.time, changedAt: n.changedAt, data: slices.Clone(f.content(n))}
		m.synced = m.data
		f.met[n] = m
		return m
	}
	m := newFolder(n.id)
	f.met[n] = m
	names, _ := f.onDisk(n)
	for _, name := range n.changed() {
		if f.ordered || !f.next() {
			continue
		}
		delete(names, name)
		if child := n.names[name]; child != nil {
			names[name] = child
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		child := f.survive(names[name])
		m.names[name], m.syncedNames[name] = child, child
	}
	return m
}

// content returns what becomes of a file's octets, if they were not synced. What
// did not change stays. Of what came after it, there are the old octets, zeros in
// place of the new, half of the new, or all.
func (f *fate) content(n *node) []byte {
	_, synced := f.onDisk(n)
	if bytes.Equal(n.data, synced) {
		return n.data
	}
	same := common(n.data, synced)
	first, second := f.next(), f.next()
	switch {
	case first && second:
		return n.data
	case first:
		return n.data[:(same+len(n.data)+1)/2]
	case second:
		return append(n.data[:same:same], make([]byte, len(n.data)-same)...)
	}
	return synced
}

// common returns how many octets a and b have in common at the beginning.
func common(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
