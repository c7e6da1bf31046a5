package writer

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxBusy is how many writers may be at work at once, and maxPerAccount how many
	// of them for one account, so that a home which hangs does not hold up all mail.
	maxBusy       = 64
	maxPerAccount = 16
	// maxIdle and idleFor are how many are kept, and how long, for the next message.
	// maxBusy and maxIdle together are fewer than a launcher starts.
	maxIdle = 32
	idleFor = 20 * time.Second
	// waitBusy is how long a delivery waits for others to be done.
	waitBusy = 30 * time.Second
	// answerTime is how long a writer may take for one thing: an mbox may wait for
	// its lock, and a disk may be slow.
	answerTime = 3 * time.Minute
)

// A Pool has connections to writers. It is safe for use by many goroutines.
type Pool struct {
	// Dial returns a connection to a new writer of account.
	Dial func(account string) (net.Conn, error)

	mu    sync.Mutex
	busy  chan struct{}    // holds a token for each that is at work
	lanes map[string]*lane // of the accounts for which one is, or is waited for
	idle  []*conn          // the longest idle first
}

// A lane bounds the writers of one account.
type lane struct {
	busy  chan struct{}
	users int // under mu of the Pool
}

// A place says for whom a writer is: it serves one mailbox of one account.
type place struct{ account, path string }

// A conn is a connection to a writer. Whoever takes it puts it back, or drops it.
type conn struct {
	net.Conn
	pool  *Pool
	place place
	r     *bufio.Reader
	w     *bufio.Writer
	buf   []byte // of the frame that was read
	used  bool   // it has served before, and may have ended since
	leave func() // the lane
	timer *time.Timer
}

// take returns a connection for p: one that is idle, or a new one. It is to be
// given back with put, or with drop.
func (p *Pool) take(at place) (*conn, error) {
	leave, err := p.enter(at.account)
	if err != nil {
		return nil, err
	}
	c := p.takeIdle(at)
	if c == nil {
		if c, err = p.dial(at); err != nil {
			leave()
			return nil, err
		}
	}
	c.leave = leave
	return c, nil
}

func (p *Pool) dial(at place) (*conn, error) {
	nc, err := p.Dial(at.account)
	if err != nil {
		return nil, err
	}
	return &conn{
		Conn: nc, pool: p, place: at,
		r: bufio.NewReader(nc), w: bufio.NewWriterSize(nc, headerSize+maxFrame), buf: make([]byte, maxFrame),
	}, nil
}

// enter waits until one more writer may be at work for account.
func (p *Pool) enter(account string) (leave func(), err error) {
	l := p.lane(account)
	timer := time.NewTimer(waitBusy)
	defer timer.Stop()
	select {
	case l.busy <- struct{}{}:
	case <-timer.C:
		p.forget(account, l)
		return nil, fmt.Errorf("writer: %d deliveries to the account %s are under way", maxPerAccount, account)
	}
	select {
	case p.busy <- struct{}{}:
	case <-timer.C:
		<-l.busy
		p.forget(account, l)
		return nil, fmt.Errorf("writer: %d deliveries to accounts are under way", maxBusy)
	}
	return func() {
		<-p.busy
		<-l.busy
		p.forget(account, l)
	}, nil
}

func (p *Pool) lane(account string) *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes == nil {
		p.lanes, p.busy = make(map[string]*lane), make(chan struct{}, maxBusy)
	}
	l := p.lanes[account]
	if l == nil {
		l = &lane{busy: make(chan struct{}, maxPerAccount)}
		p.lanes[account] = l
	}
	l.users++
	return l
}

func (p *Pool) forget(account string, l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(p.lanes, account)
	}
}

// takeIdle returns the connection that was used last; nil: there is none.
func (p *Pool) takeIdle(at place) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range slices.Backward(p.idle) {
		if c.place == at {
			p.idle = slices.Delete(p.idle, i, i+1)
			c.timer.Stop()
			return c
		}
	}
	return nil
}

// put keeps c for the next delivery, unless it has said more than it was asked: that
// would be taken for the next answer.
func (c *conn) put() {
	if c.r.Buffered() > 0 {
		c.drop()
		return
	}
	p := c.pool
	c.leave()
	c.used = true
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdle {
		p.idle[0].timer.Stop()
		_ = p.idle[0].Close()
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.idle = append(p.idle, c)
	c.timer = time.AfterFunc(idleFor, func() { p.expire(c) })
}

// expire closes c if it is still idle.
func (p *Pool) expire(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, c); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
		_ = c.Close()
	}
}

// drop ends c.
func (c *conn) drop() {
	_ = c.Close()
	c.leave()
}

// Close closes what is idle. No delivery may begin any more.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.timer.Stop()
		_ = c.Close()
	}
	p.idle = nil
}
