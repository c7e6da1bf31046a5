package smtp

import (
	"strings"
	"testing"

	"postern/mail"
)

// everything is what a server may offer.
var everything = Offer{
	Pipelining: true, EightBit: true, Status: true, StartTLS: true, SizeOffered: true, Chunking: true,
	UTF8: true, DSN: true, PRDR: true, RequireTLS: true,
}

func TestRFC3461_4_MailParameters(t *testing.T) {
	tests := []struct {
		params string
		want   mail.Params
		err    error
	}{
		{"RET=FULL", mail.Params{Ret: mail.RetFull}, nil},
		{"RET=hdrs", mail.Params{Ret: mail.RetHeaders}, nil},
		{"RET=HDR\u017f", mail.Params{}, mail.BadArgument}, // a long s
		{"RET", mail.Params{}, mail.BadArgument},
		{"RET=ALL", mail.Params{}, mail.BadArgument},
		{"RET=FULL RET=FULL", mail.Params{}, mail.BadArgument},
		{"ENVID=abc", mail.Params{EnvelopeID: "abc"}, nil},
		{"ENVID=a+2Bb+20c", mail.Params{EnvelopeID: "a+b c"}, nil},
		{"ENVID=+41+4F+39+30", mail.Params{EnvelopeID: "AO90"}, nil},
		{"ENVID=" + strings.Repeat("x", 100), mail.Params{EnvelopeID: strings.Repeat("x", 100)}, nil},
		{"ENVID=" + strings.Repeat("x", 101), mail.Params{}, mail.BadArgument},
		{"ENVID", mail.Params{}, mail.BadArgument},
		{"ENVID=a+2b", mail.Params{}, mail.BadArgument}, // lower case
		{"ENVID=a+2", mail.Params{}, mail.BadArgument},
		{"ENVID=a+", mail.Params{}, mail.BadArgument},
		{"ENVID=a+GG", mail.Params{}, mail.BadArgument},
		{"ENVID=a+0D+0Ab", mail.Params{}, mail.BadArgument}, // printable, once decoded
		{"ENVID=a+00", mail.Params{}, mail.BadArgument},
		{"ENVID=\u00fc", mail.Params{}, mail.BadArgument},
		{"SMTPUTF8", mail.Params{UTF8: true}, nil},
		{"SMTPUTF8=1", mail.Params{}, mail.BadArgument},
		{"REQUIRETLS", mail.Params{RequireTLS: true}, nil},
		{"REQUIRETLS=no", mail.Params{}, mail.BadArgument},
		{"PRDR", mail.Params{PRDR: true}, nil},
		{"SMTPUTF8 SMTPUTF8", mail.Params{UTF8: true}, nil},
		{"RET=FULL RET=FULL", mail.Params{}, mail.BadArgument},
		{"ENVID=a ENVID=a", mail.Params{}, mail.BadArgument},
	}
	for _, tt := range tests {
		_, params, err := ParseMail("FROM:<> " + tt.params)
		if err != nil {
			t.Errorf("%q: %v", tt.params, err)
			continue
		}
		got, err := everything.MailParams(params)
		if err != tt.err || err == nil && got != tt.want {
			t.Errorf("%q: %+v, %v", tt.params, got, err)
		}
		if _, err := (Offer{}).MailParams(params); err != mail.BadParameter && err != mail.BadArgument {
			t.Errorf("%q, not offered: %v", tt.params, err)
		}
	}
}

