package smtp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"postern/mail"
)

// The attributes of XCLIENT, as Postfix's XCLIENT_README has them.
func TestXClient(t *testing.T) {
	v4, v6 := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")
	for arg, want := range map[string]XClient{
		"NAME=spike.example ADDR=203.0.113.7":         {Addr: v4, HasAddr: true},
		"addr=203.0.113.7 name=[unavailable]":         {Addr: v4, HasAddr: true},
		"ADDR=IPV6:2001:db8::7":                       {Addr: v6, HasAddr: true},
		"ADDR=IPv6:::ffff:203.0.113.7":                {Addr: v4, HasAddr: true},
		"ADDR=[UNAVAILABLE]":                          {HasAddr: true},
		"ADDR=[TEMPUNAVAIL] NAME=[TEMPUNAVAIL]":       {HasAddr: true},
		"HELO=spike.example PROTO=ESMTP":              {Hello: "spike.example", ESMTP: true},
		"HELO=a+20b+3Dc PROTO=SMTP":                   {Hello: "a b=c"},
		"HELO=[192.0.2.1] PROTO=esmtp":                {Hello: "[192.0.2.1]", ESMTP: true},
		"HELO=[UNAVAILABLE] PROTO=[UNAVAILABLE]":      {},
		"PORT=65535 DESTADDR=203.0.113.7 DESTPORT=25": {Server: v4},
		"PORT=[UNAVAILABLE] DESTADDR=[UNAVAILABLE]":   {},
		"LOGIN=ann+40example.org":                     {},
		"LOGIN=[UNAVAILABLE]\tNAME=a_b.example":       {},
		"DESTADDR=IPV6:2001:db8::7  PORT=0":           {Server: v6},
	} {
		if got, err := ParseXClient(arg); err != nil || got != want {
			t.Errorf("%s: %+v, %v", arg, got, err)
		}
	}
	for _, arg := range []string{
		"", " ", "ADDR", "ADDR=", "=x", "WHAT=x", "ADDR=2001:db8::7", "ADDR=203.0.113.7.", "ADDR=203.0.113", "ADDR=IPV6:203.0.113.7",
		"ADDR=IPV6:fe80::1%25eth0", "ADDR=203.0.113.7 ADDR=203.0.113.8", "addr=203.0.113.7 ADDR=203.0.113.7", "PROTO=LMTP", "PORT=65536", "PORT=-1", "PORT=x",
		"HELO=a+2", "HELO=a+zz", "HELO=a=b", "HELO=\x7f", "HELO=\xc3\xbc", "NAME=a..b", "NAME=-", "HELO=" + strings.Repeat("x", 256), "203.0.113.7",
		"DESTADDR=x", "DESTPORT=", "NAME=[WHAT]",
	} {
		if got, err := ParseXClient(arg); !errors.Is(err, mail.BadArgument) {
			t.Errorf("%q: %+v, %v", arg, got, err)
		}
	}
}
