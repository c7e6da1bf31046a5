package smtp

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"postern/mail"
)

func TestRFC5321_4_2_1_MultiLineReplies(t *testing.T) {
	tests := []struct {
		reply mail.Reply
		want  string
	}{
		{mail.Accepted, "250 2.0.0 OK\r\n"},
		{mail.StartData, "354 start mail input, end with <CRLF>.<CRLF>\r\n"},
		{mail.Reply{Code: 250, Text: "mx.example\nSIZE 1000\nPIPELINING"}, "250-mx.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n"},
		// RFC 2034, section 4: the status is on each line.
		{mail.Reply{Code: 550, Status: mail.Status{5, 7, 1}, Text: "no\nnever"}, "550-5.7.1 no\r\n550 5.7.1 never\r\n"},
		{mail.Reply{Code: 550, Status: mail.Status{5, 999, 999}, Text: ""}, "550 5.999.999 \r\n"},
		{mail.Reply{Code: 250, Text: "a\n\nb"}, "250-a\r\n250-\r\n250 b\r\n"},
		{mail.Reply{Code: 250, Text: "a\n"}, "250-a\r\n250 \r\n"},
		// What strangers said cannot leave its line.
		{mail.Reply{Code: 550, Text: "a\r\n250 OK\r\n"}, "550-a?\r\n550-250 OK?\r\n550 \r\n"},
		{mail.Reply{Code: 550, Text: "a\rb\x00c\td\x7fe\u00fcf\xffg\u2028"}, "550 a?b?c?d?e?f?g?\r\n"},
	}
	for _, tt := range tests {
		if got := string(AppendReply(nil, tt.reply)); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.reply, got, tt.want)
		}
	}
}

func TestAppendReplyKeepsEveryCode(t *testing.T) {
	for code := 200; code < 600; code++ {
		want := strconv.Itoa(code) + " x\r\n"
		if got := string(AppendReply(nil, mail.Reply{Code: code, Text: "x"})); got != want {
			t.Errorf("%d: %q", code, got)
		}
	}
}

// A reply that is none, which only a mistake of ours can make, is not sent.
func TestAppendReplyFailsClosed(t *testing.T) {
	want := string(AppendReply(nil, mail.LocalError))
	for _, r := range []mail.Reply{{}, {Text: "OK"}, {Code: -1}, {Code: 25}, {Code: 100}, {Code: 199}, {Code: 600}, {Code: 2500}} {
		if got := string(AppendReply(nil, r)); got != want {
			t.Errorf("%+v: sent %q", r, got)
		}
	}
}

