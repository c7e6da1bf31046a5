package lmtp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
	"postern/lmtp"
	"postern/mail"
)

// A hop is a next hop that plays a script on each connection, and then refuses
// connections.
type hop struct {
	t       *testing.T
	scripts []string
	playing sync.WaitGroup

	mu      sync.Mutex
	dialled int
}

func (h *hop) dial(context.Context) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dialled++
	if h.dialled > len(h.scripts) {
		return nil, errors.New("connection refused")
	}
	script := h.scripts[h.dialled-1]
	here, there := pipe()
	h.playing.Go(func() {
		defer there.Close()
		dialogue.Serve(goroutine{h.t}, there, script)
	})
	return here, nil
}

// played waits for the scripts to end, and fails the test unless there was a
// connection for each, and no attempt at another.
func (h *hop) played() {
	h.t.Helper()
	h.playing.Wait()
	if h.dialled != len(h.scripts) {
		h.t.Errorf("%d connections, want %d", h.dialled, len(h.scripts))
	}
}

// A goroutine lets dialogue fail a test from a goroutine that is not the test's.
type goroutine struct{ *testing.T }

func (g goroutine) Fatalf(format string, args ...any) {
	g.Helper()
	g.Errorf(format, args...)
	runtime.Goexit()
}

const (
	hello = `
		S: 220 hop.example LMTP
		C: LHLO mx.example
		S: 250-hop.example
		S: 250-PIPELINING
		S: 250-SIZE 1000
		S: 250-8BITMIME
		S: 250 ENHANCEDSTATUSCODES
	`
	batch = `
		C: MAIL FROM:<ann@client.example> SIZE=15
		C: RCPT TO:<a@mda.example>
		C: RCPT TO:<b@mda.example>
		C: RCPT TO:<c@mda.example>
		C: DATA
	`
	accepted = `
		S: 250 2.1.0 sender
		S: 250 2.1.5 a
		S: 250 2.1.5 b
		S: 250 2.1.5 c
		S: 354 go ahead
	`
	// data is text, as it is sent.
	data = `
		C: Subject: hi
		C:
		C: .
	`
	text = "Subject: hi\r\n\r\n"

	down = "451 4.4.1 mailboxes cannot be reached, try again later"
	slow = "451 4.4.2 mailboxes took too long to answer, try again later"
	odd  = "451 4.3.0 temporary failure, try again later"
	ok   = "250 2.0.0 fine"
)

