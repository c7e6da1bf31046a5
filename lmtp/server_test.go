package lmtp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
	"postern/internal/spool"
	"postern/lmtp"
	"postern/mail"
)

// play plays script with srv, in a bubble where time costs nothing.
func play(t *testing.T, srv *lmtp.Server, script string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := serve(t, srv)
		nc, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		dialogue.Play(t, nc, script)
	})
}

const lhlo = `
	S: 220 mda.example LMTP *
	C: LHLO mta.example
	S: 250-mda.example
	S: ...
	S: 250 ENHANCEDSTATUSCODES
`

// A browser on a host that may connect is heard no further than its request.
func TestRequestsOfHTTP(t *testing.T) {
	for _, method := range []string{"GET", "POST", "put"} {
		play(t, newServer(&answers{}), `
			S: 220 mda.example LMTP *
			C: `+method+` / HTTP/1.1
			C: LHLO mta.example
			C: MAIL FROM:<>
			S: 521 5.5.1 mda.example *
			S.`)
	}
}

// The greeting, and the extensions that are demanded.
func TestRFC2033_4_1_LHLO(t *testing.T) {
	srv := newServer(&answers{})
	srv.MaxSize = 4000
	play(t, srv, `
		S: 220 mda.example LMTP *
		C: HELO mta.example
		S: 500 5.5.2 *
		C: EHLO mta.example
		S: 500 5.5.2 *
		C: MAIL FROM:<>
		S: 503 5.5.1 *
		C: LHLO
		S: 501 5.5.4 *
		C: lhlo mta.example
		S: 250-mda.example
		S: 250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE
		S: 250-PIPELINING
		S: 250-SIZE 4000
		S: 250-REQUIRETLS
		S: 250-8BITMIME
		S: 250-SMTPUTF8
		S: 250-CHUNKING
		S: 250-LIMITS RCPTMAX=1000
		S: 250-HELP
		S: 250 ENHANCEDSTATUSCODES
		# in a transaction it ends that
		C: MAIL FROM:<ann@mta.example>
		S: 250 2.1.0 *
		C: LHLO mta.example
		S: 250-*
		S: ...
		S: 250 ENHANCEDSTATUSCODES
		C: RCPT TO:<bob@mda.example>
		S: 503 5.5.1 *
		C: QUIT
		S: 221 2.0.0 mda.example *
		S.`)
}

// The example of the RFC, sent as its section 5 says: in batches.
func TestRFC2033_4_2_Example(t *testing.T) {
	next := &answers{
		rcpt:  map[string]error{"jones": mail.NoSuchUser},
		final: map[string]mail.Reply{"green": mail.NoSpace},
	}
	play(t, newServer(next), lhlo+`
		C: MAIL FROM:<chris@bar.com>
		C: RCPT TO:<pat@foo.edu>
		C: RCPT TO:<jones@foo.edu>
		C: RCPT TO:<green@foo.edu>
		C: RCPT TO:<pat@foo.edu>
		C: DATA
		S: 250 2.1.0 *
		S: 250 2.1.5 *
		S: 550 5.1.1 no such user here
		S: 250 2.1.5 *
		S: 250 2.1.5 *
		S: 354 *
		C: Blah blah blah...
		C: ..and this
		C: .
		S: 250 2.0.0 OK
		S: 452 4.3.1 *
		S: 250 2.0.0 OK
		C: QUIT
		S: 221 2.0.0 mda.example *
		S.`)
	got := next.last()
	if got.text != "Blah blah blah...\r\n.and this\r\n" || len(got.env.To) != 3 || got.env.From.String() != "chris@bar.com" {
		t.Errorf("delivered %+v", got)
	}
	if got.env.ID == "" || got.env.Client.Hello != "mta.example" {
		t.Errorf("envelope %+v", got.env)
	}
}

// Without a recipient there is no message (RFC 2033, section 4.2).
func TestRFC2033_4_2_NoRecipients(t *testing.T) {
	play(t, newServer(&answers{rcpt: map[string]error{"bob": mail.NoSuchUser}}), lhlo+`
		C: DATA
		S: 503 5.5.1 bad sequence of commands
		C: MAIL FROM:<>
		C: RCPT TO:<bob@mda.example>
		C: DATA
		S: 250 2.1.0 *
		S: 550 5.1.1 *
		S: 503 5.5.1 no valid recipients
		C: RSET
		S: 250 2.0.0 *`)
}