func TestRFC5321_4_5_3_1_5_ReplyLine(t *testing.T) {
	long := mail.Reply{Code: 550, Status: mail.Status{5, 999, 999}, Text: strings.Repeat("x", 1000) + "\n" + strings.Repeat("y", 1000)}
	for line := range strings.Lines(string(AppendReply(nil, long))) {
		if len(line) > 512 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
}

func TestReadReply(t *testing.T) {
	tests := []struct {
		in   string
		want mail.Reply
		rest string
	}{
		{"250 OK\r\n", mail.Reply{Code: 250, Text: "OK"}, ""},
		{"250\r\n", mail.Reply{Code: 250}, ""}, // section 4.2: a client must take it
		{"250 \r\n", mail.Reply{Code: 250}, ""},
		{"250-a\r\n250-\r\n250 c\r\n250 next\r\n", mail.Reply{Code: 250, Text: "a\n\nc"}, "250 next\r\n"},
		{"250-a\r\n250\r\n", mail.Reply{Code: 250, Text: "a\n"}, ""},
		{"550 5.1.1 no\r\n", mail.Reply{Code: 550, Status: mail.Status{5, 1, 1}, Text: "no"}, ""},
		{"550 5.1.1\r\n", mail.Reply{Code: 550, Status: mail.Status{5, 1, 1}}, ""},
		{"550-5.1.1 no\r\n550 5.1.1 such user\r\n", mail.Reply{Code: 550, Status: mail.Status{5, 1, 1}, Text: "no\nsuch user"}, ""},
		{"550-5.1.1 no\r\n550 such user\r\n", mail.Reply{Code: 550, Status: mail.Status{5, 1, 1}, Text: "no\nsuch user"}, ""},
		{"452 4.2.2  two spaces\r\n", mail.Reply{Code: 452, Status: mail.Status{4, 2, 2}, Text: " two spaces"}, ""},
		// RFC 3463, section 2: a status of another class is not one.
		{"550 4.1.1 no\r\n", mail.Reply{Code: 550, Text: "4.1.1 no"}, ""},
		{"354 3.1.4 pi\r\n", mail.Reply{Code: 354, Text: "3.1.4 pi"}, ""},
		{"250 2.0 OK\r\n", mail.Reply{Code: 250, Text: "2.0 OK"}, ""},
		{"250 2.0.0.0 OK\r\n", mail.Reply{Code: 250, Text: "2.0.0.0 OK"}, ""},
		{"250 2.1000.0 OK\r\n", mail.Reply{Code: 250, Text: "2.1000.0 OK"}, ""},
		{"250 2.-1.0 OK\r\n", mail.Reply{Code: 250, Text: "2.-1.0 OK"}, ""},
		{"250 2..0 OK\r\n", mail.Reply{Code: 250, Text: "2..0 OK"}, ""},
		{"250 2.0.0, OK\r\n", mail.Reply{Code: 250, Text: "2.0.0, OK"}, ""},
		{"250-8.2.1 is my version\r\n250 OK\r\n", mail.Reply{Code: 250, Text: "8.2.1 is my version\nOK"}, ""},
		{"200 a\r\n", mail.Reply{Code: 200, Text: "a"}, ""},
		{"599 a\r\n", mail.Reply{Code: 599, Text: "a"}, ""},
		{"220 \xfcber\r\n", mail.Reply{Code: 220, Text: "\xfcber"}, ""},
	}
	for _, tt := range tests {
		for i := range tt.in {
			w := newWire(tt.in, i)
			c := NewConn(w)
			got, err := c.ReadReply()
			if err != nil || got != tt.want || w.left(c) != tt.rest {
				t.Errorf("%q cut at %d: got %#v, rest %q, %v", tt.in, i, got, w.left(c), err)
			}
		}
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for _, in := range []string{
		"", "250 OK", "250 OK\n", "250 OK\nx\r\n", "\r\n", "25 OK\r\n", "2500 OK\r\n", "250_OK\r\n", "OK\r\n", " 250 OK\r\n",
		"+25 OK\r\n", "-50 OK\r\n", "199 OK\r\n", "100 x\r\n", "600 x\r\n", "000 x\r\n", "2x0 OK\r\n", "\xb2\xb50 OK\r\n",
		"250-a\r\n550 b\r\n", "250-a\r\nb\r\n", "250-a\r\n250_b\r\n", "250-a\r\n",
		"250 " + strings.Repeat("x", maxReplyLine) + "\r\n",
		strings.Repeat("250-x\r\n", maxReplyLines) + "250 x\r\n",
		"SSH-2.0-OpenSSH_9.2\r\n", "* OK IMAP\r\n", "+OK POP3\r\n",
	} {
		if got, err := NewConn(newWire(in)).ReadReply(); err == nil {
			t.Errorf("%.40q: %+v", in, got)
		}
	}
}

// What we answer is what the other side reads.
func FuzzReplyRoundTrip(f *testing.F) {
	f.Add(250, 2, 0, 0, "OK\nSIZE")
	f.Add(550, 5, 1, 1, "")
	f.Add(354, 0, 0, 0, "go\r\non")
	f.Fuzz(func(t *testing.T, code, class, subject, detail int, text string) {
		r := mail.Reply{Code: 200 + abs(code)%400, Text: text}
		if class%2 == 0 && (r.OK() || r.Temporary() || r.Code >= 500) {
			r.Status = mail.Status{r.Code / 100, abs(subject) % 1000, abs(detail) % 1000}
		}
		wire := string(AppendReply(nil, r))
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			lines[i] = mail.Printable(line, maxReplyText)
			if status, _ := cutStatus(r.Code, lines[i]); r.Status == (mail.Status{}) && status != r.Status {
				return // a text that looks like a status is taken for one
			}
		}
		if len(lines) > maxReplyLines {
			return
		}
		want := mail.Reply{Code: r.Code, Status: r.Status, Text: strings.Join(lines, "\n")}
		w := newWire(wire+"NEXT", cutEvery(wire, 1+abs(detail)%7)...)
		c := NewConn(w)
		got, err := c.ReadReply()
		if err != nil || got != want || w.left(c) != "NEXT" {
			t.Fatalf("%#v, sent as %q, came back as %#v, rest %q, %v", r, wire, got, w.left(c), err)
		}
		for line := range strings.Lines(wire) {
			if text, ok := strings.CutSuffix(line, "\r\n"); !ok || len(line) > 512 || mail.Printable(text, 512) != text {
				t.Fatalf("%#v: bad line %q", r, line)
			}
		}
	})
}

func abs(n int) int { return max(n, -(n + 1)) }

// Whatever a server says, there is an answer or an error.
func FuzzReadReply(f *testing.F) {
	f.Add("250-a\r\n250 5.1.1 b\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := NewConn(newWire(s)).ReadReply()
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 599 || r.Status != (mail.Status{}) && r.Status[0] != r.Code/100 {
			t.Fatalf("%q: %#v", s, r)
		}
		if !strings.HasPrefix(s, fmt.Sprint(r.Code)) {
			t.Fatalf("%q: %#v", s, r)
		}
	})
}

