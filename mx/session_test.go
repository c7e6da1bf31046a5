package mx

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/certtest"
	"postern/internal/dialogue"
	"postern/internal/serve"
	"postern/mail"
)

// The example of RFC 5321, appendix D.1, as far as this server is concerned.
func TestRFC5321_D_1_TypicalTransaction(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, greeting+`
			C: EHLO client.example
			S: 250-mx.example
			S: 250-PIPELINING
			S: 250-SIZE 1048576
			S: 250-8BITMIME
			S: ...
			S: 250 ENHANCEDSTATUSCODES
			C: MAIL FROM:<Smith@client.example>
			S: 250 2.1.0 *
			C: RCPT TO:<ann@mx.example>
			S: 250 2.1.5 *
			C: RCPT TO:<Green@mx.example>
			S: 550 5.1.1 no such user here
			C: RCPT TO:<bob@mx.example>
			S: 250 2.1.5 *
			C: DATA
			S: 354 *
			C: Blah blah blah...
			C: ...etc. etc. etc.
			C: .
			S: 250 2.0.0 OK *
			`+quit)
		got := h.delivered(t)
		if got.env.From.String() != "Smith@client.example" || fmt.Sprint(got.env.To) != "[ann@mx.example bob@mx.example]" {
			t.Errorf("from %v to %v", got.env.From, got.env.To)
		}
		if o := h.outcome(t, mail.Refused); !o.Reply.Is(mail.NoSuchUser) || o.To[0].Local != "Green" {
			t.Errorf("recorded %+v", o)
		}
	})
}

func TestRFC5321_4_1_1_1_HelloAgainIsReset(t *testing.T) {
	for _, again := range []string{"EHLO a", "HELO a"} {
		play(t, toAnn+"C: "+again+"\nS: ...\nS: 250 *\nC: DATA\nS: 503 5.5.1 *\nC: RCPT TO:<ann@mx.example>\nS: 503 5.5.1 *\nC: MAIL FROM:<>\nS: 250 *\n"+quit)
	}
}

// One that is not understood changes nothing.
func TestRFC5321_4_1_4_BadHelloKeepsTheTransaction(t *testing.T) {
	play(t, toAnn+`
		C: EHLO
		S: 501 5.5.4 *
		C: HELO
		S: 501 5.5.4 *
		`+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+quit)
}

func TestRFC5321_4_1_1_5_Reset(t *testing.T) {
	play(t, greeting+`
		C: RSET
		S: 250 2.0.0 *
		C: EHLO a
		S: ...
		S: 250 *
		C: RSET
		S: 250 2.0.0 *
		C: MAIL FROM:<a@b>
		S: 250 *
		C: RSET now
		S: 501 5.5.4 *
		C: RCPT TO:<ann@mx.example>
		S: 250 *
		C: RSET
		S: 250 2.0.0 *
		C: RCPT TO:<ann@mx.example>
		S: 503 5.5.1 *
		# EHLO is not forgotten
		C: MAIL FROM:<a@b> SIZE=5
		S: 250 *
		`+quit)
}

func TestRFC5321_4_1_4_Order(t *testing.T) {
	play(t, greeting+`
		C: MAIL FROM:<a@b>
		S: 503 5.5.1 *
		C: RCPT TO:<ann@mx.example>
		S: 503 5.5.1 *
		C: DATA
		S: 503 5.5.1 *
		C: EHLO a
		S: ...
		S: 250 *
		C: RCPT TO:<ann@mx.example>
		S: 503 5.5.1 *
		C: DATA
		S: 503 5.5.1 *
		C: MAIL FROM:<a@b>
		S: 250 *
		C: DATA
		S: 503 5.5.1 *
		C: DATA now
		S: 501 5.5.4 *
		# these may come at any time
		C: NOOP
		C: NOOP whatever
		C: HELP
		C: VRFY ann
		S: 250 2.0.0 *
		S: 250 2.0.0 *
		S: 214 2.0.0 *
		S: 252 2.5.0 *
		C: RCPT TO:<ann@mx.example>
		S: 250 *
		`+quit)
}

// A second MAIL is refused, and the first transaction stays.
func TestRFC5321_4_1_4_NestedMail(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+`
			C: MAIL FROM:<other@client.example>
			S: 503 5.5.1 *
			`+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+quit)
		if got := h.delivered(t); got.env.From.Local != "sender" || len(got.env.To) != 1 {
			t.Errorf("from %v to %v", got.env.From, got.env.To)
		}
	})
}

