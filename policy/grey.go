package policy

import (
	"fmt"
	"time"

	"postern/mail"
	"postern/policy/dmarc"
	"postern/policy/dnsbl"
	"postern/policy/spf"
)

// greylist puts off the first message of a stranger (RFC 6647): one whom the
// author's domain does not stand behind, and no list of good addresses knows.
func (p *Policy) greylist(f Facts, found Findings) (Demand, bool) {
	g := f.Greylist
	switch {
	case !p.Greylist || g == nil || g.Known || g.Waited:
		return Demand{}, false
	case found.DMARC.Verdict == dmarc.Pass || found.Client.Lists.Verdict == dnsbl.Exempt:
		return Demand{}, false
	case found.DMARC.Verdict == dmarc.TempError || found.SPF.Verdict == spf.TempError:
		return Demand{}, false // or a resolver that is sick would put off everybody
	}
	d := Demand{By: "greylist", Action: Defer, Why: g.Sender + " from " + g.Origin + " is a stranger"}
	if !g.Since.IsZero() {
		d.Why = fmt.Sprintf("%s from %s came back too early, after %v", g.Sender, g.Origin, f.Time.Sub(g.Since).Round(time.Second))
	}
	return d.replying(mail.Greylisted), true
}

// acquaintance asks the greylist about the sender of a message. A nil result says
// that nobody was asked.
func (c *Case) acquaintance(found Findings) *Acquaintance {
	if !c.policy.Greylist {
		return nil
	}
	f := c.record.Facts
	origin, sender := greyKey(f, found.SPF)
	state := c.judge.Greylist.Look(origin, sender, f.Time)
	return &Acquaintance{Origin: origin, Sender: sender, Known: state.Known, Since: state.Since, Waited: state.Waited}
}

// remember tells the greylist what the client heard of the message. Only who had to
// wait and did so becomes known, not who had no need to.
func (c *Case) remember(reply mail.Reply) {
	f := c.record.Facts
	g := f.Greylist
	switch {
	case g == nil:
	case reply.OK() && (g.Known || g.Waited):
		c.judge.Greylist.Know(g.Origin, f.Time)
	case reply.Is(mail.Greylisted):
		c.judge.Greylist.PutOff(g.Origin, g.Sender, f.Time)
	}
}

// greyKey returns who the sender of a message is to the greylist: the address,
// and where it comes from. A domain that sends from many networks says by SPF
// that they are one.
func greyKey(f Facts, s spf.Result) (origin, sender string) {
	origin = f.Client.Network().String()
	if s.Verdict == spf.Pass && !f.From.IsNull() {
		origin = s.Domain
	}
	return origin, f.From.String()
}
