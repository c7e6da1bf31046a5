package spf

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/mail"
)

// A row asks one question of a world. Unless it says so, mail of ann@example.org
// comes from 192.0.2.1.
type row struct {
	name   string
	zone   dns.Zone
	ip     string
	hello  string
	sender mail.Address
	want   string // as brief returns it
}

func (r row) query() Query {
	q := Query{
		IP:       netip.MustParseAddr(cmp.Or(r.ip, "192.0.2.1")),
		Hello:    cmp.Or(r.hello, "client.example"),
		Sender:   r.sender,
		Receiver: "mx.example",
		Now:      time.Unix(1e9, 0),
	}
	if q.Sender.IsNull() {
		q.Sender = mail.Address{Local: "ann", Domain: "example.org"}
	}
	return q
}

// brief returns a verdict with the terms that led to it, or with its problem.
func brief(r Result) string {
	terms := slices.Concat(r.Chain, []string{cmp.Or(r.Mechanism, r.Problem)})
	return string(r.Verdict) + ": " + strings.Join(terms, " > ")
}

func ask(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got := CheckMailFrom(t.Context(), r.zone, r.query())
			if brief(got) != r.want {
				t.Errorf("got  %s\nwant %s\nasked %v", brief(got), r.want, got.Asked)
			}
		})
	}
}

// records is a world with TXT records alone: name, text, name, text.
func records(pairs ...string) dns.Zone {
	zone := dns.Zone{}
	for pair := range slices.Chunk(pairs, 2) {
		key := "TXT " + pair[0]
		zone[key] = append(zone[key], pair[1])
	}
	return zone
}

// Section 2.3: the HELO identity.
func TestSection23(t *testing.T) {
	zone := records("mta.example", "v=spf1 exists:%{l}.%{o} -all", "xn--bcher-kva.example", "v=spf1 -all")
	zone["A postmaster.mta.example"] = []string{"127.0.0.2"}
	tests := []struct{ hello, domain, want string }{
		{"mta.example", "mta.example", "pass: exists:%{l}.%{o}"},
		{"mta.example.", "mta.example", "pass: exists:%{l}.%{o}"},
		{"mta", "mta", "none: not a fully qualified domain name"},
		{"[192.0.2.1]", "[192.0.2.1]", "none: not a fully qualified domain name"},
		{"[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]", "none: not a fully qualified domain name"},
		{"192.0.2.1", "192.0.2.1", "none: not a fully qualified domain name"},
		{"a b.example", "a b.example", "none: not a fully qualified domain name"},
		{"Bücher.example.", "xn--bcher-kva.example", "fail: -all"},
		{"\xff.example", "\xff.example", "none: not a fully qualified domain name"},
		{"", "", "none: not a fully qualified domain name"},
		{".", "", "none: not a fully qualified domain name"},
		{"other.example", "other.example", "none: other.example: no record"},
	}
	for _, tt := range tests {
		q := row{}.query() // whose sender is not looked at
		q.Hello = tt.hello
		got := CheckHello(t.Context(), zone, q)
		if brief(got) != tt.want || got.Identity != Hello || got.Domain != tt.domain {
			t.Errorf("HELO %q: %s, %s %q; want %s", tt.hello, brief(got), got.Identity, got.Domain, tt.want)
		}
	}
}

// Section 2.4: the MAIL FROM identity, and what stands for the null one.
func TestSection24(t *testing.T) {
	zone := records("mta.example", "v=spf1 exists:%{s} -all")
	zone["A postmaster@mta.example"] = []string{"127.0.0.2"}
	zone["A bob@mta.example"] = []string{"127.0.0.2"}
	tests := []struct {
		sender      mail.Address
		hello, want string
	}{
		{mail.Address{}, "mta.example", "pass: exists:%{s}"},
		{mail.Address{Domain: "mta.example"}, "client.example", "pass: exists:%{s}"},
		{mail.Address{Local: "bob", Domain: "mta.example"}, "client.example", "pass: exists:%{s}"},
		{mail.Address{Local: "eve", Domain: "mta.example"}, "client.example", "fail: -all"},
		{mail.Address{}, "[192.0.2.1]", "none: not a fully qualified domain name"},
		{mail.Address{Local: "bob", Domain: "[192.0.2.1]"}, "mta.example", "none: not a fully qualified domain name"},
	}
	for _, tt := range tests {
		q := row{hello: tt.hello}.query()
		q.Sender = tt.sender
		got := CheckMailFrom(t.Context(), zone, q)
		if brief(got) != tt.want || got.Identity != MailFrom {
			t.Errorf("MAIL FROM:%s, HELO %s: %s, %s; want %s", tt.sender.Path(), tt.hello, brief(got), got.Identity, tt.want)
		}
	}
}

