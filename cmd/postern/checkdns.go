package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/config"
	"postern/internal/dns"
	"postern/internal/publish"
)

const (
	// maxAsked bounds the domains that the DNS is asked about.
	maxAsked = 200
	// askedAtOnce bounds how many of them at a time.
	askedAtOnce = 8
)

// briefResolver returns one for who looks at the DNS, in no more than timeForDNS, and
// tells people himself what it does not answer.
func briefResolver(servers []string) (*dns.Client, error) {
	return dns.NewClient(dns.Config{Servers: servers, Timeout: time.Second, Log: slog.New(slog.DiscardHandler)})
}

func (l *checklist) dns(ctx context.Context, resolver *dns.Client, c *config.Config, r *config.Recipients) {
	l.about = "DNS"
	if _, err := resolver.Lookup(ctx, "A", c.Hostname); err != nil && !publish.Absent(err) {
		l.add(toKnow, "", "the DNS does not answer, and nothing of it was looked at: %v", err)
		return
	}
	l.dnsOfHost(ctx, resolver.Lookup, c)
	domains := r.Domains()
	if len(domains) > maxAsked {
		l.add(toKnow, "", "only %d of %d domains were looked up", maxAsked, len(domains))
		domains = domains[:maxAsked]
	}
	found := make([]checklist, len(domains))
	slots := make(chan struct{}, askedAtOnce)
	var asking sync.WaitGroup
	for i, domain := range domains {
		slots <- struct{}{}
		asking.Go(func() {
			found[i].about = "DNS"
			found[i].dnsOfDomain(ctx, resolver.Lookup, c, domain)
			<-slots
		})
	}
	asking.Wait()
	for _, f := range found {
		l.found = append(l.found, f.found...)
	}
	if ctx.Err() != nil {
		l.add(toKnow, "", "the DNS took more than %v, and not all of it was looked at", timeForDNS)
	}
}

// dnsOfHost looks at what the DNS says of this host.
func (l *checklist) dnsOfHost(ctx context.Context, ask publish.Ask, c *config.Config) {
	v4, known4 := ask.Records(ctx, "A", c.Hostname)
	v6, known6 := ask.Records(ctx, "AAAA", c.Hostname)
	addresses := slices.Concat(v4, v6)
	if known4 && known6 && len(addresses) == 0 {
		l.add(shouldMend, "add an A and an AAAA record, or correct hostname", "%s has no address", c.Hostname)
	}
	for _, address := range addresses {
		names, known := ask.Records(ctx, "PTR", address)
		named := slices.ContainsFunc(names, func(n string) bool { return publish.SameName(n, c.Hostname) })
		if known && !named {
			l.add(toKnow, "it matters where this host sends, too", "the PTR record of %s is %s, not %s", address, orNone(names), c.Hostname)
		}
	}
	l.tlsa(ctx, ask, c)
}

// tlsa compares the TLSA records (RFC 7672) with the certificates: who trusts in
// them delivers nothing if none fits.
func (l *checklist) tlsa(ctx context.Context, ask publish.Ask, c *config.Config) {
	records, _ := ask.Records(ctx, "TLSA", "_25._tcp."+c.Hostname)
	if len(records) == 0 {
		return
	}
	for _, f := range c.MX.TLS {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			continue // which is told elsewhere
		}
		if !slices.ContainsFunc(records, func(r string) bool { return publish.FitsTLSA(&pair, r) }) {
			l.add(mustMend, fmt.Sprintf("publish _25._tcp.%s TLSA %s, and wait until the old records are forgotten", c.Hostname, publish.TLSA(pair.Leaf)),
				"no TLSA record fits %s: senders with DANE do not deliver", f.Cert)
		}
	}
	if len(c.MX.TLS) == 0 {
		l.add(mustMend, "remove them, or configure mx.tls", "there are TLSA records for %s, but no certificate: senders with DANE do not deliver", c.Hostname)
	}
}

// dnsOfDomain looks at what the DNS says of one domain.
func (l *checklist) dnsOfDomain(ctx context.Context, ask publish.Ask, c *config.Config, domain string) {
	if records, known := ask.Records(ctx, "MX", domain); known {
		l.mx(records, c.Hostname, domain)
	}
	if records, known := ask.Records(ctx, "TXT", domain); known {
		l.policyRecord("SPF", domain, "v=spf1", records)
	}
	if records, known := ask.Records(ctx, "TXT", "_dmarc."+domain); known {
		l.policyRecord("DMARC", "_dmarc."+domain, "v=DMARC1", records)
	}
	l.mtaSTS(ctx, ask, c, domain)
}

func (l *checklist) mx(records []string, hostname, domain string) {
	var names []string
	for _, r := range records {
		_, name, _ := strings.Cut(r, " ")
		names = append(names, name)
	}
	switch {
	case len(names) == 0:
		l.add(shouldMend, fmt.Sprintf("publish %s MX 10 %s", domain, hostname), "%s has no MX record", domain)
	case !slices.ContainsFunc(names, func(n string) bool { return publish.SameName(n, hostname) }):
		l.add(shouldMend, "add it, if mail is to come here without another host before it", "the MX records of %s are %s, and %s is not among them", domain, strings.Join(names, ", "), hostname)
	}
}

// policyRecord notes that there are not exactly one of the records that begin
// with tag.
func (l *checklist) policyRecord(what, name, tag string, records []string) {
	switch n := len(publish.Tagged(records, tag)); {
	case n == 0 && what != "MTA-STS":
		l.add(toKnow, "anybody can write in its name", "%s has no %s record", name, what)
	case n != 1:
		l.add(shouldMend, "leave one", "%s has %d %s records, which is as good as none", name, n, what)
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "missing"
	}
	return strings.Join(names, ", ")
}