// What each of the recipients a, b and c hears when the next hop says this.
func TestReplies(t *testing.T) {
	sent := hello + batch + accepted + data
	tests := []struct {
		name, script string
		a, b, c      string
	}{
		{"fine", sent + "S: 250 2.0.0 fine\nS: 250 2.0.0 fine\nS: 250 2.0.0 fine\nC: QUIT", ok, ok, ok},
		{"each its own", sent + "S: 250 2.0.0 fine\nS: 552 5.2.2 full\nS: 450 4.2.1 busy\nC: QUIT",
			ok, "552 5.2.2 full", "450 4.2.1 busy"},
		{"of several lines", sent + "S: 250-2.0.0 fine\nS: 250 2.0.0 so\nS: 550-no\nS: 550 way\nS: 250 2.0.0 fine\nC: QUIT",
			"250 2.0.0 fine / so", "550 5.0.0 no / way", ok},
		{"without status", sent + "S: 250 fine\nS: 550 no\nS: 450\nC: QUIT", "250 2.0.0 fine", "550 5.0.0 no", "450 4.0.0 "},
		{"status of another class", sent + "S: 250 2.0.0 fine\nS: 550 4.7.1 no\nS: 450 5.7.1 no\nC: QUIT",
			ok, "550 5.0.0 4.7.1 no", "450 4.0.0 5.7.1 no"},
		{"late", sent + "WAIT 4m59s\nS: 250 2.0.0 fine\nS: 250 2.0.0 fine\nS: 250 2.0.0 fine\nC: QUIT", ok, ok, ok},
		{"one too many", sent + "S: 250 2.0.0 fine\nS: 250 2.0.0 fine\nS: 250 2.0.0 fine\nS: 250 2.0.0 fine\nC.", ok, ok, ok},

		{"one refused", hello + batch + `
			S: 250 2.1.0 sender
			S: 251 2.1.5 a
			S: 550 5.1.1 unknown
			S: 250 2.1.5 c
			S: 354 go ahead` + data + `
			S: 250 2.0.0 fine
			S: 450 4.2.1 busy
			C: QUIT`, ok, "550 5.1.1 unknown", "450 4.2.1 busy"},
		{"all refused", hello + batch + `
			S: 250 2.1.0 sender
			S: 550 5.1.1 a
			S: 450 4.2.1 b
			S: 552 5.2.2 c
			S: 503 5.5.1 no recipients
			C: QUIT`, "550 5.1.1 a", "450 4.2.1 b", "552 5.2.2 c"},
		{"all refused, but go ahead", hello + batch + `
			S: 250 2.1.0 sender
			S: 550 5.1.1 a
			S: 550 5.1.1 b
			S: 550 5.1.1 c
			S: 354 go ahead
			C: .
			C.`, "550 5.1.1 a", "550 5.1.1 b", "550 5.1.1 c"},
		{"sender refused", hello + batch + `
			S: 550 5.7.1 not you
			S: 503 5.5.1 no MAIL
			S: 503 5.5.1 no MAIL
			S: 503 5.5.1 no MAIL
			S: 503 5.5.1 no RCPT
			C: QUIT`, "550 5.7.1 not you", "550 5.7.1 not you", "550 5.7.1 not you"},
		{"DATA refused", hello + batch + `
			S: 250 2.1.0 sender
			S: 250 2.1.5 a
			S: 550 5.1.1 b
			S: 250 2.1.5 c
			S: 554 5.7.1 not today
			C: QUIT`, "554 5.7.1 not today", "550 5.1.1 b", "554 5.7.1 not today"},
		{"DATA out of sequence", hello + batch + `
			S: 250 2.1.0 sender
			S: 250 2.1.5 a
			S: 550 5.1.1 b
			S: 250 2.1.5 c
			S: 503 5.5.1 no recipients
			C.`, odd, "550 5.1.1 b", odd},

		{"no greeting", "S.", down, down, down},
		{"greeting refuses", "S: 554 5.7.1 go away\nC.", down, down, down},
		{"greeting is busy", "S: 421 4.3.2 busy\nS.", down, down, down},
		{"greeting of no LMTP server", "S: SSH-2.0-OpenSSH\nC.", down, down, down},
		{"greeting slow and long", "WAIT 4m\nS: 220-hop.example\nWAIT 10s\nS: 220 LMTP\n" +
			strings.SplitN(hello, "\n", 3)[2] + batch + accepted + data + `
			S: 250 2.0.0 fine
			S: 250 2.0.0 fine
			S: 250 2.0.0 fine
			C: QUIT`, ok, ok, ok},
		{"LHLO refused", "S: 220 hop\nC: LHLO mx.example\nS: 500 5.5.1 what\nC.", down, down, down},
		{"speaks out of turn", hello + "S: 250 2.0.0 fine\nC.", down, down, down},

		{"lost before the replies", hello + batch + "S.", down, down, down},
		{"lost within them", hello + batch + "S: 250 2.1.0 sender\nS: 550 5.1.1 a\nS: 250 2.1.5 b\nS.", "550 5.1.1 a", down, down},
		{"lost at the data", hello + batch + accepted + "S.", down, down, down},
		{"lost after the data", sent + "S.", down, down, down},
		{"lost after the first", sent + "S: 550 5.7.1 no\nS.", "550 5.7.1 no", down, down},
		{"lost after the second", sent + "S: 250 2.0.0 fine\nS: 250 2.0.0 fine\nS.", ok, ok, down},
		{"lost within a reply", sent + "S: 250 2.0.0 fine\nS| 250 2.0.0 fi\nS.", ok, down, down},
		{"lost between lines", sent + "S: 250 2.0.0 fine\nS: 250-2.0.0 fine\nS.", ok, down, down},
		{"too late", sent + "S: 250 2.0.0 fine\nWAIT 5m1s\nC.", ok, slow, slow},
		{"octet by octet for ever", sent + "S: 250 2.0.0 fine\nS| 2\nWAIT 2m\nS| 5\nWAIT 2m\nS| 0\nWAIT 2m\nC.", ok, slow, slow},
		{"silent", hello + batch + "WAIT 5m1s\nC.", slow, slow, slow},

		{"leaves at MAIL", hello + batch + "S: 421 4.3.2 bye\nS.", down, down, down},
		{"leaves at RCPT", hello + batch + "S: 250 2.1.0 sender\nS: 550 5.1.1 a\nS: 421 4.3.2 bye\nS.", "550 5.1.1 a", down, down},
		{"leaves after the data", sent + "S: 250 2.0.0 fine\nS: 421 4.3.2 bye\nS.", ok, down, down},
		{"leaves, but answers", sent + "S: 421 4.3.2 bye\nS: 250 2.0.0 fine\nS: 552 5.2.2 full\nC.", down, ok, "552 5.2.2 full"},

		{"garbage", sent + "S: 250 2.0.0 fine\nS: hello there\nS: 250 2.0.0 fine\nC.", ok, down, down},
		{"code of two digits", sent + "S: 25 fine\nC.", down, down, down},
		{"code changes", sent + "S: 250-2.0.0 fine\nS: 550 5.0.0 no\nC.", down, down, down},
		{"354 after the data", sent + "S: 354 go ahead\nS: 250 2.0.0 fine\nC.", odd, odd, odd},
		{"out of step after the data", sent + "S: 250 2.0.0 fine\nS: 500 5.5.1 what\nS: 550 5.5.1 what\nC.", ok, odd, odd},
		{"354 for RCPT", hello + batch + "S: 250 2.1.0 sender\nS: 550 5.1.1 a\nS: 354 go ahead\nC.", "550 5.1.1 a", odd, odd},
		{"250 for DATA", hello + batch + strings.Replace(accepted, "354", "250", 1) + "C.", odd, odd, odd},
		{"350 for DATA", hello + batch + strings.Replace(accepted, "354", "350", 1) + "C.", odd, odd, odd},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hop{t: t, scripts: []string{tt.script}}
				client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
				replies := client.Deliver(t.Context(), envelope("a", "b", "c"), message(text))
				for i, want := range []string{tt.a, tt.b, tt.c} {
					if got := withoutCause(replies[i]); got != want {
						t.Errorf("recipient %c: %q, want %q (%v)", "abc"[i], got, want, replies[i].Err)
					}
					if replies[i].Temporary() && strings.Contains("451 4.4.1 451 4.4.2", want[:9]) && replies[i].Err == nil {
						t.Errorf("recipient %c: %v without a cause", "abc"[i], replies[i])
					}
				}
				client.Close()
				h.played()
			})
		})
	}
}

