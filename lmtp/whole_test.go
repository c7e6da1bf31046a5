package lmtp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"postern/internal/delivertest"
	"postern/lmtp"
	"postern/mail"
)

// trusting returns a server that takes every client for our other half.
func trusting(next mail.Deliverer) *lmtp.Server {
	srv := newServer(next)
	srv.Trusts = func(net.Conn) bool { return true }
	return srv
}

// Over chunks a client with a server behind it is a Deliverer like any other.
func TestRFC3030_ConformanceOfChunks(t *testing.T) {
	delivertest.Run(t, func(t *testing.T) *delivertest.Subject {
		next := &answers{
			rcpt:  map[string]error{"nobody": mail.NoSuchUser},
			final: map[string]mail.Reply{"flaky": mail.LocalError},
		}
		l := serve(t, trusting(next))
		client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
		t.Cleanup(client.Close)
		to := envelope("ann", "bob", "nobody", "flaky").To
		return &delivertest.Subject{
			Deliverer: client, Delivered: next.texts,
			Ann: to[0].Address, Bob: to[1].Address, Nobody: to[2].Address, Flaky: to[3].Address,
		}
	})
}

const (
	helloChunks = `
		S: 220 hop.example LMTP
		C: LHLO mx.example
		S: 250-hop.example
		S: 250-PIPELINING
		S: 250-CHUNKING
		S: 250 XPOSTERN ID
	`
	wholeBatch = `
		C: MAIL FROM:<ann@client.example> XID=id
		C: RCPT TO:<a@mda.example>
		C: RCPT TO:<b@mda.example>
		C: RCPT TO:<c@mda.example>
		C: BDAT 15 LAST
		C: Subject: hi
		C:
	`
)

// What each of the recipients a, b and c hears when a delivery agent of ours, which
// has heard all at once, says this.
func TestRFC3030_RepliesToChunks(t *testing.T) {
	heard, fine := helloChunks+wholeBatch, "S: 250 2.1.0 sender\nS: 250 2.1.5 a\nS: 250 2.1.5 b\nS: 250 2.1.5 c\n"
	for _, tt := range []struct{ name, script, a, b, c string }{
		{"fine", heard + fine + "S: 250 2.0.0 fine\nS: 250 2.0.0 fine\nS: 250 2.0.0 fine\nC: QUIT", ok, ok, ok},
		{"each its own", heard + fine + "S: 552 5.2.2 full\nS: 250 2.0.0 fine\nS: 450 4.2.1 busy\nC: QUIT",
			"552 5.2.2 full", ok, "450 4.2.1 busy"},
		{"one refused", heard + "S: 250 2.1.0 sender\nS: 550 5.1.1 a\nS: 250 2.1.5 b\nS: 250 2.1.5 c\nS: 250 2.0.0 fine\nS: 450 4.2.1 busy\nC: QUIT",
			"550 5.1.1 a", ok, "450 4.2.1 busy"},
		{"all refused", heard + "S: 250 2.1.0 sender\nS: 550 5.1.1 a\nS: 450 4.2.0 b\nS: 550 5.1.1 c\nS: 503 5.5.1 no recipients\nC: QUIT",
			"550 5.1.1 a", "450 4.2.0 b", "550 5.1.1 c"},
		{"sender refused", heard + "S: 550 5.7.1 no\nS: 503 5.5.1 a\nS: 503 5.5.1 b\nS: 503 5.5.1 c\nS: 503 5.5.1 no\nC: QUIT",
			"550 5.7.1 no", "550 5.7.1 no", "550 5.7.1 no"},
		{"chunk not understood", heard + fine + "S: 500 5.5.1 what\nC.", odd, odd, odd},
		{"354 for a chunk", heard + fine + "S: 354 go ahead\nC.", odd, odd, odd},
		{"silent after the first", heard + fine + "S: 250 2.0.0 fine\nS.", ok, down, down},
		{"silent after RCPT", heard + fine + "S.", down, down, down},
		{"leaves after the first", heard + fine + "S: 250 2.0.0 fine\nS: 421 4.3.2 bye\nS.", ok, down, down},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hop{t: t, scripts: []string{tt.script}}
				client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
				replies := client.Deliver(t.Context(), envelope("a", "b", "c"), message(text))
				for i, want := range []string{tt.a, tt.b, tt.c} {
					if got := withoutCause(replies[i]); got != want {
						t.Errorf("recipient %c: %q, want %q (%v)", "abc"[i], got, want, replies[i].Err)
					}
				}
				client.Close()
				h.played()
			})
		})
	}
}

