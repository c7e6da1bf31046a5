// Package serve runs the connections of a server that speaks SMTP or LMTP. It
// accepts them, bounds their number, confines a panic to its connection, and ends
// them politely. It runs the command loop, receives messages, and knows what both
// protocols reply when a line or a message does not arrive. It does not know what
// any command means.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"postern/mail"
	"postern/smtp"
)

const (
	// farewell is how long a session has, after the time of grace, to say
	// goodbye to a client that it waits for.
	farewell = time.Second
	// lastAnswer is how long it then has to answer what was under way.
	lastAnswer = 10 * time.Second
	// leavers bounds the connections beyond Max. A client that is told to make room may
	// not be listening, and then takes a while to go: at most 1 + Max/leavers of these
	// may still be connected.
	leavers = 8
)

// A Session is one connection of a client.
type Session interface {
	// Serve speaks with the client until either side ends the session. When ctx
	// ends, it cuts short what it is doing for the client. If its connection returns
	// smtp.ErrAtRest, so does Serve, and it is called again when there is something
	// to read.
	Serve(ctx context.Context) error
	// Leave ends what the session holds, after the last Serve.
	Leave()
	// Refuse tells the client why it is not served: instead of Serve, or after Serve
	// panicked. It tries once, for the client may not be listening.
	Refuse(mail.Reply)
	// Client returns the client as it is known so far, for the log.
	Client() mail.Client
}

// Sessions holds the sessions of one server. Its exported fields are set before Serve.
type Sessions struct {
	Log   *slog.Logger
	Max   int           // at once; 0: any number
	Grace time.Duration // for transactions under way at the end
	// Patience is how long a client may keep the server waiting, for a command or
	// for more of its message, while others find no room; 0: as long as it always may.
	Patience time.Duration

	stopping atomic.Bool
	panics   atomic.Int64
	mu       sync.Mutex
	conns    map[*smtp.Conn]bool // true: it was told to go
	going    int                 // how many of conns were told to go
	fullTill time.Time           // until then no client can exceed Patience
}

// Serve accepts connections until ctx ends, and then waits for those under way. It
// interrupts sessions that wait for a command at once, and all others when Grace is
// over. Begin makes the session of a connection; listener is the index of the one that
// accepted it. Serve itself closes and releases the connection. It returns nil after
// ctx has ended, and otherwise why a listener failed.
func (s *Sessions) Serve(ctx context.Context, listeners []net.Listener, begin func(c *smtp.Conn, listener int) Session) error {
	s.stopping.Store(false)
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	accepting, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops, running sync.WaitGroup
	failed := make(chan error, len(listeners))
	for i, l := range listeners {
		loops.Go(func() {
			failed <- s.accept(accepting, l, func(nc net.Conn) {
				v := &visit{begin: func(v *visit) { v.conn = smtp.NewConn(nc); v.session = begin(v.conn, i) }}
				running.Go(func() { s.run(work, v) })
			})
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		cancel()
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	loops.Wait()
	s.drain(&running, stop)
	return err
}

// accept hands each connection of l to serve, until ctx ends or l is closed.
func (s *Sessions) accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	for wait := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			wait = 0
			serve(nc)
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %v: %w", l.Addr(), err)
		}
		// Out of file descriptors, most likely: that passes, and until then the
		// clients wait in the backlog.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		s.Log.Warn("no connection can be accepted for a moment; if it goes on, raise LimitNOFILE, or lower max_connections", "listener", l.Addr().String(), "cause", err, "retry", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// admit counts c among the connections, if there is room.
func (s *Sessions) admit(c *smtp.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Max > 0 && len(s.conns)-s.going >= s.Max && !s.makeRoom() {
		return mail.TooManyConnections.Because(fmt.Errorf("%d connections", len(s.conns)))
	}
	if s.conns == nil {
		s.conns = make(map[*smtp.Conn]bool)
	}
	s.conns[c] = false
	if s.stopping.Load() {
		c.Interrupt()
	}
	return nil
}

// makeRoom dismisses the client that has been silent longest, if that is longer than
// Patience, and reports whether it did. So clients that keep others out by doing
// nothing have to connect again every few seconds.
func (s *Sessions) makeRoom() bool {
	now := time.Now()
	if s.Patience <= 0 || s.going > s.Max/leavers || now.Before(s.fullTill) {
		return false
	}
	var slowest *smtp.Conn
	var longest time.Duration
	for c, going := range s.conns {
		if silence := c.Silence(); silence > longest && !going {
			slowest, longest = c, silence
		}
	}
	if longest <= s.Patience {
		s.fullTill = now.Add(s.Patience - longest) // so that a flood does not cost a search each time
		return false
	}
	slowest.Dismiss()
	s.conns[slowest] = true
	s.going++
	return true
}

func (s *Sessions) forget(c *smtp.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[c] {
		s.going--
	}
	delete(s.conns, c)
}

// drain ends the sessions: politely at first, and less so once Grace is over.
func (s *Sessions) drain(running *sync.WaitGroup, stop context.CancelFunc) {
	s.stopping.Store(true)
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	for _, next := range []struct {
		do   func()
		wait time.Duration
	}{
		{func() { s.each((*smtp.Conn).Interrupt) }, s.Grace},
		{func() { stop(); s.each((*smtp.Conn).Interrupt) }, farewell}, // whoever waits for a command hears 421
		{func() { s.each((*smtp.Conn).CloseRead) }, lastAnswer},
	} {
		next.do()
		select {
		case <-done:
			return
		case <-time.After(next.wait):
		}
	}
	s.each(func(c *smtp.Conn) { _ = c.Close() })
	<-done
}

func (s *Sessions) each(f func(*smtp.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// Stopping reports whether the server is shutting down: an idle session must then end.
func (s *Sessions) Stopping() bool { return s.stopping.Load() }

// Connections returns how many clients are connected.
func (s *Sessions) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Panics returns how many sessions ended in a panic.
func (s *Sessions) Panics() int { return int(s.panics.Load()) }

// RemoteIP returns the address of the peer. A listener on [::] shows IPv4
// addresses mapped into IPv6; RemoteIP returns them unmapped.
func RemoteIP(nc net.Conn) netip.Addr { return addrIP(nc.RemoteAddr()) }

// LocalIP returns the address that the peer connected to, unmapped like that of RemoteIP.
func LocalIP(nc net.Conn) netip.Addr { return addrIP(nc.LocalAddr()) }

func addrIP(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
