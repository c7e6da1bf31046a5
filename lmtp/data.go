package lmtp

import (
	"cmp"
	"context"
	"io"
	"math"
	"time"

	"postern/internal/header"
	"postern/internal/serve"
	"postern/internal/spool"
	"postern/mail"
	"postern/smtp"
)

// An inbound is a transaction of the server: what MAIL and RCPT said, and what
// came of the message so far.
type inbound struct {
	*mail.Envelope
	body     *spool.Buffer  // nil before DATA or the first BDAT
	incoming serve.Incoming // what writes to it
}

// begin makes room for the message.
func (tx *inbound) begin(srv *Server) {
	tx.body = srv.Spool.New()
	tx.incoming = srv.incoming(tx.body)
}

// end ends the transaction, if there is one, and gives back what it holds.
func (s *session) end() {
	if s.tx != nil && s.tx.body != nil {
		_ = s.tx.body.Close() // it has no name, and nobody reads it any more
	}
	s.tx, s.forwarded = nil, smtp.XForward{}
}

// incoming returns what receives a message and writes it to w.
func (srv *Server) incoming(w io.Writer) serve.Incoming {
	t := srv.Timeouts.orDefault()
	return serve.NewIncoming(w, t.Data, t.Message)
}

// maxSize returns how many octets a message may have.
func (srv *Server) maxSize() int64 { return cmp.Or(srv.MaxSize, math.MaxInt64>>2) }

// data takes the message (RFC 5321, section 4.1.1.4). Whatever comes of it, the
// transaction is over.
func (s *session) data(ctx context.Context, arg string) (mail.Reply, error) {
	switch {
	case s.tx == nil || s.tx.body != nil:
		return mail.BadSequence, nil
	case arg != "":
		return mail.BadArgument, nil
	case len(s.tx.To) == 0:
		return mail.NoRecipients, nil
	}
	if err := s.conn.WriteReply(mail.StartData); err != nil {
		return mail.Reply{}, err
	}
	s.tx.begin(s.srv)
	received := s.tx.incoming.Data(s.conn, s.srv.maxSize())
	if !received.Closes() {
		s.hearing.Heard() // it waited for the 354, so it has read the replies before that
	}
	return s.finish(ctx, received)
}

// bdat takes a chunk of the message (RFC 3030, section 2), and answers the last one as
// data does. The octets that follow the command are read even if it is refused, or they
// would be taken for commands. A refused chunk ends the transaction; chunks that the
// client sent ahead are then refused, too.
func (s *session) bdat(ctx context.Context, arg string) (mail.Reply, error) {
	size, last, err := smtp.ParseChunk(arg)
	if size < 0 || smtp.IsEndless(size, s.srv.maxSize()) {
		s.Refuse(serve.OutOfStep(err))
		return mail.Reply{}, serve.ErrOutOfStep
	}
	if refusal := s.refuseChunk(err); refusal != nil {
		s.end() // a message that lacks this chunk is none
		dropped := s.srv.incoming(io.Discard)
		return dropped.Drop(s.conn, size, refusal), nil
	}
	if s.tx.body == nil {
		s.tx.begin(s.srv)
	}
	received := s.tx.incoming.Chunk(s.conn, size, s.srv.maxSize())
	switch {
	case last:
		return s.finish(ctx, received)
	case !received.OK():
		s.recordMessage(s.tx, received)
		s.end()
		return received, nil
	}
	return mail.Accepted.Saying("%d octets received", size), nil
}

// refuseChunk returns why a chunk cannot be taken, or nil.
func (s *session) refuseChunk(syntax error) error {
	switch {
	case s.tx == nil:
		return mail.BadSequence
	case syntax != nil:
		return syntax
	case len(s.tx.To) == 0:
		return mail.NoRecipients
	}
	return nil
}

// finish ends the transaction, with one reply for each accepted recipient, in their
// order, duplicates included (RFC 2033, section 4.2). Received says whether the message
// came in whole, or else why not. It writes all replies but the last, and returns that
// one, to be sent like any other.
func (s *session) finish(ctx context.Context, received mail.Reply) (mail.Reply, error) {
	tx := s.tx
	defer s.end()
	if received.OK() && tx.incoming.BareNewlines() && s.srv.RejectBareNewline && tx.Digest == (mail.Digest{}) { // with a digest, an MX of ours has judged it
		received = mail.BareNewline
	}
	if !received.OK() {
		s.recordMessage(tx, received)
		if received.Closes() {
			return received, nil
		}
		return s.answer(tx.Each(received))
	}
	replies := s.deliver(ctx, tx.Envelope, tx.body)
	if tx.Digest == (mail.Digest{}) { // with one, an MX of ours tells what its own client heard
		s.hearing.Answered(tx.ID)
	}
	return s.answer(replies)
}

// answer writes all replies but the last, and returns that one.
func (s *session) answer(replies []mail.Reply) (mail.Reply, error) {
	last := len(replies) - 1
	for _, r := range replies[:last] {
		if err := s.conn.WriteReply(sayable(r)); err != nil {
			return mail.Reply{}, err
		}
	}
	return sayable(replies[last]), nil
}

// deliver hands the message on, with our trace field on top.
func (s *session) deliver(ctx context.Context, env *mail.Envelope, body *spool.Buffer) []mail.Reply {
	msg := mail.NewMessage(body)
	if s.srv.Received {
		h, err := header.Read(body, header.Limits{})
		if err != nil {
			return env.Each(mail.ReplyTo(err))
		}
		msg = msg.Prepend(s.received(env) + h.Separator())
	}
	ctx, cancel := context.WithTimeout(ctx, s.srv.Timeouts.orDefault().Deliver)
	defer cancel()
	return mail.Deliver(ctx, s.srv.Next, env, msg)
}

// received returns our trace field. It names the client that connected to us; another
// field says already where that client had the message from.
func (s *session) received(env *mail.Envelope) string {
	r := mail.Received{
		Client: s.client, By: s.srv.Hostname, ID: env.ID, Date: time.Now(),
		Protocol: mail.Protocol(s.client, true, env.UTF8),
	}
	if len(env.To) == 1 && env.To[0].Domain != "" {
		r.For = &env.To[0].Address
	}
	return r.Field()
}

// recordMessage records a message that is refused before delivery is tried.
func (s *session) recordMessage(tx *inbound, reply mail.Reply) {
	o := tx.Outcome(mail.EndOfData)
	o.To, o.Size, o.Reply = tx.Addresses(), tx.body.Size(), reply
	s.record(o)
}
