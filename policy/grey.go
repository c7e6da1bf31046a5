package policy

import (
	"fmt"

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
	}
	d := Demand{By: "greylist", Action: Defer, Why: "a stranger: " + g.Key}
	if !g.Since.IsZero() {
		d.Why = fmt.Sprintf("%s came back too early, after %v", g.Key, f.Time.Sub(g.Since))
	}
	return d.replying(mail.Greylisted), true
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