// After the message everything is forgotten but EHLO.
func TestRFC5321_4_1_1_4_DataEndsTheTransaction(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+`
			C: DATA
			S: 503 5.5.1 *
			C: RCPT TO:<bob@mx.example>
			S: 503 5.5.1 *
			C: MAIL FROM:<second@client.example>
			S: 250 *
			C: RCPT TO:<bob@mx.example>
			S: 250 *
			`+data+"C: c: d\nC: .\nS: 250 2.0.0 *\n"+quit)
		if n := len(h.next.got); n != 2 || len(h.next.got[1].env.To) != 1 || h.next.got[0].env.ID == h.next.got[1].env.ID {
			t.Errorf("%d messages: %+v", n, h.next.got)
		}
	})
}

// RFC 2920, section 3.2: every command is answered, in order, and an error
// throws nothing away.
func TestRFC2920_3_2_Pipelining(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, ehlo+`
			C: MAIL FROM:<a@client.example>
			C: RCPT TO:<nobody@mx.example>
			C: XYZZY
			C: RCPT TO:<ann@mx.example>
			C: RCPT TO:<ann
			C: NOOP\nQUIT
			C: RCPT TO:<bob@mx.example> X=1
			C: RCPT TO:<bob@elsewhere.example>
			C: DATA
			S: 250 2.1.0 *
			S: 550 5.1.1 *
			S: 500 5.5.2 *
			S: 250 2.1.5 *
			S: 501 5.1.3 *
			S: 500 5.5.2 *
			S: 555 5.5.4 *
			S: 550 5.7.1 *
			S: 354 *
			C: a: b
			C: .
			C: MAIL FROM:<b@client.example>
			C: QUIT
			S: 250 2.0.0 OK *
			S: 250 2.1.0 *
			S: 221 2.0.0 mx.example *
			S.`)
		h.delivered(t)
	})
}

// With all recipients refused the message is not taken, and the client that
// expected 354 is still in step.
func TestRFC2920_3_1_AllRecipientsRefused(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, ehlo+`
			C: MAIL FROM:<a@client.example>
			C: RCPT TO:<nobody@mx.example>
			C: DATA
			S: 250 2.1.0 *
			S: 550 5.1.1 *
			S: 503 5.5.1 *
			C: RSET
			S: 250 2.0.0 *
			`+quit)
		h.nothingDelivered(t)
	})
}

// A batch is answered in one write.
func TestRFC2920_3_2_OneWritePerBatch(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		var writes atomic.Int32
		client, server := net.Pipe()
		defer client.Close()
		h.dialled(&countWrites{Conn: server, n: &writes})
		dialogue.Play(t, client, ehlo)
		synctest.Wait()
		before := writes.Load()
		dialogue.Play(t, client, "C: MAIL FROM:<a@b>\n"+strings.Repeat("C: RCPT TO:<ann@mx.example>\n", 50)+"C: DATA\nS: 250 2.1.0 *\n"+
			strings.Repeat("S: 250 2.1.5 *\n", 50)+"S: 354 *\n")
		synctest.Wait()
		if n := writes.Load() - before; n != 1 {
			t.Errorf("%d writes", n)
		}
	})
}

type countWrites struct {
	net.Conn
	n *atomic.Int32
}

func (c *countWrites) Write(p []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(p)
}

// A client that says HELO has no extensions, and no parameters.
func TestRFC5321_4_1_1_1_Helo(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, greeting+`
			C: HELO client.example
			S: 250 mx.example
			C: MAIL FROM:<a@client.example> SIZE=5
			S: 555 5.5.4 *
			C: MAIL FROM:<a@client.example> BODY=8BITMIME
			S: 555 5.5.4 *
			C: MAIL FROM:<a@client.example>
			S: 250 *
			C: RCPT TO:<ann@mx.example> NOTIFY=NEVER
			S: 555 5.5.4 *
			C: RCPT TO:<ann@mx.example>
			S: 250 *
			C: STARTTLS
			S: 5*
			`+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+quit)
		if got := h.delivered(t); !strings.Contains(got.text, " with SMTP\r\n") {
			t.Errorf("delivered %q", got.text)
		}
	})
}

