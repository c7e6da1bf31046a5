package mx

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"postern/mail"
	"postern/smtp"
)

func TestRFC5321_4_5_5_NullSender(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.ReturnPath = true
		h.play(t, ehlo+"C: MAIL FROM:<>\nS: 250 2.1.0 *\nC: RCPT TO:<ann@mx.example>\nS: 250 *\n"+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+quit)
		if got := h.delivered(t); !got.env.From.IsNull() || !strings.HasPrefix(got.text, "Return-Path: <>\r\nReceived: ") {
			t.Errorf("from %v: %q", got.env.From, got.text)
		}
	})
}

// RFC 5321, sections 4.1.1.3 and 4.5.1: in any case, with no domain.
func TestRFC5321_4_5_1_Postmaster(t *testing.T) {
	for _, path := range []string{"<Postmaster>", "<postmaster>", "<POSTMASTER@MX.EXAMPLE>"} {
		play(t, sender+"C: RCPT TO:"+path+"\nS: 250 2.1.5 *\n"+quit)
	}
	play(t, sender+"C: RCPT TO:<ann>\nS: 501 5.1.3 *\n"+quit)
}

// RFC 5321, sections 2.3.5 and 4.1.3: the postmaster at the address that the client
// connected to is ours, as if no domain had been named; nobody else is known there.
func TestRFC5321_4_1_3_PostmasterAtOurAddress(t *testing.T) {
	tests := []struct {
		name, before, path, want string
	}{
		{"IPv4", "", "<Postmaster@[192.0.2.26]>", "250 2.1.5 *"},
		{"any case", "", "<POSTMASTER@[192.0.2.26]>", "250 2.1.5 *"},
		{"quoted", "", `<"postmaster"@[192.0.2.26]>`, "250 2.1.5 *"},
		{"mapped", "", "<postmaster@[IPv6:::ffff:192.0.2.26]>", "250 2.1.5 *"},
		{"another's address", "", "<postmaster@[192.0.2.27]>", "550 5.7.1 *"},
		{"the client's address", "", "<postmaster@[192.0.2.1]>", "550 5.7.1 *"},
		{"without brackets", "", "<postmaster@192.0.2.26>", "550 5.7.1 *"},
		{"somebody else", "", "<ann@[192.0.2.26]>", "550 5.7.1 *"},
		{"a sub-address", "", "<postmaster+x@[192.0.2.26]>", "550 5.7.1 *"},
		{"PROXY", "PROXY TCP4 203.0.113.7 198.51.100.2 1234 25", "<postmaster@[198.51.100.2]>", "250 2.1.5 *"},
		{"PROXY, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::25 1234 25", "<postmaster@[ipv6:2001:DB8:0::0:25]>", "250 2.1.5 *"},
		{"PROXY, our own address behind it", "PROXY TCP4 203.0.113.7 198.51.100.2 1234 25", "<postmaster@[192.0.2.26]>", "550 5.7.1 *"},
		{"PROXY that speaks for itself", "PROXY UNKNOWN", "<postmaster@[192.0.2.26]>", "250 2.1.5 *"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				header := ""
				if tt.before != "" {
					h.behindProxy("192.0.2.0/24")
					header = "C: " + tt.before + "\n"
				}
				script := header + sender + "C: RCPT TO:" + tt.path + "\nS: " + tt.want + "\n"
				if !strings.HasPrefix(tt.want, "250") {
					h.play(t, script+quit)
					return
				}
				h.play(t, script+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
				got := h.delivered(t)
				if to := got.env.To[0].Path(); !strings.EqualFold(to, "<postmaster@mx.example>") || strings.Contains(got.text, "for <") {
					t.Errorf("delivered to %v: %q", to, got.text)
				}
				if o := h.outcome(t, mail.EndOfData); len(o.To) != 1 || o.To[0].Domain != "" {
					t.Errorf("recorded %v", o.To)
				}
			})
		})
	}
}

// XCLIENT, too, may tell which address the client connected to.
func TestXClientTellsOurAddress(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.behindXClient("192.0.2.1/32")
		h.play(t, greeting+"C: XCLIENT ADDR=203.0.113.7 DESTADDR=198.51.100.2 HELO=client.example\n"+greeting+`
			C: MAIL FROM:<a@b>
			S: 250 *
			C: RCPT TO:<postmaster@[198.51.100.2]>
			S: 250 2.1.5 *
			C: RCPT TO:<postmaster@[192.0.2.26]>
			S: 550 5.7.1 *
			C: RSET
			S: 250 *
			# and of another client it says nothing
			C: XCLIENT ADDR=203.0.113.8 HELO=client.example
			`+greeting+`
			C: MAIL FROM:<a@b>
			S: 250 *
			C: RCPT TO:<postmaster@[198.51.100.2]>
			S: 550 5.7.1 *
			`+quit)
	})
}