func TestRFC3461_4_RcptParameters(t *testing.T) {
	original := func(kind, addr string) mail.Recipient {
		return mail.Recipient{OriginalType: kind, Original: addr}
	}
	none := mail.Recipient{}
	tests := []struct {
		params string
		want   mail.Recipient
		err    error
	}{
		{"NOTIFY=NEVER", mail.Recipient{Notify: mail.NotifyNever}, nil},
		{"NOTIFY=success,DELAY", mail.Recipient{Notify: mail.NotifySuccess | mail.NotifyDelay}, nil},
		{"NOTIFY=SUCCESS,FAILURE,DELAY", mail.Recipient{Notify: mail.NotifySuccess | mail.NotifyFailure | mail.NotifyDelay}, nil},
		{"NOTIFY=NEVER,SUCCESS", none, mail.BadArgument},
		{"NOTIFY=SUCCESS,NEVER", none, mail.BadArgument},
		{"NOTIFY=DELAY,DELAY", mail.Recipient{Notify: mail.NotifyDelay}, nil},
		{"NOTIFY=NEVER,NEVER", none, mail.BadArgument},
		{"NOTIFY=,", none, mail.BadArgument},
		{"NOTIFY=SUCCESS,", none, mail.BadArgument},
		{"NOTIFY=SOMETIMES", none, mail.BadArgument},
		{"NOTIFY=\u017fUCCESS", none, mail.BadArgument},
		{"NOTIFY", none, mail.BadArgument},
		{"NOTIFY=DELAY NOTIFY=DELAY", none, mail.BadArgument},
		{"ORCPT=rfc822;a@b", original("rfc822", "a@b"), nil},
		{"ORCPT=RFC822;a+2Bc@b", original("RFC822", "a+c@b"), nil},
		{"ORCPT=utf-8;a@b", original("utf-8", "a@b"), nil},
		{"ORCPT=utf-8;\\x{FC}@b", original("utf-8", `\x{FC}@b`), nil},
		{"ORCPT=utf-8;a\\x{ZZ}@b", none, mail.BadArgument},
		{"ORCPT=utf-8;a\\@b", none, mail.BadArgument},
		{"ORCPT=utf-8;a\\x{0D}@b", none, mail.BadArgument},
		{"ORCPT=utf-8;a\\x{D800}@b", none, mail.BadArgument},
		{"ORCPT=utf-8;a\\x{fc}@b", original("utf-8", `a\x{fc}@b`), nil},
		{"ORCPT=rfc822;a+0D+0Ab@c", none, mail.BadArgument},
		{"ORCPT=utf-8;", none, mail.BadArgument},
		{"ORCPT=rfc822;", none, mail.BadArgument},
		{"ORCPT=;a@b", none, mail.BadArgument},
		{"ORCPT=rfc822", none, mail.BadArgument},
		{"ORCPT", none, mail.BadArgument},
		{"ORCPT=rfc_822;a@b", none, mail.BadArgument},
		{"ORCPT=rfc822;a+b@c", none, mail.BadArgument},
		{"ORCPT=rfc822;\u00fc@b", none, mail.BadArgument},
		{"ORCPT=rfc822;" + strings.Repeat("x", 493), original("rfc822", strings.Repeat("x", 493)), nil},
		{"ORCPT=rfc822;" + strings.Repeat("x", 494), none, mail.BadArgument},
	}
	for _, tt := range tests {
		_, params, err := ParseRcpt("TO:<a@b> " + tt.params)
		if err != nil {
			t.Errorf("%q: %v", tt.params, err)
			continue
		}
		var got mail.Recipient
		err = everything.RcptParams(params, &got)
		if err != tt.err || err == nil && got != tt.want {
			t.Errorf("%q: %+v, %v", tt.params, got, err)
		}
		if err := (Offer{}).RcptParams(params, &got); err != mail.BadParameter && err != mail.BadArgument {
			t.Errorf("%q, not offered: %v", tt.params, err)
		}
	}
}

