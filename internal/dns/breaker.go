package dns

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A breaker spares everybody the wait for servers that are dead. While it is
// open, questions fail at once.
//
// Only silence opens it. A recursive server is silent about a name whose own
// servers are slow, or play dead on purpose, and is in good health all the
// same; so the silence must be about several names, with no answer to anything
// since the first of them was asked, and then about the root too, which is
// nobody's to silence and in every server's cache. Any answer closes it, be it
// SERVFAIL or REFUSED.
type breaker struct {
	log     *slog.Logger
	refuses atomic.Bool // it is open

	mu       sync.Mutex
	heardAt  time.Time       // when a server last answered anything
	silent   map[string]bool // the names that none has answered since
	probing  bool            // somebody asks for the root
	openedAt time.Time
	opened   uint64 // times
}

// silentNames is the number of names that raise the suspicion.
const silentNames = 5

// heard says that a server answered.
func (b *breaker) heard(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heardAt = now
	clear(b.silent)
	if b.refuses.CompareAndSwap(true, false) {
		b.log.Info("DNS servers answer again", "after", now.Sub(b.openedAt).Round(time.Millisecond))
	}
}

// silence says that no server answered a question for name, which was asked at
// asked. It returns true if the caller shall now probe.
func (b *breaker) silence(name string, asked time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing || !b.heardAt.Before(asked) {
		return false
	}
	if b.silent == nil {
		b.silent = make(map[string]bool)
	}
	b.silent[name] = true
	b.probing = len(b.silent) >= silentNames
	return b.probing
}

// probed says that a probe has ended. Had it, or anything else meanwhile, been
// answered, then the suspicion would be gone. It returns true if the caller
// shall probe again.
func (b *breaker) probed(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = len(b.silent) >= silentNames
	if b.probing && b.refuses.CompareAndSwap(false, true) {
		b.openedAt = now
		b.opened++
		b.log.Warn("DNS servers are silent: until they answer, all questions fail at once")
	}
	return b.probing
}

// state returns whether the breaker is open, and how often it has been opened.
func (b *breaker) state() (open bool, opened uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refuses.Load(), b.opened
}
