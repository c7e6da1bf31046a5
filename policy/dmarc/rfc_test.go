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
	if got.Policy != Reject || !got.Testing || got.Disposition != Quarantine {
		t.Errorf("%+v", got)
	}
}

// Section 4.10: the walk, its discarded records, its end, and its limit.
func TestSection410(t *testing.T) {
	tests := []struct {
		name    string
		author  string
		records map[string]string
		asked   string
		org     string
	}{
		{"step 1 to 7", "a.mail.example.com", nil, "a.mail.example.com mail.example.com example.com com", "a.mail.example.com"},
		{"step 2: several records are none", "a.example.com", map[string]string{"a.example.com": "v=DMARC1;p=none\nv=DMARC1;psd=n", "example.com": "v=DMARC1;p=none"},
			"a.example.com example.com com", "example.com"},
		{"step 2: other versions are none", "a.example.com", map[string]string{"a.example.com": "v=DMARC2;psd=n", "example.com": "v=DMARC1;p=none"},
			"a.example.com example.com com", "example.com"},
		{"step 4: eight labels", "a.b.c.d.e.f.example.com", nil,
			"a.b.c.d.e.f.example.com b.c.d.e.f.example.com c.d.e.f.example.com d.e.f.example.com e.f.example.com f.example.com example.com com", "a.b.c.d.e.f.example.com"},
		{"step 4: nine labels", "x.a.b.c.d.e.f.example.com", nil,
			"x.a.b.c.d.e.f.example.com b.c.d.e.f.example.com c.d.e.f.example.com d.e.f.example.com e.f.example.com f.example.com example.com com", "x.a.b.c.d.e.f.example.com"},
		{"step 4: many labels", "a.b.c.d.e.f.g.h.i.j.mail.example.com", nil,
			"a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com",
			"a.b.c.d.e.f.g.h.i.j.mail.example.com"},
		{"step 6: psd=n", "a.b.example.com", map[string]string{"b.example.com": "v=DMARC1;p=none;psd=n", "example.com": "v=DMARC1;p=none"},
			"a.b.example.com b.example.com", "b.example.com"},
		{"step 6: psd=y", "a.b.example.com", map[string]string{"example.com": "v=DMARC1;p=none;psd=y"},
			"a.b.example.com b.example.com example.com", "b.example.com"},
		{"step 6: several records, psd", "a.b.example.com", map[string]string{"b.example.com": "v=DMARC1;p=none;psd=n\nv=DMARC1;p=none", "example.com": "v=DMARC1;p=none"},
			"a.b.example.com b.example.com example.com com", "example.com"},
		{"one label", "localhost", nil, "localhost", "localhost"},
	}
	for _, tt := range tests {
		got := Check(t.Context(), row{records: tt.records}.world(), row{author: tt.author}.query())
		if strings.Join(asked(got), " ") != tt.asked || got.Org != tt.org {
			t.Errorf("%s: asked %v, org %s", tt.name, asked(got), got.Org)
		}
	}
}