func withoutCause(r mail.Reply) string { return r.Because(nil).String() }

// What a reply to RCPT, in the words of the next hop, becomes. That which speaks
// of our commands is not the sender's bounce.
func TestVerdict(t *testing.T) {
	long := strings.Repeat("x", 1000)
	tests := []struct{ said, want string }{
		{"S: 250 2.1.5 ok", "250 2.0.0 OK"},
		{"S: 252 2.1.5 ok", "250 2.0.0 OK"},
		{"S: 550 5.1.1 unknown", "550 5.1.1 unknown"},
		{"S: 550 unknown", "550 5.0.0 unknown"},
		{"S: 554 5.7.1 policy", "554 5.7.1 policy"},
		{"S: 552 5.2.2 full", "552 5.2.2 full"},
		{"S: 552 5.5.3 too many", "452 4.5.3 too many recipients"},
		{"S: 452 4.5.3 too many", "452 4.5.3 too many"},
		{"S: 450 4.2.0 later", "450 4.2.0 later"},
		{"S: 500 5.5.1 what", odd},
		{"S: 500 what", odd},
		{"S: 501 5.5.4 what", odd},
		{"S: 501 5.1.3 your address is no address", "501 5.1.3 your address is no address"},
		{"S: 502 5.5.1 what", odd},
		{"S: 503 5.5.1 what", odd},
		{"S: 504 5.5.4 what", odd},
		{"S: 521 5.3.2 no mail here", odd},
		{"S: 530 5.7.0 authenticate first", odd},
		{"S: 555 5.5.4 what", odd},
		{"S: 555 5.6.7 no such letters", "555 5.6.7 no such letters"},
		{"S: 550 5.1.1 bell\\x07 8bit\\xe4", "550 5.1.1 bell? 8bit?"},
		{"S: 550 5.1.1 " + long, "550 5.1.1 " + long[:256]},
		{"S: 550-5.1.1 a\nS: 550-5.1.1 b\nS: 550-5.1.1 c\nS: 550-5.1.1 d\nS: 550 5.1.1 e", "550 5.1.1 a / b / c / d"},
	}
	for _, tt := range tests {
		t.Run(tt.said[:min(len(tt.said), 20)], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hop{t: t, scripts: []string{hello + `
					C: MAIL FROM:<ann@client.example> SIZE=77 BODY=8BITMIME
					C: RCPT TO:<a@mda.example>
					C: RSET
					S: 250 2.1.0 sender
					` + tt.said + `
					S: 250 2.0.0 reset
					C: QUIT
					S: 221 2.0.0 bye`}}
				client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
				env := envelope("a")
				env.Params = mail.Params{Size: 77, Body: mail.Body8Bit}
				err := client.Verify(t.Context(), env, env.To[0])
				if got := withoutCause(mail.ReplyTo(err)); got != tt.want {
					t.Errorf("%q, want %q", got, tt.want)
				}
				client.Close()
				h.played()
			})
		})
	}
}

