package lmtp

import (
	"context"
	"sync"
	"time"
)

// A pool bounds the connections of a Client and keeps those that nobody uses,
// for a while. The zero pool is empty.
type pool struct {
	once  sync.Once
	inUse chan struct{} // holds one element for each connection in use

	mu     sync.Mutex
	idle   []*conn     // the one that was put here first comes first
	timer  *time.Timer // drops the oldest; nil while there is nothing to drop
	closed bool
}

// acquire waits until fewer than limit connections are in use, and counts one
// more. As idle ones are taken before new ones are made, the limit holds for
// both together.
func (p *pool) acquire(ctx context.Context, limit int) error {
	p.once.Do(func() { p.inUse = make(chan struct{}, limit) })
	select {
	case p.inUse <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pool) release() { <-p.inUse }

// take returns the idle connection that was used last and that the server has not
// closed, or nil.
func (p *pool) take() *conn {
	for cn := p.last(); cn != nil; cn = p.last() {
		if !cn.Stale() {
			return cn
		}
		cn.close()
	}
	return nil
}

func (p *pool) last() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	cn := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	cn.committed = false
	return cn
}

// put keeps cn until it is taken, but for no longer than idleTimeout.
func (p *pool) put(cn *conn) {
	cn.Shrink()
	cn.expires = time.Now().Add(idleTimeout)
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.idle = append(p.idle, cn)
		if p.timer == nil {
			p.timer = time.AfterFunc(idleTimeout, p.expire)
		}
	}
	p.mu.Unlock()
	if closed {
		cn.quit()
	}
}

// expire drops the connections whose time is over.
func (p *pool) expire() {
	for _, cn := range p.expired(time.Now()) {
		cn.quit()
	}
}

func (p *pool) expired(now time.Time) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.idle) && !p.idle[n].expires.After(now) {
		n++
	}
	old := p.idle[:n:n]
	p.idle = append([]*conn(nil), p.idle[n:]...)
	p.timer = nil
	if len(p.idle) > 0 {
		p.timer = time.AfterFunc(p.idle[0].expires.Sub(now), p.expire)
	}
	return old
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	for _, cn := range idle {
		cn.quit()
	}
}
