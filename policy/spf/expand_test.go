package spf

import (
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/mail"
)

// Section 6.2: explanations.
func TestSection62(t *testing.T) {
	tests := []struct{ name, record, text, want string }{
		{"of a fail", "v=spf1 -all exp=exp.example", "no %{s} from %{c} at %{r}, %{t}", "no ann@example.org from 192.0.2.1 at mx.example, 1000000000"},
		{"of -include", "v=spf1 -include:pass.example exp=exp.example", "sorry", "sorry"},
		{"not of an include", "v=spf1 include:exp.example.org -all", "sorry", ""},
		{"of an included record, at its own", "v=spf1 include:exp.example.org -all exp=exp.example", "mine: %{d}", "mine: example.org"},
		{"of the target of redirect", "v=spf1 redirect=exp.example.org", "of %{d}", "of exp.example.org"},
		{"replaced by the target of redirect", "v=spf1 exp=other.example redirect=exp.example.org", "of %{d}", "of exp.example.org"},
		{"dropped by redirect", "v=spf1 exp=exp.example redirect=fail.example", "sorry", ""},
		{"of a softfail", "v=spf1 ~all exp=exp.example", "sorry", ""},
		{"of a pass", "v=spf1 all exp=exp.example", "sorry", ""},
		{"bad macro", "v=spf1 -all exp=exp.example", "%{x}", ""},
		{"broken macro", "v=spf1 -all exp=exp.example", "100% sure", ""},
		{"not ASCII", "v=spf1 -all exp=exp.example", "tschüß", ""},
		{"control character", "v=spf1 -all exp=exp.example", "a\r\n250 OK", ""},
		{"empty", "v=spf1 -all exp=exp.example", "", ""},
		{"nobody there", "v=spf1 -all exp=gone.example", "sorry", ""},
		{"no name", "v=spf1 -all exp=a..example", "sorry", ""},
		{"sick", "v=spf1 -all exp=sick.example", "sorry", ""},
		{"two", "v=spf1 -all exp=two.example", "sorry", ""},
		{"name of the client", "v=spf1 -all exp=exp.example", "you are %{p}", "you are unknown"},
		{"long", "v=spf1 -all exp=exp.example", strings.Repeat("%{S}", 100), strings.Repeat("ann%40example.org", 100)[:450]},
	}
	for _, tt := range tests {
		zone := records("example.org", tt.record, "exp.example", tt.text, "sick.example", "SERVFAIL",
			"two.example", "a", "two.example", "b", "fail.example", "v=spf1 -all",
			"pass.example", "v=spf1 all", "exp.example.org", "v=spf1 -all exp=exp.example")
		got := CheckMailFrom(t.Context(), zone, row{}.query())
		if got.Explanation != tt.want {
			t.Errorf("%s: %q, want %q (%s)", tt.name, got.Explanation, tt.want, brief(got))
		}
	}
}

// Section 7.2: what a client says comes out printable, and not at any length.
func TestSection72Hostile(t *testing.T) {
	long := records("example.org", "v=spf1 -all exp=exp.example", "exp.example", "%{h}")
	if got := CheckMailFrom(t.Context(), long, row{hello: strings.Repeat("h", 999)}.query()); len(got.Explanation) != 255 {
		t.Errorf("a HELO of 999 octets became %d", len(got.Explanation))
	}
	dotted := records("example.org", "v=spf1 exists:%{h}.allow.example -all")
	dotted["A a.example.allow.example"] = []string{"192.0.2.9"}
	if got := CheckMailFrom(t.Context(), dotted, row{hello: "a.example."}.query()); got.Verdict != Pass {
		t.Errorf("a HELO with a final dot: %s", brief(got))
	}
	zone := records("example.org", "v=spf1 a:%{h}.example -all exp=exp.example", "exp.example", "%{h}|%{l}")
	q := row{hello: "a\r\nb\x00\xff", sender: mail.Address{Local: "jörg\n", Domain: "example.org"}}.query()
	got := CheckMailFrom(t.Context(), zone, q)
	if want := "a??b??|j?rg?"; got.Verdict != Fail || got.Explanation != want {
		t.Errorf("%s, %q; want %q", brief(got), got.Explanation, want)
	}
}

