// Package mda is the delivery agent: it finds the mailboxes of the recipients
// and delivers into all of them, or says for each recipient why not.
//
// It does not know how mailboxes are stored, nor where messages come from.
package mda

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"postern/internal/header"
	"postern/mail"
	"postern/mailbox"
)

// An Agent makes final delivery (RFC 5321, section 4.4) into mailboxes. It is a
// mail.Deliverer. The fields are set before the first use and not changed after.
//
// Trouble with the store is never a 5xx: it is for us to repair, and the sender
// keeps the mail meanwhile.
type Agent struct {
	// Lookup returns the mailboxes that take the mail of rcpt, at least one, and
	// more where rcpt is an alias. The generation is that of the recipient maps to
	// look in (mail.Envelope.Generation). Its error is the refusal, such as
	// mail.NoSuchUser or mail.NoRelay; any error that is no mail.Reply is trouble of
	// ours.
	Lookup func(generation string, rcpt mail.Address) ([]Target, error)
	// Space returns the refusal if there is no room for a message of size octets; 0 is
	// unknown. Nil: there is always room.
	Space func(size int64) error
	// OverQuota is the reply to a message that would exceed the quota of its mailbox.
	// It may be final, since the reason is understood. The reply for a quota of the file
	// system never is. The zero Reply stands for mail.MailboxFull.
	OverQuota mail.Reply
	// Share has the mailboxes of a message share one file where they can, so that it
	// is written and synced once: the first is prepared before the others.
	Share bool
	// Record is told of each delivery into a mailbox, and of each recipient that
	// was not found with the message; nil: nobody wants to know.
	Record func(mail.Outcome)
	// Took is told how long each step took in which a delivery waits for the disk:
	// "sync" for the content, "commit" for the name. Nil: nobody wants to know.
	Took func(step string, took time.Duration)
}

// A Target is a mailbox that mail is delivered into.
type Target struct {
	Address mail.Address // whose it is, for the record
	// Mailbox identifies it: two targets with the same one are the same mailbox,
	// and get a message once.
	Mailbox string
	// Open returns the mailbox. It may be called by many goroutines.
	Open func() (mailbox.Mailbox, error)
	// Folder returns the folder of that name in the mailbox, for mail that is to
	// be filed there. Nil: it has none, and such mail goes where other mail goes.
	Folder func(name string) (Target, error)
	// Room returns mailbox.ErrOverQuota if the mailbox has no room for a message
	// of size octets; 0 is unknown. Nil: it has no quota.
	Room func(size int64) error
}

var _ mail.Deliverer = (*Agent)(nil)

// Verify implements mail.Deliverer. A recipient with several mailboxes is
// refused only if none of them has room.
func (a *Agent) Verify(_ context.Context, env *mail.Envelope, rcpt mail.Recipient) error {
	targets, err := a.lookup(env, rcpt.Address)
	if err == nil && a.Space != nil {
		err = a.Space(env.Size)
	}
	if err == nil {
		err = room(targets, env.Size)
	}
	if err != nil {
		return a.reply(err)
	}
	return nil
}

// room returns nil if one of targets has room for size octets. Else it returns an error:
// if possible one that will pass, which that of a quota may not.
func room(targets []Target, size int64) error {
	var first error
	for _, t := range targets {
		if t.Room == nil {
			return nil
		}
		err := t.Room(size)
		if err == nil {
			return nil
		}
		if first == nil || errors.Is(first, mailbox.ErrOverQuota) && !errors.Is(err, mailbox.ErrOverQuota) {
			first = fmt.Errorf("mda: room for %v: %w", t.Address, err)
		}
	}
	return first
}

// Deliver implements mail.Deliverer. All mailboxes are prepared before the
// message appears in any of them: most failures then come while nobody has it yet. A
// recipient with several mailboxes gets the worst of their replies.
func (a *Agent) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	final, err := finalForm(env, msg)
	if err != nil {
		return a.refuseAll(env, msg, a.reply(err))
	}
	j := newJob(a, env, final)
	defer j.abort()
	j.prepare()
	if err := ctx.Err(); err != nil {
		// Whoever asked has given up and will ask again, and must not find that
		// the message was delivered meanwhile.
		j.each(func(*delivery) error { return fmt.Errorf("before commit: %w", err) })
	}
	j.each((*delivery).commit)
	return j.conclude()
}

// refuseAll gives every recipient the same reply.
func (a *Agent) refuseAll(env *mail.Envelope, msg *mail.Message, r mail.Reply) []mail.Reply {
	o := env.Outcome(mail.EndOfData)
	o.To, o.Size, o.Reply = env.Addresses(), msg.Size(), r
	a.record(o)
	return env.Each(r)
}

func (a *Agent) took(step string, since time.Time) {
	if a.Took != nil {
		a.Took(step, time.Since(since))
	}
}

func (a *Agent) record(o mail.Outcome) {
	if a.Record != nil {
		a.Record(o)
	}
}

// lookup calls Lookup and holds it to its contract.
func (a *Agent) lookup(env *mail.Envelope, rcpt mail.Address) ([]Target, error) {
	targets, err := a.Lookup(env.Generation, rcpt)
	if err == nil && len(targets) == 0 {
		err = errors.New("mda: recipient without a mailbox")
	}
	if err != nil {
		return nil, fmt.Errorf("mda: look up %v: %w", rcpt, err)
	}
	return targets, nil
}

// reply is mail.ReplyTo, with a more exact reply where something is full or locked. EDQUOT
// is never final: the quota is one of the file system, and may be that of all users
// together.
func (a *Agent) reply(err error) mail.Reply {
	r := mail.ReplyTo(err)
	switch {
	case !r.Is(mail.LocalError):
	case errors.Is(err, mailbox.ErrOverQuota) && a.OverQuota.Code != 0:
		return a.OverQuota.Because(err)
	case errors.Is(err, mailbox.ErrOverQuota):
		return mail.MailboxFull.Because(err)
	case errors.Is(err, mailbox.ErrLocked):
		return mail.MailboxBusy.Because(err)
	case errors.Is(err, syscall.EDQUOT):
		return mail.FullForNow.Because(err)
	case errors.Is(err, syscall.ENOSPC):
		return mail.NoSpace.Because(err)
	}
	return r
}

// headerLimits is the longest header that is taken: what an MX of ours takes, and more than it
// puts on top.
var headerLimits = header.Limits{Octets: header.DefaultOctets + mail.MaxTrace, Fields: header.DefaultFields + 100}

// finalForm returns msg as it is stored: with one Return-Path, ours, on top (RFC
// 5321, section 4.4). A message that loops is refused (section 6.3), and one whose
// header is too long to be looked through.
func finalForm(env *mail.Envelope, msg *mail.Message) (*mail.Message, error) {
	h, err := header.Read(msg.Source(), headerLimits)
	switch {
	case err != nil:
		return nil, fmt.Errorf("mda: read the header: %w", err)
	case h.Exceeded():
		return nil, mail.HeaderTooBig
	case h.Count("Received") > mail.MaxHops: // one is that of the MX in front of us, or ours
		return nil, mail.MailLoop
	}
	var stale []mail.Range
	for f := range h.All("Return-Path") {
		stale = append(stale, mail.Range{Start: int64(f.Start), End: int64(f.End)})
	}
	if stale != nil {
		msg = msg.Cut(stale)
	}
	separator := ""
	if msg.Trace() == "" { // else that of the server in front of us stands between
		separator = h.Separator()
	}
	return msg.Prepend(mail.ReturnPath(env.From) + separator), nil
}
