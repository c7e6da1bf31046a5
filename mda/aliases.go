package mda

import (
	"context"

	"postern/mail"
)

// Aliases is a mail.Deliverer that replaces each recipient by the mailboxes that it
// stands for, so that the Deliverer behind it sees mailboxes alone, each once. A
// recipient gets the worst of the replies for its mailboxes.
type Aliases struct {
	mail.Deliverer
	// Expand returns the mailboxes that addr stands for by a generation of the
	// recipients, mail.Envelope.Generation. A recipient for which it fails is passed
	// on unchanged; the Deliverer refuses it.
	Expand func(generation string, addr mail.Address) ([]mail.Address, error)
}

var _ mail.Deliverer = Aliases{}

// Deliver implements mail.Deliverer.
func (a Aliases) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	expanded := *env
	expanded.To = nil
	places := make(map[mail.Address]int)  // in expanded.To
	members := make([][]int, len(env.To)) // of each recipient, as indexes of expanded.To
	for i, rcpt := range env.To {
		for _, addr := range a.expand(env.Generation, rcpt.Address) {
			at, known := places[addr]
			if !known {
				at = len(expanded.To)
				places[addr] = at
				rcpt.Address = addr
				expanded.To = append(expanded.To, rcpt)
			}
			members[i] = append(members[i], at)
		}
	}
	replies := mail.Deliver(ctx, a.Deliverer, &expanded, msg)
	merged := make([]mail.Reply, len(env.To))
	for i := range members {
		merged[i] = mail.WorstOf(replies, members[i])
	}
	return merged
}

func (a Aliases) expand(generation string, addr mail.Address) []mail.Address {
	members, err := a.Expand(generation, addr)
	if err != nil || len(members) == 0 {
		return []mail.Address{addr}
	}
	return members
}
