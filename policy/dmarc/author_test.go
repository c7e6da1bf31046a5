package dmarc

import (
	"net/mail"
	"slices"
	"strings"
	"testing"

	"postern/internal/dnsname"
	"postern/internal/header"
)

// from returns the author of a message with these From fields.
func from(values ...string) Author {
	var b strings.Builder
	for _, v := range values {
		b.WriteString("From: " + v + "\r\n")
	}
	return ParseFrom(header.Scan([]byte(b.String()+"\r\nbody"), header.Limits{}))
}

// Section 5.3.1 of RFC 9989: the author domains of a From field.
func TestParseFrom(t *testing.T) {
	tests := []struct {
		value   string
		domains string // separated by spaces
		problem string
	}{
		// RFC 5322, section 3.4, and appendix A.
		{"ann@example.org", "example.org", ""},
		{"<ann@example.org>", "example.org", ""},
		{"Ann Example <ann@example.org>", "example.org", ""},
		{`"Ann, Example" <ann@example.org>`, "example.org", ""},
		{`Ann Q. Public <ann@example.org>`, "example.org", ""},
		{`"bank@bank.example" <ann@example.org>`, "example.org", ""},
		{`"a \" <x@bank.example>" <ann@example.org>`, "example.org", ""},
		{"(x@bank.example) ann@example.org (also (nested\\) ) here)", "example.org", ""},
		{"ann(a)@(b)example(c).(d)org(e)", "example.org", ""},
		{"Ann <ann @ example . org>", "example.org", ""},
		{`"a@b"@example.org`, "example.org", ""},
		{`"a b"."c"@example.org`, "example.org", ""},
		{"ann@EXAMPLE.org", "example.org", ""},
		{"ann@example.org.", "example.org", ""},
		{"ann@localhost", "localhost", ""},
		{"Ann\r\n <ann@\r\n\texample.org>", "example.org", ""},
		{"<@route.example,@other.example:ann@example.org>", "example.org", ""},
		{"ann@example.org,, bob@example.org,", "example.org", ""},
		{"ann@example.org, Bob <bob@Example.Org>, eve@example.net", "example.org example.net", ""},
		// RFC 6854: groups.
		{"Nobody:;", "", ""},
		{"Undisclosed (x@bank.example) : ;", "", ""},
		{"Team: ann@example.org, Bob <bob@example.net>;, eve@example.com", "example.org example.net example.com", ""},
		// RFC 2047 and RFC 6532.
		{"=?utf-8?q?bank=40bank.example?= <ann@example.org>", "example.org", ""},
		{"Jörg <jörg@Bücher.example>", "xn--bcher-kva.example", ""},
		{"J\xf6rg <joerg@example.org>", "example.org", ""},
		{"=?utf-8?q?ann=40example=2Eorg?=", "", "a name without an address"},
		// What is wrong, and what a reader would be shown all the same.
		{"", "", "it is empty"},
		{"Ann", "", "a name without an address"},
		{"Ann <>", "", "a name without an address"},
		{"Doe, John <john@example.org>", "example.org", "a name without an address"},
		{"ann@bank.example <x@example.org>", "example.org", `unquoted "@" in a name`},
		{"<x@example.org> ann@bank.example", "example.org bank.example", "something after an address"},
		{"<x@example.org> ann", "example.org", "something after an address"},
		{"<x@example.org> <ann@bank.example>", "example.org bank.example", "no comma after an address"},
		{"<x@example.org@bank.example>", "example.org bank.example", `more than one "@" in an address`},
		{"ann@bank.example evil.example", "bank.example", "something after a domain"},
		{"ann@example.org (unclosed", "example.org", "it ends within a comment, a quoted string or a group"},
		{`"Ann <ann@example.org>`, "", "it ends within a comment, a quoted string or a group"},
		{`ann@"bank.example"`, "", "something after a domain"},
		{"ann@\xff.example", "", `"\xff.example" is not a domain name`},
		{"ann@\u2488.example", "", `"?.example" is not a domain name`},
		{"ann@" + strings.Repeat("a.", 126) + "aa", strings.Repeat("a.", 126) + "aa", `"` + (strings.Repeat("a.", 126) + "aa")[:199]},
		{"Ann <ann@example.org", "example.org", `"<" without ">"`},
		{"ann@example.org>", "example.org", `">" without "<"`},
		{"@example.org", "example.org", "bad local part"},
		{"ann bob@example.org", "example.org", "bad local part"},
		{"ann..bob@example.org", "example.org", "bad local part"},
		{"ann@", "", `"" is not a domain name`},
		{"ann@[192.0.2.1]", "", `"[192.0.2.1]" is not a domain name`},
		{"ann@example..org", "example..org", `"example..org" is not a domain name`},
		{"ann@exa\xffmple.org", "", `"exa\xffmple.org" is not a domain name`},
		{"ann@" + strings.Repeat("a", 64) + ".org", strings.Repeat("a", 64) + ".org", `"` + strings.Repeat("a", 64) + `.org" is not a domain name`},
		{"Team: ann@example.org", "example.org", "it ends within a comment, a quoted string or a group"},
		{"ann@example.org; bob@example.net", "example.org example.net", "a group within a group, or the end of none"},
		{"A: B: ann@example.org;;", "example.org", "a group within a group, or the end of none"},
		{"ann@bank.example: x@example.org;", "example.org", `unquoted "@" in a name`},
	}
	for _, tt := range tests {
		got := from(tt.value)
		if domains := strings.Join(got.Domains, " "); domains != tt.domains || got.Fields != 1 {
			t.Errorf("%q: %q in %d fields, want %q", tt.value, domains, got.Fields, tt.domains)
		}
		if got.Malformed != "" {
			got.Malformed = strings.TrimPrefix(got.Malformed, "From field: ")
		}
		if got.Malformed != tt.problem {
			t.Errorf("%q: %q, want %q", tt.value, got.Malformed, tt.problem)
		}
	}
}

