package authres

import (
	"reflect"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"postern/internal/header"
)

func TestFormat(t *testing.T) {
	long := strings.Repeat("a", 60)
	tests := []struct {
		name string
		in   Field
		want string
	}{
		{"nothing", Field{ID: "mx.example"}, "Authentication-Results: mx.example; none\r\n"},
		{"all methods", Field{"mx.example", []Result{
			{Method: "iprev", Value: "pass", Props: []Property{{"policy.iprev", "192.0.2.1"}}},
			{Method: "spf", Value: "pass", Props: []Property{{"smtp.mailfrom", "ann@example.org"}, {"smtp.helo", "a.example.org"}}},
			{Method: "dkim", Value: "pass", Props: []Property{{"header.d", "example.org"}, {"header.s", "s1"},
				{"header.a", "rsa-sha256"}, {"header.b", "ab/+cd12"}}},
			{Method: "dmarc", Value: "fail", Reason: "policy says so; p=reject", Props: []Property{{"header.from", "example.org"}}},
			{Method: "arc", Value: "pass", Props: []Property{{"header.oldest-pass", "0"}, {"smtp.remote-ip", "2001:db8::1"}}},
		}}, "Authentication-Results: mx.example;\r\n" +
			"\tiprev=pass policy.iprev=192.0.2.1;\r\n" +
			"\tspf=pass smtp.mailfrom=ann@example.org smtp.helo=a.example.org;\r\n" +
			"\tdkim=pass header.d=example.org header.s=s1 header.a=rsa-sha256\r\n" +
			"\theader.b=\"ab/+cd12\";\r\n" +
			"\tdmarc=fail reason=\"policy says so; p=reject\" header.from=example.org;\r\n" +
			"\tarc=pass header.oldest-pass=0 smtp.remote-ip=\"2001:db8::1\"\r\n"},
		{"empty values", Field{"mx.example", []Result{{Method: "spf", Value: "none", Props: []Property{{"smtp.helo", ""}}}}},
			"Authentication-Results: mx.example;\r\n\tspf=none\r\n"},
		{"injection", Field{"mx.example", []Result{{Method: "spf", Value: "fail", Reason: "x\r\nEvil: y\r\n\r\n", Props: []Property{
			{"smtp.mailfrom", `"a; dkim=pass header.d=bank.example"@example.org`}, {"smtp.helo", "h (; dmarc=pass"}}}}},
			"Authentication-Results: mx.example;\r\n\tspf=fail reason=\"x??Evil: y????\"\r\n" +
				"\tsmtp.mailfrom=\"\\\"a; dkim=pass header.d=bank.example\\\"@example.org\"\r\n\tsmtp.helo=\"h (; dmarc=pass\"\r\n"},
		{"keywords", Field{"mx.example", []Result{{Method: "s;p\r\nf", Value: "pa ss", Props: []Property{{"smtp.\"x", "y"}}}, {Value: "pass"}}},
			"Authentication-Results: mx.example;\r\n\tspf=pass smtp.x=y\r\n"},
		{"every keyword, every token", Field{"mx.example", []Result{{Method: "azAZ09-._", Value: "pass", Props: []Property{{"x.y", "!#$%&'*+-.^_`{|}~"}, {"x.z", "\x7f\"(~"}}}}},
			"Authentication-Results: mx.example;\r\n\tazAZ09-._=pass x.y=!#$%&'*+-.^_`{|}~ x.z=\"?\\\"(~\"\r\n"},
		{"null sender", Field{"mx.example", []Result{{Method: "spf", Value: "pass", Props: []Property{{"smtp.mailfrom", "@example.org"}}}}},
			"Authentication-Results: mx.example;\r\n\tspf=pass smtp.mailfrom=@example.org\r\n"},
		{"literal", Field{ID: "[192.0.2.1]"}, "Authentication-Results: \"[192.0.2.1]\"; none\r\n"},
		{"not ASCII", Field{"mx.example", []Result{{Method: "spf", Value: "pass", Props: []Property{{"smtp.mailfrom", "ärger@example.org"}}}}},
			"Authentication-Results: mx.example;\r\n\tspf=pass smtp.mailfrom=\"?rger@example.org\"\r\n"},
		{"folded", Field{"mx.example", []Result{{Method: "dkim", Value: "pass", Props: []Property{{"header.d", long}, {"header.i", long}}}}},
			"Authentication-Results: mx.example;\r\n\tdkim=pass\r\n\theader.d=" + long + "\r\n\theader.i=" + long + "\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.Format(false); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestFormatInternationalised(t *testing.T) {
	f := Field{"mx.example", []Result{{Method: "spf", Value: "pass", Props: []Property{{"smtp.mailfrom", "ärger\xff\u2028@bücher.example"}}}}}
	want := "Authentication-Results: mx.example;\r\n\tspf=pass smtp.mailfrom=\"ärger??@bücher.example\"\r\n"
	if got := f.Format(true); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A line can be as long as its longest word, and no longer than a line may be.
func TestFormatLongValues(t *testing.T) {
	long := strings.Repeat("ä;", 1<<16)
	f := Field{long, []Result{{Method: strings.Repeat("m", 1<<16), Value: strings.Repeat("v", 1<<16), Reason: long,
		Props: []Property{{strings.Repeat("p", 1<<16), long}, {"header.d", strings.Repeat("d", 1<<16)}}}}}
	for line := range strings.SplitSeq(f.Format(true), "\r\n") {
		if len(line) > 998 {
			t.Errorf("line of %d octets: %.100s…", len(line), line)
		}
	}
}

// What we write, another implementation reads.
func TestFormatAgainstPeer(t *testing.T) {
	f := Field{"mx.example", []Result{
		{Method: "spf", Value: "softfail", Props: []Property{{"smtp.mailfrom", "ann@example.org"}, {"smtp.helo", "h.example.org"}}},
		{Method: "dkim", Value: "pass", Props: []Property{{"header.d", "example.org"}, {"header.i", "@news.example.org"}}},
		{Method: "dmarc", Value: "pass", Props: []Property{{"header.from", "example.org"}}},
		{Method: "iprev", Value: "fail", Props: []Property{{"policy.iprev", "192.0.2.1"}}},
		{Method: "arc", Value: "pass", Props: []Property{{"smtp.remote-ip", "192.0.2.1"}, {"header.oldest-pass", "2"}}},
	}}
	h := header.Scan([]byte(f.Format(false)), header.Limits{})
	id, got, err := authres.Parse(h.Fields[0].Text())
	want := []authres.Result{
		&authres.SPFResult{Value: authres.ResultSoftFail, From: "ann@example.org", Helo: "h.example.org"},
		&authres.DKIMResult{Value: authres.ResultPass, Domain: "example.org", Identifier: "@news.example.org"},
		&authres.DMARCResult{Value: authres.ResultPass, From: "example.org"},
		&authres.IPRevResult{Value: authres.ResultFail, IP: "192.0.2.1"},
		&authres.ARCResult{Value: authres.ResultPass, RemoteIP: "192.0.2.1", OldestPass: 2},
	}
	if err != nil || id != "mx.example" || !reflect.DeepEqual(got, want) {
		t.Errorf("peer read %q, %+v, %v", id, got, err)
	}
}

// Whatever the values, what is written is one header field in printable
// characters, and is read back as what was written.
func FuzzFormat(f *testing.F) {
	f.Add("mx.example", "reason; dkim=pass", "smtp.mailfrom", `"a b"@example.org`, "h\r\nX: y", false)
	f.Add("mx", `\"`, "header.b", "a(b=", "\x00\xff\u2028", true)
	f.Add("", "", "", "@", "@x", true)
	f.Fuzz(func(t *testing.T, id, reason, prop, v1, v2 string, eai bool) {
		in := Field{id, []Result{
			{Method: "spf", Value: "pass", Reason: reason, Props: []Property{{prop, v1}, {"smtp.helo", v2}}},
			{Method: "dkim", Value: "none"},
		}}
		text := in.Format(eai)
		h := header.Scan([]byte(text), header.Limits{})
		if len(h.Fields) != 1 || h.Stop != header.EndOfMessage || string(h.Fields[0].Raw()) != text || !h.Fields[0].Is(Name) {
			t.Fatalf("%q is not one field", text)
		}
		for i, r := range strings.ReplaceAll(text, "\r\n\t", "") {
			if (r < ' ' || r > '~' && !eai) && i < len(text)-2 && r != '\r' && r != '\n' {
				t.Fatalf("%q in %q", r, text)
			}
		}
		got, err := Parse(header.Unfold(h.Fields[0].Value()))
		if id == "" {
			return // nobody can have such a name
		}
		if err != nil || len(got.Results) != 2 || got.Results[1].Method != "dkim" || got.Results[0].Method != "spf" {
			t.Fatalf("%q read as %+v, %v", text, got, err)
		}
		plain := func(s string) bool {
			return len(s) < maxValue/2 && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
		}
		if plain(v2) && got.Results[0].Prop("smtp.helo") != v2 && v2 != "" && !strings.EqualFold(keyword(prop), "smtp.helo") {
			t.Fatalf("smtp.helo %q read as %q", v2, got.Results[0].Prop("smtp.helo"))
		}
		if plain(id) && got.ID != id {
			t.Fatalf("id %q read as %q", id, got.ID)
		}
	})
}
