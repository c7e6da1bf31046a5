package smtp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"postern/mail"
)

// The attributes of XFORWARD, as Postfix's XFORWARD_README has them.
func TestXForward(t *testing.T) {
	v4 := netip.MustParseAddr("203.0.113.7")
	for _, tt := range []struct {
		args []string
		want XForward
	}{
		{[]string{"NAME=spike.example ADDR=203.0.113.7 PORT=4711", "PROTO=ESMTP HELO=spike.example IDENT=4XqZ SOURCE=REMOTE"},
			XForward{XClient{Addr: v4, HasAddr: true, Hello: "spike.example", ESMTP: true}, "4XqZ"}},
		{[]string{"NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PROTO=[UNAVAILABLE] HELO=[UNAVAILABLE] IDENT=[UNAVAILABLE] SOURCE=LOCAL"},
			XForward{XClient: XClient{HasAddr: true}}},
		{[]string{"ident=a+20b"}, XForward{Ident: "a b"}},
		{[]string{"IDENT=a", "IDENT=b"}, XForward{Ident: "b"}},
		{[]string{"NAME=not/a/name PROTO=SMTP"}, XForward{}},
	} {
		var got XForward
		for _, arg := range tt.args {
			if err := got.Take(arg); err != nil {
				t.Errorf("%s: %v", arg, err)
			}
		}
		if got != tt.want {
			t.Errorf("%q: %+v", tt.args, got)
		}
	}
	for _, arg := range []string{"", " ", "IDENT", "IDENT=", "WHAT=x", "ADDR=x", "PORT=65536", "IDENT=a+2", "IDENT=" + strings.Repeat("x", 256), "IDENT=ok ADDR=203.0.113", "IDENT=a ident=b"} {
		got := XForward{Ident: "before"}
		if err := got.Take(arg); !errors.Is(err, mail.BadArgument) || got != (XForward{Ident: "before"}) {
			t.Errorf("%q: %+v, %v", arg, got, err)
		}
	}
}
