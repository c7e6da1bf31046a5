package mx

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"postern/internal/serve"
	"postern/mail"
	"postern/smtp"
)

// A session is one connection of a client. Only one goroutine uses it at a time, though
// not always the same one (internal/serve/visit.go).
type session struct {
	srv     *Server
	conn    *smtp.Conn
	peer    peer
	client  mail.Client
	offer   smtp.Offer // what EHLO announced; zero after HELO
	conduct conduct
	hearing serve.Hearing

	// tx is the transaction: begun by MAIL, ended by end. All that belongs to
	// one message hangs on it, and nothing else does.
	tx *transaction
}

// A peer is the other end of a connection: a client, or a proxy between it and us.
type peer struct {
	listener   Listener     // that it came over
	mayXClient bool         // it may say who the client is, with XCLIENT
	introduced bool         // a proxy named the client's address
	localIP    netip.Addr   // that the client connected to, if a proxy named it
	share      netip.Prefix // the client's network, whose share it takes from; zero: none
}

// A conduct is how a client behaves.
type conduct struct {
	mistakes    int       // commands out of order or not understood, and fruitless ones beyond maxFruitless
	fruitless   int       // commands since the last message
	lastMessage time.Time // when it came, or else when the session began
}

// Say implements serve.Speaker. After mail.ReadyForTLS it begins TLS.
func (s *session) Say(ctx context.Context, reply mail.Reply) (end bool, err error) {
	if err := s.conn.WriteReply(reply); err != nil {
		return true, err
	}
	switch {
	case reply.Closes():
		return true, s.conn.Flush()
	case reply.Is(mail.ReadyForTLS):
		return false, s.shakeHands(ctx)
	}
	return false, nil
}

// GoesOn implements serve.Speaker. At shutdown a session goes on only if it has a
// transaction, and for as long as the server lets it.
func (s *session) GoesOn() bool { return s.tx != nil || !s.srv.sessions.Stopping() }

// Count implements serve.Speaker. It ends the session of a client that does not speak
// SMTP, or whose network has made too many mistakes in all its sessions. A recipient that
// does not exist counts against the network alone: good servers carry old lists.
func (s *session) Count(reply mail.Reply) mail.Reply {
	mistake := serve.IsMistake(reply) || s.conduct.fruitless > maxFruitless
	guess := reply.Status == mail.NoSuchUser.Status || reply.Is(mail.NoRelay)
	if mistake {
		s.conduct.mistakes++
	}
	if (mistake || guess) && (s.offend() || s.conduct.mistakes > serve.MaxMistakes) {
		s.record(mail.Outcome{Event: mail.Connection, Reply: mail.TooManyErrors.Because(reply)})
		return mail.TooManyErrors
	}
	return reply
}

// Answer implements serve.Speaker. The switch is the table of contents: what is not
// in it is not spoken. An error ends the session without another word.
func (s *session) Answer(ctx context.Context, cmd smtp.Command) (mail.Reply, error) {
	switch cmd.Verb {
	case "DATA":
		return s.data(ctx, cmd.Arg)
	case "BDAT":
		return s.bdat(ctx, cmd.Arg)
	case "RCPT":
		return s.rcpt(ctx, cmd.Arg), nil
	}
	s.conduct.fruitless++
	if s.tx == nil && time.Since(s.conduct.lastMessage) > maxIdle {
		return mail.IdleTooLong, nil
	}
	return s.answer(ctx, cmd), nil
}

// A client that sends no message cannot hold its connection for ever, however polite
// it is.
const (
	// maxFruitless is how many commands other than RCPT, DATA and BDAT it may send
	// without a message. Beyond that, each command counts as a mistake until a message
	// has come.
	maxFruitless = 1000
	// maxIdle is how long it may go on without a message.
	maxIdle = time.Hour
)

// answer answers the commands that count as fruitless: all but RCPT, DATA and BDAT.
func (s *session) answer(ctx context.Context, cmd smtp.Command) mail.Reply {
	switch cmd.Verb {
	case "EHLO", "HELO":
		return s.hello(ctx, cmd)
	case "STARTTLS":
		return s.startTLS(cmd.Arg)
	case "XCLIENT":
		return s.xclient(cmd.Arg)
	case "MAIL":
		return s.mail(cmd.Arg)
	case "RSET":
		return s.reset(cmd.Arg)
	case "NOOP":
		return mail.Accepted
	case "VRFY":
		return serve.NeedArgument(cmd.Arg, mail.CannotVerify)
	case "HELP":
		return s.help()
	case "QUIT":
		return serve.NoArgument(cmd.Arg, mail.Bye)
	case "EXPN", "AUTH", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML":
		return mail.NotImplemented
	case "GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "CONNECT":
		return s.webClient()
	}
	return mail.BadCommand
}

