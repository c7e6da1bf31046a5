package spf

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns"
)

// Section 4.6.4: no more than ten terms of all records together ask the DNS.
func TestSection464Lookups(t *testing.T) {
	ten := "a:a.example mx:a.example exists:a.example ptr:b.example a:a.example " +
		"a:a.example a:a.example a:a.example a:a.example a:a.example"
	tooMany := "more than 10 terms ask the DNS"
	world := func(record string) dns.Zone {
		zone := records("example.org", record, "nine.example", "v=spf1 "+ten[len("a:a.example "):],
			"ten.example", "v=spf1 "+ten, "loop.example", "v=spf1 include:loop.example")
		zone["A a.example"] = []string{"198.51.100.1"}
		zone["MX a.example"] = []string{"10 a.example"}
		zone["PTR 192.0.2.1"] = []string{"a.example"}
		return zone
	}
	ask(t, []row{
		{name: "ten", zone: world("v=spf1 " + strings.ReplaceAll(ten, "exists", "?exists") + " ip4:192.0.2.1"), want: "neutral: ?exists:a.example"},
		{name: "at the limit", zone: world("v=spf1 include:nine.example -all"), want: "pass: include:nine.example > exists:a.example"},
		{name: "loop", zone: world("v=spf1 include:loop.example -all"), want: "permerror: " + strings.Repeat("include:loop.example > ", 10) + tooMany},
		{name: "redirect", zone: world(strings.ReplaceAll("v=spf1 "+ten+" redirect=ten.example", " exists:a.example", " a:a.example")),
			want: "permerror: redirect=ten.example > " + tooMany},
	})
	zone := world("v=spf1 " + strings.Repeat("a:a.example ", 10) + "ip4:192.0.2.1 -all")
	if got := CheckMailFrom(t.Context(), zone, row{}.query()); got.Verdict != Pass || got.Lookups != 10 {
		t.Errorf("ten terms: %s after %d lookups", brief(got), got.Lookups)
	}
	zone = world("v=spf1 " + strings.Repeat("a:a.example ", 11) + "ip4:192.0.2.1 -all")
	if got := CheckMailFrom(t.Context(), zone, row{}.query()); brief(got) != "permerror: "+tooMany || len(got.Asked) != 11 {
		t.Errorf("eleven terms: %s after %d questions", brief(got), len(got.Asked))
	}
}

// Section 4.6.4: void lookups. A question that nobody answers is none.
func TestSection464Voids(t *testing.T) {
	world := func(record string) dns.Zone {
		return dns.Zone{
			"TXT example.org":     {record},
			"AAAA nodata.example": {"2001:db8::1"},
			"MX mx.example":       {"10 x.example", "20 y.example", "30 z.example"},
			"A good.example":      {"192.0.2.1"},
		}
	}
	tooMany := "permerror: more than 2 terms ask for what does not exist"
	ask(t, []row{
		{name: "two", zone: world("v=spf1 a:x.example a:nodata.example a:good.example"), want: "pass: a:good.example"},
		{name: "three", zone: world("v=spf1 a:x.example mx:nodata.example exists:y.example a:good.example"), want: tooMany},
		{name: "ptr", zone: world("v=spf1 a:x.example mx:nodata.example ptr a:good.example"), want: tooMany},
		{name: "in an include", zone: world("v=spf1 a:x.example a:y.example include:z.example"), want: "permerror: include:z.example > z.example: no record"},
		{name: "names of an mx", zone: world("v=spf1 mx:mx.example a:x.example a:y.example -all"), want: "fail: -all"},
		{name: "exp", zone: world("v=spf1 a:x.example a:y.example -all exp=z.example"), want: "fail: -all"},
	})
}

// Section 4.6.4: the time for a check is over. A DNS error in ptr is no match,
// but one for lack of time must not let a later -all decide.
func TestSection464Time(t *testing.T) {
	slow := "the DNS took too long to answer"
	world := func(record string) dns.Zone {
		return dns.Zone{
			"TXT example.org":    {record},
			"PTR 192.0.2.1":      {"TIMEOUT"},
			"PTR 192.0.2.2":      {"slow.example.org"},
			"A slow.example.org": {"TIMEOUT"},
		}
	}
	rows := []row{
		{name: "record", zone: dns.Zone{"TXT example.org": {"TIMEOUT"}}, want: "temperror: TXT example.org: no answer from the DNS"},
		{name: "a", zone: world("v=spf1 a:slow.example.org -all"), want: "temperror: A slow.example.org: no answer from the DNS"},
		{name: "ptr", zone: world("v=spf1 ptr -all"), want: "temperror: " + slow},
		{name: "names of ptr", zone: world("v=spf1 ptr -all"), ip: "192.0.2.2", want: "temperror: " + slow},
		{name: "macro p", zone: world("v=spf1 exists:%{p}.example -all"), want: "temperror: " + slow},
		{name: "names of macro p", zone: world("v=spf1 exists:%{p}.example -all"), ip: "192.0.2.2", want: "temperror: " + slow},
		{name: "exp", zone: world("v=spf1 -all exp=slow.example.org"), want: "fail: -all"},
	}
	rows[6].zone["TXT slow.example.org"] = []string{"TIMEOUT"}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				start := time.Now()
				got := CheckMailFrom(ctx, r.zone, r.query())
				if brief(got) != r.want || time.Since(start) != 20*time.Second {
					t.Errorf("%s after %v, want %s", brief(got), time.Since(start), r.want)
				}
			})
		})
	}
}

// The DNS is asked for absolute names, and for those of a client once.
func TestQuestions(t *testing.T) {
	zone := dns.Zone{
		"TXT example.org":    {"v=spf1 ptr ptr:example.org exists:%{p} include:inc.example. mx -all exp=exp.example"},
		"TXT inc.example":    {"v=spf1"},
		"PTR 192.0.2.1":      {"mail.example.org."},
		"A mail.example.org": {"192.0.2.2"},
		"MX example.org":     {"0 .", "0 ", "1 mx.example."},
	}
	resolver := &counter{Resolver: zone}
	got := CheckMailFrom(t.Context(), resolver, row{}.query())
	want := []string{"example.org.", "192.0.2.1", "mail.example.org.", "unknown.", "inc.example.", "example.org.", "mx.example.", "exp.example."}
	if !slices.Equal(resolver.asked, want) {
		t.Errorf("asked for %q, want %q (%s)", resolver.asked, want, brief(got))
	}
}
