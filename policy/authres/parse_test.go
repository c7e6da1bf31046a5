package authres

import (
	"reflect"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want Field
	}{
		// RFC 8601, appendix B.
		{"B.2", " example.org 1; none", Field{ID: "example.org"}},
		{"B.3", " example.com;\r\n spf=pass smtp.mailfrom=example.net", Field{"example.com", []Result{
			{Method: "spf", Value: "pass", Props: []Property{{"smtp.mailfrom", "example.net"}}}}}},
		{"B.4", " example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n spf=pass smtp.mailfrom=example.net",
			Field{"example.com", []Result{
				{Method: "auth", Value: "pass", Props: []Property{{"smtp.auth", "sender@example.net"}}},
				{Method: "spf", Value: "pass", Props: []Property{{"smtp.mailfrom", "example.net"}}}}}},
		{"B.6", " example.com;\r\n dkim=pass reason=\"good signature\"\r\n header.i=@mail-router.example.net;\r\n" +
			" dkim=fail reason=\"bad signature\"\r\n header.i=@newyork.example.com", Field{"example.com", []Result{
			{Method: "dkim", Value: "pass", Reason: "good signature", Props: []Property{{"header.i", "@mail-router.example.net"}}},
			{Method: "dkim", Value: "fail", Reason: "bad signature", Props: []Property{{"header.i", "@newyork.example.com"}}}}}},
		{"B.7", " foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n" +
			" policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462",
			Field{"foo.example.net", []Result{{Method: "dkim", Value: "fail", Props: []Property{{"policy.expired", "1362471462"}}}}}},

		{"hidden in quotes", `a; spf=fail reason="x; dkim=pass header.d=bank"`,
			Field{"a", []Result{{Method: "spf", Value: "fail", Reason: "x; dkim=pass header.d=bank"}}}},
		{"hidden in a comment", `a; spf=fail (x; dkim=pass (\) ;) y) smtp.helo=h`,
			Field{"a", []Result{{Method: "spf", Value: "fail", Props: []Property{{"smtp.helo", "h"}}}}}},
		{"escaped quote", `a; spf=fail reason="x\"; dkim=pass \\"`,
			Field{"a", []Result{{Method: "spf", Value: "fail", Reason: `x"; dkim=pass \`}}}},
		{"quoted local part", `a; spf=pass smtp.mailfrom="x y"@example.org`,
			Field{"a", []Result{{Method: "spf", Value: "pass", Props: []Property{{"smtp.mailfrom", "x y@example.org"}}}}}},
		{"unquoted base64", `a; dkim=pass header.b=ab/c+d==`,
			Field{"a", []Result{{Method: "dkim", Value: "pass", Props: []Property{{"header.b", "ab/c+d=="}}}}}},
		{"in use: no ptype", `a 1; dmarc=pass action=none header.from=b;compauth=pass reason=100`,
			Field{"a", []Result{{Method: "dmarc", Value: "pass", Props: []Property{{"action", "none"}, {"header.from", "b"}}},
				{Method: "compauth", Value: "pass", Reason: "100"}}}},
		{"in use: semicolon at the end", `a; spf=pass;`, Field{"a", []Result{{Method: "spf", Value: "pass"}}}},
		{"case", `A; SPF=Pass SMTP.MailFrom=X`, Field{"A", []Result{{Method: "spf", Value: "pass", Props: []Property{{"smtp.mailfrom", "X"}}}}}},
		{"quoted id", `"a b"; none`, Field{ID: "a b"}},
		{"id alone", `a`, Field{ID: "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.in)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", ";", "; spf=pass", "(a)", `""; none`, "spf=pass smtp.helo=x",
		"a; spf", "a; spf=", "a; =pass", "a; spf=pass smtp.helo", "a; spf=pass =x", "a; spf=pass x y=z",
		`a; spf=pass reason="x`, `a; spf=pass (x`, `a; spf=pass "x"`, `a (; none`, "a b c; none", "a; none x", "a; none; x",
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("%q read as %+v", in, got)
		}
	}
}

// What is read and written again is read as the same.
func FuzzParse(f *testing.F) {
	f.Add(` a (c) 1; spf=pass (d; e) reason="x\"y" smtp.mailfrom="x y"@example.org; dkim/1 = fail policy . x = y`)
	f.Add("a;none")
	f.Add("=?utf-8?q?a?=;\r\n x=y")
	f.Fuzz(func(t *testing.T, in string) {
		first, err := Parse(in)
		if err != nil {
			return
		}
		for _, r := range first.Results {
			if r.Method == "" || r.Value == "" || len(r.Props) > maxProps {
				t.Fatalf("%q read as %+v", in, first)
			}
		}
		text := first.Format(true)
		second, err := Parse(text[len(Name)+1:])
		if err != nil {
			t.Fatalf("%q read as %+v, written as %q: %v", in, first, text, err)
		}
		if third := second.Format(true); third != text && len(in) < maxKeyword {
			t.Fatalf("%q written as %q, then as %q", in, text, third)
		}
	})
}
