package mx

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/dialogue"
	"postern/mail"
)

// behindProxy makes every connection begin with a PROXY header.
func (h *house) behindProxy(trusted string) {
	h.listener.Proxy = true
	h.listener.Trusted = []netip.Prefix{netip.MustParsePrefix(trusted)}
}

func TestProxyTellsTheClient(t *testing.T) {
	for header, want := range map[string]string{
		"PROXY TCP4 203.0.113.7 192.0.2.1 1234 25": "([203.0.113.7])",
		"PROXY TCP6 2001:db8::7 ::1 1234 25":       "([IPv6:2001:db8::7])",
		"PROXY UNKNOWN":                            "([192.0.2.1])",
	} {
		inHouse(t, func(t *testing.T, h *house) {
			h.behindProxy("192.0.2.0/24")
			h.play(t, "C: "+header+"\n"+toAnn+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
			if got := h.delivered(t); !strings.HasPrefix(got.text, "Received: from client.example "+want+"\r\n") {
				t.Errorf("%s: %q", header, got.text)
			}
		})
	}
}

// Nothing is said to one that is not the proxy, or says something else.
func TestProxyRefuses(t *testing.T) {
	tests := []struct{ name, trusted, say string }{
		{"not trusted", "198.51.100.0/24", "PROXY TCP4 203.0.113.7 192.0.2.1 1234 25"},
		{"no header", "192.0.2.0/24", "EHLO client.example"},
		{"broken header", "192.0.2.0/24", "PROXY TCP4 203.0.113.7 192.0.2.1 99999 25"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.behindProxy(tt.trusted)
				h.play(t, "C: "+tt.say+"\nS.")
				if o := h.outcome(t, mail.Connection); o.Reply.Err == nil {
					t.Errorf("recorded %+v", o)
				}
			})
		})
	}
}

func TestProxyTimeout(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.behindProxy("192.0.2.0/24")
		nc := h.dial()
		defer nc.Close()
		start := time.Now()
		dialogue.Play(t, nc, "C| PROXY \nS.")
		if d := time.Since(start); d != time.Minute {
			t.Errorf("after %v", d)
		}
	})
}