func TestRFC1870_Size(t *testing.T) {
	offer := Offer{SizeOffered: true, Size: 1000}
	tests := []struct {
		params string
		size   int64
		err    error
	}{
		{"", 0, nil},
		{"SIZE=0", 0, nil},
		{"SIZE=1000", 1000, nil},
		{"SIZE=00000000000000001000", 1000, nil}, // 20 digits
		{"SIZE=1001", 0, mail.TooBig},
		{"SIZE=9223372036854775807", 0, mail.TooBig},
		{"SIZE=9223372036854775808", 0, mail.TooBig},
		{"SIZE=99999999999999999999", 0, mail.TooBig},
		{"SIZE=000000000000000000001", 0, mail.BadArgument}, // 21 digits
		{"SIZE=100000000000000000000", 0, mail.BadArgument},
		{"SIZE", 0, mail.BadArgument},
		{"SIZE=-1", 0, mail.BadArgument},
		{"SIZE=+1", 0, mail.BadArgument},
		{"SIZE=1k", 0, mail.BadArgument},
		{"SIZE=1_0", 0, mail.BadArgument},
		{"SIZE=0x10", 0, mail.BadArgument},
		{"SIZE=1 SIZE=2", 0, mail.BadArgument},
		{"SIZE=1 SIZE=1", 1, nil},
		{"SIZE=1 size=2", 0, mail.BadArgument},
		{"SIZE=1 size=1", 1, nil},
	}
	for _, tt := range tests {
		_, params, err := ParseMail(strings.TrimSpace("FROM:<a@b> " + tt.params))
		if err != nil {
			t.Errorf("%q: %v", tt.params, err)
			continue
		}
		got, err := offer.MailParams(params)
		if err != tt.err || err == nil && got.Size != tt.size {
			t.Errorf("%q: %+v, %v", tt.params, got, err)
		}
	}
}

func TestRFC1870_SizeWithoutLimit(t *testing.T) {
	offer := Offer{SizeOffered: true}
	got, err := offer.MailParams([]Param{{"SIZE", "9223372036854775807", true}})
	if err != nil || got.Size != 1<<63-1 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := offer.MailParams([]Param{{"SIZE", "9223372036854775808", true}}); err != mail.TooBig {
		t.Error(err)
	}
}