func TestRFC5321_4_1_4_Sequence(t *testing.T) {
	play(t, newServer(&answers{}), lhlo+`
		C: RCPT TO:<bob@mda.example>
		S: 503 5.5.1 *
		C: MAIL FROM:<ann@mta.example>
		S: 250 2.1.0 *
		C: MAIL FROM:<eve@mta.example>
		S: 503 5.5.1 *
		# the first transaction stays
		C: RCPT TO:<bob@mda.example>
		S: 250 2.1.5 *
		C: NOOP
		S: 250 2.0.0 *
		C: VRFY bob
		S: 252 2.5.0 *
		C: HELP
		S: 214 2.0.0 *
		C: EXPN list
		S: 502 5.5.1 *
		C: STARTTLS
		S: 502 5.5.1 *
		C: AUTH PLAIN
		S: 502 5.5.1 *
		C: DATA now
		S: 501 5.5.4 *
		C: RSET now
		S: 501 5.5.4 *
		C: QUIT now
		S: 501 5.5.4 *
		C: VRFY
		S: 501 5.5.4 *
		# the transaction is still there
		C: RCPT TO:<cid@mda.example>
		S: 250 2.1.5 *
		C: RSET
		S: 250 2.0.0 *
		C: DATA
		S: 503 5.5.1 *
		C: RSET
		S: 250 2.0.0 *`)
}

func TestRFC5321_4_1_1_Arguments(t *testing.T) {
	srv := newServer(&answers{})
	srv.MaxSize = 1000
	srv.MaxRecipients = 1
	play(t, srv, lhlo+`
		C: MAIL FROM:ann
		S: 501 5.1.7 *
		C: MAIL FROM:<ann@mta.example> SIZE=1001
		S: 552 5.3.4 *
		C: MAIL FROM:<ann@mta.example> SIZE=x
		S: 501 5.5.4 *
		C: MAIL FROM:<ann@mta.example> AUTH=<>
		S: 555 5.5.4 *
		C: MAIL FROM:<ann@mta.example> RET=HDRS
		S: 555 5.5.4 *
		C: MAIL FROM:<\xc3\xa4@mta.example>
		S: 550 5.6.7 *
		C: MAIL FROM:<ann@mta.example> SIZE=1000 BODY=8BITMIME
		S: 250 2.1.0 *
		C: RCPT TO:bob
		S: 501 5.1.3 *
		C: RCPT TO:<bob@mda.example> NOTIFY=NEVER
		S: 555 5.5.4 *
		C: RCPT TO:<\xc3\xa4@mda.example>
		S: 553 5.6.7 *
		C: RCPT TO:<bob@mda.example>
		S: 250 2.1.5 *
		C: RCPT TO:<cid@mda.example>
		S: 452 4.5.3 *
		C: RSET
		S: 250 2.0.0 *
		C: MAIL FROM:<\xc3\xa4@mta.example> SMTPUTF8
		S: 250 2.1.0 *
		C: RCPT TO:<\xc3\xb6@mda.example>
		S: 250 2.1.5 *`)
}

// A sender's domain is of U-labels, as in SMTP.
func TestRFC6531_3_3_SenderDomain(t *testing.T) {
	play(t, newServer(&answers{}), lhlo+`
		C: MAIL FROM:<a@ex\xc2\xadample.org> SMTPUTF8
		S: 501 5.1.7 *
		C: MAIL FROM:<a@m\xc3\xbcller.example> SMTPUTF8
		S: 250 2.1.0 *
		C: QUIT
		S: 221 *
		S.`)
}

// No argument has a control character.
func TestRFC5321_4_1_2_Controls(t *testing.T) {
	for _, command := range []string{"LHLO", "NOOP", "VRFY", "HELP"} {
		play(t, newServer(&answers{}), lhlo+"C: "+command+" a\\x00b\nS: 501 5.5.4 *\nC: QUIT\nS: 221 *\nS.")
	}
}

const toTwo = lhlo + `
	C: MAIL FROM:<ann@mta.example>
	C: RCPT TO:<bob@mda.example>
	C: RCPT TO:<cid@mda.example>
	C: DATA
	S: 250 2.1.0 *
	S: 250 2.1.5 *
	S: 250 2.1.5 *
	S: 354 *
`

