// Package mx is the SMTP server that faces the world (RFC 5321). It takes
// messages for recipients that it knows, has them judged, puts the trace fields
// on top, and holds the client's end of data until the next hop has made the
// message durable. It keeps nothing: what it cannot pass on, the client keeps.
package mx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/spool"
	"postern/mail"
	"postern/policy"
	"postern/smtp"
)

// A Server answers SMTP clients. Its fields are set before it serves, and not
// changed after.
type Server struct {
	Hostname string // for greeting and trace fields
	Next     mail.Deliverer
	Spool    *spool.Spool
	TLS      *tls.Config // nil: STARTTLS is not offered

	// NextOffer returns what the next hop takes; nil: everything. Where it fails
	// the next hop is taken to take everything too: it will be asked again for
	// each recipient, and a client that hears of less may give up for good.
	NextOffer func(ctx context.Context) (smtp.Offer, error)
	// Directory returns the recipients as they are now. A transaction asks once
	// and keeps to the answer.
	Directory func() Directory
	// Judge decides what is taken, of recipients and of messages; nil: everything.
	Judge *policy.Judge
	// Space reports whether there is room for a message of size octets; 0: the
	// client did not say. Its error is the reply to MAIL. Nil: there is.
	Space func(size int64) error
	// Heard is called when the client of a transaction is known to have heard its
	// 250; nil: nobody wants to know.
	Heard func(id string)
	// Record is told what ended, once each; nil: nobody wants to know.
	Record func(mail.Outcome)
	Log    *slog.Logger

	MaxSize           int64 // octets of a message
	MaxRecipients     int   // of a transaction
	MaxConnections    int   // at once
	PerClient         PerClient
	MaxErrors         int  // commands out of order or not understood, of a session
	RejectBareNewline bool // else a bare LF in a message becomes CRLF
	ReturnPath        bool // put Return-Path on top; false where the next hop does
	Timeouts          Timeouts

	refusals refusals
	stopping atomic.Bool
	mu       sync.Mutex
	conns    map[*smtp.Conn]struct{}
	shares   shares
}

// Timeouts bound every wait. The zero value of each is replaced by its default,
// which is that of RFC 5321, section 4.5.3.2, where that names one.
type Timeouts struct {
	Command   time.Duration // for the next command; 5 minutes
	Data      time.Duration // for the next octets of a message; 3 minutes
	Write     time.Duration // for the client to take a reply; 2 minutes
	Handshake time.Duration // for TLS, and for a PROXY header; 1 minute
	Message   time.Duration // for a message from 354 to its end; 1 hour
	Grace     time.Duration // for transactions under way at shutdown; 30 seconds
}

func (t Timeouts) orDefault() Timeouts {
	or := func(d *time.Duration, standard time.Duration) {
		if *d == 0 {
			*d = standard
		}
	}
	or(&t.Command, 5*time.Minute)
	or(&t.Data, 3*time.Minute)
	or(&t.Write, 2*time.Minute)
	or(&t.Handshake, time.Minute)
	or(&t.Message, time.Hour)
	or(&t.Grace, 30*time.Second)
	return t
}

// A Directory knows the recipients of one generation of the configuration.
type Directory interface {
	// Expand returns the mailboxes that addr stands for, as the next hop is to
	// hear them, each once, and at least one. Its error is the refusal.
	Expand(addr mail.Address) ([]mail.Recipient, error)
	// Generation names it. What has the same name says the same.
	Generation() string
}

// A Listener is a source of connections. On one with Proxy, each begins with a
// PROXY header, and only hosts in Trusted may connect.
type Listener struct {
	net.Listener
	Proxy   bool
	Trusted []netip.Prefix
}

