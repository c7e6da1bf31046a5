package lmtp_test

import (
	"context"
	"net"
	"sync"

	"postern/internal/dialogue"
)

// pipe returns the ends of a connection in memory. As in a socket, and other
// than in a net.Pipe, what is written waits for the other end to read it.
func pipe() (net.Conn, net.Conn) {
	a, b := net.Pipe()
	return dialogue.Socket{Conn: newBuffered(a)}, dialogue.Socket{Conn: newBuffered(b)}
}

// A buffered connection writes in a goroutine of its own.
type buffered struct {
	net.Conn
	mu      sync.Mutex
	changed sync.Cond
	waiting []byte
	closing bool
	err     error
}

func newBuffered(nc net.Conn) *buffered {
	b := &buffered{Conn: nc}
	b.changed.L = &b.mu
	go b.pump()
	return b
}

// pump writes what waits, and closes the connection when there is nothing more.
func (b *buffered) pump() {
	defer b.Conn.Close()
	for {
		b.mu.Lock()
		for len(b.waiting) == 0 && !b.closing {
			b.changed.Wait()
		}
		p := b.waiting
		b.waiting = nil
		b.mu.Unlock()
		if len(p) == 0 {
			return
		}
		if _, err := b.Conn.Write(p); err != nil {
			b.mu.Lock()
			b.err, b.closing = err, true
			b.mu.Unlock()
			return
		}
	}
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil:
		return 0, b.err
	case b.closing:
		return 0, net.ErrClosed
	}
	b.waiting = append(b.waiting, p...)
	b.changed.Signal()
	return len(p), nil
}

// Close lets what was written arrive, if the other end reads it.
func (b *buffered) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closing = true
	b.changed.Signal()
	return nil
}

// A pipes is a listener whose connections are pipes in memory.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "pipe"} }

func (p *pipes) Dial(ctx context.Context) (net.Conn, error) {
	here, there := pipe()
	var err error
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	_, _ = here.Close(), there.Close()
	return nil, err
}