// The sender's spelling of a local part is not touched (section 2.4), a source
// route is dropped (appendix C), quotes are only what they must be.
func TestRFC5321_4_1_1_3_ForwardPaths(t *testing.T) {
	tests := []struct{ path, want string }{
		{"<aNN@mx.example>", "<aNN@mx.example>"},
		{"<ann@MX.Example>", "<ann@mx.example>"},
		{"<@one.example,@two.example:ann@mx.example>", "<ann@mx.example>"},
		{`<"ann"@mx.example>`, "<ann@mx.example>"},
		{`<"a b"@mx.example>`, `<"a b"@mx.example>`},
		{`<"a\\ b"@mx.example>`, `<"a b"@mx.example>`},
		{"<ann@[192.0.2.25]>", "<ann@mx.example>"},
		{" <ann@mx.example>", "<ann@mx.example>"},
		{"<ann@mx.example> ", "<ann@mx.example>"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.play(t, sender+"C: RCPT TO:"+tt.path+"\nS: 250 2.1.5 *\n"+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
				if got := h.delivered(t).env.To[0].Path(); got != tt.want {
					t.Errorf("delivered to %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestRFC5321_4_1_1_3_BadPaths(t *testing.T) {
	for path, want := range map[string]string{
		"<ann@mx.example":             "501 5.1.3 *",
		"ann@mx.example":              "501 5.1.3 *",
		"<ann@mx.example.>":           "501 5.1.3 *",
		"<ann@@mx.example>":           "501 5.1.3 *",
		"<a..b@mx.example>":           "501 5.1.3 *",
		"<>":                          "501 5.1.3 *",
		"<ann@[1.2.3]>":               "501 5.1.3 *",
		"<ann@[IPv6:x]>":              "501 5.1.3 *",
		`<ann\x00@mx.example>`:        "501 5.1.3 *",
		`<ann@mx.example\r>`:          "501 5.1.3 *",
		`<"ann\r"@mx.example>`:        "501 5.1.3 *",
		"<ann@mx.example>x":           "501 5.5.4 *",
		"<ann@[192.0.2.99]>":          "550 5.7.1 *",
		"<ann%x.example@relay.x>":     "550 5.7.1 *",
		"<ann@mx.example.evil>":       "550 5.7.1 *",
		"<ann%mx.example@mx.example>": "550 5.1.1 *", // it is not for us to turn these around
		"<x.example!ann@mx.example>":  "550 5.1.1 *",
		"<../../ann@mx.example>":      "501 5.1.3 *",
		`<"../../ann"@mx.example>`:    "550 5.1.1 *",
	} {
		t.Run(path, func(t *testing.T) {
			play(t, sender+"C: RCPT TO:"+path+"\nS: "+want+"\n"+quit)
		})
	}
}

// RFC 6531, section 3.5: without SMTPUTF8 a non-ASCII sender is 550 5.6.7, and a
// recipient 553.
func TestRFC6531_3_5_NonASCII(t *testing.T) {
	play(t, ehlo+`
		C: MAIL FROM:<\xc3\xbc@client.example>
		S: 550 5.6.7 *
		C: MAIL FROM:<a@\xc3\xbc.example>
		S: 550 5.6.7 *
		C: MAIL FROM:<a@client.example>
		S: 250 *
		C: RCPT TO:<\xc3\xbc@mx.example>
		S: 553 5.6.7 *
		C: RCPT TO:<ann@\xc3\xbc.example>
		S: 553 5.6.7 *
		C: RCPT TO:<\xff@mx.example>
		S: 501 5.1.3 *
		`+quit)
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, ehlo+`
			C: MAIL FROM:<\xc3\xbc@client.example> SMTPUTF8
			S: 250 *
			C: RCPT TO:<\xc3\xbc@mx.example>
			S: 250 *
			`+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
		got := h.delivered(t)
		if !got.env.UTF8 || !strings.Contains(got.text, "with UTF8SMTP\r\n") || !strings.Contains(got.text, "for <ü@mx.example>;") {
			t.Errorf("delivered %q", got.text)
		}
	})
}

// A sender may have dots where they would need quotes, and has these from here on;
// a recipient of ours has none.
func TestSenderWithStrayDots(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.ReturnPath = true
		h.play(t, ehlo+`
			C: MAIL FROM:<a..b.@client.example>
			S: 250 2.1.0 *
			C: RCPT TO:<a..b@mx.example>
			S: 501 5.1.3 *
			C: RCPT TO:<ann@mx.example>
			S: 250 *
			`+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
		if got := h.delivered(t); got.env.From.Local != "a..b." || !strings.HasPrefix(got.text, `Return-Path: <"a..b."@client.example>`+"\r\n") {
			t.Errorf("from %v: %q", got.env.From, got.text)
		}
	})
}

// A 521 of the next hop is about its recipient, and the others are served.
func TestNextHopSays521(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.next.refuse = map[string]error{"bob": mail.Reply{Code: 521, Status: mail.Status{5, 1, 10}, Text: "takes no mail"}}
		h.play(t, toAnn+"C: RCPT TO:<bob@mx.example>\nS: 521 5.1.10 takes no mail\n"+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
		h.delivered(t)
	})
}

// RFC 6531, section 3.3: a sender's domain is of U-labels, so that what is judged is
// what is shown. Recipients we know ourselves, however they are written.
func TestRFC6531_3_3_SenderDomain(t *testing.T) {
	for domain, want := range map[string]string{
		`m\xc3\xbcller.example`:     "250 2.1.0 *",
		`M\xc3\x9cLLER.example`:     "250 2.1.0 *",
		`ex\xc2\xadample.org`:       "501 5.1.7 *", // a soft hyphen
		`a\xe2\x80\xaeb.example`:    "501 5.1.7 *", // U+202E
		`a\xe2\x80\x8cb.example`:    "501 5.1.7 *", // a ZWNJ
		`\xef\xbd\x86ull.example`:   "501 5.1.7 *", // a wide "f"
		`mu\xcc\x88ller.example`:    "501 5.1.7 *", // not NFC
		`a\xe3\x80\x82example`:      "501 5.1.7 *", // an ideographic full stop
		`xn--zz--nothing.example`:   "250 2.1.0 *", // ASCII is not looked at
		`m\xc3\xbcller.r3---x.test`: "250 2.1.0 *",
	} {
		for _, local := range []string{"a", `\xc3\xa5`} {
			inHouse(t, func(t *testing.T, h *house) {
				h.play(t, ehlo+"C: MAIL FROM:<"+local+"@"+domain+"> SMTPUTF8\nS: "+want+"\n"+quit)
				if strings.HasPrefix(want, "5") {
					if o := h.outcome(t, mail.Refused); !strings.HasPrefix(o.Note, "said FROM:<") {
						t.Errorf("%s: recorded %+v", domain, o)
					}
				}
			})
		}
	}
}

// A recipient who is named twice, or is a member of an alias too, gets one copy; and
// each RCPT is answered.
func TestRFC5321_3_3_SameRecipientTwice(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+`
			C: RCPT TO:<ann@mx.example>
			C: RCPT TO:<both@mx.example>
			C: RCPT TO:<bob@mx.example>
			S: 250 *
			S: 250 *
			S: 250 *
			`+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
		if got := h.delivered(t); fmt.Sprint(got.env.To) != "[ann@mx.example bob@mx.example]" {
			t.Errorf("delivered to %v", got.env.To)
		}
	})
}