// Section 4.10.1: which record applies.
func TestSection4101(t *testing.T) {
	psd := map[string]string{"bank.example": "v=DMARC1;p=reject;sp=quarantine;psd=y"}
	ask(t, []row{
		{name: "of the author domain, for its p", author: "a.example.com",
			records: map[string]string{"a.example.com": "v=DMARC1;p=none;sp=reject", "example.com": "v=DMARC1;p=reject"}, want: "fail, none by p of a.example.com"},
		{name: "of the organizational domain", author: "a.b.example.com",
			records: map[string]string{"b.example.com": "v=DMARC1;p=none", "example.com": "v=DMARC1;p=reject"}, want: "fail, reject by p of example.com"},
		{name: "of psd=n", author: "a.b.example.com",
			records: map[string]string{"b.example.com": "v=DMARC1;p=none;sp=quarantine;psd=n", "example.com": "v=DMARC1;p=reject"}, want: "fail, quarantine by sp of b.example.com"},
		{name: "of the public suffix", author: "giant.bank.example", records: psd, want: "fail, quarantine by sp of bank.example"},
		{name: "of the public suffix, below", author: "a.giant.bank.example", records: psd, want: "fail, quarantine by sp of bank.example"},
		{name: "of the public suffix for itself", author: "bank.example", records: psd, want: "fail, reject by p of bank.example"},
		{name: "not of the public suffix if the organization has one", author: "a.giant.bank.example",
			records: map[string]string{"bank.example": psd["bank.example"], "giant.bank.example": "v=DMARC1;p=none"}, want: "fail, none by p of giant.bank.example"},
		{name: "np of the public suffix", author: "fake.gov.example",
			records: map[string]string{"gov.example": "v=DMARC1;p=none;np=reject;psd=y"}, want: "fail, reject by np of gov.example"},
		{name: "none", author: "a.example.com", records: map[string]string{"example.net": "v=DMARC1;p=reject"}, want: "none: no record for a.example.com"},
		{name: "no valid policy, nobody to report to", records: map[string]string{"example.com": "v=DMARC1;p=block"}, spf: "example.com",
			want: "none: the record of example.com has no valid policy, and no rua"},
		{name: "which ends the search", author: "a.example.com", records: map[string]string{"a.example.com": "v=DMARC1", "example.com": "v=DMARC1;p=reject"},
			want: "none: the record of a.example.com has no valid policy, and no rua"},
		{name: "no valid policy, but somebody", records: map[string]string{"example.com": "v=DMARC1;rua=mailto:a@example.com"},
			want: "fail, none by p of example.com: the record has no valid policy, which counts as none"},
		{name: "invalid sp", records: reject("sp=no;rua=mailto:a@example.com"),
			want: "fail, none by p of example.com: the record has no valid policy, which counts as none"},
		{name: "passes all the same", spf: "example.com", records: map[string]string{"example.com": "v=DMARC1;rua=mailto:a@example.com"},
			want: "pass by p of example.com: the record has no valid policy, which counts as none"},
	})
}

// Section 4.10.1: errors of the DNS are neither a fail nor the lack of a record.
func TestSection4101Errors(t *testing.T) {
	sick := dns.Zone{
		"TXT _dmarc.com": {"SERVFAIL"}, "TXT _dmarc.sick.example.com": {"SERVFAIL"}, "TXT _dmarc.sick.net": {"SERVFAIL"},
		"A sub.example.com": {"SERVFAIL"},
	}
	noAnswer := func(typ, name string) string {
		return "no answer from the DNS: dns: " + typ + " " + name + ".: no answer from resolver: SERVFAIL"
	}
	ask(t, []row{
		{name: "author", author: "sick.net", zone: sick, spf: "sick.net", want: "temperror: " + noAnswer("TXT", "_dmarc.sick.net")},
		{name: "above the author", author: "a.sick.example.com", zone: sick, records: reject(""), want: "temperror: " + noAnswer("TXT", "_dmarc.sick.example.com")},
		{name: "above the author's record, same domain", zone: sick, dkim: "example.com", records: reject(""), want: passed},
		{name: "above the author's record, no identifier", zone: sick, records: reject(""), want: failed},
		{name: "above the author's record, strict", zone: sick, dkim: "a.example.com", records: reject("adkim=s"), want: failed},
		{name: "above the author's record, child", zone: sick, dkim: "a.example.com", records: reject(""), want: "temperror: " + noAnswer("TXT", "_dmarc.com")},
		{name: "identifier", zone: sick, author: "a.example.com", dkim: "sick.example.com", records: reject("psd=n"), want: "temperror: " + noAnswer("TXT", "_dmarc.sick.example.com")},
		{name: "identifier, but another is aligned", zone: sick, author: "a.example.com", dkim: "sick.example.com example.com", records: reject("psd=n"), want: passed},
		{name: "existence", zone: sick, author: "sub.example.com", records: reject("psd=n;np=none"), want: "temperror: " + noAnswer("A", "sub.example.com")},
		{name: "existence, but it passes", zone: sick, author: "sub.example.com", dkim: "example.com", records: reject("psd=n;np=none"), want: passed},
		{name: "existence, but it makes no difference", zone: sick, author: "sub.example.com", records: reject("psd=n;np=reject"), want: failed},
		{name: "SPF", spf: "?example.com", records: reject(""), want: "temperror: no answer from the DNS: spf of example.com"},
		{name: "DKIM", dkim: "?a.example.com", records: reject(""), want: "temperror: no answer from the DNS: dkim of a.example.com"},
		{name: "DKIM, strict", dkim: "?a.example.com", records: reject("adkim=s"), want: failed},
		{name: "DKIM, of somebody else", dkim: "?example.net", records: reject(""), want: failed},
		{name: "SPF, but DKIM passes", spf: "?example.com", dkim: "a.example.com", records: reject(""), want: passed},
	})
}

