package spf

import (
	"net"
	"regexp"
	"strings"
	"testing"
)

// The grammar of RFC 7208, section 12, as regular expressions: another way to
// say what parseRecord says.
const (
	reExpand   = `%(?:[%_-]|\{[LETTERS](?:0*[1-9][0-9]*)?r?[.+,/_=-]*\})`
	reLiteral  = `[!-$&-~]`
	reTopLabel = `(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])`
	reSpec     = `(?:` + reExpand + `|` + reLiteral + `)*(?:\.` + reTopLabel + `\.?|` + reExpand + `)`
	re4Length  = `/(?:3[0-2]|[12][0-9]|[0-9])`
	re6Length  = `/(?:12[0-8]|1[01][0-9]|[1-9][0-9]|[0-9])`
	reDual     = `(?:` + re4Length + `)?(?:/` + re6Length + `)?`
	reQnum     = `(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])`
)

func grammar(letters, pattern string) *regexp.Regexp {
	return regexp.MustCompile(`^(?i:` + strings.ReplaceAll(pattern, "LETTERS", letters) + `)$`)
}

// inGrammar reports whether text is a record of the grammar, in which each known
// modifier appears once.
func inGrammar() func(text string) bool {
	directive := grammar(termLetters, `[+?~-]?(?:all|include:`+reSpec+`|(?:a|mx)(?::`+reSpec+`)?`+reDual+
		`|ptr(?::`+reSpec+`)?|ip4:(?:`+reQnum+`\.){3}`+reQnum+`(?:`+re4Length+`)?|exists:`+reSpec+`)`)
	ip6 := grammar("", `[+?~-]?ip6:([0-9a-f:.]+)(?:`+re6Length+`)?`)
	known := grammar(termLetters, `(redirect|exp)=`+reSpec)
	unknown := grammar(explainLetters, `([a-z][a-z0-9._-]*)=(?:`+reExpand+`|`+reLiteral+`)*`)
	return func(text string) bool {
		terms := strings.Split(text, " ")
		seen := map[string]bool{}
		for _, term := range terms[1:] {
			if term == "" || directive.MatchString(term) {
				continue
			}
			if m := ip6.FindStringSubmatch(term); m != nil && strings.Contains(m[1], ":") && net.ParseIP(m[1]) != nil {
				continue
			}
			if m := known.FindStringSubmatch(term); m != nil && !seen[strings.ToLower(m[1])] {
				seen[strings.ToLower(m[1])] = true
				continue
			}
			m := unknown.FindStringSubmatch(term)
			if m == nil || strings.EqualFold(m[1], "exp") || strings.EqualFold(m[1], "redirect") {
				return false
			}
		}
		return strings.EqualFold(terms[0], "v=spf1")
	}
}

