// Package greylist remembers who came before (RFC 6647). A stranger is put off,
// and known from then on if it comes back: a real mail server does, and most that
// send what nobody wants do not.
//
// What waits is a sender from an origin, which is a network, or a domain whose
// SPF record spans many. Once one of its senders has waited, the origin is known,
// for it has shown that it comes back. It is forgotten when it has been silent
// for long.
//
// All is in memory, as hashes of 16 octets, and bounded. A log of fixed records
// carries it over a restart; nothing in it is synced, since what a crash loses
// is a delay for somebody, and it is written anew when most of it is out of
// date. An embedded database was not taken: it syncs at each commit, which is
// slower than all the rest of judging a message, its file never shrinks, and
// opening it waits for whoever has it open.
package greylist

import (
	"cmp"
	"crypto/sha256"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say who is known. They are copied when a Store is opened.
type Options struct {
	Delay  time.Duration // how long a stranger has to wait
	Window time.Duration // how long it may take to come back
	Keep   time.Duration // how long an origin is known after its last message
	Max    int           // how many are remembered; 0: DefaultMax, and only tests set another
	Log    *slog.Logger  // hears when the file cannot be written; nil: nobody does
	// ReadOnly says that the file belongs to somebody else.
	ReadOnly bool
}

// DefaultMax is how many are remembered if Options do not say: some 20 MB.
const DefaultMax = 250_000

// A Store remembers. It may be used by several goroutines.
type Store struct {
	opt Options

	mu      sync.Mutex
	entries map[key]entry
	path    string
	file    *os.File // nil: nothing is written
	written int      // records in the file
	broken  bool     // writing failed, and the log was told
}

// A key is a hash of an origin, or of an origin and a sender.
type key [16]byte

func keyOf(origin, sender string) key {
	sum := sha256.Sum256([]byte(strings.ToLower(origin) + "\x00" + strings.ToLower(sender)))
	return key(sum[:16])
}

// An entry is what is remembered, in seconds of Unix time.
type entry struct {
	since uint32 // when a sender was put off first; 0: this is an origin, which is known
	last  uint32 // when it was last heard of
}

// A State is what is known of a sender.
type State struct {
	Known bool
	// Since is when it was put off first; the zero Time: it was not, or too
	// long ago.
	Since time.Time
	// Waited reports whether that was as long ago as it had to wait.
	Waited bool
}

// Look returns what is known of a sender from origin at now. It remembers
// nothing. A nil Store knows nobody.
func (s *Store) Look(origin, sender string, now time.Time) State {
	if s == nil {
		return State{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, found := s.entries[keyOf(origin, "")]; found && !s.expired(e, now) {
		return State{Known: true}
	}
	e, found := s.entries[keyOf(origin, sender+"\x00")]
	if !found || s.expired(e, now) {
		return State{}
	}
	since := time.Unix(int64(e.since), 0)
	return State{Since: since, Waited: now.Sub(since) >= s.opt.Delay}
}

// PutOff remembers that a sender from origin was put off at now.
func (s *Store) PutOff(origin, sender string, now time.Time) {
	k := keyOf(origin, sender+"\x00")
	s.note(k, now, func(old entry, valid bool) entry {
		if !valid {
			old.since = uint32(now.Unix())
		}
		return old
	})
}

// Know remembers that a message from origin was taken at now, after its sender
// had waited, or was known.
func (s *Store) Know(origin string, now time.Time) {
	s.note(keyOf(origin, ""), now, func(entry, bool) entry { return entry{} })
}

// fresh is how old what is remembered may be before it is written again only to
// say that somebody was heard of.
const fresh = 6 * time.Hour

// note replaces the entry of k by what change makes of it, if that is news.
func (s *Store) note(k key, now time.Time, change func(old entry, valid bool) entry) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.entries[k]
	valid := found && !s.expired(old, now)
	e := change(old, valid)
	if valid && e.since == old.since && now.Sub(time.Unix(int64(old.last), 0)) < fresh {
		return
	}
	e.last = uint32(now.Unix())
	if !found && len(s.entries) >= s.opt.Max {
		s.forget(now)
	}
	s.entries[k] = e
	s.write(k, e)
}

func (s *Store) expired(e entry, now time.Time) bool {
	if e.since == 0 {
		return now.Sub(time.Unix(int64(e.last), 0)) > s.opt.Keep
	}
	return now.Sub(time.Unix(int64(e.since), 0)) > s.opt.Window
}

// forget makes room: for what has expired, and if that is not enough, for an
// eighth of all, those first that were not heard of for longest.
func (s *Store) forget(now time.Time) {
	for k, e := range s.entries {
		if s.expired(e, now) {
			delete(s.entries, k)
		}
	}
	most := s.opt.Max - s.opt.Max/8
	if len(s.entries) <= most {
		return
	}
	type heard struct {
		key  key
		last uint32
	}
	all := make([]heard, 0, len(s.entries))
	for k, e := range s.entries {
		all = append(all, heard{k, e.last})
	}
	slices.SortFunc(all, func(a, b heard) int { return cmp.Compare(a.last, b.last) })
	for _, h := range all[:len(all)-most] {
		delete(s.entries, h.key)
	}
}

// Len returns how many are remembered.
func (s *Store) Len() int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}
