package dns_test

import (
	"strings"
	"testing"

	wire "github.com/miekg/dns"

	"postern/internal/dns"
)

func TestZoneLine(t *testing.T) {
	for _, tt := range []struct{ name, typ, text, want string }{
		{"a.example", "MX", "10 mx.a.example", "a.example.\t60\tIN\tMX\t10 mx.a.example."},
		{"a.example", "MX", "0 .", "a.example.\t60\tIN\tMX\t0 ."},
		{"_25._tcp.mx.example", "TLSA", "3 1 1 abcd", "_25._tcp.mx.example.\t60\tIN\tTLSA\t3 1 1 abcd"},
		{"a.example", "TXT", "", "a.example.\t60\tIN\tTXT\t\"\""},
		{"a.example.", "TXT", `say "hi"; \o`, "a.example.\t60\tIN\tTXT\t" + `"say \"hi\"; \\o"`},
		{"a.example", "TXT", "x\nb. 1 IN A 192.0.2.1", "a.example.\t60\tIN\tTXT\t" + `"x\010b. 1 IN A 192.0.2.1"`},
	} {
		if got := dns.ZoneLine(tt.name, 60, tt.typ, tt.text); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// What is written as a line of a zone file is read back as that record, and as
// nothing beside it.
func FuzzZoneLine(f *testing.F) {
	f.Add("a.example", "v=spf1 mx -all")
	f.Add("$ORIGIN", "\n; \" \\ \x00\xff")
	f.Add("@", strings.Repeat("x", 300))
	f.Add("a b;(c)", "")
	f.Fuzz(func(t *testing.T, name, text string) {
		if len(name) > 60 || len(text) > 10_000 || strings.ContainsAny(name, ".\\") || name == "" {
			return
		}
		zone := wire.NewZoneParser(strings.NewReader(dns.ZoneLine(name, 60, "TXT", text)+"\n"), "", "")
		rr, ok := zone.Next()
		if !ok {
			t.Fatalf("not read: %v: %s", zone.Err(), dns.ZoneLine(name, 60, "TXT", text))
		}
		if owner := dns.Unescape(strings.TrimSuffix(rr.Header().Name, ".")); owner != name {
			t.Errorf("name %q became %q", name, owner)
		}
		var got strings.Builder
		for _, s := range rr.(*wire.TXT).Txt {
			got.WriteString(dns.Unescape(s))
		}
		if got.String() != text {
			t.Errorf("%q became %q", text, got.String())
		}
		if rr, more := zone.Next(); more || zone.Err() != nil {
			t.Errorf("more than one record: %v, %v", rr, zone.Err())
		}
	})
}
