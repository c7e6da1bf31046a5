package lmtp_test

import (
	"net"
	"testing"

	"postern/mail"
)

// What XFORWARD says is in the log, for one message, and nowhere else.
func TestXForward(t *testing.T) {
	const (
		forward = "C: XFORWARD NAME=x.example ADDR=203.0.113.7 PROTO=ESMTP\nS: 250 *\nC: XFORWARD HELO=x.example IDENT=4XqZ SOURCE=REMOTE\nS: 250 *\n"
		refused = "C: MAIL FROM:<ann@mta.example>\nS: 250 *\nC: RCPT TO:<nobody@mda.example>\nS: 550 *\n"
	)
	for what, tt := range map[string]struct{ script, upstream, client string }{
		"a refused recipient": {forward + refused, "4XqZ", "203.0.113.7"},
		"not said":            {refused, "", ""},
		"after RSET":          {forward + "C: RSET\nS: 250 *\n" + refused, "", ""},
		"after LHLO":          {forward + "C: LHLO x\nS: 250-*\nS: ...\nS: 250 *\n" + refused, "", ""},
		"after a message": {forward + "C: MAIL FROM:<a@b.example>\nS: 250 *\nC: RCPT TO:<bob@mda.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: a: b\nC: .\nS: 250 *\n" + refused,
			"", ""},
		"in a transaction": {"C: MAIL FROM:<a@b.example>\nS: 250 *\n" + "C: XFORWARD IDENT=x\nS: 503 5.5.1 *\nC: RSET\nS: 250 *\n" + refused, "", ""},
		"not understood":   {"C: XFORWARD\nS: 501 5.5.4 *\nC: XFORWARD IDENT=x ADDR=y\nS: 501 5.5.4 *\n" + refused, "", ""},
		"of a host itself": {"C: XFORWARD ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE] IDENT=a\nS: 250 *\n" + refused, "a", ""},
	} {
		t.Run(what, func(t *testing.T) {
			var last mail.Outcome
			srv := newServer(&answers{rcpt: map[string]error{"nobody": mail.NoSuchUser}})
			srv.Record = func(o mail.Outcome) { last = o }
			play(t, srv, lhlo+tt.script+"C: QUIT\nS: 221 2.0.0 mda.example *\n")
			ip := ""
			if last.Client.IP.IsValid() {
				ip = last.Client.IP.String()
			}
			if last.Event != mail.Refused || last.Upstream != tt.upstream || ip != tt.client {
				t.Errorf("recorded %+v", last)
			}
		})
	}
	srv := newServer(&answers{})
	play(t, srv, "S: 220 *\nC: XFORWARD IDENT=x\nS: 503 5.5.1 *\n")
	srv.Trusts = func(net.Conn) bool { return true }
	play(t, srv, "S: 220 *\nC: LHLO x\nS: 250-mda.example\nS: 250-PIPELINING\nS: ...\nS: 250 *\nC: XFORWARD IDENT=x\nS: 500 5.5.2 *\n")
}
