package lmtp_test

import (
	"net"
	"testing"

	"postern/lmtp"
	"postern/mail"
)

// Between our halves a transaction has one name.
func TestHandOver(t *testing.T) {
	next := &answers{}
	srv := newServer(next)
	srv.Trusts = func(net.Conn) bool { return true }
	l := serve(t, srv)
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	defer client.Close()
	for _, tt := range []struct {
		id   string
		kept bool
	}{{"0123456789abcdef", true}, {"no good name", false}, {"", false}, {"x=y", false}} {
		env := envelope("bob")
		env.ID = tt.id
		if r := client.Deliver(t.Context(), env, message(text)); !r[0].OK() {
			t.Errorf("%q: %v", tt.id, r)
		}
		if got := next.last().env.ID; got == "" || (got == tt.id) != tt.kept {
			t.Errorf("%q became %q", tt.id, got)
		}
	}
}

func TestHandOverParameters(t *testing.T) {
	srv := newServer(&answers{})
	srv.Trusts = func(net.Conn) bool { return true }
	play(t, srv, `
		S: 220 *
		C: LHLO mx.example
		S: ...
		S: 250-ENHANCEDSTATUSCODES
		S: 250 XPOSTERN ID CLIENT DIGEST FOLDER MAPS HEARD
		C: MAIL FROM:<ann@mta.example> XID=a/b
		S: 501 5.5.4 *
		C: MAIL FROM:<ann@mta.example> XID
		S: 501 5.5.4 *
		C: MAIL FROM:<ann@mta.example> XID=a XID=b
		S: 501 5.5.4 *
		C: MAIL FROM:<ann@mta.example> SIZE=10 XID=abc
		S: 250 *`)
	// whoever is not trusted has not heard of it
	srv.Trusts = nil
	play(t, srv, lhlo+"C: MAIL FROM:<ann@mta.example> XID=abc\nS: 555 5.5.4 *")
}

// Nothing of it is said to a server that did not announce it.
func TestHandOverNotAnnounced(t *testing.T) {
	var refused mail.Outcome
	srv := newServer(&answers{})
	srv.Record = func(o mail.Outcome) { refused = o }
	l := serve(t, srv)
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	defer client.Close()
	if err := client.Verify(t.Context(), envelope(), envelope("bob").To[0]); err != nil || refused.Reply.Code != 0 {
		t.Errorf("%v, %v", err, refused.Reply)
	}
}
