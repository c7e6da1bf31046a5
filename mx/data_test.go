package mx

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/dialogue"
	"postern/internal/dns"
	"postern/mail"
	"postern/policy"
)

// One message stays one message, whatever somebody may take for its end.
func TestRFC5321_4_1_1_4_NoSmuggling(t *testing.T) {
	for _, seam := range []string{
		`\n.\n`, `\n.\r\n`, `\r.\r`, `\r\n.\r`, `\r\n.\n`, `\r\n.\r\r\n`, `\n.\r`, `\r.\r\n`, `\r\n\x00.\r\n`, `\r\n.\x00\r\n`, `\n\n.\r\n`, `\r\n\r.\r\n`,
	} {
		t.Run(seam, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.play(t, toAnn+data+`
					C| Subject: a\r\n\r\ntext`+seam+`MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@mx.example>\r\nDATA\r\nevil\r\n.\r\n
					S: 250 2.0.0 OK *
					`+quit)
				if got := h.delivered(t); !strings.Contains(got.text, "MAIL FROM:<evil@example.org>") {
					t.Errorf("delivered %q", got.text)
				}
			})
		})
	}
}

func TestRFC5321_4_1_1_4_CrCrLfEndsALine(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+`
			C| a: b\r\r\n.\r\n
			S: 250 2.0.0 *
			`+quit)
		if got := h.delivered(t).body(); got != "a: b\r\r\n" {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestRFC5321_4_1_1_4_EmptyMessage(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+`
			C: .
			S: 250 2.0.0 *
			`+quit)
		if got := h.delivered(t).body(); got != "" {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestRFC5321_4_5_2_Transparency(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+`
			C: ..first: line
			C: a: b
			C:
			C: ..
			C: .x
			C: .\rx
			C: .
			S: 250 2.0.0 *
			`+quit)
		if got := h.delivered(t).body(); !strings.HasSuffix(got, ".first: line\r\na: b\r\n\r\n.\r\nx\r\n\rx\r\n") {
			t.Errorf("delivered %q", got)
		}
	})
}

// A bare LF is a line end for some reader, so it is made one for all.
func TestRFC5321_2_3_8_BareNewlineBecomesCRLF(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+`
			C| a: b\n\nc\n.\nd\re\r\n.\r\n
			S: 250 2.0.0 *
			`+quit)
		if got := h.delivered(t).body(); got != "a: b\r\n\r\nc\r\n.\r\nd\re\r\n" {
			t.Errorf("delivered %q", got)
		}
	})
}

// Where it is refused, the whole message is read first.
func TestRFC5321_2_3_8_BareNewlineRefused(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.judged(t, dns.Zone{})
		var record *policy.Record
		h.Judge.Closed = func(r *policy.Record) { record = r }
		h.RejectBareNewline = true
		h.play(t, toAnn+data+`
			C| a: b\n\r\nMAIL FROM:<x@y>\r\n.\r\nNOOP\r\n
			S: 550 5.5.2 *
			S: 250 2.0.0 *
			C: DATA
			S: 503 5.5.1 *
			`+quit)
		h.nothingDelivered(t)
		if o := h.outcome(t, mail.EndOfData); o.Size == 0 || record.Size != o.Size || !record.Reply.Is(mail.BareNewline) {
			t.Errorf("the outcome has %d octets, the record %d: %v", o.Size, record.Size, record.Reply)
		}
		h.play(t, toAnn+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+quit) // one without is taken
		h.MaxSize = 10
		h.play(t, toAnn+data+`C| a: b\n\r\nfar more than ten\r\n.\r\n`+"\nS: 552 5.3.4 *\n"+quit)
	})
}

func TestRFC5321_4_2_5_OversizeIsReadToItsEnd(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.MaxSize = 100
		long := strings.Repeat("x", 70)
		h.play(t, toAnn+data+`
			C: a: b
			C: `+long+`
			C: `+long+`
			C: MAIL FROM:<x@y>
			C: .
			C: NOOP
			S: 552 5.3.4 *
			S: 250 2.0.0 OK
			C: RCPT TO:<ann@mx.example>
			S: 503 5.5.1 *
			`+quit)
		h.nothingDelivered(t)
		if o := h.outcome(t, mail.EndOfData); !o.Reply.Is(mail.TooBig) {
			t.Errorf("recorded %v", o.Reply)
		}
	})
}