// Section 4.10.2: organizational domains and what is asked for them.
func TestSection4102(t *testing.T) {
	both := map[string]string{"mail.example.com": "v=DMARC1;p=none", "example.com": "v=DMARC1;p=reject"}
	psd := map[string]string{"bank.example": "v=DMARC1;p=reject;psd=y"}
	tests := []struct {
		row
		asked string
		org   string
	}{
		{row{name: "no need: the same domain", spf: "example.com", dkim: "x.example", records: reject(""), want: passed}, "example.com", ""},
		{row{name: "no need: no record", author: "a.net", spf: "b.net", want: "none: no record for a.net"}, "a.net net", "a.net"},
		{row{name: "no need: strict", spf: "a.example.com", records: reject("aspf=s"), want: failed}, "example.com", ""},
		{row{name: "no need: nothing passed", spf: "!a.example.com", records: reject(""), want: failed}, "example.com", ""},
		{row{name: "no need: another organization", spf: "a.example.net", records: reject(""), want: failed}, "example.com com", "example.com"},
		{row{name: "rule 1", author: "a.example.com", dkim: "b.example.com", records: reject("psd=n"), want: passed},
			"a.example.com example.com b.example.com", "example.com"},
		{row{name: "rule 1, below", dkim: "b.example.com", records: map[string]string{"example.com": "v=DMARC1;p=reject", "b.example.com": "v=DMARC1;psd=n"}, want: failed},
			"example.com com b.example.com", "example.com"},
		{row{name: "rule 2", author: "mail.giant.bank.example", dkim: "x.giant.bank.example", records: psd, want: "pass by p of bank.example"},
			"mail.giant.bank.example giant.bank.example bank.example x.giant.bank.example", "giant.bank.example"},
		{row{name: "rule 2, not aligned with a neighbour", author: "giant.bank.example", dkim: "mega.bank.example bank.example", records: psd, want: "fail, reject by p of bank.example"},
			"giant.bank.example bank.example", "giant.bank.example"},
		{row{name: "rule 2 does not hold for the start", author: "bank.example", dkim: "a.bank.example", records: psd, want: "fail, reject by p of bank.example"},
			"bank.example a.bank.example", "bank.example"},
		{row{name: "rule 3", author: "a.mail.example.com", dkim: "b.example.com", records: both, want: "pass by p of example.com"},
			"a.mail.example.com mail.example.com example.com com b.example.com", "example.com"},
		{row{name: "rule 3, author with a record", author: "mail.example.com", dkim: "b.example.com", records: both, want: "pass by p of mail.example.com"},
			"mail.example.com example.com com b.example.com", "example.com"},
		{row{name: "rule 3, parent without a record", author: "mail.example.com", dkim: "example.com",
			records: map[string]string{"mail.example.com": "v=DMARC1;p=reject"}, want: "fail, reject by p of mail.example.com"},
			"mail.example.com example.com com", "mail.example.com"},
	}
	for _, tt := range tests {
		got := Check(t.Context(), tt.world(), tt.query())
		if brief(got) != tt.want || strings.Join(asked(got), " ") != tt.asked || got.Org != tt.org {
			t.Errorf("%s: %s, asked %v, org %s; want %s", tt.name, brief(got), asked(got), got.Org, tt.want)
		}
	}
}

// Section 5.2: a record of a public suffix that forgets psd=y makes one
// organization of all below it, as the standard warns.
func TestSection52(t *testing.T) {
	ask(t, []row{
		{name: "forgotten", dkim: "evil.com", records: map[string]string{"com": "v=DMARC1;p=none", "example.com": "v=DMARC1;p=reject"}, want: passed},
		{name: "defended", dkim: "evil.com", records: map[string]string{"com": "v=DMARC1;p=none", "example.com": "v=DMARC1;p=reject;psd=n"}, want: failed},
	})
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
		{from("a@none.example, a@sick.example"), 3, "temperror: no answer from the DNS: dns: TXT _dmarc.sick.example.: no answer from resolver: SERVFAIL"},
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
