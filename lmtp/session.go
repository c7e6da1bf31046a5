package lmtp

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postern/internal/serve"
	"postern/mail"
	"postern/smtp"
)

// A session is one connection of a client. Only one goroutine uses it at a time, though
// not always the same one (internal/serve/visit.go).
type session struct {
	srv    *Server
	conn   *smtp.Conn
	client mail.Client
	// trusted says that the client is our other half.
	trusted bool
	errors  int // commands out of order or not understood

	greeted bool

	hearing serve.Hearing

	// forwarded is what XFORWARD said of the message that comes next.
	forwarded smtp.XForward

	// tx is the transaction: begun by MAIL, ended by end.
	tx *inbound
}

// greet returns the first reply.
func (s *session) greet() mail.Reply {
	if s.srv.sessions.Stopping() {
		return mail.ShuttingDown
	}
	return mail.Reply{Code: 220, Text: s.srv.Hostname + " LMTP Postern"}
}

// Say implements serve.Speaker.
func (s *session) Say(_ context.Context, reply mail.Reply) (end bool, err error) {
	if err := s.conn.WriteReply(reply); err != nil {
		return true, err
	}
	if reply.Closes() {
		return true, s.conn.Flush()
	}
	return false, nil
}

// GoesOn implements serve.Speaker. At shutdown a session goes on only if it has a
// transaction, and for as long as the server lets it.
func (s *session) GoesOn() bool { return s.tx != nil || !s.srv.sessions.Stopping() }

// Count implements serve.Speaker. It ends the session of a client that does not speak LMTP.
func (s *session) Count(reply mail.Reply) mail.Reply {
	if serve.IsMistake(reply) {
		s.errors++
	}
	if s.errors > serve.MaxMistakes {
		s.record(mail.Outcome{Event: mail.Connection, Reply: mail.TooManyErrors.Because(reply)})
		return mail.TooManyErrors
	}
	return reply
}

// Answer implements serve.Speaker. The switch is the table of contents: what is not
// in it is not spoken, HELO and EHLO among it (RFC 2033, section 4.1). An error
// ends the session.
func (s *session) Answer(ctx context.Context, cmd smtp.Command) (mail.Reply, error) {
	switch cmd.Verb {
	case "LHLO":
		return s.hello(cmd.Arg), nil
	case "MAIL":
		return s.mail(cmd.Arg), nil
	case "RCPT":
		return s.rcpt(ctx, cmd.Arg), nil
	case "DATA":
		return s.data(ctx, cmd.Arg)
	case "BDAT":
		return s.bdat(ctx, cmd.Arg)
	case "RSET":
		return s.reset(cmd.Arg), nil
	case "NOOP":
		return mail.Accepted, nil
	case "VRFY":
		return serve.NeedArgument(cmd.Arg, mail.CannotVerify), nil
	case "HELP":
		return mail.Help.Saying("LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT: see RFC 2033"), nil
	case "QUIT":
		return serve.NoArgument(cmd.Arg, mail.Bye), nil
	case "XFORWARD":
		return s.xforward(cmd.Arg), nil
	case verbHeard:
		return s.xheard(cmd.Arg), nil
	case "GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "CONNECT":
		return s.webClient(), nil
	case "STARTTLS", "AUTH", "EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML":
		return mail.NotImplemented, nil
	}
	return mail.BadCommand, nil
}

// webClient ends the session of a program that speaks HTTP (RFC 9110, section 9), which
// may run on a host in Networks. What follows its request may be commands that were
// written by somebody who cannot connect to us directly.
func (s *session) webClient() mail.Reply {
	s.record(mail.Outcome{Event: mail.Connection, Reply: mail.NotSMTP})
	return mail.NotSMTP
}

// reset answers RSET.
func (s *session) reset(arg string) mail.Reply {
	if arg != "" {
		return mail.BadArgument
	}
	s.end()
	return mail.Accepted
}

// offer returns what a session may use. PIPELINING and ENHANCEDSTATUSCODES must
// be among it, and 8BITMIME should (RFC 2033, section 5). DSN is not: whoever
// offers it promises to send notices of success, and we send no mail; so the
// client sends them. Over a UNIX socket a message stays on this host, which is
// all that REQUIRETLS (RFC 8689) can ask for.
func (s *session) offer() smtp.Offer {
	return smtp.Offer{
		Pipelining:  true,
		EightBit:    true,
		UTF8:        true,
		Chunking:    true,
		RequireTLS:  !s.client.IP.IsValid(),
		Status:      true,
		Help:        true,
		SizeOffered: true,
		Size:        s.srv.MaxSize,
		RcptMax:     s.srv.maxRecipients(),
	}
}

