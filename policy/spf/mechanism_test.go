package spf

import (
	"slices"
	"strings"
	"testing"

	"postern/internal/dns"
)

// Section 4.7: the default.
func TestSection47(t *testing.T) {
	ask(t, []row{
		{name: "empty", zone: records("example.org", "v=spf1"), want: "neutral: default"},
		{name: "no match", zone: records("example.org", "v=spf1 -ip4:198.51.100.1"), want: "neutral: default"},
		{name: "of the redirect", zone: records("example.org", "v=spf1 redirect=b.example", "b.example", "v=spf1"), want: "neutral: redirect=b.example > default"},
	})
}

// Section 4.8: targets that are no names in the DNS do not exist.
func TestSection48(t *testing.T) {
	long := strings.Repeat("a", 64) + ".example"
	for _, target := range []string{"a..example", ".example.com", long} {
		for _, term := range []string{"a", "mx", "exists", "ptr"} {
			zone := records("example.org", "v=spf1 "+term+":"+target+" ~all")
			got := CheckMailFrom(t.Context(), zone, row{}.query())
			if ptr := term == "ptr"; brief(got) != "softfail: ~all" || !ptr && (got.Voids != 0 || len(got.Asked) != 1) {
				t.Errorf("%s:%s: %s, asked %v", term, target, brief(got), got.Asked)
			}
		}
		zone := records("example.org", "v=spf1 include:"+target+" ~all")
		want := "permerror: include:" + target + " > " + target + ": not a fully qualified domain name"
		if got := CheckMailFrom(t.Context(), zone, row{}.query()); brief(got) != want {
			t.Errorf("%s, want %s", brief(got), want)
		}
	}
}

// Section 5: which address the client has, and what a DNS error does.
func TestSection5(t *testing.T) {
	v4 := records("example.org", "v=spf1 ip6:::ffff:0:0/96 ip4:192.0.2.0/24 -all")
	v6 := records("example.org", "v=spf1 ip4:0.0.0.0/0 ip6:fe80::/10 -all")
	sick := func(record string) dns.Zone {
		zone := records("example.org", record, "sick.example", "SERVFAIL")
		zone["A sick.example"] = []string{"SERVFAIL"}
		zone["MX sick.example"] = []string{"SERVFAIL"}
		zone["MX half.example"] = []string{"10 sick.example"}
		zone["PTR 192.0.2.1"] = []string{"SERVFAIL"}
		return zone
	}
	ask(t, []row{
		{name: "IPv4", zone: v4, want: "pass: ip4:192.0.2.0/24"},
		{name: "mapped", zone: v4, ip: "::ffff:192.0.2.1", want: "pass: ip4:192.0.2.0/24"},
		{name: "IPv6", zone: v6, ip: "fe80::1", want: "pass: ip6:fe80::/10"},
		{name: "with a zone", zone: v6, ip: "fe80::1%eth0", want: "pass: ip6:fe80::/10"},
		{name: "a", zone: sick("v=spf1 a:sick.example -all"), want: "temperror: A sick.example: no answer from the DNS"},
		{name: "mx", zone: sick("v=spf1 mx:sick.example -all"), want: "temperror: MX sick.example: no answer from the DNS"},
		{name: "names of mx", zone: sick("v=spf1 mx:half.example -all"), want: "temperror: A sick.example: no answer from the DNS"},
		{name: "exists", zone: sick("v=spf1 exists:sick.example -all"), want: "temperror: A sick.example: no answer from the DNS"},
		{name: "include", zone: sick("v=spf1 include:sick.example -all"), want: "temperror: include:sick.example > TXT sick.example: no answer from the DNS"},
		{name: "redirect", zone: sick("v=spf1 redirect=sick.example"), want: "temperror: redirect=sick.example > TXT sick.example: no answer from the DNS"},
		{name: "ptr", zone: sick("v=spf1 ptr ptr ptr ptr -all"), want: "fail: -all"}, // nor is it void
		{name: "decided before", zone: sick("v=spf1 ip4:192.0.2.1 a:sick.example -all"), want: "pass: ip4:192.0.2.1"},
	})
}

