package milter

import (
	"errors"
	"sync"
	"time"
)

const (
	// silentInRow is how many messages a filter leaves unanswered, with no
	// answer to any meanwhile, before the others are spared the wait.
	silentInRow = 3
	// probeEvery is how often one message is shown to it all the same.
	probeEvery = 30 * time.Second
)

// errSilent says that a filter was not asked, because it has not answered for
// some time.
var errSilent = errors.New("it has been silent, and is not asked")

// A breaker spares messages the wait for a filter that hangs. Only silence opens
// it, never an answer or a refused connection, which costs nobody any time; and
// whatever is not silence closes it.
type breaker struct {
	mu      sync.Mutex
	heardAt time.Time // when the filter was last not silent
	silent  int       // messages that it left unanswered since
	open    bool
	probeAt time.Time // when the next message is shown to it, if open
}

// spares reports whether a message is not to be shown to the filter at now.
func (b *breaker) spares(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open || !now.Before(b.probeAt) {
		b.probeAt = now.Add(probeEvery) // which matters only if it is open
		return false
	}
	return true
}

// heard says that the filter was not silent. It returns true if that is news.
func (b *breaker) heard(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heardAt, b.silent = now, 0
	news := b.open
	b.open = false
	return news
}

// silence says that the filter did not answer what it was asked at asked until
// its time was over, at now. It returns true if that opened b.
func (b *breaker) silence(asked, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.heardAt.After(asked) {
		return false
	}
	b.silent++
	if b.open || b.silent < silentInRow {
		return false
	}
	b.open, b.probeAt = true, now.Add(probeEvery)
	return true
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}
