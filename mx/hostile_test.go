package mx

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
	"postern/internal/serve"
	"postern/mail"
)

// RFC 5321, section 3.1: a client waits for the greeting. One that does not is no
// mail server, and the mistake is its network's.
func TestRFC5321_3_1_EarlyTalker(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.GreetDelay = time.Second
		h.PerClient.Errors = 3
		start := time.Now()
		h.play(t, greeting+quit)
		if d := time.Since(start); d != time.Second {
			t.Errorf("greeted after %v", d)
		}
		h.play(t, "WAIT 900ms\nC: EHLO client.example\nS: 554 5.5.0 mx.example *\nS.")
		if o := h.outcome(t, mail.Connection); o.Reply.Err == nil {
			t.Errorf("recorded %+v", o)
		}
		h.play(t, "C| E\nS: 554 5.5.0 mx.example *\nS.")
		h.play(t, "C: RCPT TO:<ann@mx.example>\nS: 554 5.5.0 mx.example *\nS.")
		h.play(t, "S: 421 4.7.0 mx.example too many errors\nS.")
	})
	// A client that is exempt is not made to wait.
	inHouse(t, func(t *testing.T, h *house) {
		h.GreetDelay = time.Second
		h.PerClient.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
		start := time.Now()
		h.play(t, "C: NOOP\n"+greeting+"S: 250 *\n"+quit)
		if d := time.Since(start); d != 0 {
			t.Errorf("greeted after %v", d)
		}
	})
	// A proxy may have waited for the client's first words.
	inHouse(t, func(t *testing.T, h *house) {
		h.GreetDelay = time.Second
		h.behindProxy("192.0.2.0/24")
		h.play(t, "C: PROXY TCP4 203.0.113.7 192.0.2.1 1234 25\nC: NOOP\n"+greeting+"S: 250 *\n"+quit)
	})
	// The end of the server does not wait for it, nor it for the end of a client.
	inHouse(t, func(t *testing.T, h *house) {
		h.GreetDelay = time.Minute
		nc, gone := h.dial(), h.dial()
		synctest.Wait()
		_ = gone.Close()
		synctest.Wait()
		if n := h.Connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
		h.shutdown()
		dialogue.Play(t, nc, "S: 421 4.3.2 mx.example *\nS.")
	})
}

// A client that brings no message is let go in the end, however polite it is.
func TestFruitlessSession(t *testing.T) {
	for name, script := range map[string]string{
		"NOOP":         "C: NOOP\nS: 250 *\n",
		"RSET":         "C: RSET\nS: 250 *\n",
		"EHLO":         "C: EHLO x\nS: ...\nS: 250 *\n",
		"transactions": "C: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<nobody@mx.example>\nS: 550 *\nC: RSET\nS: 250 *\n",
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				n := maxFruitless
				if name == "transactions" {
					n /= 2
				}
				h.play(t, greeting+"C: EHLO x\nS: ...\nS: 250 *\nC: RSET\nS: 250 *\nC: RSET\nS: 250 *\n"+strings.Repeat(script, n-3)+
					strings.Repeat("C: NOOP\n", serve.MaxMistakes+10)+"S: ...\nS: 421 4.7.0 mx.example *\nS.")
			})
		})
	}
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, ehlo+strings.Repeat("WAIT 4m\nC: NOOP\nS: 250 *\n", 15)+"WAIT 1s\nC: NOOP\nS: 421 4.4.2 mx.example *\nS.")
	})
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, ehlo+strings.Repeat(strings.Repeat("WAIT 4m\nC: NOOP\nS: 250 *\n", 14)+
			"C: MAIL FROM:<a@b>\nS: 250 *\nC: RCPT TO:<ann@mx.example>\nS: 250 *\n"+data+"C: a: b\nC: .\nS: 250 *\n", 3)+quit)
	})
}

// Thousands of transactions in one session are fine, as long as they bring mail,
// and leave nothing behind.
func TestThousandsOfTransactions(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		const n = 3000
		h.play(t, ehlo+strings.Repeat("C: MAIL FROM:<a@b>\nC: RCPT TO:<ann@mx.example>\nC: DATA\nS: 250 *\nS: 250 *\nS: 354 *\nC: a: b\nC: .\nS: 250 *\n", n)+quit)
		if len(h.next.got) != n {
			t.Errorf("%d of %d delivered", len(h.next.got), n)
		}
	})
}