// help names the commands, STARTTLS among them where it may be said.
func (s *session) help() mail.Reply {
	startTLS := ""
	if s.srv.TLS != nil && s.client.TLS == "" {
		startTLS = "STARTTLS "
	}
	return mail.Help.Saying("EHLO HELO %sMAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT: see RFC 5321", startTLS)
}

// webClient ends the session of a program that speaks HTTP (RFC 9110, section 9).
// What it sends behind its request may look like commands, and may have been written
// by somebody who cannot connect to us directly.
func (s *session) webClient() mail.Reply {
	s.offend()
	s.record(mail.Outcome{Event: mail.Connection, Reply: mail.NotSMTP})
	return mail.NotSMTP
}

// greet returns the first reply (RFC 5321, section 3.1).
func (s *session) greet() mail.Reply {
	if s.srv.sessions.Stopping() {
		return mail.ShuttingDown
	}
	return mail.Reply{Code: 220, Text: s.srv.Hostname + " ESMTP Postern"}
}

// offers returns what a session may use. What a message needs on its way to the
// mailbox is offered only as far as the next hop offers it: a message that was
// taken and cannot be passed on is lost, or bounces.
func (s *session) offers(ctx context.Context) smtp.Offer {
	next := s.srv.nextOffer(ctx)
	return smtp.Offer{
		Pipelining:  true,
		Status:      true,
		Help:        true,
		StartTLS:    s.srv.TLS != nil && s.client.TLS == "",
		RequireTLS:  s.client.TLS != "" && next.RequireTLS,
		SizeOffered: true,
		Size:        next.Size,
		EightBit:    next.EightBit,
		UTF8:        next.UTF8,
		DSN:         next.DSN,
		Chunking:    true,
		PRDR:        true,
		XClient:     s.peer.mayXClient,
		RcptMax:     s.srv.MaxRecipients,
	}
}

// hello answers EHLO and HELO, which also end a transaction (RFC 5321, section
// 4.1.4). The name that the client gives is recorded. It is never a reason to refuse
// the client, unless it has control characters.
func (s *session) hello(ctx context.Context, cmd smtp.Command) mail.Reply {
	if cmd.Arg == "" {
		return mail.BadArgument
	}
	s.end()
	s.client.Hello = cmd.Arg
	s.client.ESMTP = cmd.Verb == "EHLO"
	s.offer = smtp.Offer{}
	if s.client.ESMTP {
		s.offer = s.offers(ctx)
	}
	lines := append([]string{s.srv.Hostname}, s.offer.Keywords()...)
	return mail.Reply{Code: 250, Text: strings.Join(lines, "\n")}
}

// startTLS answers STARTTLS (RFC 3207, section 4).
func (s *session) startTLS(arg string) mail.Reply {
	switch {
	case arg != "":
		return mail.BadArgument
	case s.srv.TLS == nil:
		return mail.NotImplemented
	case s.client.TLS != "" || !s.client.ESMTP:
		return mail.BadSequence
	}
	if n := s.conn.Buffered(); n > 0 { // from the client, or from somebody between it and us
		s.srv.Log.Info("what came in the clear right behind STARTTLS is dropped", "client", s.client, "octets", n)
	}
	return mail.ReadyForTLS
}

// shakeHands begins TLS. After it the session knows nothing of what was said in
// the clear.
func (s *session) shakeHands(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.srv.Timeouts.orDefault().Handshake)
	defer cancel()
	s.end()
	s.client, s.offer = mail.Client{IP: s.client.IP}, smtp.Offer{}
	if err := s.conn.StartTLS(ctx, s.srv.TLS); err != nil {
		s.record(mail.Outcome{Event: mail.Connection, Reply: mail.TLSUnavailable.Because(err)})
		return err
	}
	s.client.TLS = s.conn.TLS()
	return nil
}

func (s *session) reset(arg string) mail.Reply {
	if arg != "" {
		return mail.BadArgument
	}
	s.end()
	return mail.Accepted
}

// record reports an outcome, with the client that it concerns.
func (s *session) record(o mail.Outcome) {
	if s.srv.Record == nil {
		return
	}
	o.Client = s.client
	s.srv.Record(o)
}