// Unknown parameters are 555, known ones twice 501, and those that were not
// offered unknown (section 4.1.1.11).
func TestRFC5321_4_1_1_11_Parameters(t *testing.T) {
	all := Offer{SizeOffered: true, EightBit: true, Pipelining: true, Status: true, StartTLS: true}
	tests := []struct {
		offer  Offer
		params string
		want   mail.Params
		err    error
	}{
		{all, "", mail.Params{}, nil},
		{all, "BODY=8BITMIME", mail.Params{Body: mail.Body8Bit}, nil},
		{all, "BODY=7bit SIZE=5", mail.Params{Body: mail.Body7Bit, Size: 5}, nil},
		{all, "body=8bitmime", mail.Params{Body: mail.Body8Bit}, nil},
		{all, "BODY", mail.Params{}, mail.BadArgument},
		{all, "BODY=9BIT", mail.Params{}, mail.BadArgument},
		{all, "BODY=BINARYMIME", mail.Params{}, mail.BodyNotSupported},
		{all, "BODY=BINARY", mail.Params{}, mail.BadArgument},
		{all, "BODY=7BIT BODY=8BITMIME", mail.Params{}, mail.BadArgument},
		{all, "BODY=7BIT BODY=7BIT", mail.Params{Body: mail.Body7Bit}, nil},
		{all, "SMTPUTF8", mail.Params{}, mail.BadParameter},
		{all, "AUTH=<>", mail.Params{}, mail.BadParameter},
		{all, "RET=FULL", mail.Params{}, mail.BadParameter},
		{all, "X", mail.Params{}, mail.BadParameter},
		{all, "STARTTLS", mail.Params{}, mail.BadParameter},
		{Offer{}, "", mail.Params{}, nil}, // after HELO
		{Offer{}, "SIZE=1", mail.Params{}, mail.BadParameter},
		{Offer{}, "BODY=7BIT", mail.Params{}, mail.BadParameter},
		{Offer{EightBit: true}, "SIZE=1", mail.Params{}, mail.BadParameter},
	}
	for _, tt := range tests {
		_, params, err := ParseMail(strings.TrimSpace("FROM:<> " + tt.params))
		if err != nil {
			t.Errorf("%q: %v", tt.params, err)
			continue
		}
		got, err := tt.offer.MailParams(params)
		if err != tt.err || err == nil && got != tt.want {
			t.Errorf("%q of %+v: %+v, %v", tt.params, tt.offer, got, err)
		}
	}
	for _, params := range []string{"NOTIFY=NEVER", "ORCPT=rfc822;a@b", "X"} {
		_, p, err := ParseRcpt("TO:<a@b> " + params)
		if err != nil {
			t.Error(err)
		}
		if err := all.RcptParams(p, new(mail.Recipient)); err != mail.BadParameter {
			t.Errorf("%q: %v", params, err)
		}
	}
	if err := all.RcptParams(nil, new(mail.Recipient)); err != nil {
		t.Error(err)
	}
}

func TestOfferRoundTrip(t *testing.T) {
	for bits := range 1 << 12 {
		has := func(n int) bool { return bits&(1<<n) != 0 }
		offer := Offer{
			Pipelining: has(0), EightBit: has(1), Status: has(2), StartTLS: has(3), SizeOffered: has(4),
			Chunking: has(5), UTF8: has(6), DSN: has(7), PRDR: has(8), RequireTLS: has(9),
		}
		if offer.SizeOffered && has(10) {
			offer.Size = 12345
		}
		if has(11) {
			offer.RcptMax = 100
		}
		lines := offer.Keywords()
		if got := ParseOffer(lines); got != offer {
			t.Fatalf("%+v came back as %+v", offer, got)
		}
	}
}

func TestParseOffer(t *testing.T) {
	tests := []struct {
		line string
		want Offer
	}{
		{"size 1000", Offer{SizeOffered: true, Size: 1000}},
		{"SIZE", Offer{SizeOffered: true}},
		{"SIZE 0", Offer{SizeOffered: true}},
		{"SIZE -5", Offer{SizeOffered: true}},
		{"SIZE x", Offer{SizeOffered: true}},
		{"SIZE 99999999999999999999", Offer{SizeOffered: true, Size: 1<<63 - 1}},
		{"8bitmime", Offer{EightBit: true}},
		{"8BITMIME x", Offer{EightBit: true}},
		{"PIPELINING2", Offer{}},
		{" PIPELINING", Offer{}},
		{"\u017fTARTTLS", Offer{}},
		{"", Offer{}},
	}
	for _, tt := range tests {
		if got := ParseOffer([]string{"X", tt.line}); got != tt.want {
			t.Errorf("%q: %+v", tt.line, got)
		}
	}
}
