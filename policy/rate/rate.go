// Package rate bounds how much each of many may do in a span of time.
//
// Each has a bucket that holds as much as the limit and leaks as much in that
// span: who was quiet may do all of it at once, and who goes on gets room bit by
// bit. A bucket is one moment in memory, the one at which it will be empty.
//
// It remembers a bounded number of them, those that were used last. Whoever
// has names enough to flood it could as well use what each of them may do.
package rate

import (
	"sync"
	"time"
)

// A Limiter bounds what each key may do. A nil Limiter bounds nothing. It may be
// used by several goroutines.
type Limiter[K comparable] struct {
	limit int
	cost  time.Duration // that one takes to leak
	keep  int

	mu sync.Mutex
	// Those used lately, and those used before. When there are enough of the
	// first, they become the second, which are forgotten.
	young, old map[K]time.Time
}

// New returns a Limiter that allows each key limit in the span per, and keeps
// at most keep keys. Without a limit it returns nil, which bounds nothing.
func New[K comparable](limit int, per time.Duration, keep int) *Limiter[K] {
	if limit <= 0 {
		return nil
	}
	return &Limiter[K]{
		limit: limit, cost: per / time.Duration(limit), keep: max(2, keep),
		young: make(map[K]time.Time),
	}
}

// Limit returns how many are allowed; 0: any number.
func (l *Limiter[K]) Limit() int {
	if l == nil {
		return 0
	}
	return l.limit
}

// Full reports whether key has used up what it may do. It counts nothing.
func (l *Limiter[K]) Full(key K) bool { return l.FullAt(key, time.Now()) }

// FullAt is Full at another moment than now, for replaying the past.
func (l *Limiter[K]) FullAt(key K, now time.Time) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// There is room for one more.
	return l.empty(key).Sub(now) > l.cost*time.Duration(l.limit-1)
}

// Add counts n for key, whether there is room or not. A bucket holds no more
// than twice what is allowed, so that nobody waits for ever.
func (l *Limiter[K]) Add(key K, n int) { l.AddAt(key, n, time.Now()) }

// AddAt is Add at another moment than now. The moments of all calls ascend.
func (l *Limiter[K]) AddAt(key K, n int, now time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	empty := l.empty(key)
	if empty.Before(now) {
		empty = now
	}
	empty = empty.Add(l.cost * time.Duration(n))
	if most := now.Add(2 * l.cost * time.Duration(l.limit)); empty.After(most) {
		empty = most
	}
	if len(l.young) >= l.keep/2 {
		l.old, l.young = l.young, make(map[K]time.Time)
	}
	l.young[key] = empty
}

// empty returns when the bucket of key will be.
func (l *Limiter[K]) empty(key K) time.Time {
	if t, found := l.young[key]; found {
		return t
	}
	return l.old[key]
}

// Len returns how many keys are remembered.
func (l *Limiter[K]) Len() int {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.young) + len(l.old)
}