func TestVerifyFaults(t *testing.T) {
	const ask = hello + `
		C: MAIL FROM:<ann@client.example>
		C: RCPT TO:<a@mda.example>
		C: RSET
	`
	tests := []struct{ name, script, want string }{
		{"sender refused", ask + "S: 550 5.7.1 not you\nS: 503 5.5.1 no MAIL\nS: 250 reset\nC: QUIT", "550 5.7.1 not you"},
		{"RSET refused", ask + "S: 250 sender\nS: 250 a\nS: 500 what\nC: QUIT", "250 2.0.0 OK"},
		{"lost before RSET is answered", ask + "S: 250 sender\nS: 550 5.1.1 a\nS.", "550 5.1.1 a"},
		{"lost, but accepted", ask + "S: 250 sender\nS: 250 a\nS.", "250 2.0.0 OK"},
		{"lost before the answer", ask + "S: 250 sender\nS.", down},
		{"leaves", ask + "S: 250 sender\nS: 421 4.3.2 bye\nS.", down},
		{"silent", ask + "WAIT 31s\nC.", slow},
		{"garbage", ask + "S: 250 sender\nS: what?\nC.", down},
		{"garbage for RSET", ask + "S: 250 sender\nS: 250 a\nS: what?\nC.", "250 2.0.0 OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hop{t: t, scripts: []string{tt.script}}
				client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
				err := client.Verify(t.Context(), envelope(), envelope("a").To[0])
				if got := withoutCause(mail.ReplyTo(err)); got != tt.want {
					t.Errorf("%q, want %q", got, tt.want)
				}
				client.Close()
				h.played()
			})
		})
	}
}

// Without PIPELINING each command waits for the reply to the one before, and
// DATA is not sent for nobody.
func TestRFC2920_NotOffered(t *testing.T) {
	const noPipelining = `
		S: 220 hop.example LMTP
		C: LHLO mx.example
		S: 250 hop.example
	`
	synctest.Test(t, func(t *testing.T) {
		h := &hop{t: t, scripts: []string{noPipelining + `
			C: MAIL FROM:<ann@client.example>
			S: 250 sender
			C: RCPT TO:<a@mda.example>
			S: 250 a
			C: RCPT TO:<b@mda.example>
			S: 550 b
			C: DATA
			S: 354 go ahead` + data + `
			S: 250 fine
			C: MAIL FROM:<ann@client.example>
			S: 250 sender
			C: RCPT TO:<b@mda.example>
			S: 550 b
			C: RSET
			S: 250 reset
			C: MAIL FROM:<ann@client.example>
			S: 250 sender
			C: RCPT TO:<a@mda.example>
			S: 250 a
			C: RSET
			S: 250 reset
			C: QUIT
			S: 221 bye`}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: func(ctx context.Context) (net.Conn, error) {
			nc, err := h.dial(ctx)
			return lineByLine{nc, t}, err
		}}
		for _, to := range [][]string{{"a", "b"}, {"b"}} {
			for i, r := range client.Deliver(t.Context(), envelope(to...), message(text)) {
				if r.OK() != (to[i] == "a") {
					t.Errorf("%v: %v", to[i], r)
				}
			}
		}
		if err := client.Verify(t.Context(), envelope(), envelope("a").To[0]); err != nil {
			t.Error(err)
		}
		client.Close()
		h.played()
	})
}

