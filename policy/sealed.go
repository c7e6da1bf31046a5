package policy

import (
	"slices"
	"strings"

	"postern/policy/arc"
	"postern/policy/authres"
	"postern/policy/dkim"
)

// rescued returns why a message may fail DMARC that passed it on its way: a
// forwarder whom the administrator trusts has sealed that it did (RFC 8617,
// section 7.2). Empty: nobody has.
func (p *Policy) rescued(found Findings) string {
	if found.ARC.Verdict != arc.Pass {
		return ""
	}
	return p.vouched(found)
}

// vouched returns what trusted sealers say for the author of a message, whether
// or not the chain is good. A chain proves who said what, in which order, so that
// only what is said by those at its end counts, up to the first who is not
// trusted. Of them each saw the message as the one before left it, and the last
// signed its From as it is now.
func (p *Policy) vouched(found Findings) string {
	sets := found.ARC.Sets
	if len(p.ARCTrusted) == 0 || len(sets) == 0 || len(found.Author.Domains) != 1 || !sets[len(sets)-1].Message.FromSigned {
		return ""
	}
	for _, s := range slices.Backward(sets) {
		if !within(s.Domain, p.ARCTrusted) {
			break
		}
		if passedAt(s, found.Author.Domains[0]) {
			return sealedPardon + s.Domain
		}
	}
	return ""
}

// passedAt reports whether s says that the message of that author passed DMARC.
func passedAt(s arc.Set, author string) bool {
	f, err := authres.Parse(s.Payload)
	return err == nil && slices.ContainsFunc(f.Results, func(r authres.Result) bool {
		return r.Method == "dmarc" && r.Value == "pass" && strings.EqualFold(r.Prop("header.from"), author)
	})
}

// unproved reports whether an answer of the DNS is missing without which it is
// not known whether somebody whom we trust passed the message on.
func (p *Policy) unproved(found Findings) bool {
	if found.ARC.Verdict == arc.TempError && p.vouched(found) != "" {
		return true
	}
	return slices.ContainsFunc(found.DKIM, func(s dkim.Result) bool {
		return s.Verdict == dkim.TempError && within(s.Domain, p.Forwarders.Domains)
	})
}
