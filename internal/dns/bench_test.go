package dns_test

import (
	"fmt"
	"testing"

	"postern/internal/dns"
	"postern/internal/dns/dnstest"
)

func BenchmarkHit(b *testing.B) {
	s := dnstest.Start(b, world)
	c := newClient(b, dns.Config{Servers: []string{s.Addr}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.LookupTXT(b.Context(), "good.example"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHitAbsent(b *testing.B) {
	s := dnstest.Start(b, world)
	c := newClient(b, dns.Config{Servers: []string{s.Addr}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.LookupTXT(b.Context(), "nowhere.example"); !dns.NotFound(err) {
			b.Fatal(err)
		}
	}
}

func BenchmarkHitParallel(b *testing.B) {
	s := dnstest.Start(b, world)
	c := newClient(b, dns.Config{Servers: []string{s.Addr}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.LookupTXT(b.Context(), "good.example"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMiss asks for names that are not in the cache, of a server in the
// same process, whose work is in the figures.
func BenchmarkMiss(b *testing.B) {
	s := dnstest.Start(b, dns.Zone{})
	c := newClient(b, dns.Config{Servers: []string{s.Addr}})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := c.LookupTXT(b.Context(), fmt.Sprintf("%d.example", i)); !dns.NotFound(err) {
			b.Fatal(err)
		}
	}
}