// What is wrong with a message each recipient hears, and the session goes on.
func TestMessageRefused(t *testing.T) {
	tests := []struct {
		name, sent, want string
		set              func(*lmtp.Server)
	}{
		{"too big", "C: 1234567\nC: .", "552 5.3.4 *", func(s *lmtp.Server) { s.MaxSize = 8 }},
		{"bare LF", `C| a\nb\r\n.\r\n`, "550 5.5.2 *", func(s *lmtp.Server) { s.RejectBareNewline = true }},
		{"bare LF and dot", `C| a\n.\nb\r\n.\r\n`, "550 5.5.2 *", func(s *lmtp.Server) { s.RejectBareNewline = true }},
		{"too big, with a bare LF", `C| a\n1234567\r\n.\r\n`, "552 5.3.4 *", func(s *lmtp.Server) { s.MaxSize, s.RejectBareNewline = 8, true }},
		{"no space", "C: " + strings.Repeat("x", 100<<10) + "\nC: .", "452 4.3.1 *", func(s *lmtp.Server) { s.Spool = &spool.Spool{} }},
		{"disk gone", "C: a\nC: .", "451 4.3.0 *", func(s *lmtp.Server) { s.Spool = &spool.Spool{Dir: "/nowhere/at/all"} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := &answers{}
			srv := newServer(next)
			tt.set(srv)
			var events []string
			srv.Record = func(o mail.Outcome) {
				events = append(events, fmt.Sprintf("%v %d %d", o.Event, len(o.To), o.Reply.Code))
			}
			play(t, srv, toTwo+tt.sent+"\nS: "+tt.want+"\nS: "+tt.want+"\nC: NOOP\nS: 250 2.0.0 *")
			if next.last().text != "" {
				t.Errorf("delivered %q", next.last().text)
			}
			if want := []string{"message 2 " + tt.want[:3]}; !slices.Equal(events, want) {
				t.Errorf("events %q, want %q", events, want)
			}
		})
	}
}