// A message that is far too large and does not end is not read for ever, and
// what follows is not taken for commands.
func TestRFC5321_4_2_5_EndlessMessage(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.MaxSize = 100
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, toAnn+data)
		line := []byte(strings.Repeat("x", 998) + "\r\n")
		var err error
		sent := 0
		done := make(chan string)
		go func() {
			b := make([]byte, 200)
			n, _ := nc.Read(b)
			done <- string(b[:n])
		}()
		for ; err == nil && sent < 40<<20; sent += len(line) {
			_, err = nc.Write(line)
		}
		if err == nil {
			t.Errorf("%d octets were read", sent)
		}
		if got := <-done; !strings.HasPrefix(got, "552 5.3.4 ") {
			t.Errorf("heard %q", got)
		}
		h.nothingDelivered(t)
	})
}

func TestRFC1870_6_SizeIsKnownBefore(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.MaxSize = 1000
		h.play(t, greeting+`
			C: EHLO client.example
			S: ...
			S: 250-SIZE 1000
			S: ...
			S: 250 *
			C: MAIL FROM:<a@client.example> SIZE=1001
			S: 552 5.3.4 *
			C: MAIL FROM:<a@client.example> SIZE=x
			S: 501 5.5.4 *
			C: MAIL FROM:<a@client.example> SIZE=1000
			S: 250 2.1.0 *
			`+quit)
	})
}

func TestRFC5321_4_5_3_1_6_LongLinesPass(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		long := strings.Repeat("0123456789", 10<<10)
		h.play(t, toAnn+data+"C: a: b\nC:\nC: "+long+"\nC: .\nS: 250 2.0.0 *\n"+quit)
		if got := h.delivered(t).body(); got != "a: b\r\n\r\n"+long+"\r\n" {
			t.Errorf("delivered %d octets", len(got))
		}
	})
}

func TestRFC5321_2_3_1_OctetsStayAsTheyCame(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+data+`
			C: Subject: \xfcber \xc3\xbc
			C:
			C: \x00\x01\x7f\xff\x80 \t
			C: \r
			C: .
			S: 250 2.0.0 *
			`+quit)
		got := h.delivered(t)
		if got.body() != "Subject: \xfcber \xc3\xbc\r\n\r\n\x00\x01\x7f\xff\x80 \t\r\n\r\r\n" {
			t.Errorf("delivered %q", got.body())
		}
		// RFC 6531, section 3.2: octets in the header ask for nothing.
		if got.env.UTF8 || !strings.Contains(got.text, "with ESMTP\r\n") {
			t.Errorf("became SMTPUTF8: %q", got.text)
		}
	})
}

// A client that falls silent in its message hears 421, and is never back among
// the commands.
func TestRFC5321_4_5_3_2_5_DataTimeout(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		start := time.Now()
		h.play(t, toAnn+data+`
			C: a: b
			WAIT 2m
			C: c: d
			S: 421 4.4.2 mx.example *
			S.`)
		if d := time.Since(start); d != 5*time.Minute {
			t.Errorf("after %v", d)
		}
		h.nothingDelivered(t)
	})
}

// A trickle does not hold a connection for ever.
func TestRFC5321_4_5_3_2_SlowData(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, toAnn+data)
		start := time.Now()
		var trickle sync.WaitGroup
		trickle.Go(func() {
			for {
				if _, err := nc.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(2 * time.Minute)
			}
		})
		dialogue.Play(t, nc, "S: 421 4.4.2 mx.example *\nS.")
		if d := time.Since(start); d != time.Hour {
			t.Errorf("after %v", d)
		}
		trickle.Wait()
		h.nothingDelivered(t)
	})
}

// The times for a message are over with it.
func TestRFC5321_4_5_3_2_7_CommandTimeoutAfterData(t *testing.T) {
	play(t, toAnn+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+strings.Repeat("WAIT 4m59s\nC: NOOP\nS: 250 2.0.0 *\n", 10)+"S: 421 4.4.2 mx.example *\nS.")
}

