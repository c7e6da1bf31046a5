// Package lmtp speaks LMTP (RFC 2033): SMTP for the last hop, where no queue
// stands behind the server, and so every recipient gets a reply of its own after
// the data.
//
// Client is a mail.Deliverer that hands messages to an LMTP server. Server
// stands in front of any mail.Deliverer. They know each other by the protocol
// alone.
package lmtp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"postern/mail"
	"postern/smtp"
)

// A Client hands messages to one LMTP server, the next hop, over connections
// that it keeps. It is a mail.Deliverer. The fields are set before the first use
// and not changed after it; a zero number or duration is replaced by its
// default.
//
// A refusal of the next hop is handed on if it is about the sender, the recipient or the
// message. Whatever else goes wrong, there or on the way, is ours to repair, and a 4xx
// reply until then; see verdict. No reply is 421: that would end the session of a client
// that has nothing to do with the next hop.
type Client struct {
	// Dial connects to the next hop; see Dialer.
	Dial func(ctx context.Context) (net.Conn, error)
	// Hostname is what LHLO says.
	Hostname string
	// MaxConnections bounds the connections to the next hop, idle ones
	// included; 200. Whoever needs one when all are in use waits.
	MaxConnections int

	// VerifyTimeout is the time for Verify, waiting for a connection included;
	// 30 seconds. A client waits 5 minutes for the reply to its RCPT (RFC 5321,
	// section 4.5.3.2.3), and may have sent a hundred of them at once.
	VerifyTimeout time.Duration
	// DeliverTimeout is the time for Deliver; 5 minutes. A client waits 10 minutes for
	// the reply to the end of its data (section 4.5.3.2.6). One that gives up sends
	// again what was delivered meanwhile (RFC 1047). For the same reason, this must be
	// longer than the next hop ever takes.
	DeliverTimeout time.Duration

	pool  pool
	offer atomic.Pointer[smtp.Offer] // of the newest connection

	remembers atomic.Bool // see Remembers
	heard     heardQueue  // transactions whose clients heard their 250, which the next hop is still to be told
}

var _ mail.Deliverer = (*Client)(nil)

const (
	// dialTimeout is the time to connect.
	dialTimeout = 5 * time.Second
	// idleTimeout is how long a connection is kept that nobody uses. Servers wait 5
	// minutes for a command (RFC 5321, section 4.5.3.2.7), many of them less.
	idleTimeout = time.Minute
)

func (c *Client) verifyTimeout() time.Duration { return cmp.Or(c.VerifyTimeout, 30*time.Second) }

// Dialer returns a function for Client.Dial that connects to address, as
// net.Dialer understands it: "unix" and a path, or "tcp" and host:port.
func Dialer(network, address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
}

// Verify implements mail.Deliverer. It asks the next hop by MAIL and RCPT, and ends the
// transaction by RSET.
func (c *Client) Verify(ctx context.Context, env *mail.Envelope, rcpt mail.Recipient) error {
	var answer error
	err := c.with(ctx, c.verifyTimeout(), func(cn *conn) (err error) {
		answer, err = cn.verify(env, rcpt)
		return err
	})
	return cmp.Or(err, answer)
}

// Deliver implements mail.Deliverer.
func (c *Client) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	t := &transaction{env: env, msg: msg, replies: make([]mail.Reply, len(env.To))}
	err := c.with(ctx, cmp.Or(c.DeliverTimeout, 5*time.Minute), t.run)
	if err == nil {
		err = errUnanswered
	}
	t.answer(mail.ReplyTo(err))
	return t.replies
}

// errUnanswered is for a recipient that was forgotten: our mistake must not pass for
// success.
var errUnanswered = errors.New("lmtp: recipient without a reply")

// Offer returns what the next hop offered when it was last connected to. Its
// error is a mail.Reply.
func (c *Client) Offer(ctx context.Context) (smtp.Offer, error) {
	if offer := c.offer.Load(); offer != nil {
		return *offer, nil
	}
	var offer smtp.Offer
	err := c.with(ctx, c.verifyTimeout(), func(cn *conn) error {
		offer = cn.offer
		return nil
	})
	return offer, err
}

// Remembers reports whether the next hop, when it was last connected to, was a
// delivery agent of ours that trusts us: it remembers itself who has a message.
func (c *Client) Remembers() bool { return c.remembers.Load() }

// Close tells the next hop what is left to be told, and ends the idle connections. Those
// in use, and those made later, end when they become idle.
func (c *Client) Close() {
	c.tellHeard(quitTimeout)
	c.pool.close()
}

// with calls f with a connection, within timeout. Its error is a mail.Reply for
// whatever f left unanswered.
func (c *Client) with(ctx context.Context, timeout time.Duration, f func(*conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := c.try(ctx, f)
	var reply mail.Reply
	switch {
	case err == nil:
		return nil
	case errors.As(err, &reply):
		return reply
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return mail.NextHopSlow.Because(err)
	}
	return mail.NextHopDown.Because(err)
}

// try calls f with a kept connection, or with a new one if none is kept. If the kept one
// has died, as all do when the next hop restarts, try calls f again with a new one. But
// it does not once the next hop has answered a command or has been sent a whole message:
// it may have delivered that, and only its reply was lost (RFC 1047).
func (c *Client) try(ctx context.Context, f func(*conn) error) error {
	if err := c.pool.acquire(ctx, cmp.Or(c.MaxConnections, 200)); err != nil {
		return fmt.Errorf("lmtp: wait for a connection: %w", err)
	}
	defer c.pool.release()
	if cn := c.pool.take(); cn != nil {
		err := cn.use(ctx, f)
		c.keep(cn)
		if err == nil || cn.committed || ctx.Err() != nil {
			return err
		}
	}
	cn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	err = cn.use(ctx, f)
	c.keep(cn)
	return err
}

// connect returns a new connection on which LHLO was said.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := c.Dial(dialCtx)
	if err != nil {
		return nil, fmt.Errorf("lmtp: connect to the next hop: %w", err)
	}
	cn := &conn{Conn: smtp.NewConn(nc)}
	err = cn.use(ctx, func(cn *conn) error { return cn.hello(c.Hostname) })
	if err != nil || cn.broken {
		cn.close()
		return nil, cmp.Or(err, ctx.Err(), errors.New("lmtp: next hop speaks before it is asked"))
	}
	c.offer.Store(&cn.offer)
	c.remembers.Store(cn.takes.remembers())
	if cn.takes.heard {
		cn.heard = &c.heard
	}
	return cn, nil
}

func (c *Client) keep(cn *conn) {
	if cn.broken {
		cn.close()
		return
	}
	c.pool.put(cn)
}
