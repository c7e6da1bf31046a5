package smtp

import (
	"errors"
	"strings"
	"testing"

	"postern/mail"
)

// The grammar of RFC 5321, section 4.1.2, as far as it is spoken here.
func TestRFC5321_4_1_2_Mailbox(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	domain255 := strings.Repeat(label63+".", 3) + strings.Repeat("b", 63)
	tests := []struct {
		in, local, domain string // no local part and no domain: it is no address
	}{
		// Dot-string
		{"a@b", "a", "b"},
		{"a.b.c@d.example", "a.b.c", "d.example"},
		{"!#$%&'*+-/=?^_`{|}~@x.example", "!#$%&'*+-/=?^_`{|}~", "x.example"},
		{"-@x.example", "-", "x.example"},
		{"0@0", "0", "0"},
		{"A.Bc@D.Ef", "A.Bc", "D.Ef"}, // case is kept
		{"", "", ""},
		{"@", "", ""},
		{"a", "", ""},
		{"a@", "", ""},
		{"@b", "", ""},
		{"a@b@c", "", ""},
		{".a@b", "", ""},
		{"a.@b", "", ""},
		{"a..b@c", "", ""},
		{".@b", "", ""},
		{"..@b", "", ""},
		{"a b@c", "", ""},
		{"a\tb@c", "", ""},
		{" a@c", "", ""},
		{"a @c", "", ""},
		{"a@ c", "", ""},
		{"a@c ", "", ""},
		{"(a)b@c", "", ""}, // a comment is for header fields
		{"a(b)@c", "", ""},
		{"a@c(d)", "", ""},
		{"a<b@c", "", ""},
		{"a>b@c", "", ""},
		{"a,b@c", "", ""},
		{"a;b@c", "", ""},
		{"a:b@c", "", ""},
		{"a[b@c", "", ""},
		{`a\@b`, "", ""},
		{`a\b@c`, "", ""}, // a quoted-pair is for quoted strings
		{`a"b@c`, "", ""},
		{"a\x00b@c", "", ""},
		{"a\rb@c", "", ""},
		{"a\nb@c", "", ""},
		{"a\x7fb@c", "", ""},
		// Quoted-string
		{`"a"@b`, "a", "b"},
		{`"a b"@c`, "a b", "c"},
		{`" "@c`, " ", "c"},
		{`""@c`, "", "c"},
		{`"a@b"@c`, "a@b", "c"},
		{`"a>b"@c`, "a>b", "c"},
		{`"<a>"@c`, "<a>", "c"},
		{`"a\"b"@c`, `a"b`, "c"},
		{`"a\\b"@c`, `a\b`, "c"},
		{`"\a\b"@c`, "ab", "c"}, // what needs no backslash loses it
		{`"\ "@c`, " ", "c"},
		{`"\~~"@c`, "~~", "c"},
		{`"\~~"@c`, "~~", "c"},
		{`"a.b"@c`, "a.b", "c"},
		{`".a..b."@c`, ".a..b.", "c"},
		{`"../../x"@c`, "../../x", "c"}, // an address is no path
		{`"ü"@c`, "ü", "c"},
		{`"a@c`, "", ""},
		{`"a`, "", ""},
		{`"`, "", ""},
		{`"\`, "", ""},
		{`"\"@c`, "", ""},
		{`"a\`, "", ""},
		{`"a"b@c`, "", ""},
		{`"a".b@c`, "", ""}, // RFC 5322 had it, the envelope has not
		{`a."b"@c`, "", ""},
		{`"a""b"@c`, "", ""},
		{`"a" @c`, "", ""},
		{"\"a\tb\"@c", "", ""}, // qtextSMTP has no TAB
		{"\"a\x00b\"@c", "", ""},
		{"\"a\rb\"@c", "", ""},
		{"\"a\\\rb\"@c", "", ""},
		{"\"a\\\x00b\"@c", "", ""},
		{"\"a\\\xc3\xbcb\"@c", "", ""},
		{"\"a\x7fb\"@c", "", ""},
		{"\"a\\\x7fb\"@c", "", ""},
		// Domain
		{"a@b.c.d.e.example", "a", "b.c.d.e.example"},
		{"a@b-c--d.example", "a", "b-c--d.example"},
		{"a@xn--bcher-kva.example", "a", "xn--bcher-kva.example"},
		{"a@1.2.3.4", "a", "1.2.3.4"}, // a name, by the grammar
		{"a@mail_1.example", "a", "mail_1.example"},
		{"a@_x.example", "a", "_x.example"},
		{"a@b.", "", ""}, // absolute names are for the DNS
		{"a@.b", "", ""},
		{"a@b..c", "", ""},
		{"a@.", "", ""},
		{"a@-b", "", ""},
		{"a@b-", "", ""},
		{"a@b-.example", "", ""},
		{"a@b.-c", "", ""},
		{"a@b/c", "", ""},
		{"a@b%c", "", ""},
		{"a@b:25", "", ""},
		{"a@b\x00", "", ""},
		{"a@b\r", "", ""},
		{`a@"b"`, "", ""},
		{`a@b\c`, "", ""},
		{"a@" + label63 + ".example", "a", label63 + ".example"},
		{"a@a" + label63 + ".example", "", ""},
		{"a@" + domain255, "a", domain255},
		{"a@c." + domain255, "", ""},
		// Address literals, section 4.1.3
		{"a@[192.0.2.1]", "a", "[192.0.2.1]"},
		{"a@[0.0.0.0]", "a", "[0.0.0.0]"},
		{"a@[255.255.255.255]", "a", "[255.255.255.255]"},
		{"a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]"},
		{"a@[ipV6:::1]", "a", "[ipV6:::1]"},
		{"a@[IPv6:::]", "a", "[IPv6:::]"},
		{"a@[IPv6:2001:DB8:0:0:1:2:3:4]", "a", "[IPv6:2001:DB8:0:0:1:2:3:4]"},
		{"a@[IPv6:::ffff:192.0.2.1]", "a", "[IPv6:::ffff:192.0.2.1]"},
		{"a@[IPv6:2001:db8:1:2:3:4:192.0.2.1]", "a", "[IPv6:2001:db8:1:2:3:4:192.0.2.1]"},
		{"a@[]", "", ""},
		{"a@[", "", ""},
		{"a@]", "", ""},
		{"a@[192.0.2.1", "", ""},
		{"a@192.0.2.1]", "", ""},
		{"a@[192.0.2.1]x", "", ""},
		{"a@[192.0.2.1].example", "", ""},
		{"a@x[192.0.2.1]", "", ""},
		{"a@[192.0.2]", "", ""},
		{"a@[192.0.2.256]", "", ""},
		{"a@[192.0.2.1.1]", "", ""},
		{"a@[ 192.0.2.1]", "", ""},
		{"a@[192.0.2.01]", "", ""}, // octal to some
		{"a@[0x7f.1]", "", ""},
		{"a@[1]", "", ""},
		{"a@[2001:db8::1]", "", ""}, // the tag is missing
		{"a@[IPv6:]", "", ""},
		{"a@[IPv6:192.0.2.1]", "", ""},
		{"a@[IPv6:1::2::3]", "", ""},
		{"a@[IPv6:1:2:3:4:5:6:7]", "", ""},
		{"a@[IPv6:1:2:3:4:5:6:7:8:9]", "", ""},
		{"a@[IPv6:12345::]", "", ""},
		{"a@[IPv6:g::]", "", ""},
		{"a@[IPv6:fe80::1%eth0]", "", ""}, // a zone means nothing to others
		{"a@[IPv7:::1]", "", ""},
		{"a@[tag:content]", "", ""}, // no other tag is registered
		{"a@[example.org]", "", ""},
		// RFC 6531, section 3.3
		{"ü@x.example", "ü", "x.example"},
		{"a@bücher.example", "a", "bücher.example"},
		{"用户@例子.example", "用户", "例子.example"},
		{"a\xff@x.example", "", ""},
		{"\"a\xff\"@x.example", "", ""},
		{"a@\xffx.example", "", ""},
		{"a\xc3@x.example", "", ""}, // half a character
		// Nothing may follow, and a route does not belong
		{"a@b>", "", ""},
		{"<a@b>", "", ""},
		{"@x:a@b", "", ""},
	}
	for _, tt := range tests {
		want := mail.Address{Local: tt.local, Domain: tt.domain}
		got, ok := ParseAddress(tt.in)
		if ok != (want != mail.Address{}) || ok && got != want {
			t.Errorf("%q: got %#v, %v", tt.in, got, ok)
		}
		if !ok {
			continue
		}
		if again, ok := ParseAddress(got.String()); !ok || again != got {
			t.Errorf("%q: %q came back as %#v, %v", tt.in, got, again, ok)
		}
	}
}

// A local part of any length that is seen in practice passes: 64 octets are what
// everybody must take.
func TestRFC5321_4_5_3_1_1_LocalPart(t *testing.T) {
	for _, tt := range []struct {
		local string
		ok    bool
	}{
		{strings.Repeat("x", 64), true},
		{strings.Repeat("x", 65), true},
		{strings.Repeat("x", maxLocal), true},
		{strings.Repeat("x", maxLocal+1), false},
		{strings.Repeat("ü", maxLocal/2), true}, // octets count, not characters
		{strings.Repeat("ü", maxLocal/2+1), false},
		{`"` + strings.Repeat(" ", maxLocal) + `"`, true},
		{`"` + strings.Repeat(" ", maxLocal+1) + `"`, false},
		{`"` + strings.Repeat(`\\`, maxLocal) + `"`, true},
	} {
		if _, ok := ParseAddress(tt.local + "@example.org"); ok != tt.ok {
			t.Errorf("%d octets %.5q...: %v", len(tt.local), tt.local, ok)
		}
	}
}

func TestParseMail(t *testing.T) {
	tests := []struct {
		arg    string
		addr   string // as a path
		params string
		err    error
	}{
		{"FROM:<a@b>", "<a@b>", "", nil},
		{"from:<a@b>", "<a@b>", "", nil},
		{"FrOm:<A@B>", "<A@B>", "", nil},
		{"FROM:<>", "<>", "", nil},
		{"FROM: <a@b>", "<a@b>", "", nil}, // many clients do
		{"FROM:\t<a@b>", "<a@b>", "", nil},
		{"FROM: <>", "<>", "", nil},
		{"FROM:< a@b>", "", "", mail.BadSender},
		{"FROM:<a@b >", "", "", mail.BadSender},
		{"FROM:<@x.example,@y.example:a@b>", "<a@b>", "", nil}, // appendix C
		{"FROM:<@x.example:a@b>", "<a@b>", "", nil},
		{"FROM:<@[192.0.2.1]:a@b>", "<a@b>", "", nil},
		{`FROM:<"a@b>c"@d>`, `<"a@b>c"@d>`, "", nil},
		{`FROM:<"a"@b>`, "<a@b>", "", nil},
		{"FROM:<a..b@c>", `<"a..b"@c>`, "", nil}, // dots that need quotes
		{"FROM:<a.@b>", `<"a."@b>`, "", nil},
		{"FROM:<.a@b> SIZE=1", `<".a"@b>`, "SIZE=1", nil},
		{"FROM:<@x.example:a...@b>", `<"a..."@b>`, "", nil},
		{"FROM:<.@b>", "", "", mail.BadSender},
		{"FROM:<..@b>", "", "", mail.BadSender},
		{"FROM:<a..>", "", "", mail.BadSender},
		{"FROM:<a@b> SIZE=1", "<a@b>", "SIZE=1", nil},
		{"FROM:<> BODY=8BITMIME  SIZE=22", "<>", "BODY=8BITMIME SIZE=22", nil},
		{"FROM:<a@b> size=1 x-Y smtputf8", "<a@b>", "SIZE=1 X-Y SMTPUTF8", nil},
		{"FROM:<a@b>\tSIZE=1", "<a@b>", "SIZE=1", nil},
		{"FROM:<a@b> X=ü", "<a@b>", "X=ü", nil},

		{"", "", "", mail.BadArgument},
		{"FROM", "", "", mail.BadArgument},
		{"FROM<a@b>", "", "", mail.BadArgument},
		{"TO:<a@b>", "", "", mail.BadArgument},
		{"FROM :<a@b>", "", "", mail.BadArgument},
		{"<a@b>", "", "", mail.BadArgument},
		{"FROM:", "", "", mail.BadSender},
		{"FROM:a@b", "", "", mail.BadSender},
		{"FROM:<", "", "", mail.BadSender},
		{"FROM:>", "", "", mail.BadSender},
		{"FROM:<a@b", "", "", mail.BadSender},
		{"FROM:a@b>", "", "", mail.BadSender},
		{"FROM:<a>", "", "", mail.BadSender},
		{"FROM:<postmaster>", "", "", mail.BadSender}, // bare only in RCPT
		{"FROM:<a@>", "", "", mail.BadSender},
		{"FROM:<@b>", "", "", mail.BadSender},
		{"FROM:<@b:>", "", "", mail.BadSender},
		{"FROM:<@b,a@c>", "", "", mail.BadSender},
		{"FROM:<@b,@c,a@d>", "", "", mail.BadSender},
		{"FROM:<b:a@c>", "", "", mail.BadSender},
		{"FROM:<@b,:a@c>", "", "", mail.BadSender},
		{"FROM:<@:a@c>", "", "", mail.BadSender},
		{"FROM:<@x,@-:a@c>", "", "", mail.BadSender},
		{"FROM:<<a@b>>", "", "", mail.BadSender},
		{`FROM:<"">`, "", "", mail.BadSender},
		{"FROM:<a@b\x00>", "", "", mail.BadSender},
		{"FROM:Ann <a@b>", "", "", mail.BadSender},
		{"FROM:<a@b>SIZE=1", "", "", mail.BadArgument},
		{"FROM:<>SIZE=1", "", "", mail.BadArgument},
		{"FROM:<a@b> <c@d>", "", "", mail.BadArgument},
		{"FROM:<a@b>,<c@d>", "", "", mail.BadArgument},
		{"FROM:<a@b> SIZE=", "", "", mail.BadArgument},
		{"FROM:<a@b> =1", "", "", mail.BadArgument},
		{"FROM:<a@b> SIZE==1", "", "", mail.BadArgument},
		{"FROM:<a@b> SIZE=1=2", "", "", mail.BadArgument},
		{"FROM:<a@b> -X", "", "", mail.BadArgument},
		{"FROM:<a@b> X_Y", "", "", mail.BadArgument},
		{"FROM:<a@b> Ü=1", "", "", mail.BadArgument},
		{"FROM:<a@b> ſIZE=1", "", "", mail.BadArgument},
		{"FROM:<a@b> SIZE=1\x00", "", "", mail.BadArgument},
		{"FROM:<a@b> SIZE=1\x7f", "", "", mail.BadArgument},
		{"FROM:<a@b> X=\xff", "", "", mail.BadArgument}, // esmtp-value is UTF-8
		// Only SP separates; TAB is put up with, and nothing else.
		{"FROM:<a@b>\rSIZE=1", "", "", mail.BadArgument},
		{"FROM:<a@b> SIZE=1\rBODY=8BITMIME", "", "", mail.BadArgument},
		{"FROM:<a@b> SIZE=1\vX", "", "", mail.BadArgument},
		{"FROM:<a@b> \u00a0SIZE=1", "", "", mail.BadArgument},
		{"FROM:<a@b> X=1\u00a0SIZE=1", "<a@b>", "X=1\u00a0SIZE=1", mail.BadArgument},
	}
	for _, tt := range tests {
		addr, params, err := ParseMail(tt.arg)
		if err != tt.err {
			t.Errorf("%q: %v, want %v", tt.arg, err, tt.err)
			continue
		}
		if err != nil {
			continue
		}
		if got := showParams(params); addr.Path() != tt.addr || got != tt.params {
			t.Errorf("%q: got %q, %q; want %q, %q", tt.arg, addr.Path(), got, tt.addr, tt.params)
		}
	}
}

func showParams(params []Param) string {
	var words []string
	for _, p := range params {
		word := p.Key
		if p.HasValue {
			word += "=" + p.Value
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestParseRcpt(t *testing.T) {
	tests := []struct {
		arg  string
		addr string
		err  error
	}{
		{"TO:<a@b>", "<a@b>", nil},
		{"to: <a@b>", "<a@b>", nil},
		{"TO:<@x.example:a@b>", "<a@b>", nil},
		{"TO:<a%c@b>", "<a%c@b>", nil}, // what it means is not the wire's business
		{"TO:<c!a@b>", "<c!a@b>", nil},
		{"TO:<a@[IPv6:::1]>", "<a@[IPv6:::1]>", nil},
		{"TO:<>", "", mail.BadRecipient}, // no recipient is null
		{"TO:<a>", "", mail.BadRecipient},
		{"TO:", "", mail.BadRecipient},
		{"TO:a@b", "", mail.BadRecipient},
		{"TO:<a@b> <c@d>", "", mail.BadArgument},
		{"FROM:<a@b>", "", mail.BadArgument},
		{"", "", mail.BadArgument},
	}
	for _, tt := range tests {
		addr, _, err := ParseRcpt(tt.arg)
		if err != tt.err || err == nil && addr.Path() != tt.addr {
			t.Errorf("%q: got %q, %v", tt.arg, addr.Path(), err)
		}
	}
}

// RCPT TO:<Postmaster>, without a domain, in any case (section 4.5.1).
func TestRFC5321_4_1_1_3_Postmaster(t *testing.T) {
	for arg, ok := range map[string]bool{
		"TO:<Postmaster>":             true,
		"TO:<postmaster>":             true,
		"TO:<POSTMASTER>":             true,
		`TO:<"Postmaster">`:           true,
		"TO:<@x.example:postmaster>":  true,
		"TO:<postmaster@>":            false,
		"TO:<postmasters>":            false,
		"TO:<po\u017ftmaster>":        false, // a long s is another letter
		"TO:<postmaster@b>":           true,
		"TO:<postmaster@[192.0.2.1]>": true,
	} {
		addr, _, err := ParseRcpt(arg)
		if (err == nil) != ok || ok && !addr.IsPostmaster() {
			t.Errorf("%q: %q, %v", arg, addr.Path(), err)
		}
	}
}

// An address that was understood is written so that it is understood again as
// the same one, and what cannot be written is not taken.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{`a@b`, `"a\"b c"@[192.0.2.1]`, `a.b@[IPv6:::1]`, `ü@bücher.example`, `""@x`, `"a`, `@x:a@b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, ok := ParseAddress(s)
		if !ok {
			if addr, _, err := ParseRcpt("TO:<" + s + "> X=1"); err == nil {
				checkPath(t, s, addr)
			}
			return
		}
		checkPath(t, s, addr)
		if again, ok := ParseAddress(addr.String()); !ok || again != addr {
			t.Fatalf("%q: %#v came back as %#v, %v", s, addr, again, ok)
		}
	})
}

func checkPath(t *testing.T, s string, addr mail.Address) {
	t.Helper()
	path := addr.Path()
	if strings.ContainsAny(path, "\r\n\x00") {
		t.Fatalf("%q: a line end in %q", s, path)
	}
	again, params, err := ParseRcpt("TO:" + path + " X=1")
	if err != nil || again != addr || showParams(params) != "X=1" {
		t.Fatalf("%q: %q came back as %#v, %v, %v", s, path, again, params, err)
	}
	if addr.Domain == "" {
		return
	}
	again, _, err = ParseMail("FROM:" + path)
	if takes := (mail.Address{Domain: addr.Domain}).IsASCII() || HasULabels(addr.Domain); !takes {
		if err != error(mail.BadSender) {
			t.Fatalf("%q: a sender in a domain without U-labels, %q: %v", s, path, err)
		}
		return
	}
	if err != nil || again != addr {
		t.Fatalf("%q: %q came back as %#v, %v", s, path, again, err)
	}
}

// Any address at all comes back, if it comes through.
func FuzzAddressRoundTrip(f *testing.F) {
	f.Add("a", "b")
	f.Add(`a"\ >`, "[192.0.2.1]")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, local, domain string) {
		want := mail.Address{Local: local, Domain: domain}
		if got, ok := ParseAddress(want.String()); ok && got != want {
			t.Fatalf("%#v is written %q and read as %#v", want, want, got)
		}
	})
}