// RFC 1047: what was not received in whole was not received.
func TestRFC1047_ClientGoneInData(t *testing.T) {
	for name, text := range map[string]string{
		"at once": "", "in a line": `C| a: b`, "after a line": `C: a: b`, "before the last LF": `C| a: b\r\n.\r`, "after a bare end": `C| a: b\n.\n`,
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.play(t, toAnn+data+text+"\nC.")
				h.nothingDelivered(t)
				o := h.outcome(t, mail.EndOfData)
				if !o.Reply.Is(mail.ClientLost) || o.Reply.Err != nil {
					t.Errorf("recorded %v", o.Reply.Error())
				}
			})
		})
	}
}

func TestRFC1047_ClientGoneInChunk(t *testing.T) {
	for _, text := range []string{"C| BDAT 10\\r\\nhalf", "C| BDAT 10 LAST\\r\\nhalf", "C| BDAT 4\\r\\nhalfBDAT 4 LAST\\r\\nh\nS: 250 *"} {
		inHouse(t, func(t *testing.T, h *house) {
			h.play(t, toAnn+text+"\nC.")
			h.nothingDelivered(t)
			if o := h.outcome(t, mail.EndOfData); !o.Reply.Is(mail.ClientLost) {
				t.Errorf("%q: recorded %v", text, o.Reply)
			}
		})
	}
}

// A client that is gone before it heard 250 may have its message delivered
// twice, but not lose it.
func TestRFC1047_ClientGoneBeforeReply(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.next.think = time.Minute
		nc := h.dial()
		dialogue.Play(t, nc, toAnn+data+"C: a: b\nC: .\nWAIT 1s\nC.")
		time.Sleep(time.Hour)
		h.delivered(t)
	})
}

func TestRFC5321_6_1_ReplyWaitsForTheNextHop(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.next.think = 2 * time.Minute
		start := time.Now()
		h.play(t, toAnn+data+"C: a: b\nC: .\nS: 250 2.0.0 OK *")
		if d := time.Since(start); d != 2*time.Minute {
			t.Errorf("after %v", d)
		}
		got := h.delivered(t)
		if o := h.outcome(t, mail.EndOfData); !o.Reply.OK() || o.ID != got.env.ID || o.Reply.Text != "OK "+o.ID || o.Size != 6 {
			t.Errorf("recorded %+v", o)
		}
	})
}

// The one reply for many recipients (RFC 2033, section 3, tells why it is hard).
func TestRFC5321_6_1_OneReplyForMany(t *testing.T) {
	full := mail.Reply{Code: 452, Status: mail.Status{4, 2, 2}, Text: "mailbox full"}
	gone := mail.Reply{Code: 550, Status: mail.Status{5, 1, 1}, Text: "gone"}
	tests := []struct {
		ann, bob mail.Reply
		want     string
	}{
		{mail.Accepted, mail.Accepted, "250 2.0.0 OK *"},
		{full, full, "452 4.2.2 mailbox full"},
		{gone, gone, "550 5.1.1 gone"},
		{mail.Accepted, full, "452 4.2.2 mailbox full"},
		{gone, full, "452 4.2.2 mailbox full"},
		{mail.Accepted, gone, "451 4.5.0 *"},
		{gone, mail.Accepted, "451 4.5.0 *"},
		{mail.Accepted, mail.Reply{}, "451 4.3.0 *"}, // a broken promise
		{mail.Accepted, mail.StartData, "451 4.3.0 *"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d and %d", tt.ann.Code, tt.bob.Code), func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.next.answer = map[string]mail.Reply{"ann": tt.ann, "bob": tt.bob}
				h.play(t, toBoth+data+"C: a: b\nC: .\nS: "+tt.want+"\n"+quit)
			})
		})
	}
}

// What a next hop says cannot leave its line, nor end the client's session.
func TestRFC5321_4_2_TextOfTheNextHop(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.next.refuse = map[string]error{
			"ann": mail.Reply{Code: 550, Status: mail.Status{5, 2, 1}, Text: "no\r\n250 2.1.5 fine"},
			"bob": mail.Reply{Code: 450, Status: mail.Status{4, 2, 1}, Text: "sp\xc3\xa4ter\x00\x1b[2J"},
		}
		h.play(t, sender+`
			C: RCPT TO:<ann@mx.example>
			S: 550-5.2.1 no?
			S: 550 5.2.1 250 2.1.5 fine
			C: RCPT TO:<bob@mx.example>
			S: 450 4.2.1 sp?ter??[2J
			`+quit)
	})
}