// Section 7.2: the name of the client, which the record's domain prefers its own.
func TestSection72ClientName(t *testing.T) {
	world := func(names ...string) dns.Zone {
		return dns.Zone{
			"TXT example.org":     {"v=spf1 -all exp=exp.example.org"},
			"TXT exp.example.org": {"%{p}"},
			"PTR 192.0.2.1":       names,
			"A mail.example.org":  {"192.0.2.1"},
			"A example.org":       {"192.0.2.1"},
			"A other.example":     {"192.0.2.1"},
			"A false.example.org": {"192.0.2.2"},
		}
	}
	tests := []struct {
		names []string
		want  string
	}{
		{nil, "unknown"},
		{[]string{"SERVFAIL"}, "unknown"},
		{[]string{"false.example.org"}, "unknown"},
		{[]string{"false.example.org", "other.example."}, "other.example"},
		{[]string{"other.example", "mail.example.org"}, "mail.example.org"},
		{[]string{"other.example", "mail.example.org", "example.org"}, "example.org"},
	}
	for _, tt := range tests {
		if got := CheckMailFrom(t.Context(), world(tt.names...), row{}.query()); got.Explanation != tt.want {
			t.Errorf("%v: %q, want %q", tt.names, got.Explanation, tt.want)
		}
	}
}

// Section 7.3: a name that is too long loses labels from the left.
func TestSection73Truncation(t *testing.T) {
	domain := strings.Repeat("a23456789.", 10) + "example.org" // 111 octets
	name := (strings.Repeat(domain+".", 200) + "x.example")
	name = name[len(name)-maxName:]
	name = name[strings.IndexByte(name, '.')+1:]
	for _, end := range []string{"x.example", "x.example."} {
		zone := dns.Zone{
			"TXT " + domain: {"v=spf1 exists:" + strings.Repeat("%{d}.", 200) + end + " -all"},
			"A " + name:     {"127.0.0.1"},
		}
		q := row{sender: mail.Address{Domain: domain}}.query()
		if got := CheckMailFrom(t.Context(), zone, q); got.Verdict != Pass {
			t.Errorf("%s: asked for %s, want %s", brief(got), got.Asked[1].Name, name)
		}
	}
}

func TestTruncate(t *testing.T) {
	label := strings.Repeat("a", 63)
	four := strings.Join([]string{label, label, label, label[:61]}, ".") // 253 octets
	tests := []struct{ name, want string }{
		{four, four},
		{"x." + four, four},
		{"x" + four, four[64:]},
		{strings.Repeat("x.", 200) + four, four},
		{"a.example", "a.example"},
	}
	for _, tt := range tests {
		if got := truncate(tt.name); got != tt.want {
			t.Errorf("%d octets: %d octets %q, want %q", len(tt.name), len(got), got, tt.want)
		}
	}
}

// RFC 8616, section 4: a local part in UTF-8 matches nothing.
func TestRFC8616(t *testing.T) {
	sender := mail.Address{Local: "jörg", Domain: "example.org"}
	for _, term := range []string{"a:%{l}.example.org", "exists:%{s}", "mx:%{l}.x.example", "include:%{l}.example.org", "ptr:%{l}.example"} {
		zone := records("example.org", "v=spf1 "+term+" ?all", "jörg.example.org", "v=spf1 all")
		zone["A jörg.example.org"] = []string{"192.0.2.1"}
		zone["A jörg@example.org"] = []string{"192.0.2.1"}
		if got := CheckMailFrom(t.Context(), zone, row{sender: sender}.query()); brief(got) != "neutral: ?all" {
			t.Errorf("%s: %s", term, brief(got))
		}
	}
}
