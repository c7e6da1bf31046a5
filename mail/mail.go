// Package mail is the vocabulary of Postern: what an address, an envelope, a
// message, a reply and a delivery are. Read it first.
//
// It knows neither the network nor the file system. Every other package speaks
// in its terms, and the servers and the delivery agent, which do not know each
// other, meet in its one interface, Deliverer.
package mail

import (
	"context"
	"fmt"
	"slices"
)

// A Deliverer takes messages onwards: the LMTP client, the delivery agent, and
// whatever wraps one of them. It is safe for use by many goroutines. Of an Envelope it
// changes nothing but an empty Generation, which it may set to the one that it serves by:
// so the calls of a transaction share their Envelope.
type Deliverer interface {
	// Verify asks whether rcpt would be accepted for a message with env's
	// sender and parameters; env.To is not looked at. Nil is yes; any other
	// error is turned into the refusal by ReplyTo. It promises nothing for
	// later and holds nothing open.
	Verify(ctx context.Context, env *Envelope, rcpt Recipient) error

	// Deliver tries every recipient of env once. It returns one Reply for each,
	// in the order of env.To. A 2xx Reply promises that the message is on
	// stable storage (RFC 5321, section 6.1).
	Deliver(ctx context.Context, env *Envelope, msg *Message) []Reply
}

// Deliver calls d and holds it to its contract: whatever is not a Reply for
// each recipient is a failure for all of them, which the sender may retry.
func Deliver(ctx context.Context, d Deliverer, env *Envelope, msg *Message) []Reply {
	replies := d.Deliver(ctx, env, msg)
	bad := func(r Reply) bool { return !r.OK() && !r.Refuses() }
	if len(replies) == len(env.To) && !slices.ContainsFunc(replies, bad) {
		return replies
	}
	return env.Each(LocalError.Because(fmt.Errorf("mail: %T gave %v for %d recipients", d, replies, len(env.To))))
}