// A client that tries names hears that they do not exist only so many times, in all
// sessions of its network; others go on.
func TestRecipientHarvesting(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.PerClient.Errors = 50
		heard := 0
		for i := range 20 {
			client, server := net.Pipe()
			h.dialledFrom(server, fmt.Sprintf("198.51.100.%d:4321", i))
			go func() {
				var b strings.Builder
				b.WriteString("EHLO x\r\nMAIL FROM:<a@b>\r\n")
				for j := range 100 {
					fmt.Fprintf(&b, "RCPT TO:<user-%d-%d>\r\nRCPT TO:<n%d.%d@mx.example>\r\n", i, j, i, j)
				}
				_, _ = io.WriteString(client, b.String()) // it is cut off in the middle
			}()
			answers, _ := io.ReadAll(client)
			heard += strings.Count(string(answers), "550 5.1.1 ")
			if !strings.HasSuffix(string(answers), "421 4.7.0 mx.example too many errors\r\n") {
				t.Fatalf("session %d heard %q", i, answers)
			}
		}
		if heard > 50 {
			t.Errorf("%d names were told not to exist", heard)
		}
		h.play(t, toAnn+quit) // from 192.0.2.1
	})
}

// A /24, or a /64, is one client.
func TestSharesByNetwork(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.MaxConnections = 100
		h.PerClient.Connections = 2
		connect := func(addr, want string) net.Conn {
			t.Helper()
			client, server := net.Pipe()
			h.dialledFrom(server, addr)
			dialogue.Play(t, client, "S: "+want+" *\n")
			return client
		}
		first := connect("198.51.100.1:1", "220")
		connect("198.51.100.255:1", "220")
		connect("[::ffff:198.51.100.7]:1", "421")
		connect("198.51.101.1:1", "220")
		connect("[2001:db8:1:2::1]:1", "220")
		connect("[2001:db8:1:2:ffff::1]:1", "220")
		connect("[2001:db8:1:2:3::1]:1", "421")
		connect("[2001:db8:1:3::1]:1", "220")
		_ = first.Close()
		synctest.Wait()
		connect("198.51.100.7:1", "220")
		h.shutdown()
	})
}

// A browser that somebody has send commands in a request is heard no further.
func TestRequestsOfHTTP(t *testing.T) {
	for _, method := range []string{"GET", "POST", "CONNECT", "put"} {
		inHouse(t, func(t *testing.T, h *house) {
			h.play(t, greeting+`
				C: `+method+` / HTTP/1.1
				C: Host: mx.example:25
				C: Content-Length: 100
				C:
				C: EHLO client.example
				C: MAIL FROM:<a@b.example>
				C: RCPT TO:<ann@mx.example>
				C: DATA
				S: 521 5.5.1 mx.example *
				S.`)
			if o := h.outcome(t, mail.Connection); !o.Reply.Is(mail.NotSMTP) {
				t.Errorf("recorded %+v", o)
			}
		})
	}
}

// Headers without an end, in lines, in continuations, or in one field after
// another, are refused, and cost no more memory than the message may.
func TestEndlessHeaders(t *testing.T) {
	for name, line := range map[string]string{
		"fields":        "X-Spam: yes",
		"continuations": " and more",
		"Received":      "Received: from a",
		"names":         strings.Repeat("x", 900),
		"one field":     "X:" + strings.Repeat("y", 900),
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				nc := h.dial()
				defer nc.Close()
				dialogue.Play(t, nc, toAnn+data)
				go func() {
					_, _ = io.WriteString(nc, "Subject: a\r\n")
					for sent := 0; sent < 40<<20; sent += 64 << 10 {
						lines := strings.Repeat(line+"\r\n", 64<<10/len(line))
						if _, err := io.WriteString(nc, lines); err != nil {
							return
						}
						if memory, _ := h.Spool.Held(); memory > h.Spool.MaxMemory {
							t.Errorf("%d octets are held", memory)
						}
					}
				}()
				dialogue.Play(t, nc, "S: 552 5.3.4 *\nS.")
			})
		})
	}
}
