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
// hears that with the message, and the question again follows at once.
const sureFor = time.Second

// A sure Deliverer does not ask about a recipient whose mailbox the maps do not bound,
// if the next hop is a delivery agent of ours and gave everybody the last message,
// within sureFor and by the same generation of the maps. Else it asks, which also
// brings an agent that has not noticed an edit up to date.
type sure struct {
	mail.Deliverer
	ours func() bool // the next hop is a delivery agent of ours
	last atomic.Pointer[success]
}

// A success is a message that everybody got.
type success struct {
	at         time.Time
	generation string
}

// Verify implements mail.Deliverer.
func (s *sure) Verify(ctx context.Context, env *mail.Envelope, rcpt mail.Recipient) error {
	last := s.last.Load()
	if rcpt.Unbounded && last != nil && last.generation == env.Generation && time.Since(last.at) < sureFor && s.ours() {
		return nil
	}
	return s.Deliverer.Verify(ctx, env, rcpt)
}

// Deliver implements mail.Deliverer.
func (s *sure) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	replies := mail.Deliver(ctx, s.Deliverer, env, msg)
	if slices.ContainsFunc(replies, func(r mail.Reply) bool { return !r.OK() }) {
		s.last.Store(nil)
	} else {
		s.last.Store(&success{time.Now(), env.Generation})
	}
	return replies
}
