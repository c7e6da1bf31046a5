package spf

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postern/mail"
)

// Section 7.4: the examples of the standard.
func TestSection74(t *testing.T) {
	query := Query{Sender: mail.Address{Local: "strong-bad", Domain: "email.example.com"}, Hello: "mta.example"}
	v4 := check{query: query, ip: netip.MustParseAddr("192.0.2.3")}
	v6 := check{query: query, ip: netip.MustParseAddr("2001:db8::cb01")}
	nibbles := "1.0.B.C." + strings.Repeat("0.", 20) + "8.B.D.0.1.0.0.2"
	tests := []struct {
		check       check
		macro, want string
	}{
		{v4, "%{s}", "strong-bad@email.example.com"},
		{v4, "%{o}", "email.example.com"},
		{v4, "%{d}", "email.example.com"},
		{v4, "%{d4}", "email.example.com"},
		{v4, "%{d3}", "email.example.com"},
		{v4, "%{d2}", "example.com"},
		{v4, "%{d1}", "com"},
		{v4, "%{dr}", "com.example.email"},
		{v4, "%{d2r}", "example.email"},
		{v4, "%{l}", "strong-bad"},
		{v4, "%{l-}", "strong.bad"},
		{v4, "%{lr}", "strong-bad"},
		{v4, "%{lr-}", "bad.strong"},
		{v4, "%{l1r-}", "strong"},
		{v4, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{v4, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{v4, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{v4, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{v4, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{v6, "%{ir}.%{v}._spf.%{d2}", nibbles + ".ip6._spf.example.com"},

		{v4, "%%%_%-a%%b", "% %20a%b"},
		{v4, "%{S}", "strong-bad%40email.example.com"},
		{v4, "%{Lr-}", "bad.strong"},
		{v4, "%{h}.%{H}", "mta.example.mta.example"},
		{v4, "%{c} %{C} %{r}", "192.0.2.3 192.0.2.3 unknown"},
		{v6, "%{c} %{C}", "2001:db8::cb01 2001%3Adb8%3A%3Acb01"},
		{v4, "%{d0127}%{d99999999999999999999}", "email.example.comemail.example.com"},
		{v4, "%{d2Ram.}", "error"},
		{v4, "%{i2R.}|%{iR}", "0.192|3.2.0.192"},
		{v4, "%{s1@}", "error"},
	}
	for _, tt := range tests {
		value := func(letter byte) (string, error) { return tt.check.value(t.Context(), letter, "email.example.com") }
		got, err := expand(tt.macro, value, keepStart)
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.macro, got, tt.want)
		}
	}
}

// expandPlainly is expand again, by other means and with no bounds.
func expandPlainly(s string, value func(byte) string) string {
	macro := regexp.MustCompile(`%[%_-]|%\{([A-Za-z])([0-9]*)([rR]?)([^}]*)\}`)
	return macro.ReplaceAllStringFunc(s, func(found string) string {
		m := macro.FindStringSubmatch(found)
		switch found[1] {
		case '%':
			return "%"
		case '_':
			return " "
		case '-':
			return "%20"
		}
		v := value(strings.ToLower(m[1])[0])
		if m[2]+m[3]+m[4] != "" {
			split := m[4]
			if split == "" {
				split = "."
			}
			for _, delimiter := range split {
				v = strings.ReplaceAll(v, string(delimiter), "\x00")
			}
			parts := strings.Split(v, "\x00")
			if m[3] != "" {
				slices.Reverse(parts)
			}
			if n, err := strconv.Atoi(m[2]); err == nil && n < len(parts) {
				parts = parts[len(parts)-n:]
			}
			v = strings.Join(parts, ".")
		}
		if m[1] < "a" {
			v = strings.ReplaceAll(url.QueryEscape(v), "+", "%20")
		}
		return v
	})
}

// What is well formed expands, to what it should; the result is bounded; and
// what the values are never makes an expansion fail.
func FuzzExpand(f *testing.F) {
	f.Add("%{ir}.%{v}._spf.%{d2}", "strong-bad@email.example.com", "mail.example")
	f.Add("%{S1r+-}%%%_%-%{t}", "a+b-c.d/e,f_g=h@x", "a..b")
	f.Add(strings.Repeat("%{h}.", 100), "", "%{h}")
	f.Fuzz(func(t *testing.T, s, sender, hello string) {
		if len(s)+len(sender)+len(hello) > 1024 {
			return
		}
		values := map[byte]string{'s': sender, 'h': hello, 'd': "example.org", 'l': sender, 'o': hello,
			'i': "192.0.2.1", 'p': "unknown", 'v': "in-addr", 'c': hello, 'r': sender, 't': "1"}
		value := func(letter byte) (string, error) {
			v, ok := values[letter]
			if !ok {
				return "", errors.New("unknown letter")
			}
			return v, nil
		}
		if checkMacros(s, explainLetters) != nil || strings.Contains(sender+hello, "\x00") {
			return
		}
		want := expandPlainly(s, func(letter byte) string { return values[letter] })
		whole, err := expand(s, value, func(b []byte) []byte { return b })
		if err != nil || whole != want {
			t.Fatalf("%q: %q, %v; want %q", s, whole, err, want)
		}
		start, err := expand(s, value, keepStart)
		if err != nil || start != want[:min(len(want), maxExplanation)] {
			t.Errorf("%q: start %q of %q, %v", s, start, want, err)
		}
		end, err := expand(s, value, keepEnd)
		if err != nil || truncate(strings.TrimSuffix(end, ".")) != truncate(strings.TrimSuffix(want, ".")) {
			t.Errorf("%q: end %q of %q, %v", s, end, want, err)
		}
		if len(end) > 16*(maxName+2) {
			t.Errorf("%q: %d octets", s, len(end))
		}
		if name := truncate(end); len(name) > maxName && isName(name[len(name)-maxName:]) {
			t.Errorf("%q: a name of %d octets", s, len(name))
		}
	})
}
