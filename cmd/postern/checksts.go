package main

import (
	"context"
	"errors"
	"net"
	"slices"

	"postern/config"
	"postern/internal/publish"
)

// mtaSTS looks whether the policy that a domain publishes (RFC 8461) is one by
// which mail comes here.
func (l *checklist) mtaSTS(ctx context.Context, ask publish.Ask, c *config.Config, domain string) {
	records, _ := ask.Records(ctx, "TXT", "_mta-sts."+domain)
	if len(records) == 0 {
		return
	}
	l.policyRecord("MTA-STS", "_mta-sts."+domain, "v=STSv1", records)
	text, err := ask.FetchSTS(ctx, domain)
	var unreachable *net.OpError
	switch {
	case errors.As(err, &unreachable) || errors.Is(err, context.DeadlineExceeded):
		l.add(toKnow, "its mx lines must have "+c.Hostname, "the MTA-STS policy of %s cannot be had from here: %v", domain, err)
	case err != nil:
		l.add(shouldMend, "serve it as text at "+publish.STSURL(domain), "senders cannot have the MTA-STS policy of %s: %v", domain, err)
	default:
		l.stsPolicy(c, domain, text)
	}
}

// stsPolicy compares a policy with this host.
func (l *checklist) stsPolicy(c *config.Config, domain, text string) {
	p := publish.ParseSTS(text)
	level, effect := shouldMend, "senders would not deliver, were its mode enforce"
	if p.Mode == "enforce" {
		level, effect = mustMend, "senders that follow it do not deliver"
	}
	switch {
	case p.Version != "STSv1" || !slices.Contains([]string{"enforce", "testing", "none"}, p.Mode):
		l.add(shouldMend, "it begins with version: STSv1, and has mode: enforce, testing or none", "the MTA-STS policy of %s is none: version %q, mode %q", domain, p.Version, p.Mode)
	case p.Mode == "none":
	case !p.Names(c.Hostname):
		l.add(level, "add mx: "+c.Hostname+", then a new id to _mta-sts."+domain, "the MTA-STS policy of %s has %s, and not %s: %s", domain, orNone(p.MX), c.Hostname, effect)
	case len(c.MX.TLS) == 0:
		l.add(level, "configure mx.tls, or remove the policy", "the MTA-STS policy of %s wants TLS, and there is no certificate: %s", domain, effect)
	}
}