// A server that has a whole message and says nothing may have delivered it: the client
// does not send it once more by itself. One that says that it is leaving has not.
func TestRFC3030_WholeMessageIsNotSentTwice(t *testing.T) {
	const (
		verifiedChunks = "C: MAIL FROM:<ann@client.example> XID=id\nC: RCPT TO:<a@mda.example>\nC: RSET\nS: 250 ok\nS: 250 ok\nS: 250 ok\n"
		one            = "C: MAIL FROM:<ann@client.example> XID=id\nC: RCPT TO:<a@mda.example>\nC: BDAT 15 LAST\nC: Subject: hi\nC:\n"
		taken          = "S: 250 sender\nS: 250 a\nS: 250 2.0.0 fine\nC: QUIT"
	)
	for _, tt := range []struct {
		name    string
		scripts []string
		want    string
	}{
		{"dead before", []string{"S.", helloChunks + one + taken}, ok},
		{"leaves", []string{one + "S: 421 4.3.2 bye\nS.", helloChunks + one + taken}, ok},
		{"silent", []string{one + "S."}, down},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hop{t: t, scripts: tt.scripts}
				h.scripts[0] = helloChunks + verifiedChunks + h.scripts[0]
				client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
				if err := client.Verify(t.Context(), envelope(), envelope("a").To[0]); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := client.Deliver(t.Context(), envelope("a"), message(text))[0]; withoutCause(got) != tt.want {
					t.Errorf("%v, want %q", got, tt.want)
				}
				client.Close()
				h.played()
			})
		})
	}
}

// A counted connection counts its writes.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A small message goes out with its envelope in one write, and one line of replies
// comes back.
func TestOneWritePerMessage(t *testing.T) {
	next := &answers{}
	l := serve(t, trusting(next))
	var writes atomic.Int64
	client := &lmtp.Client{Hostname: "mx.example", Dial: func(ctx context.Context) (net.Conn, error) {
		nc, err := l.Dial(ctx)
		return counted{nc, &writes}, err
	}}
	defer client.Close()
	send := func() {
		if r := client.Deliver(t.Context(), envelope("bob"), message(text)); !r[0].OK() {
			t.Fatal(r)
		}
	}
	send() // connects
	before := writes.Load()
	send()
	if n := writes.Load() - before; n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
}

// A torn Source cannot be read to its end.
type torn struct{ mail.Octets }

var errTorn = errors.New("input/output error")

func (t torn) WriteRange(w io.Writer, _ mail.Range) error {
	_, _ = w.Write(t.Octets[:len(t.Octets)/2])
	return errTorn
}

// A message that cannot be read to its end is delivered to nobody, and what is left
// of its chunk is not taken from what is said next.
func TestRFC3030_UnreadableMessage(t *testing.T) {
	next := &answers{}
	l := serve(t, trusting(next))
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	defer client.Close()
	long := mail.Octets(strings.Repeat("0123456789abcdef\r\n", 10_000))
	for _, octets := range []mail.Octets{mail.Octets(text), long} {
		r := client.Deliver(t.Context(), envelope("bob"), mail.NewMessage(torn{octets}))[0]
		if !r.Is(mail.LocalError) || !errors.Is(r.Err, errTorn) {
			t.Errorf("%v (%v)", r, r.Err)
		}
		if r := client.Deliver(t.Context(), envelope("bob"), mail.NewMessage(long))[0]; !r.OK() {
			t.Fatal(r, r.Err)
		}
		if got := next.last().text; got != string(long) {
			t.Errorf("%d octets delivered, want %d", len(got), len(long))
		}
	}
}

// A message that an MX of ours has judged is not judged once more.
func TestBareNewlineWasJudged(t *testing.T) {
	next := &answers{}
	srv := trusting(next)
	srv.RejectBareNewline = true
	l := serve(t, srv)
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	defer client.Close()
	env := envelope("bob")
	if r := client.Deliver(t.Context(), env, message("Subject: hi\r\n\r\none\ntwo\r\n"))[0]; !r.Is(mail.BareNewline) {
		t.Errorf("from who knows whom: %v", r)
	}
	if r := client.Deliver(t.Context(), env, message("Subject: hi\r\n\r\none\r\n"))[0]; !r.OK() {
		t.Errorf("without one: %v", r)
	}
	env.Digest = mail.Digest{1}
	if r := client.Deliver(t.Context(), env, message("Subject: hi\r\n\r\none\ntwo\r\n"))[0]; !r.OK() {
		t.Errorf("from an MX of ours: %v", r)
	}
	if got := next.last().text; got != "Subject: hi\r\n\r\none\r\ntwo\r\n" {
		t.Errorf("delivered %q", got)
	}
}
