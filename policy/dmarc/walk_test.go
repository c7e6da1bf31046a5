package dmarc

import (
	"strings"
	"testing"

	"postern/internal/dns"
)

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
		return "dns: " + typ + " " + name + ".: no answer from resolver: SERVFAIL"
	}
	ask(t, []row{
		{name: "author", author: "sick.net", zone: sick, spf: "sick.net", want: "temperror: " + noAnswer("TXT", "_dmarc.sick.net")},
		{name: "above the author", author: "a.sick.example.com", zone: sick, records: reject(""), want: "temperror: " + noAnswer("TXT", "_dmarc.sick.example.com")},
		{name: "above the author's record, same domain", zone: sick, dkim: "example.com", records: reject(""), want: passed},
		{name: "above the author's record, no identifier", zone: sick, records: reject(""), want: failed},
		{name: "above the author's record, strict", zone: sick, dkim: "a.example.com", records: reject("adkim=s"), want: failed},
		{name: "above the author's record, another top-level domain", zone: sick, dkim: "example.net", records: reject(""), want: failed},
		{name: "above the author's record, child", zone: sick, dkim: "a.example.com", records: reject(""), want: "temperror: " + noAnswer("TXT", "_dmarc.com")},
		{name: "identifier", zone: sick, author: "a.example.com", dkim: "sick.example.com", records: reject("psd=n"), want: "temperror: " + noAnswer("TXT", "_dmarc.sick.example.com")},
		{name: "identifier, but another is aligned", zone: sick, author: "a.example.com", dkim: "sick.example.com example.com", records: reject("psd=n"), want: passed},
		{name: "existence", zone: sick, author: "sub.example.com", records: reject("psd=n;np=none"), want: "temperror: " + noAnswer("A", "sub.example.com")},
		{name: "existence, but it passes", zone: sick, author: "sub.example.com", dkim: "example.com", records: reject("psd=n;np=none"), want: passed},
		{name: "existence, but it makes no difference", zone: sick, author: "sub.example.com", records: reject("psd=n;np=reject"), want: failed},
		{name: "SPF", spf: "?example.com", records: reject(""), want: "temperror: spf of example.com: no answer from the DNS"},
		{name: "DKIM", dkim: "?a.example.com", records: reject(""), want: "temperror: dkim of a.example.com: no answer from the DNS"},
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
		{row{name: "no need: another organization", spf: "example.test.com", records: reject(""), want: failed}, "example.com com", "example.com"},
		{row{name: "no need: another top-level domain", spf: "a.example.net", records: reject(""), want: failed}, "example.com", ""},
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
