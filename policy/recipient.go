package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/mail"
	"postern/policy/access"
	"postern/policy/dnsbl"
)

// ClientFindings is what was found out about a client before there was a
// message.
type ClientFindings struct {
	Asked bool         // the lists were asked
	Lists dnsbl.Result // what they say
}

// Client asks the DNS lists about the client of f, unless it is exempt or a forwarder.
func (p *Policy) Client(ctx context.Context, r dns.Resolver, f Facts) ClientFindings {
	if len(p.Lists) == 0 || contains(p.Exempt, f.Client.IP) || contains(p.Forwarders.Networks, f.Client.IP) {
		return ClientFindings{}
	}
	ctx, cancel := context.WithTimeout(ctx, listsWait)
	defer cancel()
	q := dnsbl.Query{IP: f.Client.IP, Threshold: p.Threshold}
	for _, l := range p.Lists {
		if !slices.Contains(f.Unused, l.String()) {
			q.Lists = append(q.Lists, l)
		}
	}
	return ClientFindings{Asked: true, Lists: dnsbl.Check(ctx, r, q)}
}

// Recipient decides whether mail for to is taken at all. Clients are refused
// here, and not when they connect: so an administrator can let somebody through
// for the sake of a recipient, a postmaster can be reached by those who are
// refused, and the log says whose mail it was.
func (p *Policy) Recipient(f Facts, c ClientFindings, to mail.Address) Decision {
	f.To = []mail.Address{to}
	if m, found := p.rule(f, to); found {
		return decide([]Demand{denial(m)})
	}
	var demands []Demand
	if d, made := p.listed(c); made {
		demands = append(demands, p.pardon(d, f, Findings{}))
	}
	for _, rate := range f.Over {
		demands = append(demands, p.pardon(Demand{
			By: "rate", Action: Defer, Reply: mail.TooManyMessages,
			Why: fmt.Sprintf("the %s %s has had its %d messages of an hour", rate.Of, rate.Whose, rate.Limit),
		}, f, Findings{}))
	}
	return decide(demands)
}

// denial is what an access rule demands.
func denial(m access.Match) Demand {
	d := Demand{By: "access", Action: Accept, Why: m.Rule}
	switch m.Action {
	case access.Deny:
		d.Action, d.Reply = Reject, mail.AccessDenied
	case access.Defer:
		d.Action, d.Reply = Defer, mail.TryAgain
	}
	if d.Action != Accept && m.Text != "" {
		d.Reply.Text = mail.Printable(m.Text, maxText)
	}
	return d
}

// maxText bounds a reply that an administrator wrote, in octets: a line holds
// 512 (RFC 5321, section 4.5.3.1.5).
const maxText = 400

// listed is what the DNS lists demand.
func (p *Policy) listed(c ClientFindings) (Demand, bool) {
	if c.Lists.Verdict != dnsbl.Listed {
		return Demand{}, false
	}
	var on, why []string
	for _, l := range c.Lists.Listings {
		if l.State == dnsbl.Present {
			on = append(on, l.List)
			why = append(why, strings.TrimSuffix(l.List+": "+l.Reason, ": "))
		}
	}
	d := Demand{By: "dnsbl", Action: p.Listed.or(Reject), Why: "listed by " + strings.Join(why, "; ")}
	return d.replying(mail.Listed.Saying("your address is listed by %s", mail.Printable(strings.Join(on, ", "), maxText))), true
}

// replying returns d with reply if its action is to refuse, and else without a reply.
func (d Demand) replying(reply mail.Reply) Demand {
	d.Reply = mail.Reply{}
	if d.Action == Reject || d.Action == Defer {
		d.Reply = reply
	}
	return d
}
