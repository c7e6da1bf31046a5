package mx

import (
	"context"
	"fmt"
	"time"

	"postern/mail"
	"postern/policy"
	"postern/smtp"
)

// mail begins a transaction (RFC 5321, section 4.1.1.2).
func (s *session) mail(arg string) mail.Reply {
	if s.client.Hello == "" || s.tx != nil {
		return mail.BadSequence
	}
	from, params, err := smtp.ParseMail(arg)
	env := mail.Envelope{From: from, Client: s.client}
	if err != nil {
		return s.refusedArgument(env, mail.ReplyTo(err), arg)
	}
	if env.Params, err = s.offer.MailParams(params); err != nil {
		return s.refusedArgument(env, mail.ReplyTo(err), arg)
	}
	if !from.IsASCII() && !env.UTF8 {
		return s.refusedArgument(env, mail.NonASCIISender, arg)
	}
	if s.srv.Space != nil {
		if err := s.srv.Space(env.Size); err != nil {
			return s.refused(env, mail.ReplyTo(err))
		}
	}
	now, directory := time.Now(), s.srv.Directory()
	env.ID, env.Generation = mail.NewID(now), directory.Generation()
	s.tx = &transaction{env: env, began: now, directory: directory, judged: s.srv.Judge.Open(s.judgedEnvelope(env))}
	return mail.SenderOK
}

// rcpt adds a recipient (RFC 5321, section 4.1.1.3), if the judge has nothing
// against it and the next hop takes mail for a mailbox that it stands for. The
// judge comes first: a client that it refuses does not learn who exists.
func (s *session) rcpt(ctx context.Context, arg string) mail.Reply {
	if s.tx == nil || s.tx.body != nil {
		return mail.BadSequence
	}
	var to mail.Recipient
	addr, params, err := smtp.ParseRcpt(arg)
	if err == nil {
		err = s.offer.RcptParams(params, &to)
	}
	if err != nil {
		s.tx.judged.Misunderstood("said RCPT " + mail.Printable(arg, maxNote))
		return s.refusedArgument(s.tx.env, mail.ReplyTo(err), arg)
	}
	addr = s.ourPostmaster(addr)
	to.Address = addr
	switch {
	case !addr.IsASCII() && !s.tx.env.UTF8:
		return s.refusedRecipient(policy.BySession, mail.NonASCIIAddress, addr)
	case len(s.tx.rcpts) >= s.srv.MaxRecipients:
		return s.refusedRecipient(policy.BySession, mail.TooManyRecipients, addr)
	}
	decision := s.tx.judged.Recipient(ctx, addr)
	if err := decision.Refusal(); err != nil {
		s.tx.judged.Answered(addr, policy.ByPolicy, mail.ReplyTo(err))
		return s.refusedBecause(decision.Note(), s.tx.env, mail.ReplyTo(err), addr)
	}
	if reply, found := s.srv.refusals.take(s.tx.refusalKey(addr)); found {
		return s.refusedRecipient(policy.ByMemory, reply, addr)
	}
	mailboxes, by, err := s.mailboxes(ctx, addr)
	if err != nil {
		return s.refusedRecipient(by, mail.ReplyTo(err), addr)
	}
	s.tx.add(to, mailboxes)
	s.tx.judged.Answered(addr, policy.ByNextHop, mail.RecipientOK)
	return mail.RecipientOK
}

// maxMailboxes bounds the mailboxes that all recipients of a transaction stand for.
const maxMailboxes = 10_000

// mailboxes returns the mailboxes that addr stands for and that mail is to be sent to. If
// there are none, the error says why, and the Answerer is whose answer that is.
func (s *session) mailboxes(ctx context.Context, addr mail.Address) ([]mail.Recipient, policy.Answerer, error) {
	mailboxes, err := s.tx.directory.Expand(addr)
	if err != nil {
		return nil, policy.ByMaps, err
	}
	mailboxes, err = s.verifyAny(ctx, mailboxes)
	if err == nil && len(s.tx.env.To)+len(mailboxes) > maxMailboxes {
		return nil, policy.BySession, mail.TooManyRecipients
	}
	return mailboxes, policy.ByNextHop, err
}

// maxVerify is how long the next hop may take for all mailboxes that a recipient
// stands for. The client waits for 5 minutes (RFC 5321, section 4.5.3.2.3).
const maxVerify = 2 * time.Minute

// verifyAny asks the next hop about each mailbox. If it takes at least one, verifyAny
// returns all but those that are refused for good: one that is refused for now is tried
// again with the message. If it takes none, the error is the worst of its replies.
func (s *session) verifyAny(ctx context.Context, mailboxes []mail.Recipient) ([]mail.Recipient, error) {
	var (
		left  []mail.Recipient
		taken bool
		errs  []mail.Reply
	)
	if len(mailboxes) > 1 { // a single one has the timeout of Verify itself
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxVerify)
		defer cancel()
	}
	for _, m := range mailboxes {
		err := s.srv.Next.Verify(ctx, &s.tx.env, m)
		reply := mail.ReplyTo(err)
		switch {
		case err == nil:
			taken = true
			left = append(left, m)
			continue
		case reply.Temporary():
			left = append(left, m)
		case len(mailboxes) > 1:
			s.srv.Log.Warn("a member of an alias is refused", "id", s.tx.env.ID, "to", m.Address, "reply", reply)
		}
		errs = append(errs, reply.Because(verifyError(m.Address, reply.Err)))
	}
	if !taken {
		return nil, mail.Worst(errs)
	}
	return left, nil
}

// verifyError returns an error that names the mailbox that was refused, since an alias may
// have many. The cause may be nil.
func verifyError(mailbox mail.Address, cause error) error {
	if cause == nil {
		return fmt.Errorf("verify %s", mailbox.Path())
	}
	return fmt.Errorf("verify %s: %w", mailbox.Path(), cause)
}

// refusedRecipient records that RCPT was refused, and by whom, and returns the reply.
func (s *session) refusedRecipient(by policy.Answerer, reply mail.Reply, to mail.Address) mail.Reply {
	s.tx.judged.Answered(to, by, reply)
	return s.refused(s.tx.env, reply, to)
}

// refused records that MAIL or RCPT was refused, and returns the reply.
func (s *session) refused(env mail.Envelope, reply mail.Reply, to ...mail.Address) mail.Reply {
	return s.refusedBecause("", env, reply, to...)
}

// refusedBecause is refused, with a note for the log.
func (s *session) refusedBecause(note string, env mail.Envelope, reply mail.Reply, to ...mail.Address) mail.Reply {
	o := env.Outcome(mail.Refused)
	o.To, o.Size, o.Reply, o.Note = to, env.Size, reply, note
	s.record(o)
	return reply
}

// refusedArgument is refused, with the argument noted: whoever looks for a message that
// did not come has to see what the client said.
func (s *session) refusedArgument(env mail.Envelope, reply mail.Reply, arg string) mail.Reply {
	return s.refusedBecause("said "+mail.Printable(arg, maxNote), env, reply)
}

// maxNote is how many octets of what a client said are noted.
const maxNote = 300
