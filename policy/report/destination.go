package report

import (
	"context"
	"net/url"
	"strings"

	"postern/internal/dns"
)

// A Destination is where a domain wants reports to be sent.
type Destination struct {
	URI     string
	Problem string // why none may be sent there; empty: one may
}

// maxDestinations bounds the destinations that are looked at.
const maxDestinations = 10

// Destinations returns where the record of domain wants reports to be sent, and
// whether they may be: somebody else's address takes part only if its domain says
// so (RFC 9990, section 4).
func Destinations(ctx context.Context, r dns.Resolver, domain, record string) []Destination {
	var all []Destination
	for uri := range strings.SplitSeq(Tags(record)["rua"], ",") {
		uri, _, _ = strings.Cut(strings.Trim(uri, " \t"), "!") // a size was allowed once
		if uri != "" && len(all) < maxDestinations {
			all = append(all, Destination{uri, problem(ctx, r, domain, uri)})
		}
	}
	return all
}

// problem returns why reports about domain may not be sent to uri.
func problem(ctx context.Context, r dns.Resolver, domain, uri string) string {
	u, err := url.Parse(uri)
	if err != nil || !strings.EqualFold(u.Scheme, "mailto") {
		return "only mailto is known"
	}
	at := strings.LastIndexByte(u.Opaque, '@')
	if at < 1 || at == len(u.Opaque)-1 {
		return "no address"
	}
	host := strings.ToLower(u.Opaque[at+1:])
	if host == domain || strings.HasSuffix(host, "."+domain) {
		return ""
	}
	name := domain + "._report._dmarc." + host
	texts, err := r.LookupTXT(ctx, name)
	if err != nil && !dns.NotFound(err) {
		return "no answer from the DNS about " + name
	}
	for _, text := range texts {
		if first, _, _ := strings.Cut(text, ";"); strings.ReplaceAll(first, " ", "") == "v=DMARC1" {
			return ""
		}
	}
	return host + " does not want reports about " + domain
}
