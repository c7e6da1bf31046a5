package spf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/mail"
)

// maxQuestions is what one check may ask: the record; for each of ten terms its
// own question and ten names; the names of the client, once; the explanation.
const maxQuestions = 1 + maxLookups*(1+maxNames) + 1 + maxNames + 1

// A counter keeps the names that the world is asked for.
type counter struct {
	dns.Resolver
	asked []string
}

func (c *counter) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.asked = append(c.asked, name)
	return c.Resolver.LookupTXT(ctx, name)
}

func (c *counter) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	c.asked = append(c.asked, name)
	return c.Resolver.LookupMX(ctx, name)
}

func (c *counter) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	c.asked = append(c.asked, host)
	return c.Resolver.LookupNetIP(ctx, network, host)
}

func (c *counter) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	c.asked = append(c.asked, addr)
	return c.Resolver.LookupAddr(ctx, addr)
}

// parseZone reads lines of a type, a name and an answer.
func parseZone(text string) dns.Zone {
	zone := dns.Zone{}
	for line := range strings.Lines(text) {
		typ, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		name, answer, _ := strings.Cut(rest, " ")
		if _, err := netip.ParseAddr(answer); (typ == "A" || typ == "AAAA") && err != nil && answer != "SERVFAIL" || answer == "TIMEOUT" {
			continue
		}
		key := typ + " " + strings.ToLower(name)
		zone[key] = append(zone[key], answer)
	}
	return zone
}

// Whatever the world and the client say, a check ends, within its limits.
func FuzzCheck(f *testing.F) {
	f.Add("TXT a.example v=spf1 include:a.example ptr mx -all", "192.0.2.1", "a.example", "a.example")
	f.Add("TXT a.example v=spf1 redirect=b.example\nTXT b.example v=spf1 mx a:%{p}.x exists:%{l}.%{d} -all exp=e.example\n"+
		"TXT e.example %{p}%{S}\nMX b.example 1 m.example\nA m.example 192.0.2.2\nPTR 192.0.2.1 b.example\nA b.example 192.0.2.1",
		"192.0.2.1", "a.example", "h.example")
	f.Add("TXT a.example v=spf1 ptr a ptr mx ptr ptr ptr ptr ?all\nMX a.example 1 SERVFAIL\nPTR ::1 a.example\nAAAA a.example SERVFAIL", "::1", "a.example", "")
	f.Fuzz(func(t *testing.T, world, client, domain, hello string) {
		ip, err := netip.ParseAddr(client)
		if err != nil || len(world) > 4096 {
			return
		}
		q := Query{IP: ip, Hello: hello, Sender: mail.Address{Local: "ann", Domain: domain}}
		resolver := &counter{Resolver: parseZone(world)}
		got := CheckMailFrom(t.Context(), resolver, q)
		if len(resolver.asked) > maxQuestions || len(resolver.asked) != len(got.Asked) {
			t.Errorf("%d questions, %d in the evidence", len(resolver.asked), len(got.Asked))
		}
		if got.Lookups > maxLookups || got.Voids > maxVoids+1 || len(got.Chain) > maxLookups+1 {
			t.Errorf("%d lookups, %d voids, chain %q", got.Lookups, got.Voids, got.Chain)
		}
		decided := slices.Contains([]Verdict{Pass, Fail, SoftFail, Neutral}, got.Verdict)
		if decided != (got.Mechanism != "") || decided != (got.Problem == "") {
			t.Errorf("%s with mechanism %q and problem %q", got.Verdict, got.Mechanism, got.Problem)
		}
		if got.Voids > maxVoids && got.Verdict != PermError {
			t.Errorf("%s after %d voids", got.Verdict, got.Voids)
		}
		if len(got.Explanation) > maxExplanation || got.Explanation != "" && got.Verdict != Fail {
			t.Errorf("%s, explained by %q", got.Verdict, got.Explanation)
		}
		for _, s := range append(got.Chain, got.Mechanism, got.Problem, got.Explanation, fmt.Sprint(got.Asked)) {
			if !isVisible(s) {
				t.Errorf("not printable: %q", s)
			}
		}
		if again := CheckMailFrom(t.Context(), resolver, q); !reflect.DeepEqual(got, again) {
			t.Errorf("%v, and then %v", got, again)
		}
	})
}