// Our own trouble is never final, and its cause is not told.
func TestRFC5321_4_2_1_OwnTroubleIsTemporary(t *testing.T) {
	secret := fmt.Errorf("open /var/lib/secret: permission denied")
	inHouse(t, func(t *testing.T, h *house) {
		h.next.refuse = map[string]error{"bob": secret}
		h.next.answer = map[string]mail.Reply{"ann": mail.ReplyTo(secret)}
		h.play(t, toAnn+`
			C: RCPT TO:<bob@mx.example>
			S: 451 4.3.0 local error in processing
			`+data+`
			C: a: b
			C: .
			S: 451 4.3.0 local error in processing
			`+quit)
	})
}

func TestSpoolFullIsTemporary(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.Spool.MaxMemory, h.Spool.MaxFiles = 0, 100
		h.play(t, toAnn+data+`
			C: a: b
			C: `+strings.Repeat("x", 200<<10)+`
			C: .
			S: 452 4.3.1 *
			`+quit)
		h.nothingDelivered(t)
	})
}

// A panic costs one connection: 421, and the others go on.
func TestPanicCostsOneConnection(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.next.trip = func() { panic("a bug") }
		h.play(t, toAnn+data+`
			C: a: b
			C: .
			S: 421 4.3.0 mx.example *
			S.`)
		h.next.trip = nil
		h.play(t, toAnn+data+"C: a: b\nC: .\nS: 250 2.0.0 *\n"+quit)
	})
}

// RFC 3030, section 2: chunks are octets, with no dots added and none removed.
func TestRFC3030_2_Chunks(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+`
			C| BDAT 7\r\na: b\r\n\rBDAT 6\r\n\n..\r\nx
			S: 250 2.0.0 *
			S: 250 2.0.0 *
			C| BDAT 0 LAST\r\n
			S: 250 2.0.0 OK *
			`+quit)
		if got := h.delivered(t).body(); got != "a: b\r\n\r\n..\r\nx" {
			t.Errorf("delivered %q", got)
		}
	})
}

// The octets of a refused chunk are no commands, and a chunk that was refused
// is missed: no message is made of the others.
func TestRFC3030_2_RefusedChunks(t *testing.T) {
	const chunk = `\r\nNOOP\r\n`
	tests := []struct{ name, script string }{
		{"before EHLO", greeting + "C| BDAT 6" + chunk + "\nS: 503 5.5.1 *\n"},
		{"before MAIL", ehlo + "C| BDAT 6" + chunk + "\nS: 503 5.5.1 *\n"},
		{"before RCPT", sender + "C| BDAT 6" + chunk + "\nS: 503 5.5.1 *\nC: RCPT TO:<ann@mx.example>\nS: 503 *\nC| BDAT 6 LAST" + chunk + "\nS: 503 5.5.1 *\n"},
		{"wrong word", toAnn + "C| BDAT 6 FIRST" + chunk + "\nS: 501 5.5.4 *\nC| BDAT 6 LAST" + chunk + "\nS: 503 5.5.1 *\n"},
		{"too large", toAnn + "C| BDAT 6" + chunk + "\nS: 250 *\nC| BDAT 100\\r\\n" + strings.Repeat("x", 100) + "\nS: 552 5.3.4 *\nC| BDAT 6 LAST" + chunk + "\nS: 503 5.5.1 *\n"},
		{"DATA among chunks", toAnn + "C| BDAT 6" + chunk + "\nS: 250 *\nC: DATA\nS: 503 5.5.1 *\n"},
		{"RCPT among chunks", toAnn + "C| BDAT 6" + chunk + "\nS: 250 *\nC: RCPT TO:<bob@mx.example>\nS: 503 5.5.1 *\n"},
		{"MAIL among chunks", toAnn + "C| BDAT 6" + chunk + "\nS: 250 *\nC: MAIL FROM:<a@b>\nS: 503 5.5.1 *\n"},
		{"RSET among chunks", toAnn + "C| BDAT 6" + chunk + "\nS: 250 *\nC: RSET\nS: 250 2.0.0 *\nC| BDAT 6 LAST" + chunk + "\nS: 503 5.5.1 *\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.MaxSize = 100
				h.play(t, tt.script+quit)
				h.nothingDelivered(t)
			})
		})
	}
}