// A command line gives a verb and an argument, and no letter of another alphabet
// makes a verb.
func FuzzParseCommand(f *testing.F) {
	f.Add("MAIL FROM:<a@b> SIZE=1")
	f.Add("r\u017fet")
	f.Fuzz(func(t *testing.T, line string) {
		cmd := ParseCommand([]byte(line))
		if len(cmd.Verb)+len(cmd.Arg) > len(line) || strings.ContainsAny(cmd.Verb, " ") {
			t.Fatalf("%q: %q", line, cmd)
		}
		if !strings.EqualFold(cmd.Verb, line[:len(cmd.Verb)]) {
			t.Fatalf("%q: %q", line, cmd)
		}
		for _, r := range line[:len(cmd.Verb)] {
			if r >= 0x80 && !strings.ContainsRune(cmd.Verb, r) {
				t.Fatalf("%q: %q", line, cmd)
			}
		}
		for _, parse := range []func(string) (mail.Address, []Param, error){ParseMail, ParseRcpt} {
			addr, params, err := parse(cmd.Arg)
			var reply mail.Reply
			if err != nil && !errors.As(err, &reply) {
				t.Fatalf("%q: %v is no reply", line, err)
			}
			if err == nil && addr.Domain != "" {
				checkPath(t, line, addr)
			}
			for _, p := range params {
				if p.Key == "" || strings.ContainsAny(p.Key+p.Value, " \t\r\n\x00") {
					t.Fatalf("%q: %+v", line, p)
				}
			}
		}
	})
}

func TestParseCommand(t *testing.T) {
	tests := []struct{ line, verb, arg string }{
		{"", "", ""},
		{" ", "", ""},
		{"quit", "QUIT", ""},
		{"QUIT ", "QUIT", ""},
		{"QUIT\t", "QUIT", ""},
		{"eHlO  a.example ", "EHLO", "a.example"},
		{"NOOP a  b", "NOOP", "a  b"},
		{"r\u017fet", "R\u017fET", ""}, // a long s is no S
		{"ma\u0131l from:<>", "MA\u0131L", "from:<>"},
		{"QUIT\x00", "QUIT\x00", ""},
	}
	for _, tt := range tests {
		if got := ParseCommand([]byte(tt.line)); got != (Command{tt.verb, tt.arg}) {
			t.Errorf("%q: got %q", tt.line, got)
		}
	}
}
