package lmtp

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"postern/internal/serve"
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
	// Trusts reports whether the peer of a connection is the other half of this system,
	// which the credentials of a UNIX socket can prove. Such a peer may name its
	// transactions, and we believe what it says of its clients. Nil: no peer is
	// trusted. See TrustUsers.
	Trusts func(net.Conn) bool
	// Received says whether a Received field is put on top of each message (RFC
	// 2033, section 4.1, and RFC 5321, section 4.4).
	Received bool
	// Heard is called when the client of a transaction is known to have heard the
	// replies to it; nil: nobody wants to know.
	Heard func(id string)
	// RejectBareNewline refuses messages that have a LF without a CR before it, except
	// from an MX of ours, which has judged them. If it is false, such a LF becomes CRLF.
	RejectBareNewline bool
	// Record is told of refusals, which nobody behind the server hears of; nil:
	// nobody wants to know.
	Record func(mail.Outcome)

	MaxSize        int64 // octets of a message; 0: no limit
	MaxRecipients  int   // of a transaction; 1000
	MaxConnections int   // at once; 1000
	Timeouts       Timeouts

	sessions serve.Sessions
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
	Deliver time.Duration // for Next to deliver; 4 minutes: an MX waits longer, and its client longer still
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

func (srv *Server) maxRecipients() int { return cmp.Or(srv.MaxRecipients, 1000) }

// Serve accepts connections until ctx ends, and then waits for those under way:
// sessions without a transaction hear 421 at once, the others when theirs is
// over, or when the time of grace is. It returns nil after ctx ended, and
// otherwise why a listener failed.
func (srv *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	srv.sessions.Log, srv.sessions.Max = srv.Log, cmp.Or(srv.MaxConnections, 1000)
	srv.sessions.Grace = srv.Timeouts.orDefault().Grace
	return srv.sessions.Serve(ctx, listeners, func(c *smtp.Conn, _ int) serve.Session { return srv.session(c) })
}

// Connections returns how many clients are connected.
func (srv *Server) Connections() int { return srv.sessions.Connections() }

// Panics returns how many sessions ended in a panic.
func (srv *Server) Panics() int { return srv.sessions.Panics() }

// session returns the session of a connection.
func (srv *Server) session(c *smtp.Conn) *session {
	timeouts := srv.Timeouts.orDefault()
	s := &session{srv: srv, conn: c, client: mail.Client{IP: serve.RemoteIP(c.NetConn())}}
	s.conn.Host, s.hearing.Tell = srv.Hostname, srv.Heard
	s.conn.ReadTimeout, s.conn.WriteTimeout = timeouts.Command, timeouts.Write
	return s
}

// Client implements serve.Session.
func (s *session) Client() mail.Client { return s.client }

// Serve implements serve.Session.
func (s *session) Serve(ctx context.Context) error {
	if !s.greeted {
		if err := s.admit(); err != nil {
			s.Refuse(mail.ReplyTo(err))
			return nil
		}
		s.trusted = s.srv.Trusts != nil && s.srv.Trusts(s.conn.NetConn())
		s.greeted = true
		if end, err := s.Say(ctx, s.greet()); end || err != nil {
			return err
		}
	}
	return serve.Converse(ctx, s.conn, &s.hearing, s)
}

// Leave implements serve.Session.
func (s *session) Leave() { s.end() }

// Refuse implements serve.Session.
func (s *session) Refuse(r mail.Reply) {
	s.record(mail.Outcome{Event: mail.Connection, Reply: r})
	serve.Refuse(s.conn, r)
}

// admit returns why the connection is not served, or nil.
func (s *session) admit() error {
	_, overTCP := s.conn.NetConn().RemoteAddr().(*net.TCPAddr)
	if overTCP && !s.client.In(s.srv.Networks) {
		// No 5xx: which networks may connect is for us to configure, and mail must not
		// bounce while it is configured wrongly.
		return mail.NotFromHere.Because(fmt.Errorf("lmtp: %v is in none of the networks that may connect (mda.allow)", s.client.IP))
	}
	return nil
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