// A size that cannot be read ends the session: nobody knows what is a command.
func TestRFC3030_2_UnreadableChunkSize(t *testing.T) {
	for arg, want := range map[string]string{
		"": "501 5.5.4 mx.example *", "x": "501 5.5.4 mx.example *", "-1": "501 5.5.4 mx.example *", "99999999999999999999": "552 5.3.4 mx.example *far*", "9000000000000000000": "552 5.3.4 mx.example *far*",
		"9000000000000000000 FIRST": "552 5.3.4 mx.example *far*",
	} {
		t.Run(arg, func(t *testing.T) {
			for _, before := range []string{toAnn, sender, ehlo} { // whatever else is wrong
				inHouse(t, func(t *testing.T, h *house) {
					h.play(t, before+"C: BDAT "+arg+" LAST\nC: QUIT\nS: "+want+"\nS.")
					h.nothingDelivered(t)
				})
			}
		})
	}
}

// A client that said HELO was offered no chunks; the octets of one are no commands all
// the same.
func TestRFC3030_2_NoChunksAfterHELO(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, greeting+`
			C: HELO client.example
			S: 250 mx.example
			C: MAIL FROM:<sender@client.example>
			S: 250 2.1.0 *
			C: RCPT TO:<ann@mx.example>
			S: 250 2.1.5 *
			C| BDAT 6 LAST\r\nQUIT\r\n
			S: 503 5.5.1 *
		`+quit)
		h.nothingDelivered(t)
	})
}

// The chunks of a message share its time, however many they are.
func TestRFC3030_2_SlowChunks(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, toAnn)
		start := time.Now()
		for time.Since(start) < time.Hour-2*time.Minute {
			dialogue.Play(t, nc, "C| BDAT 1\\r\\n\nWAIT 2m\nC| x\nS: 250 *\n")
		}
		dialogue.Play(t, nc, "C| BDAT 1\\r\\n\nS: 421 4.4.2 mx.example *\nS.")
		h.nothingDelivered(t)
	})
}

func TestShutdownDuringDelivery(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.next.think = 10 * time.Second
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, toAnn+data+"C: a: b\nC: .\nWAIT 1s")
		start := time.Now()
		h.shutdown()
		dialogue.Play(t, nc, "S: 250 2.0.0 OK *\nS: 421 4.3.2 mx.example *\nS.")
		if d := time.Since(start); d != 9*time.Second {
			t.Errorf("after %v", d)
		}
		h.delivered(t)
	})
}

// A client in the middle of its transaction may end it, and hears 421 then.
func TestRFC5321_3_8_ShutdownDuringTransaction(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, sender+"WAIT 1s")
		start := time.Now()
		h.shutdown()
		dialogue.Play(t, nc, `
			WAIT 1s
			C: RCPT TO:<ann@mx.example>
			S: 250 2.1.5 *
			`+data+`
			C: a: b
			C: .
			S: 250 2.0.0 OK *
			S: 421 4.3.2 mx.example *
			S.`)
		if d := time.Since(start); d != time.Second {
			t.Errorf("after %v", d)
		}
		h.delivered(t)
	})
}

// One that does nothing is given the time of grace and no more.
func TestRFC5321_3_8_ShutdownGrace(t *testing.T) {
	for name, state := range map[string]string{"among commands": toAnn, "in the data": toAnn + data + "C: a: b\n"} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				nc := h.dial()
				defer nc.Close()
				dialogue.Play(t, nc, state+"WAIT 1s")
				start := time.Now()
				h.shutdown()
				b := make([]byte, 100)
				n, err := nc.Read(b)
				if d := time.Since(start); d < 30*time.Second || d > 32*time.Second {
					t.Errorf("heard %q, %v after %v", b[:n], err, d)
				}
				h.nothingDelivered(t)
			})
		})
	}
}

func TestRFC5321_3_8_ShutdownIdle(t *testing.T) {
	for name, state := range map[string]string{"greeted": greeting, "after EHLO": ehlo} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				nc := h.dial()
				defer nc.Close()
				dialogue.Play(t, nc, state+"WAIT 1s")
				start := time.Now()
				h.shutdown()
				dialogue.Play(t, nc, "S: 421 4.3.2 mx.example *\nS.")
				if d := time.Since(start); d != 0 {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}
