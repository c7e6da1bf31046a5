package mx

import (
	"context"
	"errors"
	"os"
	"time"

	"postern/internal/header"
	"postern/internal/spool"
	"postern/mail"
	"postern/policy"
	"postern/smtp"
)

// maxHops is how many Received fields make a message a looping one (RFC 5321,
// section 6.3).
const maxHops = 100

// data takes the message (RFC 5321, section 4.1.1.4), and answers when the next
// hop has answered. Whatever comes of it, the transaction is over.
func (s *session) data(ctx context.Context, arg string) mail.Reply {
	switch {
	case s.tx == nil:
		return mail.BadSequence
	case arg != "":
		return mail.BadArgument
	case len(s.tx.rcpts) == 0:
		return mail.NoRecipients
	}
	tx := s.tx
	s.tx = nil
	body := s.srv.Spool.New()
	defer body.Close()
	if err := s.conn.WriteReply(mail.StartData); err != nil {
		return hungUp.Because(err)
	}
	reply, note := s.receive(body), ""
	if reply.OK() {
		reply, note = s.srv.process(ctx, tx, body)
	}
	s.record(mail.Outcome{
		Event: mail.Accept, ID: tx.env.ID, From: tx.env.From, To: tx.addresses(), Size: body.Size(),
		Reply: reply, Took: time.Since(tx.began), Note: note,
	})
	return reply
}

// receive reads the message into body. Its reply is 250 if the message is there
// in whole; any other is for the client.
func (s *session) receive(body *spool.Buffer) mail.Reply {
	timeouts := s.srv.Timeouts.orDefault()
	s.conn.ReadTimeout = timeouts.Data
	s.conn.Limit(time.Now().Add(timeouts.Message))
	data, err := s.conn.ReadData(body, s.srv.MaxSize)
	s.conn.ReadTimeout = timeouts.Command
	s.conn.Limit(time.Time{})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return mail.IdleTooLong
	case smtp.ConnLost(err):
		return mail.Broken.Because(err)
	case errors.Is(err, smtp.ErrTooBig):
		return mail.TooBig
	case errors.Is(err, spool.ErrFull):
		return mail.NoSpace.Because(err)
	case err != nil:
		return mail.ReplyTo(err)
	case data.BareNewlines && s.srv.RejectBareNewline:
		return mail.BareNewline
	}
	return mail.Accepted
}

// process has the message judged, puts the trace fields on top and passes it
// on. The reply is the one for the client; the note is for the log.
func (srv *Server) process(ctx context.Context, tx *transaction, body mail.Source) (reply mail.Reply, note string) {
	h, err := header.Read(body, header.Limits{})
	switch {
	case err != nil:
		return mail.ReplyTo(err), ""
	case h.Exceeded():
		return mail.HeaderTooBig, ""
	case h.Count("Received") >= maxHops:
		return mail.MailLoop, ""
	}
	var verdict policy.Verdict
	if srv.Judge != nil {
		verdict = srv.Judge(ctx, &tx.env, body, h)
	}
	if verdict.Refusal != nil {
		return mail.ReplyTo(verdict.Refusal), verdict.Note
	}
	msg := srv.stamp(tx, h, verdict, mail.NewMessage(body))
	replies := mail.Deliver(ctx, srv.Next, &tx.env, msg)
	return tx.merge(replies), verdict.Note
}

// stamp returns msg with our trace fields, and without those that only we, or
// the final delivery after us, may set (RFC 5321, section 4.4).
func (srv *Server) stamp(tx *transaction, h header.Header, verdict policy.Verdict, msg *mail.Message) *mail.Message {
	msg = msg.Cut(verdict.Cut)
	for f := range h.All("Return-Path") {
		msg = msg.Cut([]mail.Range{{Start: int64(f.Start), End: int64(f.End)}})
	}
	received := mail.Received{
		Client: tx.env.Client, By: srv.Hostname, ID: tx.env.ID, Date: time.Now(),
		Protocol: mail.Protocol(tx.env.Client, false, tx.env.UTF8),
	}
	if len(tx.rcpts) == 1 && tx.rcpts[0].addr.Domain != "" {
		received.For = &tx.rcpts[0].addr
	}
	msg = msg.Prepend(received.Field() + verdict.Field + separator(h))
	if srv.ReturnPath {
		msg = msg.Prepend(mail.ReturnPath(tx.env.From))
	}
	return msg
}

// separator returns what must stand between our fields and a message that does
// not begin with a field of its own: else its first line would become part of
// our last field, or its text part of the header.
func separator(h header.Header) string {
	switch {
	case h.Stop == header.Continuation:
		return "X-Header-Begins-With-White-Space:\r\n"
	case h.Stop == header.NotAField && h.End == 0:
		return "\r\n"
	}
	return ""
}

// addresses returns the recipients as the client named them.
func (tx *transaction) addresses() []mail.Address {
	addrs := make([]mail.Address, len(tx.rcpts))
	for i, r := range tx.rcpts {
		addrs[i] = r.addr
	}
	return addrs
}

// merge makes of the replies for the mailboxes the one reply that the client
// can hear: first the worst for each recipient, then one for all of them.
func (tx *transaction) merge(replies []mail.Reply) mail.Reply {
	each := make([]mail.Reply, len(tx.rcpts))
	for i, r := range tx.rcpts {
		members := make([]mail.Reply, len(r.members))
		for j, m := range r.members {
			members[j] = replies[m]
		}
		each[i] = mail.Worst(members)
	}
	reply := mail.Merge(each)
	if reply.OK() {
		return mail.Accepted.Saying("OK %s", tx.env.ID)
	}
	return reply
}