// An alias is taken if any of its members is.
func TestAliasVerification(t *testing.T) {
	gone := mail.Reply{Code: 550, Status: mail.Status{5, 1, 1}, Text: "gone"}
	busy := mail.Reply{Code: 450, Status: mail.Status{4, 2, 1}, Text: "busy"}
	tests := []struct {
		ann, bob error
		want     string
		to       string
	}{
		{nil, nil, "250 *", "[ann@mx.example bob@mx.example]"},
		{nil, gone, "250 *", "[ann@mx.example]"},
		{gone, nil, "250 *", "[bob@mx.example]"},
		{nil, busy, "250 *", "[ann@mx.example bob@mx.example]"}, // asked again with the message
		{gone, gone, "550 5.1.1 gone", ""},
		{gone, busy, "450 4.2.1 busy", ""},
		{fmt.Errorf("broken"), gone, "451 4.3.0 *", ""},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.next.refuse = map[string]error{"ann": tt.ann, "bob": tt.bob}
				h.play(t, sender+"C: RCPT TO:<both@mx.example>\nS: "+tt.want)
				if tt.to == "" {
					return
				}
				h.play(t, sender+"C: RCPT TO:<both@mx.example>\nS: 250 *\n"+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
				if got := h.delivered(t); fmt.Sprint(got.env.To) != tt.to {
					t.Errorf("delivered to %v", got.env.To)
				}
			})
		})
	}
}