// What we understood we say in the same sense to a next hop that offers all, and
// nothing of it to one that offers nothing.
func FuzzParamsRoundTrip(f *testing.F) {
	f.Add("SIZE=5 BODY=8BITMIME RET=FULL ENVID=a+2Bb SMTPUTF8 REQUIRETLS", "NOTIFY=DELAY,FAILURE ORCPT=rfc822;a+40b")
	f.Add("RET=HDRS", "ORCPT=utf-8;\\x{FC}@b NOTIFY=NEVER")
	f.Fuzz(func(t *testing.T, mailParams, rcptParams string) {
		var err error
		env := mail.Envelope{From: mail.Address{Local: "a", Domain: "b"}}
		if _, params, parseErr := ParseMail("FROM:<a@b> " + mailParams); parseErr == nil {
			if env.Params, err = everything.MailParams(params); err == nil {
				env.PRDR = false // is between the client and us
				checkMailCommand(t, &env)
			}
		}
		rcpt := mail.Recipient{Address: mail.Address{Local: "c", Domain: "d"}}
		if _, params, parseErr := ParseRcpt("TO:<c@d> " + rcptParams); parseErr == nil {
			if err = everything.RcptParams(params, &rcpt); err == nil {
				checkRcptCommand(t, rcpt)
			}
		}
	})
}

func checkMailCommand(t *testing.T, env *mail.Envelope) {
	t.Helper()
	line := everything.MailCommand(env, env.Size)
	cmd := ParseCommand([]byte(line))
	addr, params, err := ParseMail(cmd.Arg)
	if err != nil || cmd.Verb != "MAIL" || addr != env.From || strings.ContainsAny(line, "\r\n\x00") {
		t.Fatalf("%q: %v", line, err)
	}
	if got, err := everything.MailParams(params); err != nil || got != env.Params {
		t.Fatalf("%+v, sent as %q, came back as %+v, %v", env.Params, line, got, err)
	}
	if got := (Offer{}).MailCommand(env, env.Size); got != "MAIL FROM:<a@b>" {
		t.Fatalf("to a server that offers nothing: %q", got)
	}
}

func checkRcptCommand(t *testing.T, want mail.Recipient) {
	t.Helper()
	line := everything.RcptCommand(want)
	cmd := ParseCommand([]byte(line))
	addr, params, err := ParseRcpt(cmd.Arg)
	if err != nil || cmd.Verb != "RCPT" || strings.ContainsAny(line, "\r\n\x00") {
		t.Fatalf("%q: %v", line, err)
	}
	got := mail.Recipient{Address: addr}
	if err := everything.RcptParams(params, &got); err != nil || got != want {
		t.Fatalf("%+v, sent as %q, came back as %+v, %v", want, line, got, err)
	}
	if got := (Offer{}).RcptCommand(want); got != "RCPT TO:<c@d>" {
		t.Fatalf("to a server that offers nothing: %q", got)
	}
}

// Any octets can be written as xtext, and are what they were.
func FuzzXtext(f *testing.F) {
	f.Add("a+b=c d\x00\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := DecodeXtext(EncodeXtext(s)); !ok || got != s {
			t.Fatalf("%q came back as %q, %v", s, got, ok)
		}
		if strings.ContainsFunc(EncodeXtext(s), func(r rune) bool { return r < '!' || r > '~' || r == '=' }) {
			t.Fatalf("%q: %q", s, EncodeXtext(s))
		}
		if text, ok := DecodeXtext(s); ok {
			if again, ok := DecodeXtext(EncodeXtext(text)); !ok || again != text {
				t.Fatalf("%q: %q, then %q", s, text, again)
			}
		}
	})
}

func TestRFC9422_Limits(t *testing.T) {
	for arg, want := range map[string]int{
		"RCPTMAX=100": 100, "rcptmax=5 MAILMAX=7": 5, "MAILMAX=7": 0, "": 0,
		"RCPTMAX=0": 0, "RCPTMAX=-1": 0, "RCPTMAX=x": 0, "RCPTMAX": 0, "RCPTMAX=99999999999999999999": 0,
	} {
		if got := ParseOffer([]string{"LIMITS " + arg}); got.RcptMax != want {
			t.Errorf("%q: %d", arg, got.RcptMax)
		}
	}
}