// lineByLine sees to it that commands are written one at a time.
type lineByLine struct {
	net.Conn
	t *testing.T
}

func (c lineByLine) Write(p []byte) (int, error) {
	if n := strings.Count(string(p), "\r\n"); n > 1 && !strings.HasPrefix(string(p), "Subject:") {
		c.t.Errorf("%q in one write", p)
	}
	return c.Conn.Write(p)
}

const (
	verified = `
		C: MAIL FROM:<ann@client.example>
		C: RCPT TO:<a@mda.example>
		C: RSET
		S: 250 sender
		S: 250 a
		S: 250 reset
	`
	delivering = `
		C: MAIL FROM:<ann@client.example> SIZE=15
		C: RCPT TO:<a@mda.example>
		C: DATA
	`
	deliveredOne = delivering + `
		S: 250 sender
		S: 250 a
		S: 354 go ahead` + data + `
		S: 250 2.0.0 fine
	`
)

// A connection is kept, and replaced if it died meanwhile, as long as nothing
// was answered on it.
func TestKeptConnection(t *testing.T) {
	tests := []struct {
		name    string
		scripts []string // of the connections; on the first one a recipient was verified
		want    string
	}{
		{"used again", []string{deliveredOne + "C: QUIT"}, ok},
		{"closed", []string{"S.", hello + deliveredOne + "C: QUIT"}, ok},
		{"closed with 421", []string{"S: 421 4.4.2 idle\nS.", hello + deliveredOne + "C: QUIT"}, ok},
		{"closed when spoken to", []string{delivering + "S.", hello + deliveredOne + "C: QUIT"}, ok},
		{"leaves when spoken to", []string{delivering + "S: 421 bye\nS.", hello + deliveredOne + "C: QUIT"}, ok},
		{"garbage when spoken to", []string{delivering + "S: what?\nC.", hello + deliveredOne + "C: QUIT"}, ok},
		{"dead twice", []string{"S.", hello + delivering + "S."}, down},
		{"dies later", []string{delivering + "S: 250 sender\nS."}, down},
		{"dies after the data", []string{delivering + "S: 250 sender\nS: 250 a\nS: 354 go ahead" + data + "S."}, down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hop{t: t, scripts: slices.Clone(tt.scripts)}
				h.scripts[0] = hello + verified + h.scripts[0]
				client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
				if err := client.Verify(t.Context(), envelope(), envelope("a").To[0]); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				reply := client.Deliver(t.Context(), envelope("a"), message(text))[0]
				if got := withoutCause(reply); got != tt.want {
					t.Errorf("%q, want %q (%v)", got, tt.want, reply.Err)
				}
				client.Close()
				h.played()
			})
		})
	}
}

// If the next hop is gone for good, that is said after one attempt.
func TestNextHopGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{t: t, scripts: []string{hello + verified + "S."}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
		for attempt, want := range []mail.Reply{mail.Accepted, mail.NextHopDown, mail.NextHopDown} {
			err := client.Verify(t.Context(), envelope(), envelope("a").To[0])
			if !mail.ReplyTo(err).Is(want) || h.dialled != attempt+1 {
				t.Errorf("attempt %d: %v after %d connections", attempt, err, h.dialled)
			}
		}
	})
}

// The idle connections go one after the other, those used last being used again.
func TestIdleTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{t: t, scripts: []string{
			hello + "WAIT 20s\n" + verified + "WAIT 1m\nC: QUIT\nS: 221 bye\nC.",
			hello + verified + "WAIT 1m\nC: QUIT\nS: 221 bye\nC.",
		}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := client.Verify(t.Context(), envelope(), envelope("a").To[0]); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		start := time.Now()
		h.played()
		if d := time.Since(start); d != time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

// A server that does not take RSET is asked again before the next transaction.
func TestResetRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{t: t, scripts: []string{hello + `
			C: MAIL FROM:<ann@client.example>
			C: RCPT TO:<a@mda.example>
			C: RSET
			S: 250 sender
			S: 250 a
			S: 451 not now
			C: RSET
			C: MAIL FROM:<ann@client.example>
			C: RCPT TO:<a@mda.example>
			C: RSET
			S: 451 not now
			S: 503 in a transaction
			S: 250 a
			S: 250 reset
			C.`}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
		for _, want := range []string{"250 2.0.0 OK", odd} {
			err := client.Verify(t.Context(), envelope(), envelope("a").To[0])
			if got := withoutCause(mail.ReplyTo(err)); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		h.played()
	})
}

