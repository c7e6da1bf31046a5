package lmtp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/spool"
	"postern/mail"
	"postern/smtp"
)

// A Server stands in front of a mail.Deliverer and answers LMTP clients: mail
// transfer agents that hand on what they have accepted. Its fields are set
// before it serves and not changed after; a zero number or duration is replaced
// by its default.
type Server struct {
	Hostname string // for greeting and trace field
	Next     mail.Deliverer
	Spool    *spool.Spool // holds a message while it comes
	Log      *slog.Logger

	// Networks may connect over TCP; nobody else, and nobody if there is none
	// (RFC 2033, section 5: LMTP is not for the world). The permissions of a
	// UNIX socket say who may connect to it.
	Networks []netip.Prefix
	// Trusts reports whether the peer of a connection is the other half of this
	// system, as the credentials of a UNIX socket can prove; nil: none is. Such a
	// one may name its transactions, and is believed what it says of its clients.
	// See TrustUsers.
	Trusts func(net.Conn) bool
	// Received says whether a Received field is put on top of each message (RFC
	// 2033, section 4.1, and RFC 5321, section 4.4).
	Received bool
	// Heard is called when the client of a transaction is known to have heard the
	// replies to it; nil: nobody wants to know.
	Heard func(id string)
	// RejectBareNewline refuses messages with a LF that has no CR before it;
	// else it gets one.
	RejectBareNewline bool
	// Record is told of refusals, which nobody behind the server hears of; nil:
	// nobody wants to know.
	Record func(mail.Outcome)

	MaxSize        int64 // octets of a message; 0: no limit
	MaxRecipients  int   // of a transaction; 1000
	MaxConnections int   // at once; 1000
	MaxErrors      int   // commands out of order or not understood, of a session; 20
	Timeouts       Timeouts

	live atomic.Int64 // connections
}

// Timeouts bound every wait of a Server. The zero value of each is replaced by
// its default. Those that RFC 5321, section 4.5.3.2, names are at least what it
// asks for.
type Timeouts struct {
	Command time.Duration // for the next command; 10 minutes, for clients keep connections
	Data    time.Duration // for the next octets of a message; 3 minutes
	Message time.Duration // for a message from 354 to its end; 1 hour
	Write   time.Duration // for the client to take a reply; 2 minutes
	Verify  time.Duration // for Next to verify a recipient; 20 seconds
	Deliver time.Duration // for Next to deliver; 4 minutes: less than an MX waits, and that less than its client
	Grace   time.Duration // for transactions under way at shutdown; 30 seconds
}

func (t Timeouts) orDefault() Timeouts {
	return Timeouts{
		Command: cmp.Or(t.Command, 10*time.Minute),
		Data:    cmp.Or(t.Data, 3*time.Minute),
		Message: cmp.Or(t.Message, time.Hour),
		Write:   cmp.Or(t.Write, 2*time.Minute),
		Verify:  cmp.Or(t.Verify, 20*time.Second),
		Deliver: cmp.Or(t.Deliver, 4*time.Minute),
		Grace:   cmp.Or(t.Grace, 30*time.Second),
	}
}

// accessDenied is no 5xx: which networks may connect is for us to configure, and
// mail must not bounce while it is configured wrongly.
var accessDenied = mail.Reply{Code: 421, Status: mail.Status{4, 7, 1}, Text: "access denied"}

func (srv *Server) maxRecipients() int { return cmp.Or(srv.MaxRecipients, 1000) }

// Serve accepts connections until ctx ends, and then waits for those under way:
// sessions without a transaction hear 421 at once, the others when theirs is
// over, or when the time of grace is. It returns nil after ctx ended, and
// otherwise why a listener failed.
func (srv *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	var accepting, sessions sync.WaitGroup
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		accepting.Go(func() {
			failed <- srv.accept(ctx, l, func(nc net.Conn) {
				sessions.Go(func() { srv.serveConn(ctx, work, nc) })
			})
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		leave()
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	accepting.Wait()
	defer time.AfterFunc(srv.Timeouts.orDefault().Grace, stop).Stop()
	sessions.Wait()
	return err
}

// accept hands each connection of l to serve, until ctx ends or l is closed.
func (srv *Server) accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
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
			return fmt.Errorf("lmtp: accept: %w", err)
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

// serveConn serves one connection and closes it. When leaving ends, the session
// says goodbye at the next chance, and when work ends it is over.
func (srv *Server) serveConn(leaving, work context.Context, nc net.Conn) {
	s := &session{srv: srv, conn: smtp.NewConn(nc), client: mail.Client{IP: remoteIP(nc)}}
	timeouts := srv.Timeouts.orDefault()
	s.conn.ReadTimeout, s.conn.WriteTimeout = timeouts.Command, timeouts.Write
	defer s.conn.Release()
	defer s.conn.Close()
	defer s.recover()
	defer srv.live.Add(-1)
	if err := srv.admit(nc, s.client.IP); err != nil {
		s.refuseConnection(mail.ReplyTo(err))
		return
	}
	defer context.AfterFunc(leaving, s.conn.Interrupt)()
	defer context.AfterFunc(work, func() {
		s.conn.Interrupt()
		time.AfterFunc(time.Second, func() { hangUp(nc) })
	})()
	s.trusted = srv.Trusts != nil && srv.Trusts(nc)
	if err := s.serve(leaving, work); err != nil {
		srv.Log.Debug("connection ended", "client", s.client, "cause", err)
	}
}

// admit counts a connection, and says why it cannot be served.
func (srv *Server) admit(nc net.Conn, ip netip.Addr) error {
	limit := int64(cmp.Or(srv.MaxConnections, 1000))
	_, overTCP := nc.RemoteAddr().(*net.TCPAddr)
	contains := func(n netip.Prefix) bool { return n.Contains(ip) }
	switch live := srv.live.Add(1); {
	case overTCP && !slices.ContainsFunc(srv.Networks, contains):
		return accessDenied.Because(errors.New("lmtp: not in a network that may connect"))
	case live > limit:
		return mail.TooManyConnections.Because(fmt.Errorf("lmtp: %d connections", limit))
	}
	return nil
}

// hangUp makes sure that nothing more is read from nc. What is being delivered
// at this moment can still be answered.
func hangUp(nc net.Conn) {
	if c, ok := nc.(interface{ CloseRead() error }); ok {
		_ = c.CloseRead()
		return
	}
	_ = nc.Close()
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

// refuseConnection says r to a client that may not be listening.
func (s *session) refuseConnection(r mail.Reply) {
	s.record(mail.Outcome{Event: mail.Connection, Reply: r})
	s.conn.WriteTimeout = time.Second
	if s.conn.WriteReply(r) == nil {
		_ = s.conn.Flush()
	}
}

func (s *session) record(o mail.Outcome) {
	if s.srv.Record == nil {
		return
	}
	if o.Client == (mail.Client{}) {
		o.Client = s.client
	}
	s.srv.Record(o)
}

// remoteIP returns the address of the peer. A listener on [::] shows IPv4
// addresses mapped into IPv6; from here on they are themselves.
func remoteIP(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