// What a client calls itself is never the reason to refuse it.
func TestRFC5321_4_1_4_AnyHelloWillDo(t *testing.T) {
	for _, name := range []string{
		"localhost", "[192.0.2.1]", "[IPv6:::1]", "192.0.2.1", "a_b", "x y z", "-", `\xff\xfe`, "mx.example", "a..b", "()<>;", strings.Repeat("x", 2000),
	} {
		play(t, greeting+"C: EHLO "+name+"\nS: 250-mx.example\nS: ...\nS: 250 *\nC: MAIL FROM:<a@b>\nS: 250 *\n"+quit)
	}
}

// But no argument has a control character.
func TestRFC5321_4_1_2_Controls(t *testing.T) {
	for _, command := range []string{"EHLO", "HELO", "NOOP", "VRFY", "HELP"} {
		for _, arg := range []string{`\x00`, `a\x01b`, `a\rb`, `\x1b[2J`, `a\x7f`} {
			play(t, ehlo+"C: "+command+" "+arg+"\nS: 501 5.5.4 *\n"+quit)
		}
	}
	play(t, ehlo+"C: NOOP a\tb\nS: 250 *\nC: NOPE \\x00\nS: 500 *\n"+quit)
}

func TestRFC5321_4_1_1_10_Quit(t *testing.T) {
	play(t, greeting+quit)
	play(t, toAnn+"C: QUIT now\nS: 501 *\n"+quit)
	// What follows QUIT is not heard.
	inHouse(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, greeting+"C: QUIT\nC: NOOP\nS: 221 2.0.0 mx.example *\nS.")
	})
	// A client that leaves without it has done no wrong.
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+"C: a: b\nC: .\nS: 250 2.0.0 *\nC.")
		h.delivered(t)
		h.outcome(t, mail.EndOfData)
		if len(h.outcomes) != 1 {
			t.Errorf("recorded %+v", h.outcomes)
		}
	})
}

// RFC 5321, section 4.1.1.11: unknown parameters are 555, and known ones twice
// 501.
func TestRFC5321_4_1_1_11_Parameters(t *testing.T) {
	for params, want := range map[string]string{
		"":                        "250 2.1.0 *",
		"SIZE=5":                  "250 2.1.0 *",
		"size=5 body=8bitmime":    "250 2.1.0 *",
		"BODY=7BIT":               "250 2.1.0 *",
		"BODY=BINARYMIME":         "555 5.5.4 *",
		"BODY=BINARY":             "501 5.5.4 *",
		"SIZE=5 SIZE=6":           "501 5.5.4 *",
		"SIZE=5 SIZE=5":           "250 2.1.0 *",
		"SIZE":                    "501 5.5.4 *",
		"SIZE=":                   "501 5.5.4 *",
		"AUTH=<>":                 "555 5.5.4 *",
		"X=1":                     "555 5.5.4 *",
		"REQUIRETLS":              "555 5.5.4 *", // not in the clear
		"SIZE=99999999999":        "552 5.3.4 *",
		`SIZE=5\x00`:              "501 5.5.4 *",
		`SIZE=5\rBODY=7BIT`:       "501 5.5.4 *",
		"RET=HDRS ENVID=x+2By":    "250 2.1.0 *",
		"RET=HDRS RET=HDRS":       "501 5.5.4 *",
		"BODY=8BITMIME SMTPUTF8=": "501 5.5.4 *",
	} {
		t.Run(params, func(t *testing.T) {
			play(t, ehlo+strings.TrimSuffix("C: MAIL FROM:<a@b> "+params, " ")+"\nS: "+want+"\n"+quit)
		})
	}
}

// Commands out of order and nonsense are counted; refused recipients are not.
func TestTooManyErrors(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, greeting+strings.Repeat("C: XYZZY\nS: 500 5.5.2 *\n", serve.MaxMistakes)+"C: XYZZY\nS: 421 4.7.0 mx.example *\nS.")
		if o := h.outcome(t, mail.Connection); !o.Reply.Is(mail.TooManyErrors) {
			t.Errorf("recorded %v", o.Reply)
		}
	})
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, sender+strings.Repeat("C: RCPT TO:<nobody@mx.example>\nS: 550 5.1.1 *\n", 100)+"C: RCPT TO:<ann@mx.example>\nS: 250 *\n"+quit)
	})
}