// hello answers LHLO, which also ends a transaction.
func (s *session) hello(arg string) mail.Reply {
	if arg == "" {
		return mail.BadArgument
	}
	s.end()
	s.client.Hello, s.client.ESMTP = arg, true
	lines := []string{s.srv.Hostname}
	if !s.trusted {
		lines = append(lines, "XFORWARD "+smtp.XForwardAttributes)
	}
	lines = append(lines, s.offer().Keywords()...)
	if s.trusted {
		lines = append(lines, announcement)
	}
	return mail.Reply{Code: 250, Text: strings.Join(lines, "\n")}
}

// mail begins a transaction (RFC 5321, section 4.1.1.2).
func (s *session) mail(arg string) mail.Reply {
	if s.client.Hello == "" || s.tx != nil {
		return mail.BadSequence
	}
	from, params, err := smtp.ParseMail(arg)
	if err != nil {
		return mail.ReplyTo(err)
	}
	env := &mail.Envelope{ID: mail.NewID(time.Now()), Client: s.origin(), From: from, Upstream: s.forwarded.Ident}
	if params, err = s.takeFacts(env, params); err != nil {
		return mail.ReplyTo(err)
	}
	if env.Params, err = s.offer().MailParams(params); err != nil {
		return s.refused(env, mail.ReplyTo(err))
	}
	if !from.IsASCII() && !env.UTF8 {
		return s.refused(env, mail.NonASCIISender)
	}
	s.tx = &inbound{Envelope: env}
	return mail.SenderOK
}

// xforward answers XFORWARD (Postfix, XFORWARD_README), with which a mail system says
// where it has a message from and what it calls it. Whoever may hand over mail may
// say so: it is for the log alone.
func (s *session) xforward(arg string) mail.Reply {
	switch {
	case s.client.Hello == "" || s.tx != nil:
		return mail.BadSequence
	case s.trusted: // it says so by parameters of MAIL
		return mail.BadCommand
	}
	if err := s.forwarded.Take(arg); err != nil {
		return mail.ReplyTo(err)
	}
	return mail.Accepted
}

// origin returns where the client has the next message from, if it said so, and
// otherwise the client.
func (s *session) origin() mail.Client {
	f := s.forwarded
	if !f.Addr.IsValid() {
		return s.client
	}
	return mail.Client{IP: f.Addr, Hello: f.Hello, ESMTP: f.ESMTP}
}

// rcpt adds a recipient (RFC 5321, section 4.1.1.3). One that is named twice counts as
// two: each gets a reply after the data.
func (s *session) rcpt(ctx context.Context, arg string) mail.Reply {
	if s.tx == nil || s.tx.body != nil {
		return mail.BadSequence
	}
	addr, params, err := smtp.ParseRcpt(arg)
	if err != nil {
		return mail.ReplyTo(err)
	}
	rcpt := mail.Recipient{Address: addr}
	params = s.takeKnown(&rcpt, params)
	if err := s.offer().RcptParams(params, &rcpt); err != nil {
		return mail.ReplyTo(err)
	}
	switch {
	case !addr.IsASCII() && !s.tx.UTF8:
		return s.refused(s.tx.Envelope, mail.NonASCIIAddress, addr)
	case len(s.tx.To) >= s.srv.maxRecipients():
		return mail.TooManyRecipients
	}
	ctx, cancel := context.WithTimeout(ctx, s.srv.Timeouts.orDefault().Verify)
	defer cancel()
	if err := s.srv.Next.Verify(ctx, s.tx.Envelope, rcpt); err != nil {
		return s.refused(s.tx.Envelope, sayable(mail.ReplyTo(err)), addr)
	}
	s.tx.To = append(s.tx.To, rcpt)
	return mail.RecipientOK
}

// refused records that MAIL or RCPT was refused, and returns the reply.
func (s *session) refused(env *mail.Envelope, reply mail.Reply, to ...mail.Address) mail.Reply {
	o := env.Outcome(mail.Refused)
	o.To, o.Size, o.Reply = to, env.Size, reply
	s.record(o)
	return reply
}

// sayable returns r, which a Deliverer chose, if it may be said to a client: 2xx, 4xx
// or 5xx. A reply that announces the end of the connection, such as 421, may not:
// the session goes on. In its place stands a 451.
func sayable(r mail.Reply) mail.Reply {
	if class := r.Code / 100; (class == 2 || class == 4 || class == 5) && !r.Closes() {
		return r
	}
	return mail.LocalError.Because(fmt.Errorf("lmtp: no reply for a client: %w", r))
}
