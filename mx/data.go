package mx

import (
	"context"
	"io"
	"time"

	"postern/internal/header"
	"postern/internal/serve"
	"postern/mail"
	"postern/policy"
	"postern/smtp"
)

// data takes the message (RFC 5321, section 4.1.1.4), and answers when the next
// hop has answered. Whatever comes of it, the transaction is over.
func (s *session) data(ctx context.Context, arg string) (mail.Reply, error) {
	switch {
	case s.tx == nil || s.tx.body != nil:
		return mail.BadSequence, nil
	case arg != "":
		return mail.BadArgument, nil
	case len(s.tx.rcpts) == 0:
		return mail.NoRecipients, nil
	}
	if err := s.conn.WriteReply(mail.StartData); err != nil {
		return mail.Reply{}, err
	}
	s.tx.begin(s.srv)
	reply := s.tx.incoming.Data(s.conn, s.srv.MaxSize)
	if !reply.Closes() {
		s.hearing.Heard() // it waited for the 354, so it has read the reply before that
	}
	return s.finish(ctx, reply)
}

// bdat takes a chunk of the message (RFC 3030, section 2). The octets that follow the
// command are read even if it is refused, or they would be taken for commands. A refused
// chunk ends the transaction; chunks that the client sent ahead are then refused, too.
func (s *session) bdat(ctx context.Context, arg string) (mail.Reply, error) {
	size, last, err := smtp.ParseChunk(arg)
	if size < 0 || smtp.IsEndless(size, s.srv.MaxSize) {
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
	reply := s.tx.incoming.Chunk(s.conn, size, s.srv.MaxSize)
	if reply.OK() && !last {
		return mail.Accepted.Saying("%d octets received", size), nil
	}
	return s.finish(ctx, reply)
}

// refuseChunk returns why a chunk cannot be taken, or nil.
func (s *session) refuseChunk(syntax error) error {
	switch {
	case s.tx == nil || !s.client.ESMTP:
		return mail.BadSequence
	case syntax != nil:
		return syntax
	case len(s.tx.rcpts) == 0:
		return mail.NoRecipients
	}
	return nil
}

// incoming returns what receives a message and writes it to w.
func (srv *Server) incoming(w io.Writer) serve.Incoming {
	t := srv.Timeouts.orDefault()
	return serve.NewIncoming(w, t.Data, t.Message)
}

// finish ends the transaction, and returns the reply to its message. Received says
// whether the message came in whole, or else why not.
func (s *session) finish(ctx context.Context, received mail.Reply) (mail.Reply, error) {
	tx := s.tx
	defer s.end()
	tx.judged.Received(tx.body.Size(), header.Header{})
	if received.OK() && tx.incoming.BareNewlines() && s.srv.RejectBareNewline {
		received = mail.BareNewline
	}
	replies, note := []mail.Reply{received}, ""
	if received.OK() {
		replies, note = s.srv.process(ctx, tx)
		s.conduct.fruitless, s.conduct.lastMessage = 0, time.Now()
	}
	tx.conclude(replies)
	s.recordMessage(note)
	return s.tell(replies)
}

// recordMessage records the reply to the end of data.
func (s *session) recordMessage(note string) {
	tx := s.tx
	o := tx.env.Outcome(mail.EndOfData)
	o.To, o.Size, o.Reply, o.Took, o.Note = tx.addresses(), tx.body.Size(), tx.reply, time.Since(tx.began), note
	s.record(o)
}

// tell returns the reply to the message. If the recipients' replies differ, a client that
// speaks PRDR hears each of them first. For any other client that is told to try again,
// the final ones among them are remembered.
func (s *session) tell(replies []mail.Reply) (mail.Reply, error) {
	tx := s.tx
	switch {
	case tx.env.PRDR && !unanimous(replies):
		s.hearing.Answered(tx.env.ID)
		return s.sayEach(replies)
	case tx.reply.OK():
		s.hearing.Answered(tx.env.ID)
	case tx.reply.Temporary():
		s.srv.remember(tx, replies)
	}
	return tx.reply, nil
}

// remember keeps the final refusals that the client cannot hear, because it is
// told to try again for the sake of other recipients.
func (srv *Server) remember(tx *transaction, replies []mail.Reply) {
	if len(replies) != len(tx.rcpts) {
		return // one for all
	}
	for i, r := range replies {
		if r.Final() {
			srv.refusals.add(tx.refusalKey(tx.rcpts[i].addr), r)
		}
	}
}

// sayEach tells a client that speaks PRDR what became of each recipient, in the order of
// their RCPT. It returns the reply that ends the list, which is positive: the client now
// has to care for those recipients alone that were refused.
func (s *session) sayEach(replies []mail.Reply) (mail.Reply, error) {
	for _, reply := range append([]mail.Reply{mail.StartReplies}, replies...) {
		if err := s.conn.WriteReply(reply); err != nil {
			return mail.Reply{}, err
		}
	}
	return mail.Accepted.Saying("each recipient was answered"), nil
}

// unanimous reports whether one reply can stand for all.
func unanimous(replies []mail.Reply) bool {
	for _, r := range replies {
		if r.Code/100 != replies[0].Code/100 {
			return false
		}
	}
	return true
}

// process has the message judged, puts the trace fields on top and passes it on. It
// returns a reply for each recipient, or one for all, and a note for the log.
func (srv *Server) process(ctx context.Context, tx *transaction) (replies []mail.Reply, note string) {
	tx.digest.Sum(tx.env.Digest[:0])
	h, err := header.Read(tx.body, header.Limits{})
	tx.judged.Received(tx.body.Size(), h)
	switch {
	case err != nil:
		return []mail.Reply{mail.ReplyTo(err)}, ""
	case h.Exceeded():
		return []mail.Reply{mail.HeaderTooBig}, ""
	case h.Count("Received") >= mail.MaxHops:
		return []mail.Reply{mail.MailLoop}, ""
	}
	verdict := tx.judged.Message(ctx, tx.addresses(), tx.body, h)
	msg := srv.stamp(tx, h, verdict, mail.NewMessage(tx.body))
	if err := verdict.Refusal(); err != nil {
		srv.keep(tx, mail.ReplyTo(err), msg)
		return []mail.Reply{mail.ReplyTo(err)}, verdict.Note
	}
	tx.env.Folder = verdict.Folder
	delivered := mail.Deliver(ctx, srv.Next, &tx.env, msg)
	tx.judged.Delivered(tx.env.To, delivered)
	each := tx.each(delivered)
	srv.keep(tx, mail.Merge(each), msg)
	return each, verdict.Note
}

// keep has a message kept if it is refused for good, for all its recipients. That does
// not change the reply.
func (srv *Server) keep(tx *transaction, reply mail.Reply, msg *mail.Message) {
	if reply.Final() && srv.Keep != nil && srv.Keep(&tx.env, msg) {
		tx.judged.Kept()
	}
}

// stamp returns msg with our trace fields, and without those that only we, or
// the final delivery after us, may set (RFC 5321, section 4.4).
func (srv *Server) stamp(tx *transaction, h header.Header, verdict policy.Verdict, msg *mail.Message) *mail.Message {
	var stale []mail.Range
	for f := range h.All("Return-Path") {
		stale = append(stale, mail.Range{Start: int64(f.Start), End: int64(f.End)})
	}
	msg = endHeader(msg, h).Cut(verdict.Cut).Cut(stale)
	if verdict.Body != nil {
		msg = msg.ReplaceBody(verdict.BodyStart, verdict.Body)
	}
	received := mail.Received{
		Client: tx.env.Client, By: srv.Hostname, ID: tx.env.ID, Date: time.Now(),
		Protocol: mail.Protocol(tx.env.Client, false, tx.env.UTF8),
	}
	if len(tx.rcpts) == 1 && tx.rcpts[0].addr.Domain != "" {
		received.For = &tx.rcpts[0].addr
	}
	msg = msg.Prepend(received.Field() + verdict.Fields)
	if srv.ReturnPath {
		msg = msg.Prepend(mail.ReturnPath(tx.env.From))
	}
	return msg
}

// endHeader returns msg with a header that begins and ends where h says, for any reader.
// A first line that begins with white space must not become part of our last field. For
// us the header ends at a line that is no field, and at an empty line with more than one
// CR too many. A reader that is less strict must not read on there: it would see a From
// that was not judged, and results in our name that were not taken out.
func endHeader(msg *mail.Message, h header.Header) *mail.Message {
	if h.Stop == header.NotAField && h.End > 0 || h.Stop == header.EmptyLine && h.Body-h.End > len("\r\r\n") {
		msg = msg.Insert(int64(h.End), "\r\n")
	}
	if before := h.Separator(); before != "" {
		msg = msg.Insert(0, before)
	}
	return msg
}
