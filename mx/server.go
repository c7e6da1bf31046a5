// Package mx is the SMTP server that faces the world (RFC 5321). It takes
// messages for recipients that it knows, has them judged, puts the trace fields
// on top, and holds the client's end of data until the next hop has made the
// message durable. It has no queue: what it cannot pass on, the client still has.
package mx

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"postern/internal/serve"
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

	// NextOffer returns what the next hop takes. Nil: everything. If it fails, we
	// assume everything but DSN: the next hop is asked again about each recipient,
	// and a client that is offered less may give up for good.
	NextOffer func(ctx context.Context) (smtp.Offer, error)
	// Directory returns the recipients as they are now. A transaction asks once
	// and keeps to the answer.
	Directory func() Directory
	// Judge decides which recipients and messages are taken; nil: all.
	Judge *policy.Judge
	// Space returns an error, the reply to MAIL, if there is no room for a message of
	// size octets; 0: the client did not say. Nil: there is always room.
	Space func(size int64) error
	// Heard is called when the client of a transaction is known to have heard its
	// 250; nil: nobody wants to know.
	Heard func(id string)
	// Keep is given each message that is refused for good, as it would have been handed
	// on, and reports whether it keeps it. The client waits meanwhile. Nil: none is
	// kept.
	Keep func(env *mail.Envelope, msg *mail.Message) bool
	// Record is told of each outcome, once; nil: nobody wants to know.
	Record func(mail.Outcome)
	Log    *slog.Logger

	MaxSize           int64 // octets of a message
	MaxRecipients     int   // of a transaction
	MaxConnections    int   // at once
	PerClient         PerClient
	XClient           []netip.Prefix // proxies that may say, with XCLIENT, who their client is
	GreetDelay        time.Duration  // how long a client must be silent before the greeting
	RejectBareNewline bool           // else a bare LF in a message becomes CRLF
	ReturnPath        bool           // put Return-Path on top; false where the next hop does
	Timeouts          Timeouts

	sessions serve.Sessions
	refusals refusals
	shares   *shares
	guard    guard
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
	return Timeouts{
		Command:   cmp.Or(t.Command, 5*time.Minute),
		Data:      cmp.Or(t.Data, 3*time.Minute),
		Write:     cmp.Or(t.Write, 2*time.Minute),
		Handshake: cmp.Or(t.Handshake, time.Minute),
		Message:   cmp.Or(t.Message, time.Hour),
		Grace:     cmp.Or(t.Grace, 30*time.Second),
	}
}

// A Directory knows the recipients of one generation of the configuration.
type Directory interface {
	// Expand returns the mailboxes that addr stands for, as the next hop is to
	// hear them, each once, and at least one. Its error is the refusal.
	Expand(addr mail.Address) ([]mail.Recipient, error)
	// Generation names the generation. Directories of the same name say the same.
	Generation() string
}

// patience is how long a client may be silent once max_connections is reached. The
// minutes of RFC 5321, section 4.5.3.2, are for a server that has room. A client that
// is told 421 comes back later.
const patience = 10 * time.Second

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
	srv.shares = newShares(srv.PerClient)
	srv.sessions.Log, srv.sessions.Max = srv.Log, srv.MaxConnections
	srv.sessions.Grace, srv.sessions.Patience = srv.Timeouts.orDefault().Grace, patience
	plain := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		plain[i] = l.Listener
	}
	return srv.sessions.Serve(ctx, plain, func(c *smtp.Conn, listener int) serve.Session {
		return srv.session(c, listeners[listener])
	})
}

// Connections returns how many clients are connected.
func (srv *Server) Connections() int { return srv.sessions.Connections() }

// Panics returns how many sessions ended in a panic.
func (srv *Server) Panics() int { return srv.sessions.Panics() }

// traceRoom is about the most that our own fields add to a message, in octets.
const traceRoom = 16 << 10

// nextOffer returns what the next hop takes, with a size limit that suits us both.
func (srv *Server) nextOffer(ctx context.Context) smtp.Offer {
	everything := smtp.Offer{EightBit: true, UTF8: true, DSN: true, RequireTLS: true, Size: srv.MaxSize}
	if srv.NextOffer == nil {
		return everything
	}
	offer, err := srv.NextOffer(ctx)
	if err != nil {
		everything.DSN = false // a next hop without it would never send the notices asked for
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