// Section 2.6: the verdicts.
func TestSection26(t *testing.T) {
	ask(t, []row{
		{name: "none", zone: records("other.example", "v=spf1 -all"), want: "none: example.org: no record"},
		{name: "neutral", zone: records("example.org", "v=spf1 ?all"), want: "neutral: ?all"},
		{name: "pass", zone: records("example.org", "v=spf1 +all"), want: "pass: +all"},
		{name: "pass without qualifier", zone: records("example.org", "v=spf1 all"), want: "pass: all"},
		{name: "fail", zone: records("example.org", "v=spf1 -all"), want: "fail: -all"},
		{name: "softfail", zone: records("example.org", "v=spf1 ~all"), want: "softfail: ~all"},
		{name: "temperror", zone: records("example.org", "SERVFAIL"), want: "temperror: TXT example.org: no answer from the DNS"},
		{name: "permerror", zone: records("example.org", "v=spf1 -al"), want: "permerror: example.org: -al: unknown mechanism"},
	})
	got := CheckMailFrom(t.Context(), dns.Zone{}, Query{Sender: mail.Address{Domain: "example.org"}})
	if want := "none: the client has no IP address"; brief(got) != want {
		t.Errorf("without an address: %s, want %s", brief(got), want)
	}
}

// Section 4.3: names that cannot have a record.
func TestSection43(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Join([]string{label, label, label, strings.Repeat("b", 61)}, ".")
	zone := records(label+".example", "v=spf1 -all", long, "v=spf1 -all")
	tests := []struct{ domain, want string }{
		{label + ".example", "fail: -all"},
		{label + "a.example", "none: not a fully qualified domain name"},
		{long, "fail: -all"},
		{long + "b", "none: not a fully qualified domain name"},
		{"a..example", "none: not a fully qualified domain name"},
		{".example", "none: not a fully qualified domain name"},
		{"example", "none: not a fully qualified domain name"},
	}
	for _, tt := range tests {
		q := row{sender: mail.Address{Local: "ann", Domain: tt.domain}}.query()
		if got := CheckMailFrom(t.Context(), zone, q); brief(got) != tt.want {
			t.Errorf("%s: %s, want %s", tt.domain, brief(got), tt.want)
		}
	}
}

// Sections 4.4 and 4.5: which record is the one.
func TestSection45(t *testing.T) {
	ask(t, []row{
		{name: "NODATA", zone: dns.Zone{"A example.org": {"192.0.2.1"}}, want: "none: example.org: no record"},
		{name: "v=spf10", zone: records("example.org", "v=spf10 -all"), want: "none: example.org: no record"},
		{name: "tab", zone: records("example.org", "v=spf1\t-all"), want: "none: example.org: no record"},
		{name: "space before", zone: records("example.org", " v=spf1 -all"), want: "none: example.org: no record"},
		{name: "among others", zone: records("example.org", "\xff", "example.org", "", "example.org", "V=sPf1 -all"), want: "fail: -all"},
		{name: "two", zone: records("example.org", "v=spf1", "example.org", "v=spf1 -all"), want: "permerror: example.org: more than one record"},
		{name: "v=spf10 beside", zone: records("example.org", "v=spf10", "example.org", "v=spf1 -all"), want: "fail: -all"},
	})
}