func TestRFC5321_4_5_3_2_7_CommandTimeout(t *testing.T) {
	for name, script := range map[string]string{
		"never spoke": greeting, "after EHLO": ehlo, "in a transaction": toAnn, "in a command": toAnn + "C| RCP\n",
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				nc := h.dial()
				defer nc.Close()
				dialogue.Play(t, nc, script)
				start := time.Now()
				dialogue.Play(t, nc, "S: 421 4.4.2 mx.example *\nS.")
				if d := time.Since(start); d != 5*time.Minute {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}

// A client that takes no replies does not hold a connection for ever.
func TestRFC5321_4_5_3_2_ClientThatDoesNotListen(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		time.Sleep(3 * time.Minute)
		if n := h.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestRFC5321_4_5_3_1_8_Recipients(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		var rcpts strings.Builder
		for i := range 100 {
			fmt.Fprintf(&rcpts, "C: RCPT TO:<user%d@mx.example>\nS: 250 2.1.5 *\n", i)
		}
		h.play(t, sender+rcpts.String()+`
			C: RCPT TO:<ann@mx.example>
			S: 452 4.5.3 *
			C: RCPT TO:<bob@mx.example>
			S: 452 4.5.3 *
			`+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+quit)
		if got := h.delivered(t); len(got.env.To) != 100 {
			t.Errorf("to %d recipients", len(got.env.To))
		}
	})
}

func TestRFC5321_4_5_3_1_4_CommandLine(t *testing.T) {
	play(t, ehlo+`
		C: NOOP `+strings.Repeat("x", 500)+`
		S: 250 2.0.0 *
		C: NOOP `+strings.Repeat("x", 5000)+`
		S: 500 5.5.2 *
		C: NOOP
		S: 250 2.0.0 *
		`+quit)
}

// A line without an end costs a client its connection.
func TestRFC5321_4_5_3_1_4_EndlessLine(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, ehlo+"C| NOOP "+strings.Repeat("x", 300<<10)+"\nS: 421 4.7.0 mx.example *\nS.")
	})
}

// RFC 5321, section 2.3.8: LF alone ends no command.
func TestRFC5321_2_3_8_BareNewlineInCommand(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, ehlo+`
			C| NOOP\nMAIL FROM:<a@b>\r\n
			S: 500 5.5.2 *
			C: RCPT TO:<ann@mx.example>
			S: 503 *
			`+quit)
	})
}

func TestRFC5321_3_5_3_Verify(t *testing.T) {
	play(t, ehlo+`
		C: VRFY ann
		S: 252 2.5.0 *
		C: VRFY nobody
		S: 252 2.5.0 *
		C: VRFY
		S: 501 5.5.4 *
		C: EXPN list
		S: 502 5.5.1 *
		`+quit)
}

func TestRFC5321_4_2_4_UnknownCommands(t *testing.T) {
	play(t, ehlo+`
		C: AUTH PLAIN
		S: 502 *
		C: ETRN x
		S: 502 *
		C: TURN
		S: 502 *
		C:
		S: 500 5.5.2 *
		C: \x00
		S: 500 5.5.2 *
		C: R\xc5\xbfET
		S: 500 5.5.2 *
		`+quit)
}

func TestTooManyConnections(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.MaxConnections = 2
		first, second := h.dial(), h.dial()
		defer second.Close()
		dialogue.Play(t, first, greeting)
		dialogue.Play(t, second, greeting)
		h.play(t, "S: 421 4.7.0 mx.example *\nS.")
		dialogue.Play(t, first, quit)
		_ = first.Close()
		synctest.Wait()
		h.play(t, greeting+quit)
	})
}

// Clients that do nothing do not keep others out.
func TestNoRoomForIdlers(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.MaxConnections = 2
		idler, other := h.dial(), h.dial()
		defer other.Close()
		dialogue.Play(t, idler, greeting)
		dialogue.Play(t, other, "WAIT 6s\n"+sender)
		h.play(t, "S: 421 4.7.0 mx.example *\nS.")
		time.Sleep(patience - 5*time.Second)
		third := h.dial()
		dialogue.Play(t, idler, "S: 421 4.4.2 mx.example *\nS.")
		dialogue.Play(t, third, greeting+quit)
		dialogue.Play(t, other, "C: RCPT TO:<ann@mx.example>\nS: 250 2.1.5 *\n"+quit)
	})
}

// TLS, in a bubble: the certificate is made outside it.
func inHouseWithTLS(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{certtest.New(t)}, SessionTicketsDisabled: true}
	inHouse(t, func(t *testing.T, h *house) {
		h.TLS = config
		test(t, h)
	})
}

