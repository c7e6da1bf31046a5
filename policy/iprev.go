package policy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"postern/internal/dns"
	"postern/mail"
)

// maxNames bounds the names of a client that are looked up. Honest ones have
// one or two.
const maxNames = 5

// An IPRev says whether the client's address has a name that leads back to it
// (RFC 8601, section 3). By itself it is no reason to refuse anything.
type IPRev struct {
	Verdict string // "pass", "fail", "temperror", "permerror" (section 2.7.3)
	Name    string // that leads back, or the first that does not; printable
	Problem string // why the verdict is not pass
}

// Reverse finds the name of ip.
func Reverse(ctx context.Context, r dns.Resolver, ip netip.Addr) IPRev {
	if !ip.IsValid() {
		return IPRev{Verdict: "permerror", Problem: "the client has no IP address"}
	}
	names, err := r.LookupAddr(ctx, ip.String())
	switch {
	case dns.NotFound(err) || err == nil && len(names) == 0:
		return IPRev{Verdict: "permerror", Problem: "the address has no name"}
	case err != nil:
		return IPRev{Verdict: "temperror", Problem: mail.Printable(err.Error(), maxProblem)}
	}
	network := "ip6"
	if ip.Is4() {
		network = "ip4"
	}
	found := IPRev{Verdict: "fail", Name: mail.Printable(names[0], maxName)}
	found.Problem = fmt.Sprintf("%s does not lead back", found.Name)
	for _, name := range names[:min(len(names), maxNames)] {
		addrs, err := r.LookupNetIP(ctx, network, name)
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == ip }) {
			return IPRev{Verdict: "pass", Name: mail.Printable(name, maxName)}
		}
		if err != nil && !dns.NotFound(err) {
			found.Verdict, found.Problem = "temperror", mail.Printable(err.Error(), maxProblem)
		}
	}
	return found
}

// Bounds of what the DNS says and we write down, in octets.
const (
	maxName    = 253
	maxProblem = 200
)
