// Package policy judges: it asks SPF, DKIM and their like, composes what they
// found into one decision, and writes it down where the reader of the message and
// the administrator can see it.
//
// It is in three parts. What a message is judged by are Facts: what the session
// knows, and what those answered who have a memory or live elsewhere, such as the
// rates, the greylist and the filters. A Policy is what the administrator wants.
// It examines, which is to ask the DNS and look at the octets, and it decides,
// for which it needs nothing but the Facts and the Findings. Both are functions:
// the same facts, answers and policy give the same verdict, on port 25, in a
// dialogue that only tries it, and from a record of a year ago.
//
// A Judge is the part with a memory, which a server asks: it gathers the facts,
// has the policy decide, and remembers what came of it.
//
// A resolver that is sick never makes a refusal for good, nor does a store that
// cannot be read or a filter that is away.
package policy

import (
	"net/netip"
	"time"

	"postern/mail"
	"postern/policy/access"
	"postern/policy/dnsbl"
)

const (
	// Budget is how long the questions about one transaction may take, those of
	// all recipients and of the message together.
	Budget = 10 * time.Second
	// listsWait is what of it DNS lists may use.
	listsWait = 3 * time.Second
	// authorWait is what of it is left for the author's record, however long
	// SPF and DKIM wait for theirs.
	authorWait = 2 * time.Second
)

// A Policy is how an administrator wants mail judged. It does not change while
// it is used. Where an Action is empty, the default stands.
type Policy struct {
	Hostname    string // the authserv-id of Authentication-Results (RFC 8601, section 2.5)
	Enforce     bool   // do what the checks ask for; else only write it down
	Defer       bool   // refuse for now what could not be judged for want of an answer
	ReceivedSPF bool   // add Received-SPF too (RFC 7208, section 9.1)

	DMARCReject     Action // of mail whose author's domain wants it refused; Reject
	DMARCQuarantine Action // of mail that it wants set apart; Quarantine
	Junk            string // the folder of mail that is set apart; empty: it is only marked
	SeveralFrom     Action // of mail with more than one author to show; Reject

	// Exempt are clients that no list, rate and greylist stands against.
	Exempt []netip.Prefix
	// Forwarders are those whose mail may fail SPF and DMARC, for it is their
	// forwarding that breaks it.
	Forwarders Forwarders
	// ARCTrusted are the domains whose seals are believed: mail that fails DMARC
	// is excused if one of them says that it passed before it was forwarded.
	// Lower case, A-labels; what is below them counts too.
	ARCTrusted []string

	Access    *access.List // nil: no rules
	Lists     []dnsbl.List
	Threshold int    // the score from which on a client counts as listed; 0: 1
	Listed    Action // of mail from such a client; Reject

	Greylist bool // put off what comes from strangers (RFC 6647)
	Reports  bool // find out all that aggregate reports tell (RFC 9990)
}

// Forwarders are hosts and mailing lists that pass on the mail of others.
type Forwarders struct {
	Networks []netip.Prefix
	Domains  []string // d= of a good signature, or a parent of it; lower case, A-labels
}

// An Action is what becomes of a recipient or a message.
type Action string

// The actions, from the mildest. Mark is to take it, and to write down why it
// might not have been.
const (
	Accept     Action = "accept"
	Mark       Action = "mark"
	Quarantine Action = "quarantine"
	Defer      Action = "defer"
	Reject     Action = "reject"
)

// severity orders the actions.
var severity = map[Action]int{Accept: 0, Mark: 1, Quarantine: 2, Defer: 3, Reject: 4}

// or returns a, or standard if nothing was chosen.
func (a Action) or(standard Action) Action {
	if a == "" {
		return standard
	}
	return a
}

// A Demand is what one check asks to be done, and why.
type Demand struct {
	By     string // "access", "dnsbl", "rate", "from", "spf", "dmarc", "dns", "greylist", "filter"
	Action Action
	Why    string     // for administrators
	Reply  mail.Reply // what the client hears if it is done; zero unless it is Defer or Reject
	Pardon string     // why it is not done; empty: nothing speaks against it
}

// A Decision is what becomes of a recipient or a message: the most severe of
// what the checks demand and nothing pardons.
type Decision struct {
	Action  Action
	Reply   mail.Reply // zero unless Action is Defer or Reject
	Demands []Demand
}

// Refusal returns the reply that refuses, nil if it is not refused.
func (d Decision) Refusal() error {
	if d.Action == Defer || d.Action == Reject {
		return d.Reply
	}
	return nil
}

// decide composes demands.
func decide(demands []Demand) Decision {
	d := Decision{Action: Accept, Demands: demands}
	for _, demand := range demands {
		if demand.Pardon == "" && severity[demand.Action] > severity[d.Action] {
			d.Action, d.Reply = demand.Action, demand.Reply
		}
	}
	return d
}

func contains(networks []netip.Prefix, ip netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}