// Section 5.2: what becomes of the verdict of an included record.
func TestSection52(t *testing.T) {
	world := func(included string) dns.Zone {
		return records("example.org", "v=spf1 ~include:inc.example ip4:192.0.2.1 -all",
			"inc.example", included, "deep.example", "v=spf1 ip4:192.0.2.1")
	}
	ask(t, []row{
		{name: "pass", zone: world("v=spf1 all"), want: "softfail: ~include:inc.example > all"},
		{name: "fail", zone: world("v=spf1 -all"), want: "pass: ip4:192.0.2.1"},
		{name: "softfail", zone: world("v=spf1 ~all"), want: "pass: ip4:192.0.2.1"},
		{name: "neutral", zone: world("v=spf1"), want: "pass: ip4:192.0.2.1"},
		{name: "temperror", zone: world("SERVFAIL"), want: "temperror: ~include:inc.example > TXT inc.example: no answer from the DNS"},
		{name: "permerror", zone: world("v=spf1 x"), want: "permerror: ~include:inc.example > inc.example: x: unknown mechanism"},
		{name: "none", zone: world("no"), want: "permerror: ~include:inc.example > inc.example: no record"},
		{name: "deep", zone: world("v=spf1 include:deep.example"), want: "softfail: ~include:inc.example > include:deep.example > ip4:192.0.2.1"},
		{name: "redirect", zone: world("v=spf1 redirect=deep.example"), want: "softfail: ~include:inc.example > redirect=deep.example > ip4:192.0.2.1"},
		{name: "redirect that fails", zone: records("example.org", "v=spf1 include:a.example -all", "a.example", "v=spf1 redirect=b.example", "b.example", "v=spf1 -all"),
			want: "fail: -all"},
	})
}

// Sections 5.3 and 5.4: a and mx.
func TestSection53And54(t *testing.T) {
	world := func(record string) dns.Zone {
		return dns.Zone{
			"TXT example.org":   {record},
			"A example.org":     {"198.51.100.7", "192.0.2.1"},
			"AAAA example.org":  {"2001:db8::7"},
			"MX example.org":    {"0 .", "5 bad..name", "10 other.example", "20 example.org"},
			"A other.example":   {"192.0.2.77"},
			"MX many.example":   slices.Repeat([]string{"1 other.example"}, 11),
			"MX enough.example": append(slices.Repeat([]string{"1 gone.example"}, 9), "2 example.org"),
		}
	}
	ask(t, []row{
		{name: "a", zone: world("v=spf1 a -all"), want: "pass: a"},
		{name: "a IPv6", zone: world("v=spf1 a -all"), ip: "2001:db8::7", want: "pass: a"},
		{name: "a with a name", zone: world("v=spf1 A:other.example/26 -all"), ip: "192.0.2.64", want: "pass: A:other.example/26"},
		{name: "a in no network of IPv6", zone: world("v=spf1 a/0 -all"), ip: "2001:db8::8", want: "fail: -all"},
		{name: "a in a network of IPv6", zone: world("v=spf1 a/32//64 -all"), ip: "2001:db8::8", want: "pass: a/32//64"},
		{name: "mx", zone: world("v=spf1 mx -all"), want: "pass: mx"},
		{name: "mx with lengths", zone: world("v=spf1 mx:example.org/24//64 -all"), ip: "2001:db8::8", want: "pass: mx:example.org/24//64"},
		{name: "mx is no a", zone: world("v=spf1 mx:other.example -all"), ip: "192.0.2.77", want: "fail: -all"},
		{name: "eleven", zone: world("v=spf1 mx:many.example -all"), ip: "192.0.2.77", want: "permerror: mx:many.example: more than 10 MX records"},
		{name: "ten", zone: world("v=spf1 mx:enough.example -all"), want: "pass: mx:enough.example"},
	})
}

