package dmarc

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns"
)

// A row is a message in a world: records are those at _dmarc.NAME. The domain
// that SPF authenticated, and those that DKIM did, may begin with "?" for a
// temporary error, or with "!" for a failure.
type row struct {
	name    string
	author  string // example.com if empty
	spf     string
	dkim    string // several are separated by spaces
	records map[string]string
	zone    dns.Zone // besides the records
	want    string   // as brief returns it
}

func identifier(m Method, s string) Identifier {
	name := strings.TrimLeft(s, "?!")
	return Identifier{Method: m, Domain: name, Pass: s == name, TempError: strings.HasPrefix(s, "?")}
}

func (r row) query() Query {
	q := Query{Author: from("ann@" + cmp.Or(r.author, "example.com"))}
	if r.spf != "" {
		q.Identifiers = append(q.Identifiers, identifier(SPF, r.spf))
	}
	for name := range strings.FieldsSeq(r.dkim) {
		q.Identifiers = append(q.Identifiers, identifier(DKIM, name))
	}
	return q
}

func (r row) world() dns.Zone {
	zone := dns.Zone{}
	for name, text := range r.records {
		zone["TXT _dmarc."+name] = strings.Split(text, "\n")
	}
	for key, answers := range r.zone {
		zone[key] = answers
	}
	return zone
}

// brief returns a result on one line: "fail, reject by sp of example.com".
func brief(r Result) string {
	s := string(r.Verdict)
	if r.Verdict == Fail {
		s += ", " + string(r.Disposition)
	}
	if r.Tag != "" {
		s += " by " + r.Tag + " of " + r.RecordDomain
	}
	if r.Problem != "" {
		s += ": " + r.Problem
	}
	return s
}

// asked returns the domains whose records were asked for, and "?NAME" for
// whether one exists.
func asked(r Result) []string {
	var names []string
	for _, s := range r.Asked {
		if s.Type == "A" {
			names = append(names, "?"+s.Name)
		} else {
			names = append(names, strings.TrimPrefix(s.Name, "_dmarc."))
		}
	}
	return names
}

func ask(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got := Check(t.Context(), r.world(), r.query())
			if brief(got) != r.want {
				t.Errorf("got  %s\nwant %s\nasked %v\nfound %+v", brief(got), r.want, got.Asked, got.Findings)
			}
		})
	}
}

// reject is a world with one record.
func reject(tags string) map[string]string {
	return map[string]string{"example.com": "v=DMARC1; p=reject; " + tags}
}

const (
	failed = "fail, reject by p of example.com"
	passed = "pass by p of example.com"
)

// Section 4.1: a message passes if one mechanism passes and is aligned.
func TestSection41(t *testing.T) {
	ask(t, []row{
		{name: "SPF", spf: "example.com", records: reject(""), want: passed},
		{name: "DKIM", dkim: "example.com", records: reject(""), want: passed},
		{name: "none", records: reject(""), want: failed},
		{name: "aligned, but failed", spf: "!example.com", dkim: "!example.com", records: reject(""), want: failed},
		{name: "passed, but not aligned", spf: "example.net", dkim: "example.org", records: reject(""), want: failed},
		{name: "one is aligned, another passed", spf: "!example.com", dkim: "example.net", records: reject(""), want: failed},
	})
}

// Section 4.4: alignment, relaxed by default, strict on demand, in any case.
func TestSection44(t *testing.T) {
	ask(t, []row{
		{name: "child", spf: "mail.example.com", records: reject(""), want: passed},
		{name: "case", spf: "EXAMPLE.COM.", dkim: "!x.example", records: reject("aspf=s"), want: passed},
		{name: "case of a child", dkim: "Mail.EXAMPLE.com", records: reject(""), want: passed},
		{name: "no label", spf: "notexample.com", dkim: "com", records: reject(""), want: failed},
		{name: "strict SPF", spf: "mail.example.com", records: reject("aspf=s"), want: failed},
		{name: "strict SPF, relaxed DKIM", spf: "mail.example.com", dkim: "mail.example.com", records: reject("aspf=s"), want: passed},
		{name: "strict DKIM", dkim: "mail.example.com", records: reject("adkim=s"), want: failed},
		{name: "strict and the same", dkim: "example.com", records: reject("adkim=s"), want: passed},
		{name: "mode of the record that applies", author: "a.example.com", dkim: "example.com", records: reject("adkim=s"), want: failed},
	})
}