func TestStrict(t *testing.T) {
	tests := []struct {
		record string
		want   bool
	}{
		{"v=spf1 -all", true},
		{"V=SPF1   -ALL  ", true},
		{"v=spf1 ~all", false},
		{"v=spf1 all", false},
		{"v=spf1 -all -all", false},
		{"v=spf1 ip4:198.51.100.1 -all", false},
		{"v=spf1 -all exp=exp.example", false},
		{"v=spf1 -all x=y", false},
		{"v=spf1 redirect=strict.example", false},
		{"v=spf1 include:strict.example", false},
		{"v=spf1", false},
		{"v=spf1 -all x", false},
	}
	for _, tt := range tests {
		zone := records("example.org", tt.record, "strict.example", "v=spf1 -all")
		if got := CheckMailFrom(t.Context(), zone, row{}.query()); got.Strict != tt.want {
			t.Errorf("%q: %t", tt.record, got.Strict)
		}
	}
}

// The evidence has every question once, in order, and what was answered.
func TestEvidence(t *testing.T) {
	zone := dns.Zone{
		"TXT example.org":   {"other", "v=spf1 a mx exists:x.example include:inc.example ptr -all exp=exp.example"},
		"A example.org":     {"198.51.100.1", "198.51.100.2"},
		"MX example.org":    {"10 mx.example"},
		"AAAA mx.example":   {"2001:db8::1"},
		"TXT inc.example":   {"v=spf1"},
		"PTR 192.0.2.1":     {"a.example.org.", "b.example"},
		"A a.example.org":   {"SERVFAIL"},
		"TXT exp.example":   {"no\x01"},
		"TXT never.example": {"asked"},
	}
	got := CheckMailFrom(t.Context(), zone, row{}.query())
	want := `TXT example.org: "other" "v=spf1 a mx exists:x.example include:inc.example ptr -all exp=exp.example"
A example.org: 198.51.100.1 198.51.100.2
MX example.org: mx.example
A mx.example: no such record
A x.example: no such name
TXT inc.example: "v=spf1"
PTR 192.0.2.1: a.example.org. b.example
A a.example.org: no answer from resolver: SERVFAIL
TXT exp.example: "no?"`
	var lines []string
	for _, l := range got.Asked {
		lines = append(lines, l.String())
	}
	if asked := strings.Join(lines, "\n"); asked != want {
		t.Errorf("asked\n%s\nwant\n%s", asked, want)
	}
	if got.Lookups != 5 || got.Voids != 1 || brief(got) != "fail: -all" {
		t.Errorf("%d lookups, %d voids, %s", got.Lookups, got.Voids, brief(got))
	}
}

// What is no problem of the record's is one of ours, and passes.
func TestForeignError(t *testing.T) {
	if v, text := explain(context.Canceled); v != TempError || text != "context canceled" {
		t.Errorf("%s: %s", v, text)
	}
}

// A net.Resolver gives some records and an error at once, and does not tell
// NXDOMAIN from NODATA.
type standardResolver struct{ dns.Zone }

func (r standardResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	mxs, _ := r.Zone.LookupMX(ctx, name)
	return mxs, &net.DNSError{Err: "bad name in answer", Name: name}
}

func (r standardResolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := r.Zone.LookupNetIP(ctx, network, host)
	for i, addr := range addrs {
		addrs[i] = netip.AddrFrom16(addr.As16())
	}
	if err != nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func TestStandardResolver(t *testing.T) {
	zone := dns.Zone{
		"TXT example.org": {"v=spf1 a mx -all"},
		"MX example.org":  {"10 mx.example"},
		"A mx.example":    {"192.0.2.1"},
	}
	got := CheckMailFrom(t.Context(), standardResolver{zone}, row{}.query())
	if brief(got) != "pass: mx" || got.Voids != 1 {
		t.Errorf("%s, %d voids", brief(got), got.Voids)
	}
	if want := "[A example.org: no such record MX example.org: mx.example A mx.example: ::ffff:192.0.2.1]"; fmt.Sprint(got.Asked[1:]) != want {
		t.Errorf("asked %v, want %s", got.Asked[1:], want)
	}
}