// Section 5.5: ptr believes a name only if the name has the address.
func TestSection55(t *testing.T) {
	world := func(record string, names ...string) dns.Zone {
		return dns.Zone{
			"TXT example.org":     {record},
			"PTR 192.0.2.1":       names,
			"A mail.example.org":  {"192.0.2.1"},
			"A notexample.org":    {"192.0.2.1"},
			"A false.example.org": {"192.0.2.2"},
			"A sick.example.org":  {"SERVFAIL"},
			"A example.org":       {"192.0.2.1"},
		}
	}
	eleventh := append(slices.Repeat([]string{"other.example"}, 10), "mail.example.org")
	ask(t, []row{
		{name: "below", zone: world("v=spf1 ptr -all", "Mail.Example.ORG."), want: "pass: ptr"},
		{name: "itself", zone: world("v=spf1 ptr -all", "example.org"), want: "pass: ptr"},
		{name: "target", zone: world("v=spf1 ptr:mail.example.org -all", "mail.example.org"), want: "pass: ptr:mail.example.org"},
		{name: "not a label", zone: world("v=spf1 ptr -all", "notexample.org"), want: "fail: -all"},
		{name: "a lie", zone: world("v=spf1 ptr -all", "false.example.org"), want: "fail: -all"},
		{name: "sick, then good", zone: world("v=spf1 ptr -all", "sick.example.org", "mail.example.org"), want: "pass: ptr"},
		{name: "eleventh", zone: world("v=spf1 ptr -all", eleventh...), want: "fail: -all"},
		{name: "tenth", zone: world("v=spf1 ptr -all", eleventh[1:]...), want: "pass: ptr"},
		{name: "no name", zone: world("v=spf1 ptr -all", "a..example.org"), want: "fail: -all"},
	})
}

// Section 5.7: exists asks for an A record, whatever the client.
func TestSection57(t *testing.T) {
	zone := dns.Zone{
		"TXT example.org":                 {"v=spf1 exists:%{ir}.%{v}.%{d} -all"},
		"A 1.2.0.192.in-addr.example.org": {"127.0.0.1"},
		"A " + strings.Repeat("0.", 23) + "0.8.b.d.0.1.0.0.2.ip6.example.org": {"127.0.0.1"},
		"A 1." + strings.Repeat("0.", 23) + "8.b.d.0.1.0.0.2.ip6.example.org": {"127.0.0.1"},
		"AAAA 2.2.0.192.in-addr.example.org":                                  {"2001:db8::1"},
	}
	match, all := "pass: exists:%{ir}.%{v}.%{d}", "fail: -all"
	ask(t, []row{
		{name: "IPv4", zone: zone, want: match},
		{name: "IPv6", zone: zone, ip: "2001:db8::1", want: match},
		{name: "IPv6, other", zone: zone, ip: "2001:db8::2", want: all},
		{name: "AAAA", zone: zone, ip: "192.0.2.2", want: all},
	})
}

// Section 6.1: redirect.
func TestSection61(t *testing.T) {
	world := func(record string) dns.Zone {
		return records("example.org", record, "b.example", "v=spf1 exists:%{d}.%{o} ~all", "bad.example", "v=spf1 x", "twice.example", "v=spf1 redirect=b.example")
	}
	ask(t, []row{
		{name: "verdict", zone: world("v=spf1 redirect=b.example"), want: "softfail: redirect=b.example > ~all"},
		{name: "after all terms", zone: world("v=spf1 REDIRECT=b.example ip4:192.0.2.1"), want: "pass: ip4:192.0.2.1"},
		{name: "with all", zone: world("v=spf1 redirect=bad.example -all"), want: "fail: -all"},
		{name: "twice", zone: world("v=spf1 redirect=twice.example"), want: "softfail: redirect=twice.example > redirect=b.example > ~all"},
		{name: "none", zone: world("v=spf1 redirect=gone.example"), want: "permerror: redirect=gone.example > gone.example: no record"},
		{name: "malformed", zone: world("v=spf1 redirect=%{h}%{l}"), want: "permerror: redirect=%{h}%{l} > client.exampleann: no record"},
		{name: "no name", zone: world("v=spf1 redirect=%{l}"), want: "permerror: redirect=%{l} > ann: not a fully qualified domain name"},
		{name: "permerror", zone: world("v=spf1 redirect=bad.example"), want: "permerror: redirect=bad.example > bad.example: x: unknown mechanism"},
	})
}