// Section 4.4.1: any aligned signature will do.
func TestSection441(t *testing.T) {
	ask(t, []row{
		{name: "last of many", dkim: "a.example !example.com b.example example.com", records: reject(""), want: passed},
		{name: "too many", dkim: strings.Repeat("a.example ", MaxIdentifiers) + "example.com", records: reject(""), want: failed},
	})
}

// Section 4.5: the strings of a record are joined, which the resolver does; other
// TXT records at the name mean nothing.
func TestSection45(t *testing.T) {
	ask(t, []row{
		{name: "among others", records: map[string]string{"example.com": "x\nv=DMARC1;p=reject\nv=spf1 -all"}, want: failed},
	})
}

// Section 4.7: sp, np and t.
func TestSection47(t *testing.T) {
	a := func(name, tags, want string) row {
		return row{name: name, author: "sub.example.com", records: reject(tags), want: want,
			zone: dns.Zone{"MX sub.example.com": {"10 mx.example.com"}}}
	}
	gone := func(name, tags, want string) row {
		r := a(name, tags, want)
		r.zone = nil
		return r
	}
	ask(t, []row{
		{name: "sp not for the domain itself", records: reject("sp=none;np=none"), want: failed},
		a("sp", "sp=quarantine", "fail, quarantine by sp of example.com"),
		a("sp inherits p", "", "fail, reject by p of example.com"),
		a("np not where it exists", "sp=quarantine;np=none", "fail, quarantine by sp of example.com"),
		a("np not where it exists, no sp", "np=none", "fail, reject by p of example.com"),
		gone("np", "sp=quarantine;np=none", "fail, none by np of example.com"),
		gone("np inherits sp", "sp=quarantine", "fail, quarantine by sp of example.com"),
		gone("np inherits p", "", "fail, reject by p of example.com"),
		{name: "a label too long to exist", author: strings.Repeat("a", 64) + ".example.com", records: reject("np=quarantine"),
			want: `fail, quarantine by np of example.com: From field: "` + strings.Repeat("a", 64) + `.example.com" is not a domain name`},
		{name: "an empty label", author: "a..example.com", records: reject(""), want: failed + `: From field: "a..example.com" is not a domain name`},
		{name: "a name below exists, so it does", author: "sub.example.com", records: reject("np=none"),
			zone: dns.Zone{"A www.sub.example.com": {"192.0.2.1"}}, want: "fail, reject by p of example.com"},
		{name: "t of reject", records: reject("t=y"), want: "fail, quarantine by p of example.com"},
		{name: "t of quarantine", records: map[string]string{"example.com": "v=DMARC1;p=quarantine;t=y"}, want: "fail, none by p of example.com"},
		{name: "t of none", records: map[string]string{"example.com": "v=DMARC1;p=none;t=y"}, want: "fail, none by p of example.com"},
		a("t of sp", "sp=reject;t=y", "fail, quarantine by sp of example.com"),
		gone("t of np", "np=quarantine;t=y", "fail, none by np of example.com"),
		{name: "pct", records: reject("pct=0"), want: failed},
	})
	got := Check(t.Context(), row{records: reject("t=y")}.world(), row{}.query())
	if got.Policy != Reject || !got.Testing || got.Disposition != Quarantine || got.Applied() != Quarantine {
		t.Errorf("%+v", got)
	}
	got = Check(t.Context(), row{records: reject("t=y")}.world(), row{spf: "example.com"}.query())
	if got.Verdict != Pass || got.Disposition != PolicyNone || got.Applied() != Quarantine {
		t.Errorf("one that passes: %+v", got)
	}
}