// A closed client keeps no connections.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{t: t, scripts: []string{hello + verified + "C: QUIT\nS: 221 bye\nC."}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
		client.Close()
		if err := client.Verify(t.Context(), envelope(), envelope("a").To[0]); err != nil {
			t.Error(err)
		}
		h.played()
	})
}

// A next hop that refuses a message while it comes, and hangs up, is heard; but
// it cannot have delivered what it did not read.
func TestRefusedEarly(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	var playing sync.WaitGroup
	playing.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		dialogue.Serve(goroutine{t}, nc, `
			S: 220 hop
			C: LHLO mx.example
			S: 250-hop
			S: 250 PIPELINING
			C: MAIL FROM:<ann@client.example>
			C: RCPT TO:<a@mda.example>
			C: RCPT TO:<b@mda.example>
			C: DATA
			S: 250 sender
			S: 250 a
			S: 250 b
			S: 354 go ahead
			C| xxxx
			S: 552 5.3.4 too big
			S: 250 2.0.0 fine`)
	})
	client := &lmtp.Client{Hostname: "mx.example", Dial: lmtp.Dialer("unix", l.Addr().String())}
	replies := client.Deliver(t.Context(), envelope("a", "b"), message(strings.Repeat("x", 4<<20)))
	for i, want := range []string{"552 5.3.4 too big", down} {
		if got := withoutCause(replies[i]); got != want {
			t.Errorf("recipient %d: %q, want %q (%v)", i, got, want, replies[i].Err)
		}
	}
	playing.Wait()
	client.Close()
	_ = l.Close()
}

// A transaction that the server may still be in is ended first.
func TestResetFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{t: t, scripts: []string{hello + delivering + `
			S: 250 sender
			S: 550 5.1.1 a
			S: 503 no recipients
			C: RSET
			C: MAIL FROM:<ann@client.example> SIZE=15
			C: RCPT TO:<a@mda.example>
			C: DATA
			S: 250 reset
			S: 250 sender
			S: 250 a
			S: 354 go ahead` + data + `
			S: 250 2.0.0 fine` + deliveredOne + `
			C: QUIT`}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
		for _, want := range []string{"550 5.1.1 a", ok, ok} {
			if got := withoutCause(client.Deliver(t.Context(), envelope("a"), message(text))[0]); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		client.Close()
		h.played()
	})
}

// A connection that nobody uses is ended after the time that it is kept.
func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := hello + deliveredOne + "WAIT 1m\nC: QUIT\nS: 221 bye\nC."
		h := &hop{t: t, scripts: []string{script, script}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
		for range 2 {
			if r := client.Deliver(t.Context(), envelope("a"), message(text))[0]; !r.OK() {
				t.Error(r)
			}
			time.Sleep(time.Minute + time.Second)
		}
		h.played()
	})
}

// Whoever finds all connections in use waits, but not for ever.
func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := hello + verified[:strings.Index(verified, "S:")] + "WAIT 20s\n" + verified[strings.Index(verified, "S:"):]
		h := &hop{t: t, scripts: []string{busy + verified + "C: QUIT"}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial, MaxConnections: 1}
		verify := func(want error, after time.Duration) func() {
			return func() {
				start := time.Now()
				err := client.Verify(t.Context(), envelope(), envelope("a").To[0])
				if took := time.Since(start); !errors.Is(err, want) || took != after {
					t.Errorf("%v after %v, want %v after %v", err, took, want, after)
				}
			}
		}
		go verify(nil, 20*time.Second)()
		time.Sleep(time.Second)
		go verify(nil, 19*time.Second)()
		synctest.Wait()
		client.VerifyTimeout = 5 * time.Second
		verify(context.DeadlineExceeded, 5*time.Second)()
		time.Sleep(time.Minute)
		client.Close()
		h.played()
	})
}

