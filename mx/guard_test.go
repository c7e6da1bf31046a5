package mx

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/dialogue"
	"postern/internal/dns"
	"postern/mail"
	"postern/policy"
)

// visits lets n clients from addr send mail, each for a domain of its own, and
// expects reply to each.
func (h *house) visits(t *testing.T, n int, addr, say string) {
	t.Helper()
	for i := range n {
		client, server := net.Pipe()
		h.dialledFrom(server, addr)
		dialogue.Play(t, client, fmt.Sprintf(greeting+"C: EHLO client%d.example\nS: ...\nS: 250 *\nC: MAIL FROM:<a@client%d.example>\n", i, i)+say)
		_ = client.Close()
		synctest.Wait()
	}
}

// Behind something that hides the clients, their one address says nothing of
// them: it has no share, is no exemption, and fails no SPF; and it is said loudly.
func TestGuardHiddenClients(t *testing.T) {
	const proxy = "172.17.0.1:4321"
	inHouse(t, func(t *testing.T, h *house) {
		var log strings.Builder
		h.Log = slog.New(slog.NewTextHandler(&log, nil))
		h.PerClient = PerClient{Connections: 1, Errors: 3}
		h.judged(t, dns.Zone{
			"TXT client100.example":        {"v=spf1 ip4:198.51.100.1 -all"},
			"TXT _dmarc.client100.example": {"v=DMARC1; p=reject"},
		})
		// In the beginning it is somebody.
		h.visits(t, 1, proxy, "S: 250 *\nC: WHAT\nS: 500 *\n")
		h.visits(t, nearlyAll-2, proxy, "S: 250 *\n")
		first, server := net.Pipe()
		h.dialledFrom(server, proxy)
		dialogue.Play(t, first, ehlo)
		second, server := net.Pipe()
		h.dialledFrom(server, proxy)
		dialogue.Play(t, second, "S: 421 4.7.0 mx.example too many connections*\nS.")
		if h.ClientsHidden().IsValid() {
			t.Fatal("too early")
		}
		dialogue.Play(t, first, "C: MAIL FROM:<a@client99.example>\nS: 250 *\n")
		synctest.Wait()
		if got := h.ClientsHidden(); got != netip.MustParseAddr("172.17.0.1") || strings.Count(log.String(), "level=ERROR") != 1 {
			t.Fatalf("hidden by %v; log:\n%s", got, log.String())
		}
		// Now it is everybody: any number of connections and errors, no SPF.
		h.visits(t, 3, proxy, "S: 250 *\nC: WHAT\nS: 500 *\nC: WHAT\nS: 500 *\n")
		client, server := net.Pipe()
		h.dialledFrom(server, proxy)
		dialogue.Play(t, client, ehlo+"C: MAIL FROM:<a@client100.example>\nS: 250 *\nC: RCPT TO:<ann@mx.example>\nS: 250 *\n"+
			data+"C: From: a@client100.example\nC: .\nS: 250 *\n"+quit)
		if got := h.delivered(t); got.env.Client.IP.String() != "172.17.0.1" || strings.Contains(got.text, "iprev=") {
			t.Errorf("delivered %+v, %q", got.env.Client, got.text)
		}
		if o := h.outcome(t, mail.EndOfData); !strings.Contains(o.Note, "pardoned: the client's address is not known") {
			t.Errorf("noted %q", o.Note)
		}
		// Others are judged by theirs, still.
		client, server = net.Pipe()
		h.dialledFrom(server, "203.0.113.7:4321")
		dialogue.Play(t, client, ehlo+"C: MAIL FROM:<a@client100.example>\nS: 250 *\nC: RCPT TO:<ann@mx.example>\nS: 250 *\n"+
			data+"C: From: a@client100.example\nC: .\nS: 550 5.7.26 *\n"+quit)
		if strings.Count(log.String(), "level=ERROR") != 1 {
			t.Errorf("said more than once an hour:\n%s", log.String())
		}
		// And so is it, when the others come again.
		for i := range watched {
			h.visits(t, 1, fmt.Sprintf("203.0.%d.7:4321", i), "S: 250 *\n")
		}
		if h.ClientsHidden().IsValid() {
			t.Error("still hidden")
		}
	})
}

// An exemption is none for everybody.
func TestGuardExemption(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.judged(t, dns.Zone{})
		p := &policy.Policy{Enforce: true, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
		h.Judge.Policy = func() *policy.Policy { return p }
		h.PerClient.Exempt = p.Exempt
		var clients []mail.Client
		h.Judge.Closed = func(r *policy.Record) { clients = append(clients, r.Facts.Client) }
		h.visits(t, watched+1, "127.0.0.1:4321", "S: 250 *\n")
		if first, last := clients[0], clients[watched]; !first.IP.IsLoopback() || last.IP.IsValid() {
			t.Errorf("judged by %v, and then by %v", first, last)
		}
	})
}

// Neither a program of one's own that sends most of the mail is taken for the
// world, nor a public address, nor what is seen through a proxy that says whose
// connections it passes on.
func TestGuardLeavesAlone(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	ip := netip.MustParseAddr
	tests := []struct {
		name   string
		visit  func(i int) (netip.Addr, string)
		hidden bool
	}{
		{"the world", func(i int) (netip.Addr, string) {
			return ip(fmt.Sprintf("203.0.113.%d", i)), fmt.Sprint(i)
		}, false},
		{"all by one private address", func(i int) (netip.Addr, string) { return ip("10.0.2.100"), fmt.Sprint(i) }, true},
		{"by that of IPv6", func(i int) (netip.Addr, string) { return ip("fd00::1"), fmt.Sprint(i) }, true},
		{"by that of a carrier", func(i int) (netip.Addr, string) { return ip("100.64.0.1"), fmt.Sprint(i) }, true},
		{"by a public one", func(i int) (netip.Addr, string) { return ip("203.0.113.1"), fmt.Sprint(i) }, false},
		{"a program of one's own", func(int) (netip.Addr, string) { return ip("10.0.0.5"), "here.example" }, false},
		{"which sends for some", func(i int) (netip.Addr, string) { return ip("10.0.0.5"), fmt.Sprint(i % 9) }, false},
		{"one in ten comes by itself", func(i int) (netip.Addr, string) {
			if i%10 == 0 {
				return ip("203.0.113.1"), fmt.Sprint(i)
			}
			return ip("10.0.0.5"), fmt.Sprint(i)
		}, false},
	}
	for _, tt := range tests {
		var g guard
		for i := range 3 * watched {
			addr, domain := tt.visit(i % 250)
			g.see(log, addr, mail.Address{Local: "a", Domain: domain})
		}
		if got := g.hides().IsValid(); got != tt.hidden {
			t.Errorf("%s: %v", tt.name, g.hides())
		}
	}
	inHouse(t, func(t *testing.T, h *house) {
		h.behindXClient("10.0.0.5/32")
		for i := range watched + 1 {
			client, server := net.Pipe()
			h.dialledFrom(server, "10.0.0.5:4321")
			dialogue.Play(t, client, fmt.Sprintf(greeting+"C: XCLIENT ADDR=10.1.2.3\nS: 220 *\nC: EHLO x\nS: ...\nS: 250 *\nC: MAIL FROM:<a@client%d.example>\nS: 250 *\n", i))
			_ = client.Close()
		}
		if h.ClientsHidden().IsValid() {
			t.Error("hidden, though introduced")
		}
	})
}
