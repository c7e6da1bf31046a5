package dns

import (
	"container/list"
	"sync"
	"time"
)

// A cache keeps outcomes until their time has come, and drops those that were
// not asked for longest when it holds too many entries or octets. What has
// expired is never given out, not even when nobody else has an answer: a policy
// that was withdrawn must not live on in a mail server.
//
// One lock serves it: a hit holds it for a fraction of a microsecond, which is
// less than sharding saves at the rate at which mail comes in.
type cache struct {
	entries, octets int // the bounds

	mu    sync.Mutex
	byKey map[question]*list.Element // of *entry
	order list.List                  // most recently used first
	held  int                        // octets
}

type entry struct {
	question
	outcome
	expires time.Time
	size    int
}

// get returns the outcome of q, its ttl being what is left at now.
func (c *cache) get(q question, now time.Time) (outcome, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byKey[q]
	if !ok {
		return outcome{}, false
	}
	e := el.Value.(*entry)
	if !now.Before(e.expires) {
		c.drop(el)
		return outcome{}, false
	}
	c.order.MoveToFront(el)
	o := e.outcome
	o.ttl = e.expires.Sub(now)
	return o, true
}

// put keeps o, which was asked for at asked, for as long as it holds. An outcome
// that nobody is sure of has no ttl and is not kept: the recursive servers
// remember their failures themselves (RFC 9520), so that asking them again is
// cheap, and a sender who tries again soon finds what has been mended.
func (c *cache) put(q question, o outcome, asked time.Time) {
	e := &entry{question: q, outcome: o, expires: asked.Add(o.ttl), size: sizeOf(q, o)}
	if o.ttl <= 0 || e.size > c.octets {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.byKey[q]; ok {
		c.drop(old)
	}
	if c.byKey == nil {
		c.byKey = make(map[question]*list.Element)
	}
	c.byKey[q] = c.order.PushFront(e)
	c.held += e.size
	for len(c.byKey) > c.entries || c.held > c.octets {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(el *list.Element) {
	e := c.order.Remove(el).(*entry)
	delete(c.byKey, e.question)
	c.held -= e.size
}

// size returns how many entries and octets are held.
func (c *cache) size() (entries, octets int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey), c.held
}

// sizeOf estimates the memory of an entry: the octets of its strings, and what
// the structures around them take.
func sizeOf(q question, o outcome) int {
	const perEntry, perRecord = 300, 16
	n := perEntry + len(q.name)
	for _, r := range o.records {
		n += perRecord + len(r)
	}
	return n
}
