package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/config"
)

const (
	// maxSTSPolicy is more than any policy has (RFC 8461, section 3.3, says 64 kB).
	maxSTSPolicy = 64 << 10
	// timeForSTS is how long a policy may take.
	timeForSTS = 3 * time.Second
)

// mtaSTS looks whether the policy that a domain publishes (RFC 8461) is one by
// which mail comes here.
func (l *checklist) mtaSTS(ctx context.Context, ask asker, c *config.Config, domain string) {
	records, _ := ask.ask(ctx, "TXT", "_mta-sts."+domain)
	if len(records) == 0 {
		return
	}
	l.policyRecord("MTA-STS", "_mta-sts."+domain, "v=STSv1", records)
	text, err := fetchSTS(ctx, ask, domain)
	var unreachable *net.OpError
	switch {
	case errors.As(err, &unreachable) || errors.Is(err, context.DeadlineExceeded):
		l.add(toKnow, "its mx lines must have "+c.Hostname, "the MTA-STS policy of %s cannot be had from here: %v", domain, err)
	case err != nil:
		l.add(shouldMend, "serve it as text at "+stsURL(domain), "senders cannot have the MTA-STS policy of %s: %v", domain, err)
	default:
		l.stsPolicy(c, domain, text)
	}
}

func stsURL(domain string) string { return "https://mta-sts." + domain + "/.well-known/mta-sts.txt" }

// fetchSTS gets a policy as a sender does: no redirect is followed (RFC 8461,
// section 3.3).
func fetchSTS(ctx context.Context, ask asker, domain string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeForSTS)
	defer cancel()
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return ask.dial(ctx, network, "mta-sts."+domain)
	}
	transport := &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, stsURL(domain), nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", stsURL(domain), resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxSTSPolicy))
	return string(text), err
}

// dial connects to the HTTPS server of that name, at the addresses that the
// configured DNS gives.
func (ask asker) dial(ctx context.Context, network, name string) (net.Conn, error) {
	v4, _ := ask.ask(ctx, "A", name)
	v6, _ := ask.ask(ctx, "AAAA", name)
	err := fmt.Errorf("%s has no address", name)
	for _, address := range slices.Concat(v4, v6) {
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(address, "443")); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// stsPolicy compares a policy with this host.
func (l *checklist) stsPolicy(c *config.Config, domain, text string) {
	version, mode, mxs := parseSTS(text)
	level, effect := shouldMend, "senders would not deliver, were its mode enforce"
	if mode == "enforce" {
		level, effect = mustMend, "senders that follow it do not deliver"
	}
	fits := func(pattern string) bool { return stsMatch(pattern, c.Hostname) }
	switch {
	case version != "STSv1" || !slices.Contains([]string{"enforce", "testing", "none"}, mode):
		l.add(shouldMend, "it begins with version: STSv1, and has mode: enforce, testing or none", "the MTA-STS policy of %s is none: version %q, mode %q", domain, version, mode)
	case mode == "none":
	case !slices.ContainsFunc(mxs, fits):
		l.add(level, "add mx: "+c.Hostname+", then a new id to _mta-sts."+domain, "the MTA-STS policy of %s has %s, and not %s: %s", domain, orNone(mxs), c.Hostname, effect)
	case len(c.MX.TLS) == 0:
		l.add(level, "configure mx.tls, or remove the policy", "the MTA-STS policy of %s wants TLS, and there is no certificate: %s", domain, effect)
	}
}

// parseSTS reads what matters of a policy (RFC 8461, section 3.2).
func parseSTS(text string) (version, mode string, mxs []string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "version":
			version = value
		case "mode":
			mode = value
		case "mx":
			mxs = append(mxs, value)
		}
	}
	return version, mode, mxs
}

// stsMatch reports whether a pattern names a host: a star stands for one label
// (RFC 8461, section 4.1).
func stsMatch(pattern, host string) bool {
	if rest, wild := strings.CutPrefix(pattern, "*."); wild {
		_, parent, _ := strings.Cut(host, ".")
		return sameName(rest, parent)
	}
	return sameName(pattern, host)
}
