package policy

import (
	"slices"
	"strings"

	"postern/mail"
	"postern/policy/dkim"
)

// pardon returns d with the reason why it is not done, if there is one.
func (p *Policy) pardon(d Demand, f Facts, found Findings) Demand {
	for _, reason := range []struct {
		pardons string // the checks, separated by spaces
		why     string
	}{
		{"dnsbl rate from spf dmarc dns greylist filter", p.allowed(f)},
		{"dnsbl rate greylist", p.exempted(f)},
		{"dnsbl spf dmarc dns greylist", p.forwarded(f, found)},
		{"dmarc", p.rescued(found)},
		{"spf dmarc dns greylist", unknown(f)},
		{"dnsbl from spf dmarc dns greylist", office(f)},
		{"dnsbl from spf dmarc dns greylist filter", p.unenforced()},
	} {
		if reason.why != "" && slices.Contains(strings.Fields(reason.pardons), d.By) {
			d.Pardon = reason.why
			break
		}
	}
	return d
}

// unknown returns why nothing is held against a message that only the address of
// its client could clear.
func unknown(f Facts) string {
	if !f.Client.IP.IsValid() {
		return "the client's address is not known"
	}
	return ""
}

// exempted returns why no list, rate and greylist stands against the client.
func (p *Policy) exempted(f Facts) string {
	if contains(p.Exempt, f.Client.IP) {
		return "the client is exempt"
	}
	return ""
}

// What pardons mail that somebody else passed on.
const (
	forwarderPardon = "the client is a forwarder"
	forwardedPardon = "forwarded by "
	sealedPardon    = "it passed when it was sealed by "
)

// forwarded returns why the message may fail SPF and DMARC.
func (p *Policy) forwarded(f Facts, found Findings) string {
	if contains(p.Forwarders.Networks, f.Client.IP) {
		return forwarderPardon
	}
	for _, s := range found.DKIM {
		if s.Verdict == dkim.Pass && within(s.Domain, p.Forwarders.Domains) {
			return forwardedPardon + s.Domain
		}
	}
	return ""
}

// within reports whether domain is one of parents, or below one.
func within(domain string, parents []string) bool {
	for _, parent := range parents {
		if domain == parent || strings.HasSuffix(domain, "."+parent) {
			return true
		}
	}
	return false
}

// office returns why a refused sender may write to these recipients.
func office(f Facts) string {
	if f.forOffice() {
		return "postmasters must be reachable"
	}
	return ""
}

func isOffice(a mail.Address) bool {
	return a.IsPostmaster() || strings.EqualFold(a.Local, "abuse") && a.IsASCII()
}

func (p *Policy) unenforced() string {
	if !p.Enforce {
		return "policies are not enforced"
	}
	return ""
}
