package spf

import (
	"context"
	"net"
	"net/netip"
	"testing"

	oracle "blitiri.com.ar/go/spf"

	"postern/internal/dns"
)

// table is a world that answers at once, so that the evaluators are measured.
type table struct {
	dns.Resolver
	texts map[string][]string
	addrs []netip.Addr
	ips   []net.IPAddr
}

func (t *table) LookupTXT(_ context.Context, name string) ([]string, error) {
	return t.texts[name], nil
}

func (t *table) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return t.addrs, nil
}

// theirTable is a table in the terms of the other implementation.
type theirTable struct{ *table }

func (t theirTable) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return t.table.LookupTXT(ctx, name+".")
}

func (t theirTable) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) {
	return t.ips, nil
}

// BenchmarkCheck runs ours and the other implementation over the same records.
func BenchmarkCheck(b *testing.B) {
	world := &table{
		texts: map[string][]string{"inc.example.": {"v=spf1 a:mail.example -all"}},
		addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		ips:   []net.IPAddr{{IP: net.ParseIP("192.0.2.1")}},
	}
	q := row{}.query()
	for _, bb := range []struct{ name, record string }{
		{"ip4", "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all"},
		{"include+a", "v=spf1 ip4:198.51.100.0/24 include:inc.example -all"},
		{"macro", "v=spf1 exists:%{ir}.%{v}.%{l1r-}._spf.%{d2} -all"},
	} {
		world.texts["example.org."] = []string{bb.record}
		b.Run(bb.name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := CheckMailFrom(b.Context(), world, q); r.Verdict != Pass {
					b.Fatal(brief(r))
				}
			}
		})
		b.Run(bb.name+"/theirs", func(b *testing.B) {
			b.ReportAllocs()
			ip, sender := net.IP(q.IP.AsSlice()), q.Sender.String()
			for b.Loop() {
				r, err := oracle.CheckHostWithSender(ip, q.Hello, sender, oracle.WithResolver(theirTable{world}), oracle.WithContext(b.Context()))
				if r != oracle.Pass {
					b.Fatal(r, err)
				}
			}
		})
	}
}