// Sections 5.3.1 and 11.5: messages that have not one author domain.
func TestSection531(t *testing.T) {
	zone := row{records: map[string]string{
		"reject.example": "v=DMARC1;p=reject", "quarantine.example": "v=DMARC1;p=quarantine", "none.example": "v=DMARC1;p=none", "good.example": "v=DMARC1;p=reject",
		"sick.example": "SERVFAIL",
	}}.world()
	tests := []struct {
		author Author
		max    int
		want   string
	}{
		{from(), 0, "permerror: no From field"},
		{from("a@good.example", "a@good.example"), 9, "permerror: more than one From field"},
		{from(""), 0, "permerror: From field: it is empty"},
		{from("Ann"), 0, "permerror: From field: a name without an address"},
		{from("Ann:;"), 0, "none: no address in the From field"},
		{from("ann@[192.0.2.1]"), 0, `permerror: From field: "[192.0.2.1]" is not a domain name`},
		{from("a@good.example, b@GOOD.example"), 0, "pass by p of good.example"},
		{from("a@good.example (x"), 0, "pass by p of good.example: From field: it ends within a comment, a quoted string or a group"},
		{from("a@good.example, a@reject.example"), 0, "permerror: 2 domains in the From field"},
		{from("a@good.example, a@reject.example"), 2, "fail, reject by p of reject.example"},
		{from("a@reject.example, a@good.example"), 2, "fail, reject by p of reject.example"},
		{from("a@none.example, a@quarantine.example, a@reject.example"), 2, "permerror: 3 domains in the From field"},
		{from("a@none.example, a@quarantine.example, a@reject.example"), 3, "fail, reject by p of reject.example"},
		{from("a@quarantine.example, a@sick.example"), 3, "fail, quarantine by p of quarantine.example"},
		{from("a@none.example, a@sick.example"), 3, "temperror: dns: TXT _dmarc.sick.example.: no answer from resolver: SERVFAIL"},
		{from("a@none.example, a@no.test"), 3, "fail, none by p of none.example"},
		{from("a@good.example, a@no.test"), 3, "none: no record for no.test"},
	}
	for _, tt := range tests {
		q := Query{Author: tt.author, MaxAuthors: tt.max, Identifiers: []Identifier{identifier(SPF, "good.example")}}
		if got := Check(t.Context(), zone, q); brief(got) != tt.want || got.Disposition == "" {
			t.Errorf("%v: %s, want %s", tt.author.Domains, brief(got), tt.want)
		}
	}
	// A U-label is looked up as an A-label.
	got := Check(t.Context(), dns.Zone{"TXT _dmarc.xn--bcher-kva.example": {"v=DMARC1;p=reject"}}, Query{Author: from("jörg@bücher.example")})
	if want := "fail, reject by p of xn--bcher-kva.example"; brief(got) != want {
		t.Errorf("%s, want %s", brief(got), want)
	}
}

// Section 5.3.4: what is told of each identifier.
func TestSection534(t *testing.T) {
	r := row{author: "a.example.com", spf: "!a.example.com", dkim: "x.example b.example.com c.example.com", records: reject("")}
	got := Check(t.Context(), r.world(), r.query())
	want := []Finding{
		{Identifier{SPF, "a.example.com", false, false}, Strict, ""},
		{Identifier{DKIM, "x.example", true, false}, Unaligned, ""},
		{Identifier{DKIM, "b.example.com", true, false}, Relaxed, "example.com"},
		{Identifier{DKIM, "c.example.com", true, false}, NotNeeded, ""},
	}
	if !slices.Equal(got.Findings, want) {
		t.Errorf("%+v, want %+v", got.Findings, want)
	}
	r.zone = dns.Zone{"TXT _dmarc.b.example.com": {"SERVFAIL"}, "TXT _dmarc.c.example.com": {"v=DMARC1;psd=n"}}
	got = Check(t.Context(), r.world(), r.query())
	want[2].Alignment, want[2].Org = Unknown, ""
	want[3].Alignment, want[3].Org = Unaligned, "c.example.com"
	if !slices.Equal(got.Findings, want) {
		t.Errorf("%+v, want %+v", got.Findings, want)
	}
}

