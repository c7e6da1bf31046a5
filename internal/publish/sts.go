package publish

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// maxSTSPolicy is more than any policy has (RFC 8461, section 3.3, says 64 kB).
	maxSTSPolicy = 64 << 10
	// timeForSTS is how long a policy may take.
	timeForSTS = 3 * time.Second
)

// STSURL returns where a domain serves its policy.
func STSURL(domain string) string { return "https://mta-sts." + domain + "/.well-known/mta-sts.txt" }

// FetchSTS gets a policy as a sender does: no redirect is followed (RFC 8461,
// section 3.3).
func (ask Ask) FetchSTS(ctx context.Context, domain string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeForSTS)
	defer cancel()
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return ask.dial(ctx, network, "mta-sts."+domain)
	}
	transport := &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, STSURL(domain), nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", STSURL(domain), resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxSTSPolicy))
	return string(text), err
}

// dial connects to the HTTPS server of that name, at the addresses that the
// configured DNS gives.
func (ask Ask) dial(ctx context.Context, network, name string) (net.Conn, error) {
	v4, _ := ask.Records(ctx, "A", name)
	v6, _ := ask.Records(ctx, "AAAA", name)
	err := fmt.Errorf("%s has no address", name)
	for _, address := range slices.Concat(v4, v6) {
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(address, "443")); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// An STS is what matters of a policy that is served (RFC 8461, section 3.2).
type STS struct {
	Version, Mode string
	MX            []string // patterns
}

// ParseSTS reads a policy.
func ParseSTS(text string) (p STS) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "version":
			p.Version = value
		case "mode":
			p.Mode = value
		case "mx":
			p.MX = append(p.MX, value)
		}
	}
	return p
}

// Names reports whether one of the patterns names a host: a star stands for one label
// (RFC 8461, section 4.1).
func (p STS) Names(host string) bool {
	return slices.ContainsFunc(p.MX, func(pattern string) bool {
		if rest, wild := strings.CutPrefix(pattern, "*."); wild {
			_, parent, _ := strings.Cut(host, ".")
			return SameName(rest, parent)
		}
		return SameName(pattern, host)
	})
}
