package mx

import (
	"net/netip"
	"strings"
	"testing"

	"postern/internal/dialogue"
	"postern/mail"
)

// behindXClient makes the clients of a network proxies.
func (h *house) behindXClient(network string) {
	h.XClient = []netip.Prefix{netip.MustParsePrefix(network)}
}

const introduction = "C: XCLIENT NAME=spike.example ADDR=203.0.113.7\nS: 220 mx.example ESMTP *\n"

// The session begins anew, and the client is who the proxy says, for the judge,
// for the trace field and in the log.
func TestXClientTellsTheClient(t *testing.T) {
	for attributes, want := range map[string]string{
		"NAME=spike.example ADDR=203.0.113.7": "([203.0.113.7])\r\n",
		"ADDR=IPV6:2001:db8::7":               "([IPv6:2001:db8::7])\r\n",
		"NAME=spike.example":                  "([192.0.2.1])\r\n",
		"ADDR=[UNAVAILABLE]":                  "\r\n",
	} {
		inHouse(t, func(t *testing.T, h *house) {
			h.behindXClient("192.0.2.1/32")
			h.play(t, greeting+`
				C: EHLO proxy.example
				S: 250-mx.example
				S: ...
				S: 250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
				S: ...
				S: 250 *
				C: XCLIENT `+attributes+`
				S: 220 mx.example ESMTP *
				# EHLO is forgotten, and what it offered
				C: MAIL FROM:<a@b>
				S: 503 5.5.1 *
				C: EHLO client.example
				S: ...
				S: 250 *
				C: MAIL FROM:<a@b> SIZE=5
				S: 250 *
				C: RCPT TO:<nobody@mx.example>
				S: 550 *
				C: RCPT TO:<ann@mx.example>
				S: 250 *
				`+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
			got := h.delivered(t)
			if !strings.HasPrefix(got.text, "Received: from client.example "+want) && !strings.HasPrefix(got.text, "Received: from client.example"+want) {
				t.Errorf("%s: %q", attributes, got.text)
			}
			if o := h.outcome(t, mail.Refused); o.Client.IP != got.env.Client.IP {
				t.Errorf("%s: recorded %v", attributes, o.Client)
			}
		})
	}
}

// What it said in HELO and which of the two it said may come along, and then no
// greeting of the proxy's is needed.
func TestXClientTellsHello(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.behindXClient("192.0.2.0/24")
		h.play(t, greeting+`
			C: XCLIENT HELO=spike.example PROTO=ESMTP ADDR=203.0.113.7
			S: 220 *
			C: MAIL FROM:<a@b>
			S: 250 *
			C: RCPT TO:<ann@mx.example>
			S: 250 *
			`+data+"C: a: b\nC: .\nS: 250 *\n"+quit)
		if got := h.delivered(t); !strings.HasPrefix(got.text, "Received: from spike.example ([203.0.113.7])\r\n\tby mx.example with ESMTP\r\n") {
			t.Errorf("%q", got.text)
		}
	})
}

// Only those who are named for it may say so, and not the client that a proxy names.
func TestXClientIsForProxies(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.behindXClient("198.51.100.0/24")
		h.play(t, greeting+`
			C: EHLO client.example
			S: 250-mx.example
			S: 250-PIPELINING
			S: 250-SIZE *
			S: 250-8BITMIME
			S: 250-SMTPUTF8
			S: 250-CHUNKING
			S: 250-DSN
			S: 250-PRDR
			S: 250-LIMITS *
			S: 250-HELP
			S: 250 ENHANCEDSTATUSCODES
			C: XCLIENT ADDR=203.0.113.7
			S: 550 5.7.0 insufficient authorization
			`+quit)
	})
	inHouse(t, func(t *testing.T, h *house) {
		h.behindXClient("192.0.2.0/24") // the balancer, which names a client by PROXY
		h.behindProxy("192.0.2.0/24")
		h.play(t, "C: PROXY TCP4 203.0.113.7 192.0.2.1 1234 25\n"+greeting+"C: XCLIENT ADDR=127.0.0.1\nS: 550 5.7.0 *\n"+quit)
	})
}

func TestXClientOutOfOrder(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.behindXClient("192.0.2.1/32")
		h.play(t, toAnn+`
			C: XCLIENT ADDR=203.0.113.7
			S: 503 5.5.1 *
			C: RSET
			S: 250 *
			C: XCLIENT
			S: 501 5.5.4 *
			C: XCLIENT ADDR=203.0.113.7 WHAT=else
			S: 501 5.5.4 *
			# a connection may serve one client after another
			C: XCLIENT ADDR=203.0.113.7
			S: 220 *
			C: XCLIENT ADDR=203.0.113.8
			S: 220 *
			`+quit)
	})
}

// The shares are those of the clients: a proxy itself has none, and the mistakes
// of one client are not those of another.
func TestXClientShares(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.behindXClient("192.0.2.1/32")
		h.PerClient = PerClient{Connections: 1, Errors: 3}
		first, second := h.dial(), h.dial()
		defer first.Close()
		defer second.Close()
		dialogue.Play(t, first, greeting+introduction)
		dialogue.Play(t, second, greeting+"C: XCLIENT ADDR=203.0.113.99\nS: 421 4.7.0 mx.example too many connections*\nS.")
		h.play(t, greeting+`
			C: XCLIENT ADDR=198.51.100.1
			S: 220 *
			C: WHAT
			S: 500 *
			C: WHAT
			S: 500 *
			C: WHAT
			S: 421 4.7.0 mx.example too many errors
			S.`)
		h.play(t, greeting+"C: XCLIENT ADDR=198.51.100.2\nS: 421 4.7.0 mx.example too many errors\nS.")
		h.play(t, greeting+"C: XCLIENT ADDR=192.0.2.1\nS: 220 *\n"+quit)
		dialogue.Play(t, first, quit)
	})
}

// Under TLS a proxy's client is one under TLS.
func TestXClientUnderTLS(t *testing.T) {
	inHouseWithTLS(t, func(t *testing.T, h *house) {
		h.behindXClient("192.0.2.1/32")
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, ehlo)
		nc = startTLS(t, nc)
		dialogue.Play(t, nc, introduction+`
			C: EHLO client.example
			S: ...
			S: 250 *
			C: STARTTLS
			S: 503 *
			C: MAIL FROM:<a@b>
			S: 250 *
			C: RCPT TO:<ann@mx.example>
			S: 250 *
			`+data+"C: a: b\nC: .\nS: 250 *\n")
		if got := h.delivered(t); !strings.Contains(got.text, "([203.0.113.7])") || !strings.Contains(got.text, "with ESMTPS\r\n") {
			t.Errorf("%q", got.text)
		}
	})
}