func startTLS(t *testing.T, nc net.Conn) net.Conn {
	t.Helper()
	dialogue.Play(t, nc, "C: STARTTLS\nS: 220 2.0.0 *")
	client := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return client
}

// RFC 3207, section 4.2: after the handshake the server knows nothing of what
// was said before it.
func TestRFC3207_4_2_ForgetEverything(t *testing.T) {
	inHouseWithTLS(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, greeting+`
			C: EHLO clear.example
			S: ...
			S: 250-STARTTLS
			S: ...
			S: 250 *
			C: MAIL FROM:<a@client.example>
			S: 250 *
			C: RCPT TO:<bob@mx.example>
			S: 250 *`)
		nc = startTLS(t, nc)
		dialogue.Play(t, nc, `
			C: RCPT TO:<ann@mx.example>
			S: 503 *
			C: DATA
			S: 503 *
			C: MAIL FROM:<a@client.example>
			S: 503 5.5.1 *
			C: EHLO tls.example
			S: 250-mx.example
			S: 250-PIPELINING
			S: 250-SIZE *
			S: 250-REQUIRETLS
			S: ...
			S: 250 *
			# RFC 3207, section 4: not twice
			C: STARTTLS
			S: 503 5.5.1 *
			C: MAIL FROM:<a@client.example>
			S: 250 *
			C: RCPT TO:<ann@mx.example>
			S: 250 *
			`+data+"C: a: b\nC: .\nS: 250 2.0.0 *\nC: QUIT\nS: 221 2.0.0 mx.example *")
		got := h.delivered(t)
		if strings.Contains(got.text, "clear.example") || !strings.Contains(got.text, "(TLSv1.3 TLS_") || !strings.Contains(got.text, " with ESMTPS\r\n") {
			t.Errorf("delivered %q", got.text)
		}
		if len(got.env.To) != 1 || got.env.To[0].Local != "ann" {
			t.Errorf("delivered to %v", got.env.To)
		}
	})
}

// CVE-2011-0411: what stands behind STARTTLS in the clear is never heard.
func TestRFC3207_4_2_CommandInjection(t *testing.T) {
	inHouseWithTLS(t, func(t *testing.T, h *house) {
		var log strings.Builder
		h.Log = slog.New(slog.NewTextHandler(&log, nil))
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, ehlo+"C| STARTTLS\\r\\nMAIL FROM:<evil@example.org>\\r\\n\nS: 220 *")
		dialogue.Play(t, tls.Client(nc, &tls.Config{InsecureSkipVerify: true}), "C: HELO client.example\nS: 250 *\nC: RCPT TO:<ann@mx.example>\nS: 503 *")
		if !strings.Contains(log.String(), "octets=30") {
			t.Errorf("nobody is told:\n%s", log.String())
		}
	})
}

func TestRFC3207_4_FailedHandshake(t *testing.T) {
	inHouseWithTLS(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, ehlo+"C: STARTTLS\nS: 220 *")
		var heard strings.Builder
		go func() { _, _ = nc.Write([]byte("MAIL FROM:<evil@example.org>\r\n")) }()
		b := make([]byte, 1000)
		for {
			n, err := nc.Read(b)
			heard.Write(b[:n])
			if err != nil {
				break
			}
		}
		if strings.Contains(heard.String(), "250") {
			t.Errorf("went on in the clear: %q", heard.String())
		}
		h.outcome(t, mail.Connection)
	})
}

func TestRFC3207_4_HandshakeTimeout(t *testing.T) {
	inHouseWithTLS(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, ehlo+"C: STARTTLS\nS: 220 *")
		start := time.Now()
		dialogue.Play(t, nc, "S.")
		if d := time.Since(start); d != time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

func TestRFC3207_4_Refused(t *testing.T) {
	inHouseWithTLS(t, func(t *testing.T, h *house) {
		h.play(t, greeting+"C: STARTTLS\nS: 503 *\n"+"C: EHLO a\nS: ...\nS: 250 *\nC: STARTTLS now\nS: 501 5.5.4 *\n"+quit)
	})
	// Where there is no certificate it is not offered.
	inHouse(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, greeting+"C: EHLO a\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250-SIZE *\nS: 250-8BITMIME\nS: ...\nS: 250 *\nC: STARTTLS\nS: 502 *\n"+quit)
	})
}