// Section 12: terms, and whether they are of the grammar.
func TestSection12(t *testing.T) {
	good := inGrammar()
	tests := []struct {
		terms string // separated by spaces; each is a record
		want  bool
	}{
		{"all +all -ALL ~all ?all", true},
		{"all: all/8 all. allx +-all ++all - + al", false},
		{"include:a.example -include:%{d} include:a.%{d2r} include:%{i}._spf.%{d} include:a.example,b.example", true},
		{"include include: include/8 include:a.example/24 include:example include:a.b.1", false},
		{"a A a/24 a//64 a/0 a/32 a//0 a//128 a/24//64 a:b.example a:b.example. a:b.example/24//64", true},
		{"a: a/ a// a/33 a//129 a/24/64 a/024 a//00 a/-1 a/+1 a/x a24 a:/24 a.b.example", false},
		{"a:b.example/ a:b.example/24/ a:b.example/24/64 a:b.example:25 a:example a:192.0.2.1", false},
		{"a:_spf.example a:x/24.example a:b:c.example a:b.xn--p1ai a:b.c-d a:%{d}/24 a:%%/24 a:.example a:b..example", true},
		{"a:b.-example a:b.example- a:b.ex_ample a:b.example..", false},
		{"mx mx/24 mx:b.example//64 MX:b.example", true},
		{"mx: mx/33 mxx mx.example", false},
		{"ptr ptr:b.example PTR:%{h}", true},
		{"ptr: ptr/24 ptr:b.example/24", false},
		{"ip4:192.0.2.1 ip4:192.0.2.0/24 ip4:0.0.0.0/0 -ip4:255.255.255.255/32", true},
		{"ip4 ip4: ip4:192.0.2 ip4:192.0.2.1/33 ip4:192.0.2.1/ ip4:192.0.2.01 ip4:192.0.2.256 ip4:192.0.2.1/024", false},
		{"ip4:2001:db8::1 ip4:192.0.2.1:25 ip4/24 ip4:192.0.2.1//24 ip4:192.0.2.1/24/24", false},
		{"ip6:2001:db8::1 ip6:2001:DB8::/32 ip6:::/0 ip6:::ffff:192.0.2.1/128 ip6:::1", true},
		{"ip6 ip6: ip6:192.0.2.1 ip6:2001:db8::1/129 ip6:2001:db8::1/ ip6:fe80::1%eth0 ip6:1:2:3 ip6:[::1] ip6::1", false},
		{"exists:b.example exists:%{ir}.%{v}.b.example exists:%{l1r-}.%{o0010}", true},
		{"exists exists: exists/8 exists:b exists:b.example/24", false},
		{"redirect=b.example REDIRECT=%{d} exp=b.example exp=%{i}.b.example", true},
		{"redirect= redirect redirect:b.example -redirect=b.example exp= exp=b exp=%{c} exp=%{t}.b.example", false},
		{"x=y x= x.y_z-1=%{c}%{r}%{t}%% moo=/:=x", true},
		{"1x=y =y -x=y x=% x=%{ x=%{} x=%{x} x=%{d x=%{d0} x=%{d!} x=%{dr2} x=%a x=%{dR}.%{", false},
		{"moo a:%{d0}.example a:%{c}.example a:b.%{d}c", false},
		{"a:%{drr}.example a:%{d.2}.example a:%(d).example a:%{d}%.example", false},
	}
	for _, tt := range tests {
		for term := range strings.FieldsSeq(tt.terms) {
			_, err := parseRecord("v=spf1 " + term)
			if (err == nil) != tt.want {
				t.Errorf("%s: %v, want %t", term, err, tt.want)
			}
			if good("v=spf1 "+term) != tt.want {
				t.Errorf("%s: the grammar of the test does not say %t", term, tt.want)
			}
		}
	}
}

// Section 6: a known modifier appears once.
func TestSection6(t *testing.T) {
	for record, want := range map[string]string{
		"v=spf1 exp=a.example -all EXP=a.example":      "EXP appears twice",
		"v=spf1 redirect=a.example redirect=a.example": "redirect appears twice",
		"v=spf1 x=y x=y redirect=a.example x=z":        "",
	} {
		_, err := parseRecord(record)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %s", record, err, want)
		}
	}
}

func TestRecordBounds(t *testing.T) {
	tests := []struct {
		record, want string
	}{
		{"v=spf1" + strings.Repeat(" all", maxTerms), ""},
		{"v=spf1" + strings.Repeat(" all", maxTerms+1), "record with more than 1024 terms"},
		{"v=spf1 x=" + strings.Repeat("y", maxRecord-9), ""},
		{"v=spf1 x=" + strings.Repeat("y", maxRecord-8), "record of 16385 octets is too long"},
	}
	for _, tt := range tests {
		_, err := parseRecord(tt.record)
		if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%d octets: %v, want %s", len(tt.record), err, tt.want)
		}
	}
}

// A record parses if and only if it is of the grammar, and what was parsed is
// what was published.
func FuzzParseRecord(f *testing.F) {
	for _, seed := range []string{
		"v=spf1 -all", "v=spf1 a mx/24//64 ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all",
		"v=spf1 include:%{l1r-}.%{d} ?exists:%{ir}.%{v}.example.org. redirect=_spf.example.org",
		"V=SPF1  exp=e.example x.y=%%%_%-%{c} a:a/b.c/1//2 ptr:%{p} ",
	} {
		f.Add(seed)
	}
	good := inGrammar()
	f.Fuzz(func(t *testing.T, text string) {
		if !isRecord(text) || len(text) > 512 {
			return
		}
		rec, err := parseRecord(text)
		if (err == nil) != (good(text) && isVisible(text)) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil {
			return
		}
		published := strings.Fields(text)[1:]
		for _, d := range rec.directives {
			for len(published) > 0 && published[0] != d.text {
				published = published[1:]
			}
		}
		if len(rec.directives) > 0 && len(published) == 0 {
			t.Errorf("%q: directives %v", text, rec.directives)
		}
		if n := len(strings.Fields(text)) - 1; n != len(rec.directives)+rec.modifiers {
			t.Errorf("%q: %d directives and %d modifiers of %d terms", text, len(rec.directives), rec.modifiers, n)
		}
	})
}