// What the next hop does not offer, or not for a message as large, need not be
// sent.
func TestUnfit(t *testing.T) {
	const poor = "S: 220 hop\nC: LHLO mx.example\nS: 250-hop\nS: 250-PIPELINING\nS: 250 SIZE 10\nC: QUIT"
	tests := []struct {
		name string
		env  func(*mail.Envelope)
		text string
		want string
	}{
		{"too big", func(*mail.Envelope) {}, "12345678\r\n.", "552 5.3.4 message too big"},
		{"8BITMIME", func(env *mail.Envelope) { env.Body = mail.Body8Bit }, "", odd},
		{"BINARYMIME", func(env *mail.Envelope) { env.Body = mail.BodyBinary }, "", odd},
		{"SMTPUTF8", func(env *mail.Envelope) { env.UTF8 = true }, "", odd},
		{"REQUIRETLS", func(env *mail.Envelope) { env.RequireTLS = true }, "", odd},
		{"non-ASCII sender", func(env *mail.Envelope) { env.From.Local = "ä" }, "", "553 5.6.7 non-ASCII address needs SMTPUTF8"},
		{"non-ASCII recipient", func(env *mail.Envelope) { env.To[0].Local = "ä" }, "", "553 5.6.7 non-ASCII address needs SMTPUTF8"},
		{"line in a recipient", func(env *mail.Envelope) { env.To[0].Local = "a\r\nDATA" }, "", "553 5.6.7 non-ASCII address needs SMTPUTF8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hop{t: t, scripts: []string{poor}}
				client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
				env := envelope("a")
				env.Size = int64(len(tt.text))
				tt.env(env)
				if got := withoutCause(client.Deliver(t.Context(), env, message(tt.text))[0]); got != tt.want {
					t.Errorf("deliver: %q, want %q", got, tt.want)
				}
				err := client.Verify(t.Context(), env, env.To[0])
				if got := withoutCause(mail.ReplyTo(err)); got != tt.want {
					t.Errorf("verify: %q, want %q", got, tt.want)
				}
				client.Close()
				h.played()
			})
		})
	}
}

// A member of an alias that is not ASCII is our own matter: the next hop hears of
// SMTPUTF8 whether or not the client has asked for it.
func TestMemberInUTF8(t *testing.T) {
	next := &answers{}
	l := serve(t, newServer(next))
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	defer client.Close()
	env := envelope("ann", "jörg")
	if err := client.Verify(t.Context(), env, env.To[1]); err != nil {
		t.Errorf("verify: %v", err)
	}
	for i, r := range client.Deliver(t.Context(), env, message(text)) {
		if !r.OK() {
			t.Errorf("%v: %v", env.To[i].Address, r)
		}
	}
	if got := next.last().env; !got.UTF8 || len(got.To) != 2 {
		t.Errorf("SMTPUTF8 %v, %d recipients", got.UTF8, len(got.To))
	}
	if env.UTF8 {
		t.Error("the MX's envelope was changed")
	}
}

// More recipients than may be under way at once are sent in turns.
func TestManyRecipients(t *testing.T) {
	next := &answers{rcpt: map[string]error{"r7": mail.NoSuchUser, "r250": mail.NoSuchUser}}
	l := serve(t, newServer(next))
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	defer client.Close()
	var to []string
	for i := range 300 {
		to = append(to, fmt.Sprintf("r%d", i))
	}
	for i, r := range client.Deliver(t.Context(), envelope(to...), message(text)) {
		if r.OK() != (next.rcpt[to[i]] == nil) {
			t.Errorf("%s: %v", to[i], r)
		}
	}
	if n := len(next.last().env.To); n != 298 {
		t.Errorf("%d recipients", n)
	}
}

// Offer tells what was offered last, without a new connection.
func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{t: t, scripts: []string{hello + "C: QUIT"}}
		client := &lmtp.Client{Hostname: "mx.example", Dial: h.dial}
		for range 2 {
			offer, err := client.Offer(t.Context())
			if err != nil || !offer.Pipelining || !offer.EightBit || offer.Size != 1000 || offer.UTF8 {
				t.Errorf("%+v, %v", offer, err)
			}
		}
		client.Close()
		h.played()
		if _, err := (&lmtp.Client{Dial: h.dial}).Offer(t.Context()); !mail.ReplyTo(err).Is(mail.NextHopDown) {
			t.Errorf("next hop down: %v", err)
		}
	})
}