// The evidence has each question once, with its answer.
func TestEvidence(t *testing.T) {
	r := row{author: "sub.example.com", dkim: "sick.example.com", records: reject("np=none"), zone: dns.Zone{"A sub.example.com": {"192.0.2.1", "192.0.2.2"},
		"TXT _dmarc.sub.example.com": {"x\n", "y"}, "TXT _dmarc.sick.example.com": {"v=DMARC1;psd=n"}}}
	got := Check(t.Context(), r.world(), r.query())
	var lines []string
	for _, s := range got.Asked {
		lines = append(lines, s.String())
	}
	want := `TXT _dmarc.sub.example.com: x? | y
TXT _dmarc.example.com: v=DMARC1; p=reject; np=none
TXT _dmarc.com: no such name
TXT _dmarc.sick.example.com: v=DMARC1;psd=n
A sub.example.com: 192.0.2.1 | 192.0.2.2`
	if strings.Join(lines, "\n") != want {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(lines, "\n"), want)
	}
	if got.Record != "v=DMARC1; p=reject; np=none" || got.Org != "example.com" {
		t.Errorf("record %q, org %s", got.Record, got.Org)
	}
}

// Section 5.4: a policy of none asks for nothing, whatever the verdict.
func TestSection54(t *testing.T) {
	none := map[string]string{"example.com": "v=DMARC1;p=none"}
	for _, r := range []row{{spf: "example.com", records: none}, {records: none}, {}, {spf: "?example.com", records: reject("")}} {
		if got := Check(t.Context(), r.world(), r.query()); got.Disposition != PolicyNone {
			t.Errorf("%s: %s", brief(got), got.Disposition)
		}
	}
}

// Appendices B.1 and B.4: the examples of the standard.
func TestAppendixB(t *testing.T) {
	child := map[string]string{"example.com": "v=DMARC1;p=reject", "signing.example.com": "v=DMARC1;p=reject"}
	deep := "a.b.c.d.e.f.g.h.i.j.k.example.com"
	bank := map[string]string{"bank.example": "v=DMARC1;p=reject;psd=y", "giant.bank.example": "v=DMARC1;p=quarantine"}
	ask(t, []row{
		{name: "B.1.1, 1", spf: "example.com", records: reject(""), want: passed},
		{name: "B.1.1, 2", spf: "child.example.com", records: reject(""), want: passed},
		{name: "B.1.1, 3", author: "child.example.com", spf: "example.net", records: reject(""), want: failed},
		{name: "B.1.2, 1", dkim: "example.com", records: reject(""), want: passed},
		{name: "B.1.2, 2", author: "child.example.com", dkim: "example.com", records: reject(""), want: passed},
		{name: "B.1.2, 3", author: "child.example.com", dkim: "example.net", records: reject(""), want: failed},
		{name: "B.4.1, SPF", spf: "example.com", records: child, want: passed},
		{name: "B.4.1, DKIM", dkim: "signing.example.com", records: child, want: passed},
		{name: "B.4.2, SPF", author: deep, spf: "example.com", records: child, want: passed},
		{name: "B.4.2, DKIM", author: deep, dkim: "signing.example.com", records: child, want: passed},
		{name: "B.4.3, SPF", author: "giant.bank.example", spf: "mail.giant.bank.example", records: bank, want: "pass by p of giant.bank.example"},
		{name: "B.4.3, DKIM", author: "giant.bank.example", dkim: "mail.mega.bank.example", records: bank, want: "fail, quarantine by p of giant.bank.example"},
	})
}
