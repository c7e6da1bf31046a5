package dnstest_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/dns/dnstest"
)

// TestServer changes all that can be changed while a server runs.
func TestServer(t *testing.T) {
	s := dnstest.Start(t, dns.Zone{"A a.example": {"192.0.2.1"}})
	c, err := dns.NewClient(dns.Config{Servers: []string{s.Addr}, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(want string) {
		t.Helper()
		addrs, err := c.LookupNetIP(t.Context(), "ip4", "a.example")
		switch {
		case want == "" && !errors.Is(err, dns.ErrTemporary):
			t.Errorf("got %v, %v", addrs, err)
		case want != "" && (err != nil || len(addrs) != 1 || addrs[0].String() != want):
			t.Errorf("got %v, %v; want %s", addrs, err, want)
		}
	}
	s.TTL(0, 0)
	ask("192.0.2.1")
	s.Serve(dns.Zone{"A a.example": {"192.0.2.2"}})
	ask("192.0.2.2")
	s.Be(dnstest.Refused)
	ask("")
	s.Be(dnstest.Honest)
	ask("192.0.2.2")
	s.Delay(time.Second)
	ask("")
	s.Delay(0)
	ask("192.0.2.2")
	if asked := s.Asked(); len(asked) < 5 || slices.ContainsFunc(asked, func(q string) bool { return q != "A a.example" }) {
		t.Errorf("asked %q", asked)
	}
	if s.OverTCP() != 0 {
		t.Errorf("%d over TCP", s.OverTCP())
	}
}
