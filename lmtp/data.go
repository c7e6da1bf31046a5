package lmtp

import (
	"cmp"
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"syscall"
	"time"

	"postern/internal/header"
	"postern/internal/spool"
	"postern/mail"
	"postern/smtp"
)

// data takes the message (RFC 5321, section 4.1.1.4) and answers with one reply
// for each recipient that was accepted, in their order, duplicates included (RFC
// 2033, section 4.2). It returns the last of them, to be sent like every other
// reply; those before it are gathered. Whatever comes of it, the transaction is
// over.
func (s *session) data(ctx context.Context, arg string) (mail.Reply, error) {
	switch {
	case s.env == nil:
		return mail.BadSequence, nil
	case arg != "":
		return mail.BadArgument, nil
	case len(s.env.To) == 0:
		return mail.NoRecipients, nil
	}
	env := s.env
	s.env = nil
	body := s.srv.Spool.New()
	defer body.Close()
	if err := s.conn.WriteReply(mail.StartData); err != nil {
		return mail.Reply{}, err
	}
	refusal, err := s.receive(body)
	if err != nil || refusal.Closes() {
		s.recordMessage(env, body, mail.Broken.Because(cmp.Or(err, error(refusal))))
		return refusal, err
	}
	s.heard() // it waited for the 354, and that came after the replies before
	if !refusal.OK() {
		s.recordMessage(env, body, refusal)
		return s.answer(slices.Repeat([]mail.Reply{refusal}, len(env.To)))
	}
	replies := s.deliver(ctx, env, body)
	if env.Digest == (mail.Digest{}) { // an MX of ours tells what its own client heard
		s.unheard = env.ID
	}
	return s.answer(replies)
}

// answer gathers all replies but the last, and returns that.
func (s *session) answer(replies []mail.Reply) (mail.Reply, error) {
	last := len(replies) - 1
	for _, r := range replies[:last] {
		if err := s.conn.WriteReply(final(r)); err != nil {
			return mail.Reply{}, err
		}
	}
	return final(replies[last]), nil
}

// receive reads the message into body. Its reply is 250 if all of it is there;
// any other is for each recipient. After an error nothing can be said any more.
func (s *session) receive(body *spool.Buffer) (mail.Reply, error) {
	timeouts := s.srv.Timeouts.orDefault()
	s.conn.ReadTimeout = timeouts.Data
	s.conn.Limit(time.Now().Add(timeouts.Message))
	data, err := s.conn.ReadData(body, cmp.Or(s.srv.MaxSize, math.MaxInt64>>2))
	s.conn.ReadTimeout = timeouts.Command
	s.conn.Limit(time.Time{})
	switch {
	case smtp.ConnLost(err) && errors.Is(err, os.ErrDeadlineExceeded):
		return mail.IdleTooLong, nil
	case smtp.ConnLost(err):
		return mail.Reply{}, err
	case errors.Is(err, smtp.ErrTooBig):
		return mail.TooBig, nil
	case errors.Is(err, spool.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return mail.NoSpace.Because(err), nil
	case err != nil:
		return mail.ReplyTo(err), nil
	case data.BareNewlines && s.srv.RejectBareNewline:
		return mail.BareNewline, nil
	}
	return mail.Accepted, nil
}

// deliver hands the message on, with our trace field on top.
func (s *session) deliver(ctx context.Context, env *mail.Envelope, body *spool.Buffer) []mail.Reply {
	msg := mail.NewMessage(body)
	if s.srv.Received {
		h, err := header.Read(body, header.Limits{Fields: 1})
		if err != nil {
			return slices.Repeat([]mail.Reply{mail.ReplyTo(err)}, len(env.To))
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
func (s *session) recordMessage(env *mail.Envelope, body *spool.Buffer, reply mail.Reply) {
	to := make([]mail.Address, len(env.To))
	for i, rcpt := range env.To {
		to[i] = rcpt.Address
	}
	s.record(mail.Outcome{Event: mail.Accept, ID: env.ID, Client: env.Client, From: env.From, To: to, Size: body.Size(), Reply: reply})
}