// RFC 5321, section 4.4: the time stamp line, on top, and whole.
func TestRFC5321_4_4_Received(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+"C: From: a\nC:\nC: hi\nC: .\nS: 250 *\n"+quit)
		got := h.delivered(t)
		want := "Received: from client.example ([192.0.2.1])\r\n" +
			"\tby mx.example with ESMTP\r\n" +
			"\tid " + got.env.ID + "\r\n" +
			"\tfor <ann@mx.example>;\r\n" +
			"\tSat, 01 Jan 2000 00:00:00 +0000\r\n" +
			"From: a\r\n\r\nhi\r\n"
		if got.text != want {
			t.Errorf("got %q, want %q", got.text, want)
		}
	})
}

// Other recipients are not shown (section 7.2).
func TestRFC5321_7_2_NoForWithSeveral(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toBoth+data+"C: Bcc: bob@mx.example\nC: .\nS: 250 *\n"+quit)
		got := h.delivered(t)
		if strings.Contains(got.text, "for <") {
			t.Errorf("delivered %q", got.text)
		}
		// And what the sender wrote is not ours to take out.
		if !strings.Contains(got.text, "\r\nBcc: bob@mx.example\r\n") {
			t.Errorf("Bcc is gone: %q", got.text)
		}
	})
}

func TestRFC5321_4_4_HostileHello(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, greeting+`
			C: EHLO evil (x) by mx.example;\tX-Spam: no\xff `+strings.Repeat("y", 1000)+`
			S: ...
			S: 250 *
			C: MAIL FROM:<a@b>
			S: 250 *
			C: RCPT TO:<ann@mx.example>
			S: 250 *
			`+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
		got := h.delivered(t)
		first, _, _ := strings.Cut(got.text, "\r\n")
		if !strings.HasPrefix(first, "Received: from evil??x??by?mx.example??X-Spam:?no??yyy") || !strings.HasSuffix(first, "y ([192.0.2.1])") || len(first) > 300 {
			t.Errorf("delivered %q", first)
		}
	})
}

// RFC 5321, section 6.3: a hundred hops are a loop.
func TestRFC5321_6_3_Loop(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+strings.Repeat("C: received: from a\n", 100)+"C: .\nS: 554 5.4.6 *\n"+quit)
		h.nothingDelivered(t)
	})
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+strings.Repeat("C: Received: from a\n", 99)+"C:\nC: Received: in the body\nC: .\nS: 250 *\n"+quit)
		h.delivered(t)
	})
}

// RFC 5321, section 4.4: the final delivery adds Return-Path; others are taken
// out, wherever they stand.
func TestRFC5321_4_4_ReturnPath(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+`
			C: Return-Path: <evil@example.org>
			C: From: a
			C: RETURN-path:
			C:  <evil@example.org>
			C: To: b
			C: Return-Path : <x>
			C:
			C: Return-Path: <body>
			C: .
			S: 250 *
			`+quit)
		if got := h.delivered(t).body(); got != "From: a\r\nTo: b\r\n\r\nReturn-Path: <body>\r\n" {
			t.Errorf("delivered %q", got)
		}
	})
}

