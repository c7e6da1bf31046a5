package main

import (
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"postern/config"
	"postern/lmtp"
	"postern/mail"
	"postern/mda"
)

// ledger returns a ledger in front of next, which remembers who has a message already.
// Its file is in the folder named half in the state folder.
func (p *parts) ledger(half string, next mail.Deliverer) *mda.Ledger {
	dir := filepath.Join(p.config.State, half)
	_ = os.MkdirAll(dir, 0o700) // if it is missing, the log will say what that means
	l := mda.OpenLedger(filepath.Join(dir, "delivered"), p.config.Ledger, next, p.log)
	l.Record = p.outcome
	return l
}

// stack returns what stands between the LMTP server and the agent. In the order in which
// a message passes it, it makes the maps as new as the MX's, expands aliases, and serves
// nobody twice.
func (p *parts) stack(agent *mda.Agent) (mail.Deliverer, *mda.Ledger) {
	ledger := p.ledger("mda", timed{agent, p.metrics, "", stageDeliver})
	aliases := mda.Aliases{Deliverer: ledger, Expand: func(generation string, addr mail.Address) ([]mail.Address, error) {
		members, err := lookup(p.recipients.At(generation), addr)
		addrs := make([]mail.Address, len(members))
		for i, m := range members {
			addrs[i] = mail.Address{Local: m.Local, Domain: m.Domain}
		}
		return addrs, err
	}}
	return &mda.InStep{
		Deliverer: aliases,
		Current:   func() string { return p.recipients.Current().ID() },
		Knows:     func(generation string) bool { return p.recipients.At(generation).ID() == generation },
		CatchUp:   p.recipients.CatchUp,
	}, ledger
}

// A nextHop is what the MX hands messages to. A delivery agent of ours that trusts the
// MX remembers by itself who has a message; for any other, the ledger does.
type nextHop struct {
	*lmtp.Client
	ledger *mda.Ledger
}

var _ mail.Deliverer = (*nextHop)(nil)

func (p *parts) nextHop() *nextHop {
	c := p.config
	client := &lmtp.Client{
		Dial:     lmtp.Dialer(c.MX.DeliverTo.Network, c.MX.DeliverTo.Address),
		Hostname: c.Hostname,
	}
	return &nextHop{client, p.ledger("mx", handedOn{client, p.outcome})}
}

// handedOn records what a next hop that is not ours answered for each recipient:
// its text has the name by which its own log knows the delivery.
type handedOn struct {
	mail.Deliverer
	record func(mail.Outcome)
}

// Deliver implements mail.Deliverer.
func (h handedOn) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	begun := time.Now()
	replies := mail.Deliver(ctx, h.Deliverer, env, msg)
	for i, to := range env.To {
		o := env.Outcome(mail.Delivery)
		o.To, o.Size, o.Reply, o.Took = []mail.Address{to.Address}, msg.Size(), replies[i], time.Since(begun)
		h.record(o)
	}
	return replies
}

// Deliver implements mail.Deliverer.
func (n *nextHop) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	if n.Remembers() {
		return n.Client.Deliver(ctx, env, msg)
	}
	return n.ledger.Deliver(ctx, env, msg)
}

// heard is for mx.Server.Heard.
func (n *nextHop) heard(id string) {
	n.ledger.Heard(id)
	n.Client.Heard(id)
}

func (n *nextHop) close() {
	n.Client.Close()
	_ = n.ledger.Close() // all was written when it came
}

// ourUsers returns the numbers of the users that an MX of ours runs as.
func (p *parts) ourUsers() []int {
	return userIDs(p.config.MDA.MXUsers, config.MXUser, func(name string, err error) {
		p.log.Warn("mda.mx_users names a user that cannot be looked up: an MX that runs as it is not trusted", "user", name, "cause", err)
	})
}

// userIDs returns the numbers of the users in names, and calls unknown for each that
// cannot be found. It does not for usual, the default, if there is no such user: then
// nobody asked for it.
func userIDs(names []string, usual string, unknown func(name string, err error)) []int {
	var ids []int
	for _, name := range names {
		id, err := strconv.Atoi(name)
		if err != nil {
			var u *user.User
			if u, err = user.Lookup(name); err == nil {
				id, err = strconv.Atoi(u.Uid)
			}
		}
		var none user.UnknownUserError
		switch {
		case err == nil:
			ids = append(ids, id)
		case name == usual && errors.As(err, &none):
		default:
			unknown(name, err)
		}
	}
	return ids
}
