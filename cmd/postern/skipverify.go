package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"postern/mail"
)

// sureFor is how long after a delivery that went well the agent is not asked about
// mailboxes of which it knows no more than our maps do. At little load each is asked
// about, and a sender hears of a full disk or of an agent that is away before it
// sends the message; under load, where asking takes a seventh of the processor, it
// hears that after the message, and from then on the agent is asked again.
const sureFor = time.Second

// skipVerify answers Verify itself for a mailbox without a quota, a path or a system
// user of its own (Recipient.Unbounded), if our agent delivered the last message to
// everybody within sureFor, by the same maps. Else the agent is asked, which also
// brings one that has not noticed an edit up to date.
type skipVerify struct {
	mail.Deliverer
	ours func() bool // the next hop is a delivery agent of ours
	last atomic.Pointer[goodDelivery]
}

// A goodDelivery is that of a message which everybody got.
type goodDelivery struct {
	at         time.Time
	generation string
}

// Verify implements mail.Deliverer.
func (s *skipVerify) Verify(ctx context.Context, env *mail.Envelope, rcpt mail.Recipient) error {
	last := s.last.Load()
	if rcpt.Unbounded && last != nil && last.generation == env.Generation && time.Since(last.at) < sureFor && s.ours() {
		return nil
	}
	return s.Deliverer.Verify(ctx, env, rcpt)
}

// Deliver implements mail.Deliverer.
func (s *skipVerify) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	replies := mail.Deliver(ctx, s.Deliverer, env, msg)
	if slices.ContainsFunc(replies, func(r mail.Reply) bool { return !r.OK() }) {
		s.last.Store(nil)
	} else {
		s.last.Store(&goodDelivery{time.Now(), env.Generation})
	}
	return replies
}