// Serve accepts connections until ctx ends, and then waits for those under way:
// sessions without a transaction hear 421 at once, the others when theirs is
// over, or when the time of grace is. It returns nil after ctx ended, and
// otherwise why a listener failed.
func (srv *Server) Serve(ctx context.Context, listeners ...Listener) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	srv.shares = newShares(srv.PerClient)
	var sessions, accepting sync.WaitGroup
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		accepting.Go(func() {
			if err := srv.accept(ctx, l, func(nc net.Conn) {
				sessions.Go(func() { srv.serveConn(work, nc, l) })
			}); err != nil {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	accepting.Wait()
	srv.drain(&sessions, stop)
	return err
}

// accept hands each connection of l to serve, until ctx ends or l fails.
func (srv *Server) accept(ctx context.Context, l Listener, serve func(net.Conn)) error {
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
		srv.Log.Warn("accept", "listener", l.Addr().String(), "cause", err, "retry", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// drain ends the sessions: politely, then after the time of grace less so.
func (srv *Server) drain(sessions *sync.WaitGroup, stop context.CancelFunc) {
	srv.stopping.Store(true)
	done := make(chan struct{})
	go func() { sessions.Wait(); close(done) }()
	srv.each((*smtp.Conn).Interrupt)
	select {
	case <-done:
		return
	case <-time.After(srv.Timeouts.orDefault().Grace):
	}
	stop()
	srv.each((*smtp.Conn).Interrupt) // whoever waits for a command hears 421
	select {
	case <-done:
	case <-time.After(time.Second):
		srv.each(func(c *smtp.Conn) { _ = c.Close() })
		<-done
	}
}

func (srv *Server) each(f func(*smtp.Conn)) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for c := range srv.conns {
		f(c)
	}
}

// traceRoom is what our fields add to a message at most, or nearly so.
const traceRoom = 16 << 10

// nextOffer returns what the next hop takes, with the size limit of both.
func (srv *Server) nextOffer(ctx context.Context) smtp.Offer {
	everything := smtp.Offer{EightBit: true, UTF8: true, DSN: true, RequireTLS: true, Size: srv.MaxSize}
	if srv.NextOffer == nil {
		return everything
	}
	offer, err := srv.NextOffer(ctx)
	if err != nil {
		everything.DSN = false // nobody would be told of what was asked for
		return everything
	}
	if offer.Size > traceRoom {
		offer.Size -= traceRoom
	}
	if offer.Size == 0 || offer.Size > srv.MaxSize {
		offer.Size = srv.MaxSize
	}
	return offer
}

// serveConn serves one connection and closes it.
func (srv *Server) serveConn(ctx context.Context, nc net.Conn, l Listener) {
	s := &session{srv: srv, conn: smtp.NewConn(nc), client: mail.Client{IP: remoteIP(nc)}}
	timeouts := srv.Timeouts.orDefault()
	s.conn.ReadTimeout, s.conn.WriteTimeout = timeouts.Handshake, timeouts.Write
	defer s.conn.Release()
	defer s.conn.Close()
	defer s.recover()
	if err := srv.admit(s.conn); err != nil {
		s.refuseConnection(mail.ReplyTo(err))
		return
	}
	defer srv.forget(s.conn)
	if l.Proxy {
		if err := s.readProxy(l.Trusted); err != nil {
			s.record(mail.Outcome{Event: mail.Connection, Reply: mail.TransactionLost.Because(err)})
			return
		}
	}
	if err := srv.enter(s.client); err != nil {
		s.refuseConnection(mail.ReplyTo(err))
		return
	}
	defer srv.leave(s.client)
	s.conn.ReadTimeout = timeouts.Command
	if err := s.serve(ctx); err != nil {
		srv.Log.Debug("connection ended", "client", s.client, "cause", err)
	}
}

// admit counts c among the connections, if there is room.
func (srv *Server) admit(c *smtp.Conn) error {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.MaxConnections > 0 && len(srv.conns) >= srv.MaxConnections {
		return mail.TooManyConnections.Because(fmt.Errorf("mx: %d connections", len(srv.conns)))
	}
	if srv.conns == nil {
		srv.conns = make(map[*smtp.Conn]struct{})
	}
	srv.conns[c] = struct{}{}
	if srv.stopping.Load() {
		c.Interrupt()
	}
	return nil
}

func (srv *Server) forget(c *smtp.Conn) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.conns, c)
}

// Connections returns how many clients are connected.
func (srv *Server) Connections() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.conns)
}

// recover keeps a panic to the connection that it happened on.
func (s *session) recover() {
	p := recover()
	if p == nil {
		return
	}
	s.srv.Log.Error("panic", "client", s.client, "cause", p, "stack", string(debug.Stack()))
	s.refuseConnection(mail.Broken.Because(fmt.Errorf("panic: %v", p)))
}

// refuseConnection says r, once, to a client that may not be listening.
func (s *session) refuseConnection(r mail.Reply) {
	s.record(mail.Outcome{Event: mail.Connection, Reply: r})
	s.conn.WriteTimeout = time.Second
	_ = s.conn.WriteReply(r)
	_ = s.conn.Flush()
}

// readProxy takes the client's address from a trusted proxy.
func (s *session) readProxy(trusted []netip.Prefix) error {
	if !contains(trusted, s.client.IP) {
		return fmt.Errorf("mx: proxy %v is not among the trusted ones", s.client.IP)
	}
	client, err := s.conn.ReadProxy()
	if err == nil && client.IsValid() {
		s.client.IP = client.Addr()
	}
	return err
}

func contains(networks []netip.Prefix, ip netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// remoteIP returns the address of the peer. A listener on [::] shows IPv4
// addresses mapped into IPv6; from here on they are themselves.
func remoteIP(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