// A message that does not begin with a field neither becomes part of our fields
// nor loses an octet.
func TestRFC5322_2_2_MessagesThatAreNone(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a continuation", ` X-Evil: 1\r\na: b\r\n`, "X-Header-Begins-With-White-Space:\r\n X-Evil: 1\r\na: b\r\n"},
		{"a TAB", `\tx\r\n\r\nhi\r\n`, "X-Header-Begins-With-White-Space:\r\n\tx\r\n\r\nhi\r\n"},
		{"a blank line of spaces", ` \r\na: b\r\n`, "X-Header-Begins-With-White-Space:\r\n \r\na: b\r\n"},
		{"a continuation, then Return-Path", ` x\r\nReturn-Path: <evil@example.org>\r\na: b\r\n\r\nhi\r\n`, "X-Header-Begins-With-White-Space:\r\n x\r\na: b\r\n\r\nhi\r\n"},
		{"a continuation, then text", ` x\r\nhello\r\nFrom: evil\r\n`, "X-Header-Begins-With-White-Space:\r\n x\r\n\r\nhello\r\nFrom: evil\r\n"},
		{"no header", `hello\r\nworld\r\n`, "\r\nhello\r\nworld\r\n"},
		{"an empty header", `\r\nhello\r\n`, "\r\nhello\r\n"},
		{"a header alone", `a: b\r\n`, "a: b\r\n"},
		{"garbage in the header", `a: b\r\nhello\r\nFrom: evil\r\n`, "a: b\r\n\r\nhello\r\nFrom: evil\r\n"},
		{"the line of an mbox", `From ann Sat Jan  1 00:00:00 2000\r\nFrom: evil\r\n`, "\r\nFrom ann Sat Jan  1 00:00:00 2000\r\nFrom: evil\r\n"},
		{"a field of nothing but a name", `a:\r\n\r\n`, "a:\r\n\r\n"},
		{"Return-Path, then garbage", `Return-Path: x\r\nhello\r\n`, "\r\nhello\r\n"},
		{"Return-Path, then a blank line", `Return-Path: x\r\n\r\nhello\r\n`, "\r\nhello\r\n"},
		{"a CR too many at its end", `a: b\r\n\r\r\nFrom: evil\r\n`, "a: b\r\n\r\r\nFrom: evil\r\n"},
		{"two too many", `a: b\r\n\r\r\r\nFrom: evil\r\n`, "a: b\r\n\r\n\r\r\r\nFrom: evil\r\n"},
		{"the quoted line of an mbox", `>From ann Sat Jan  1 00:00:00 2000\r\na: b\r\n\r\nhi\r\n`, ">From ann Sat Jan  1 00:00:00 2000\r\na: b\r\n\r\nhi\r\n"},
		{"8-bit", `\xff: x\r\n\r\nhi\r\n`, "\r\n\xff: x\r\n\r\nhi\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.play(t, toAnn+data+"C| "+tt.text+".\\r\\n\nS: 250 *\n"+quit)
				if got := h.delivered(t).body(); got != tt.want {
					t.Errorf("delivered %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestRFC5322_HeaderThatIsTooLarge(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+"C: a: "+strings.Repeat("x", 300<<10)+"\nC:\nC: hi\nC: .\nS: 552 5.3.4 *\n"+quit)
		h.nothingDelivered(t)
	})
}

// RFC 1870, section 6.1, and the space that there is.
func TestSpace(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		var asked []int64
		h.Space = func(size int64) error {
			asked = append(asked, size)
			if size > 1000 {
				return mail.NoSpace
			}
			return nil
		}
		h.play(t, ehlo+`
			C: MAIL FROM:<a@b> SIZE=1001
			S: 452 4.3.1 *
			C: MAIL FROM:<a@b>
			S: 250 *
			`+quit)
		if fmt.Sprint(asked) != "[1001 0]" {
			t.Errorf("asked for %v", asked)
		}
	})
}

// What is refused is recorded, with what was said where it was not understood.
func TestRefusalsAreRecorded(t *testing.T) {
	tests := []struct {
		script string
		reply  mail.Reply
		note   string
		to     string
	}{
		{`C: MAIL FROM:<a@b..\xff>` + "\nS: 501 *", mail.BadSender, "said FROM:<a@b..?>", "[]"},
		{"C: MAIL FROM:<a@b> SIZE=x\nS: 501 *", mail.BadArgument, "said FROM:<a@b> SIZE=x", "[]"},
		{"C: MAIL FROM:<a@b> X=" + strings.Repeat("y", 1000) + "\nS: 555 *", mail.BadParameter, "said FROM:<a@b> X=" + strings.Repeat("y", 300-len("FROM:<a@b> X=")), "[]"},
		{"C: MAIL FROM:<a@b> SIZE=99999999\nS: 552 *", mail.TooBig, "said FROM:<a@b> SIZE=99999999", "[]"},
		{"C: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<ann>\nS: 501 *", mail.BadRecipient, "said TO:<ann>", "[]"},
		{"C: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<ann@mx.example> X\nS: 555 *", mail.BadParameter, "said TO:<ann@mx.example> X", "[]"},
		{"C: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<x@mx.example>\nS: 550 *", mail.NoSuchUser, "", "[x@mx.example]"},
		{"C: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<x@y.example>\nS: 550 *", mail.NoRelay, "", "[x@y.example]"},
		{"C: MAIL FROM:<a@b>\nS: 250 *\n" + strings.Repeat("C: RCPT TO:<ann@mx.example>\nS: 250 *\n", 100) + "C: RCPT TO:<bob@mx.example>\nS: 452 *", mail.TooManyRecipients, "", "[bob@mx.example]"},
	}
	for _, tt := range tests {
		inHouse(t, func(t *testing.T, h *house) {
			h.play(t, ehlo+tt.script)
			o := h.outcome(t, mail.Refused)
			if !o.Reply.Is(tt.reply) || o.Note != tt.note || fmt.Sprint(o.To) != tt.to || o.Client.Hello != "client.example" {
				t.Errorf("%.80q: recorded %+v", tt.script, o)
			}
		})
	}
}

