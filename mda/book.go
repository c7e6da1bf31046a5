package mda

import (
	"container/list"
	"slices"
	"time"
)

const (
	// memory is how long the ledger remembers: a client gives up after four or
	// five days (RFC 5321, section 4.5.4.1).
	memory = 5 * 24 * time.Hour
	// maxEntries is how many entries say the same of a key at most. There are
	// several where a client tried again, and it may have heard any of their 250s.
	maxEntries = 4
)

// An entry says whom one transaction served, or found served.
type entry struct {
	id   string // of the transaction
	at   time.Time
	keys []key

	place *list.Element // in the book
}

// A book is what the ledger remembers. It belongs to one goroutine at a time.
type book struct {
	limit int // of keys
	byID  map[string]*entry
	byKey map[key][]*entry
	byAge list.List // of *entry, the oldest first
}

func newBook(limit int) *book {
	return &book{limit: limit, byID: make(map[string]*entry), byKey: make(map[key][]*entry)}
}

// len returns how many keys there are.
func (b *book) len() int { return len(b.byKey) }

// find returns the transaction that spoke of k last.
func (b *book) find(k key) (id string, found bool) {
	entries := b.byKey[k]
	if len(entries) == 0 {
		return "", false
	}
	return entries[len(entries)-1].id, true
}

// enter adds what e says.
func (b *book) enter(e entry) {
	known := b.byID[e.id]
	if known == nil {
		known = &entry{id: e.id, at: e.at}
		known.place = b.byAge.PushBack(known)
		b.byID[e.id] = known
	}
	for _, k := range e.keys {
		if slices.Contains(b.byKey[k], known) {
			continue
		}
		if len(b.byKey[k]) == maxEntries {
			b.cross(b.byKey[k][0], k)
		}
		b.byKey[k] = append(b.byKey[k], known)
		known.keys = append(known.keys, k)
	}
	for len(b.byKey) > b.limit {
		b.drop(b.oldest())
	}
}

func (b *book) oldest() *entry { return b.byAge.Front().Value.(*entry) }

// strike removes whatever the transaction id speaks of, and reports whether there
// was something.
func (b *book) strike(id string) bool {
	e := b.byID[id]
	if e == nil {
		return false
	}
	for _, k := range b.drop(e) {
		for _, other := range slices.Clone(b.byKey[k]) {
			b.cross(other, k)
		}
	}
	return true
}

// drop removes e, and returns what it spoke of. What other entries say too is
// still known.
func (b *book) drop(e *entry) []key {
	keys := e.keys
	e.keys = nil
	delete(b.byID, e.id)
	b.byAge.Remove(e.place)
	for _, k := range keys {
		b.unlink(e, k)
	}
	return keys
}

// cross takes k out of e, of which nothing may be left.
func (b *book) cross(e *entry, k key) {
	e.keys = slices.DeleteFunc(e.keys, func(other key) bool { return other == k })
	b.unlink(e, k)
	if len(e.keys) == 0 {
		b.drop(e)
	}
}

// unlink takes e out of what is known of k.
func (b *book) unlink(e *entry, k key) {
	left := slices.DeleteFunc(b.byKey[k], func(other *entry) bool { return other == e })
	if len(left) == 0 {
		delete(b.byKey, k)
		return
	}
	b.byKey[k] = left
}

// expire removes what is too old at now.
func (b *book) expire(now time.Time) {
	for b.byAge.Len() > 0 && now.Sub(b.oldest().at) >= memory {
		b.drop(b.oldest())
	}
}