// Repeated fields are counted; none hides another.
func TestParseFromRepeated(t *testing.T) {
	if got := from(); got.Fields != 0 || got.Domains != nil {
		t.Errorf("no field: %+v", got)
	}
	got := from("ann@example.org", "eve@bank.example")
	if got.Fields != 2 || !slices.Equal(got.Domains, []string{"example.org", "bank.example"}) {
		t.Errorf("two fields: %+v", got)
	}
	h := header.Scan([]byte("from : ann@example.org\r\nFROM:eve@bank.example\r\nX-From: a@b.example\r\n\r\n"), header.Limits{})
	if got := ParseFrom(h); got.Fields != 2 || len(got.Domains) != 2 {
		t.Errorf("in other spellings: %+v", got)
	}
}

func TestParseFromBound(t *testing.T) {
	var addresses []string
	for c := 'a'; c <= 'z'; c++ {
		addresses = append(addresses, "ann@"+string(c)+".example")
	}
	got := from(strings.Join(addresses, ","))
	if len(got.Domains) != maxDomains || got.Malformed != "From field: more than 16 domains" {
		t.Errorf("%d domains, %q", len(got.Domains), got.Malformed)
	}
}

// Whatever the field: domains are names, or spelled as such, each once; they stand in the field if
// it is ASCII; and what the standard library understands we understand alike.
func FuzzParseFrom(f *testing.F) {
	for _, s := range []string{
		`"Ann, E." <ann@example.org> (x), <@a,@b:c@d.example>`, "g: a@b.example, c@d.example;, e@[192.0.2.1]",
		`"a@b"@c.example <d@e.example`, "Jörg <j@bücher.example>", "a . b @ c . d (e (f) \\( )", "=?utf-8?q?a?= <a@b.c>", "<>", ":;,@.",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if len(value) > 2048 || strings.Contains(value, "\r\n") {
			return
		}
		got := from(value)
		for i, name := range got.Domains {
			again, ok := dnsname.Canonical(name)
			if !ok && got.Malformed != "" {
				again, ok = impossible(name)
			}
			if !ok || again != name || slices.Contains(got.Domains[:i], name) {
				t.Errorf("%q: domain %q", value, name)
			}
		}
		compareWithStandard(t, value, got)
	})
}

func compareWithStandard(t *testing.T, value string, got Author) {
	list, err := mail.ParseAddressList(value)
	if err != nil {
		return
	}
	var want []string
	for _, addr := range list {
		name, ok := dnsname.Canonical(addr.Address[strings.LastIndexByte(addr.Address, '@')+1:])
		if !ok {
			return
		}
		if !slices.Contains(want, name) && len(want) < maxDomains {
			want = append(want, name)
		}
	}
	if !slices.Equal(got.Domains, want) {
		t.Errorf("%q: %q, the standard library found %q", value, got.Domains, want)
	}
	if got.Malformed != "" && len(want) < maxDomains {
		t.Errorf("%q: %s, but the standard library understands it", value, got.Malformed)
	}
}