// A next hop hears what the sender wants to be told (RFC 3461), and only what it
// offers is offered.
func TestRFC3461_5_PassedOn(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, ehlo+`
			C: MAIL FROM:<a@client.example> RET=HDRS ENVID=x+2By
			S: 250 *
			C: RCPT TO:<ann@mx.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;Ann@mx.example
			S: 250 *
			C: RCPT TO:<bob@mx.example> NOTIFY=NEVER,DELAY
			S: 501 5.5.4 *
			`+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
		env := h.delivered(t).env
		if env.Ret != mail.RetHeaders || env.EnvelopeID != "x+y" || env.To[0].Notify != mail.NotifyFailure|mail.NotifyDelay || env.To[0].Original != "Ann@mx.example" {
			t.Errorf("delivered with %+v", env)
		}
	})
}

func TestRFC6531_3_2_OfferOfTheNextHop(t *testing.T) {
	tests := []struct {
		name  string
		offer smtp.Offer
		err   error
		want  string
	}{
		{"nothing", smtp.Offer{}, nil, "S: 250-PIPELINING\nS: 250-SIZE 1048576\nS: 250-CHUNKING\nS: 250-PRDR\nS: 250-LIMITS RCPTMAX=100\nS: 250-HELP\nS: 250 ENHANCEDSTATUSCODES\n" +
			"C: MAIL FROM:<a@b> BODY=8BITMIME\nS: 555 *\nC: MAIL FROM:<a@b> SMTPUTF8\nS: 555 *\n"},
		{"a smaller size", smtp.Offer{EightBit: true, SizeOffered: true, Size: 1000}, nil, "S: 250-PIPELINING\nS: 250-SIZE 1000\nS: 250-8BITMIME\nS: ...\nS: 250 *\nC: MAIL FROM:<a@b> SIZE=1001\nS: 552 *\n"},
		{"a larger size", smtp.Offer{SizeOffered: true, Size: 1 << 30}, nil, "S: 250-PIPELINING\nS: 250-SIZE 1048576\nS: ...\nS: 250 *\n"},
		{"no answer", smtp.Offer{}, fmt.Errorf("down"), "S: 250-PIPELINING\nS: 250-SIZE 1048576\nS: 250-8BITMIME\nS: 250-SMTPUTF8\nS: ...\nS: 250 *\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.NextOffer = func(context.Context) (smtp.Offer, error) { return tt.offer, tt.err }
				h.play(t, greeting+"C: EHLO a\nS: 250-mx.example\n"+tt.want+quit)
			})
		})
	}
}

// PRDR: where the recipients fare differently each is answered, in the order of
// RCPT, and a client that does not ask for it hears one reply.
func TestPRDR(t *testing.T) {
	full := mail.Reply{Code: 452, Status: mail.Status{4, 2, 2}, Text: "full"}
	begin := ehlo + "C: MAIL FROM:<a@b> PRDR\nS: 250 *\nC: RCPT TO:<ann@mx.example>\nS: 250 *\nC: RCPT TO:<both@mx.example>\nS: 250 *\nC: RCPT TO:<bob@mx.example>\nS: 250 *\n" + data + "C: a: b\nC: .\n"
	inHouse(t, func(t *testing.T, h *house) {
		h.next.answer = map[string]mail.Reply{"bob": full}
		h.play(t, begin+"S: 353 *\nS: 250 2.0.0 *\nS: 452 4.2.2 full\nS: 452 4.2.2 full\nS: 250 *\nC: MAIL FROM:<c@d>\nS: 250 *\n"+quit)
	})
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, begin+"S: 250 2.0.0 OK *\n"+quit)
	})
	inHouse(t, func(t *testing.T, h *house) {
		h.next.answer = map[string]mail.Reply{"ann": full, "bob": full}
		h.play(t, begin+"S: 452 4.2.2 full\n"+quit)
	})
}