// A LF without CR neither ends a line nor the data, whatever it becomes then.
func TestBareNewlineBecomesCRLF(t *testing.T) {
	next := &answers{}
	play(t, newServer(next), toTwo+`C| a\n.\nMAIL FROM:<eve@mta.example>\n\r\n.\r\n
		S: 250 2.0.0 *
		S: 250 2.0.0 *`)
	if got, want := next.last().text, "a\r\n.\r\nMAIL FROM:<eve@mta.example>\r\n\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Replies that nobody can hear from us, and too few of them, are trouble of ours.
func TestBadDeliverer(t *testing.T) {
	next := &answers{
		rcpt: map[string]error{"lost": errors.New("disk"), "leaves": mail.ShuttingDown, "data": mail.StartData},
		final: map[string]mail.Reply{
			"bob": mail.ShuttingDown, "cid": mail.StartData, "dan": {}, "eve": mail.Bye, "fay": {Code: 999},
		},
	}
	script := lhlo + `
		C: MAIL FROM:<ann@mta.example>
		S: 250 2.1.0 *
		C: RCPT TO:<lost@mda.example>
		S: 451 4.3.0 *
		C: RCPT TO:<leaves@mda.example>
		S: 451 4.3.0 *
		C: RCPT TO:<data@mda.example>
		S: 451 4.3.0 *
		C: RCPT TO:<bob@mda.example>
		S: 250 2.1.5 *
		C: RCPT TO:<cid@mda.example>
		S: 250 2.1.5 *
	`
	play(t, newServer(next), script+"C: DATA\nS: 354 *\nC: .\nS: 451 4.3.0 *\nS: 451 4.3.0 *\nC: NOOP\nS: 250 *")
	for _, rcpt := range []string{"dan", "fay"} { // one bad reply, and none is believed
		play(t, newServer(next), script+"C: RCPT TO:<"+rcpt+"@mda.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: .\n"+
			"S: 451 4.3.0 *\nS: 451 4.3.0 *\nS: 451 4.3.0 *\nC: NOOP\nS: 250 *")
	}
	play(t, newServer(next), script+"C: RCPT TO:<eve@mda.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: .\n"+
		"S: 451 4.3.0 *\nS: 451 4.3.0 *\nS: 451 4.3.0 *\nC: NOOP\nS: 250 *")
}

// It is the 21st mistake that ends the session.
func TestTooManyErrors(t *testing.T) {
	srv := newServer(&answers{rcpt: map[string]error{"nobody": mail.NoSuchUser}})
	play(t, srv, lhlo+strings.Repeat("C: XYZZY\nS: 500 5.5.2 *\n", 18)+`
		C: MAIL FROM:<ann@mta.example>
		S: 250 2.1.0 *
		# an unknown recipient is no error of the client's
		C: RCPT TO:<nobody@mda.example>
		C: RCPT TO:<nobody@mda.example>
		C: RCPT TO:<nobody@mda.example>
		S: 550 5.1.1 *
		S: 550 5.1.1 *
		S: 550 5.1.1 *
		C: XYZZY
		S: 500 5.5.2 *
		C| NOOP\nNOOP\r\n
		S: 500 5.5.2 *
		C: XYZZY
		S: 421 4.7.0 mda.example *
		S.`)
}

func TestRFC5321_4_5_3_2_Timeouts(t *testing.T) {
	srv := newServer(&answers{})
	play(t, srv, lhlo+`
		WAIT 9m59s
		C: NOOP
		S: 250 2.0.0 *
		WAIT 10m
		S: 421 4.4.2 mda.example timeout
		S.`)
	play(t, srv, toTwo+`
		C: some data
		WAIT 2m59s
		C: more
		WAIT 3m
		S: 421 4.4.2 mda.example timeout
		S.`)
}

// A client that disappears with half a message leaves none, and what became of it is
// told once.
func TestRFC5321_3_8_ClientLost(t *testing.T) {
	for _, text := range []string{toTwo + "C: half", toBoth + `C| BDAT 10\r\nhalf`, toBoth + `C| BDAT 10 LAST\r\nhalf`} {
		next := &answers{}
		srv := newServer(next)
		var recorded []mail.Outcome
		srv.Record = func(o mail.Outcome) { recorded = append(recorded, o) }
		play(t, srv, text+"\nC.")
		if next.last().text != "" || len(recorded) != 1 || !recorded[0].Reply.Is(mail.ClientLost) || recorded[0].Reply.Err != nil {
			t.Errorf("%q: delivered %q, recorded %+v", text, next.last().text, recorded)
		}
	}
}

// At shutdown a client that waits hears 421, and one with a transaction can end it.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := &answers{}
		srv := newServer(next)
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- srv.Serve(ctx, l) }()
		idle, busy, slow, late := dial(t, l), dial(t, l), dial(t, l), dial(t, l)
		dialogue.Play(t, idle, lhlo)
		dialogue.Play(t, busy, lhlo+"C: MAIL FROM:<ann@mta.example>\nS: 250 *")
		dialogue.Play(t, slow, lhlo+"C: MAIL FROM:<ann@mta.example>\nS: 250 *")
		dialogue.Play(t, late, toTwo+"C: half")
		start := time.Now()
		cancel()
		dialogue.Play(t, idle, "S: 421 4.3.2 mda.example *\nS.")
		synctest.Wait()
		if nc, err := l.Dial(t.Context()); err == nil {
			t.Error("still accepts")
			_ = nc.Close()
		}
		dialogue.Play(t, busy, `
			WAIT 20s
			C: RCPT TO:<bob@mda.example>
			C: DATA
			S: 250 *
			S: 354 *
			C: whole
			C: .
			S: 250 2.0.0 *
			S: 421 4.3.2 mda.example *
			S.`)
		if d := time.Since(start); d != 20*time.Second {
			t.Errorf("the transaction took %v", d)
		}
		dialogue.Play(t, slow, "S: 421 4.3.2 mda.example *\nS.")
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("grace of %v", d)
		}
		dialogue.Play(t, late, "S.")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := next.last().text; got != "whole\r\n" || len(next.delivered) != 1 {
			t.Errorf("delivered %q", got)
		}
	})
}

func dial(t *testing.T, l *pipes) net.Conn {
	t.Helper()
	nc, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// A panic costs one connection.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := &answers{hook: func(context.Context) { panic("a mistake") }}
		srv := newServer(next)
		var causes []error
		var mu sync.Mutex
		srv.Record = func(o mail.Outcome) {
			mu.Lock()
			defer mu.Unlock()
			causes = append(causes, o.Reply.Err)
		}
		l := serve(t, srv)
		other, unlucky := dial(t, l), dial(t, l)
		dialogue.Play(t, other, lhlo)
		dialogue.Play(t, unlucky, toTwo+"C: text\nC: .\nS: 421 4.3.0 mda.example *\nS.")
		dialogue.Play(t, other, "C: NOOP\nS: 250 *")
		if memory, files := srv.Spool.Held(); memory != 0 || files != 0 {
			t.Errorf("spool holds %d and %d octets", memory, files)
		}
		if len(causes) != 1 || !strings.Contains(causes[0].Error(), "a mistake") {
			t.Errorf("causes %v", causes)
		}
	})
}

func TestServerMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(&answers{})
		srv.MaxConnections = 2
		l := serve(t, srv)
		first, second := dial(t, l), dial(t, l)
		dialogue.Play(t, first, lhlo)
		dialogue.Play(t, second, lhlo)
		dialogue.Play(t, dial(t, l), "S: 421 4.7.0 mda.example *\nS.")
		dialogue.Play(t, first, "C: QUIT\nS: 221 2.0.0 mda.example *\nS.")
		synctest.Wait()
		dialogue.Play(t, dial(t, l), lhlo)
	})
}

// Over TCP only the networks that were named may connect.
func TestNetworks(t *testing.T) {
	tests := []struct {
		networks []netip.Prefix
		script   string
	}{
		{nil, "S: 421 4.7.1 mda.example access denied\nS."},
		{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "S: 421 4.7.1 mda.example access denied\nS."},
		{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")}, `
			S: 220 mda.example *
			C: LHLO x
			S: 250-mda.example
			S: 250-XFORWARD *
			S: 250-PIPELINING
			S: 250-SIZE 0
			# REQUIRETLS is for UNIX sockets
			S: 250-8BITMIME
			S: ...
			S: 250 ENHANCEDSTATUSCODES
			C: QUIT
			S: 221 2.0.0 mda.example *
			S.`},
	}
	for _, tt := range tests {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := newServer(&answers{})
		srv.Networks = tt.networks
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- srv.Serve(ctx, l) }()
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		dialogue.Play(t, nc, tt.script)
		_ = nc.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// The field on top tells where the message came from (RFC 5321, section 4.4).
func TestReceived(t *testing.T) {
	tests := []struct{ name, to, sent, want string }{
		{"one recipient", "C: RCPT TO:<bob@mda.example>", "C: A: b\nC:\nC: .", "\r\n\tfor <bob@mda.example>;\r\n\tSat, 01 Jan 2000 00:00:00 +0000\r\nA: b\r\n\r\n"},
		{"several", "C: RCPT TO:<bob@mda.example>\nS: 250 *\nC: RCPT TO:<cid@mda.example>", "C: A: b\nC:\nC: .",
			";\r\n\tSat, 01 Jan 2000 00:00:00 +0000\r\nA: b\r\n\r\n"},
		{"begins with white space", "C: RCPT TO:<postmaster>", `C| \x20x\r\n.\r\n`,
			";\r\n\tSat, 01 Jan 2000 00:00:00 +0000\r\nX-Header-Begins-With-White-Space:\r\n x\r\n"},
		{"begins with a From line", "C: RCPT TO:<postmaster>", "C: From a@b Mon Jan  1 00:00:00 2024\nC: A: b\nC: C: d\nC:\nC: .",
			";\r\n\tSat, 01 Jan 2000 00:00:00 +0000\r\nFrom a@b Mon Jan  1 00:00:00 2024\r\nA: b\r\nC: d\r\n\r\n"},
		{"no header", "C: RCPT TO:<postmaster>", "C: hello there\nC: .", ";\r\n\tSat, 01 Jan 2000 00:00:00 +0000\r\n\r\nhello there\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := &answers{}
			srv := newServer(next)
			srv.Received = true
			play(t, srv, lhlo+"C: MAIL FROM:<ann@mta.example>\nS: 250 *\n"+tt.to+"\nS: 250 *\nC: DATA\nS: 354 *\n"+tt.sent+"\nS: 250 *")
			got := next.last()
			want := "Received: from mta.example\r\n\tby mda.example with LMTP\r\n\tid " + got.env.ID + tt.want
			if got.text != want {
				t.Errorf("got  %q\nwant %q", got.text, want)
			}
		})
	}
}

// A batch is answered in one write, and so are all the recipients of a message.
func TestWrites(t *testing.T) {
	const recipients = 20
	l := newPipes()
	counting := &counting{Listener: l}
	srv := newServer(&answers{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, counting) }()
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	env := envelope(slices.Repeat([]string{"robert"}, recipients)...)
	for range 3 {
		for i, r := range client.Deliver(t.Context(), env, message(text)) {
			if !r.OK() {
				t.Errorf("recipient %d: %v", i, r)
			}
		}
	}
	client.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, want := counting.writes, 2+3*2+1; n != want { // greeting, LHLO, 3 messages, QUIT
		t.Errorf("%d writes, want %d", n, want)
	}
}

// counting is a listener that counts the writes to its one connection.
type counting struct {
	net.Listener
	writes int
}

func (c *counting) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	return &countingConn{nc, c}, err
}

type countingConn struct {
	net.Conn
	counting *counting
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.counting.writes++
	return c.Conn.Write(p)
}
