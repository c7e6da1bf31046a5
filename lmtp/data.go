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
	body     *spool.Buffer   // nil before DATA or the first BDAT
	lines    *smtp.LineEnder // what chunks are written through
	received int64           // octets of chunks
	until    time.Time       // when the message has to be there
}

// begin makes room for the message.
func (tx *inbound) begin(srv *Server) {
	tx.body, tx.until = srv.Spool.New(), srv.messageEnd()
	tx.lines = &smtp.LineEnder{W: tx.body}
}

// end ends the transaction, if there is one, and gives back what it holds.
func (s *session) end() {
	if s.tx != nil && s.tx.body != nil {
		_ = s.tx.body.Close() // it has no name, and nobody reads it any more
	}
	s.tx, s.forwarded = nil, smtp.XForward{}
}

// messageEnd returns when a message that begins now has to be there.
func (srv *Server) messageEnd() time.Time {
	return time.Now().Add(srv.Timeouts.orDefault().Message)
}

// maxSize returns the largest message.
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
	var data smtp.Data
	received := s.receive(s.tx, func() (err error) {
		data, err = s.conn.ReadData(s.tx.body, s.srv.maxSize())
		return err
	})
	if !received.Closes() {
		s.hearing.Heard() // it waited for the 354, and that came after the replies before
	}
	return s.finish(ctx, received, data.BareNewlines)
}

// bdat takes a part of the message (RFC 3030, section 2), and answers as to DATA
// when it is the last. The octets that follow the command are read whatever is
// answered to it: they are no commands. After a chunk that was refused the
// transaction is over, and so are the chunks that the client may have sent
// already.
func (s *session) bdat(ctx context.Context, arg string) (mail.Reply, error) {
	size, last, err := smtp.ParseChunk(arg)
	if size < 0 || size/2 > s.srv.maxSize() {
		s.Refuse(serve.OutOfStep(err))
		return mail.Reply{}, serve.ErrOutOfStep
	}
	refusal := s.refuseChunk(err)
	tx := s.tx
	if refusal != nil {
		s.end() // a message that lacks this chunk is none
		tx = &inbound{lines: &smtp.LineEnder{W: io.Discard}, until: s.srv.messageEnd()}
	} else if tx.body == nil {
		tx.begin(s.srv)
	}
	received := s.receive(tx, func() error {
		return s.conn.ReadChunk(tx.lines, size, s.srv.maxSize()-tx.received)
	})
	tx.received += size
	switch {
	case refusal != nil && received.Closes():
		return received, nil
	case refusal != nil:
		return mail.ReplyTo(refusal), nil
	case received.OK() && !last:
		return mail.Accepted.Saying("%d octets received", size), nil
	case !last:
		s.recordMessage(tx, received)
		s.end()
		return received, nil
	}
	return s.finish(ctx, received, tx.lines.Bare)
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

// finish ends the transaction, whose message came as received says, with one reply
// for each recipient that was accepted, in their order, duplicates included (RFC
// 2033, section 4.2). It returns the last of them, to be sent like every other reply;
// those before it are gathered.
func (s *session) finish(ctx context.Context, received mail.Reply, bare bool) (mail.Reply, error) {
	tx := s.tx
	defer s.end()
	if received.OK() && bare && s.srv.RejectBareNewline && tx.Digest == (mail.Digest{}) { // an MX of ours has judged it
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
	if tx.Digest == (mail.Digest{}) { // an MX of ours tells what its own client heard
		s.hearing.Answered(tx.ID)
	}
	return s.answer(replies)
}

// answer gathers all replies but the last, and returns that.
func (s *session) answer(replies []mail.Reply) (mail.Reply, error) {
	last := len(replies) - 1
	for _, r := range replies[:last] {
		if err := s.conn.WriteReply(sayable(r)); err != nil {
			return mail.Reply{}, err
		}
	}
	return sayable(replies[last]), nil
}

// receive lets read take octets of tx's message; see serve.Receive.
func (s *session) receive(tx *inbound, read func() error) mail.Reply {
	return serve.Receive(s.conn, s.srv.Timeouts.orDefault().Data, tx.until, read)
}

// deliver hands the message on, with our trace field on top.
func (s *session) deliver(ctx context.Context, env *mail.Envelope, body *spool.Buffer) []mail.Reply {
	msg := mail.NewMessage(body)
	if s.srv.Received {
		h, err := header.Read(body, header.Limits{Fields: 1})
		if err != nil {
			return env.Each(mail.ReplyTo(err))
		}
		msg = msg.Prepend(s.received(env) + h.Separator())
	}
	ctx, cancel := context.WithTimeout(ctx, s.srv.Timeouts.orDefault().Deliver)
	defer cancel()
	return mail.Deliver(ctx, s.srv.Next, env, msg)
}

// received returns our trace field. It names who came to us; whom that had it
// from, another field says already.
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

// recordMessage records a message that did not come to be delivered.
func (s *session) recordMessage(tx *inbound, reply mail.Reply) {
	o := tx.Outcome(mail.EndOfData)
	o.To, o.Size, o.Reply = tx.Addresses(), tx.body.Size(), reply
	s.record(o)
}
