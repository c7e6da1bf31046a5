package mx

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
	"postern/mail"
)

// A client that cannot hear a reply for each recipient hears of the one that was
// refused for good when it tries again: once, and at RCPT.
func TestRefusalIsRemembered(t *testing.T) {
	gone := mail.Reply{Code: 550, Status: mail.Status{5, 2, 1}, Text: "mailbox disabled"}
	full := mail.Reply{Code: 452, Status: mail.Status{4, 2, 2}, Text: "mailbox full"}
	const (
		mailFrom = "C: MAIL FROM:<sender@client.example> SIZE=100\nS: 250 2.1.0 *\n"
		first    = ehlo + mailFrom + `
			C: RCPT TO:<ann@mx.example>
			C: RCPT TO:<bob@mx.example>
			S: 250 2.1.5 *
			S: 250 2.1.5 *
			C: DATA
			S: 354 *
			C: a: b
			C: .
			S: 45? 4.?.? *
			` + quit
		toRefused  = "C: RCPT TO:<bob@mx.example>\nS: 550 5.2.1 mailbox disabled\n"
		toAccepted = "C: RCPT TO:<bob@mx.example>\nS: 250 2.1.5 *\n"
	)
	tests := []struct {
		name string
		ann  mail.Reply
		from string // the second client's address; "" is the first one's
		wait time.Duration
		then string
	}{
		{"the retry", mail.Accepted, "", 0, ehlo + mailFrom + toRefused + "C: RCPT TO:<ann@mx.example>\nS: 250 *\n" + data + "C: a: b\nC: .\nS: 250 2.0.0 *\n"},
		{"beside one put off", full, "", 0, ehlo + mailFrom + toRefused + "C: RCPT TO:<ann@mx.example>\nS: 250 *\n"},
		{"only once", mail.Accepted, "", 0, ehlo + mailFrom + toRefused + toAccepted},
		{"from a neighbour", mail.Accepted, "192.0.2.200:1", 0, ehlo + mailFrom + toRefused},
		{"days later", mail.Accepted, "", 5*24*time.Hour - time.Second, ehlo + mailFrom + toRefused},
		{"too late", mail.Accepted, "", 5 * 24 * time.Hour, ehlo + mailFrom + toAccepted},
		{"from elsewhere", mail.Accepted, "192.0.3.1:1", 0, ehlo + mailFrom + toAccepted},
		{"another recipient", mail.Accepted, "", 0, ehlo + mailFrom + "C: RCPT TO:<ann@mx.example>\nS: 250 *\n"},
		{"another spelling", mail.Accepted, "", 0, ehlo + mailFrom + "C: RCPT TO:<Bob@mx.example>\nS: 250 *\n"},
		{"another sender", mail.Accepted, "", 0, ehlo + "C: MAIL FROM:<other@client.example> SIZE=100\nS: 250 *\n" + toAccepted},
		{"another size", mail.Accepted, "", 0, ehlo + "C: MAIL FROM:<sender@client.example> SIZE=101\nS: 250 *\n" + toAccepted},
		{"without a size", mail.Accepted, "", 0, sender + toAccepted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.next.answer = map[string]mail.Reply{"ann": tt.ann, "bob": gone}
				h.play(t, strings.Replace(first, "S: 45? 4.?.? *", "S: "+mail.Merge([]mail.Reply{tt.ann, gone}).String(), 1))
				time.Sleep(tt.wait)
				client, server := net.Pipe()
				defer client.Close()
				if tt.from == "" {
					h.dialled(server)
				} else {
					h.dialledFrom(server, tt.from)
				}
				dialogue.Play(t, client, tt.then)
			})
		})
	}
}

// A client that heard the refusal, for there was no other reply, is not told of it again.
func TestNoRefusalRememberedThatWasHeard(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.next.answer = map[string]mail.Reply{"ann": mail.NoSuchUser, "bob": mail.NoSuchUser}
		h.play(t, toBoth+data+"C: a: b\nC: .\nS: 550 *\n"+quit)
		h.play(t, toBoth)
	})
}

// A client that hears each reply needs no second attempt.
func TestNoRefusalRememberedWithPRDR(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.next.answer = map[string]mail.Reply{"bob": mail.NoSuchUser}
		const prdr = "C: MAIL FROM:<sender@client.example> PRDR\nS: 250 *\nC: RCPT TO:<ann@mx.example>\nS: 250 *\nC: RCPT TO:<bob@mx.example>\nS: 250 *\n"
		h.play(t, ehlo+prdr+data+"C: a: b\nC: .\nS: 353 *\nS: 250 *\nS: 550 *\nS: 250 *\n"+prdr)
	})
}

func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	key := func(i int) refusalKey { return refusalKey{size: int64(i)} }
	for i := range maxRefusals + 10 {
		r.add(key(i), mail.NoSuchUser)
		r.add(key(i), mail.TooBig) // the newer one counts
	}
	if n, m := len(r.byKey), r.byAge.Len(); n != maxRefusals || m != n {
		t.Errorf("%d remembered, %d by age", n, m)
	}
	if _, found := r.take(key(9)); found {
		t.Error("the oldest are there")
	}
	if reply, found := r.take(key(10)); !found || !reply.Is(mail.TooBig) {
		t.Errorf("the oldest of the newest: %v, %v", reply, found)
	}
}

// A client shows by its next command that it heard its 250, unless it sent that
// before.
func TestHeard(t *testing.T) {
	const message = "C: a: b\nC: .\n"
	tests := []struct {
		name, script string
		want         int
	}{
		{"no more", toAnn + data + message + "S: 250 *\nC.", 0},
		{"QUIT", toAnn + data + message + "S: 250 *\n" + quit, 1},
		{"QUIT in one piece with the end", toAnn + data + message + "C: QUIT\nS: 250 *\nS: 221 2.0.0 mx.example *\nS.", 0},
		{"a line that is none", toAnn + data + message + "S: 250 *\nC: XYZZY\nS: 500 *\nC.", 1},
		{"silence", toAnn + data + message + "S: 250 *\nWAIT 5m\nS: 421 *\nS.", 0},
		{"the next message in one piece with the end", toAnn + data + message + `
			C: MAIL FROM:<sender@client.example>
			C: RCPT TO:<ann@mx.example>
			C: DATA
			S: 250 2.0.0 *
			S: 250 2.1.0 *
			S: 250 2.1.5 *
			S: 354 *
			` + message + "S: 250 *\nC.", 1},
		{"chunks", toAnn + "C: BDAT 6 LAST\nC: a: b\nS: 250 *\nC: NOOP\nS: 250 *\n", 1},
		{"chunks, and all in one piece", toAnn + "C: BDAT 6 LAST\nC: a: b\nC: MAIL FROM:<>\nC: RSET\nS: 250 *\nS: 250 *\nS: 250 *\nC.", 0},
		{"put off", strings.ReplaceAll(toAnn, "ann@", "bob@") + data + message + "S: 451 *\n" + quit, 0},
		{"put off in part", toBoth + data + message + "S: 451 *\n" + quit, 0},
		{"each for itself", ehlo + "C: MAIL FROM:<> PRDR\nS: 250 *\nC: RCPT TO:<ann@mx.example>\nS: 250 *\nC: RCPT TO:<bob@mx.example>\nS: 250 *\n" +
			data + message + "S: 353 *\nS: 250 *\nS: 451 *\nS: 250 *\n" + quit, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.next.answer = map[string]mail.Reply{"bob": mail.TryAgain}
				var heard []string
				h.Heard = func(id string) { heard = append(heard, id) }
				h.play(t, tt.script)
				synctest.Wait()
				if len(heard) != tt.want {
					t.Fatalf("heard %v, want %d", heard, tt.want)
				}
				if tt.want > 0 && heard[0] != h.next.got[0].env.ID {
					t.Errorf("heard %v, delivered %v", heard, h.next.got[0].env.ID)
				}
			})
		})
	}
}

// So it does when it takes its time, and the session is at rest.
func TestHeardAtRest(t *testing.T) {
	heard := make(chan string, 1)
	srv := sinking(t)
	srv.Heard = func(id string) { heard <- id }
	c := connectedTo(t, srv, 100)
	if !c.send() {
		t.Fatal("the message was not taken")
	}
	time.Sleep(100 * time.Millisecond)
	if _, err := io.WriteString(c, "NOOP\r\n"); err != nil || !c.hear() {
		t.Fatalf("NOOP: %v", err)
	}
	select {
	case <-heard:
	default:
		t.Error("NOOP did not show that the 250 was heard")
	}
}

// The digest is that of the octets as the client sent them, however it sent them:
// without stuffed dots, with lines that end in CRLF, and without what we add.
func TestDigest(t *testing.T) {
	const text = "a: b\r\nReturn-Path: <x@y>\r\n\r\n.dot\r\nbare\r\n"
	want := mail.Digest(sha256.Sum256([]byte(text)))
	for name, script := range map[string]string{
		"DATA":        data + `C| a: b\r\nReturn-Path: <x@y>\r\n\r\n..dot\r\nbare\r\n.\r\n` + "\nS: 250 *\n",
		"a bare LF":   data + `C| a: b\r\nReturn-Path: <x@y>\r\n\r\n..dot\nbare\r\n.\r\n` + "\nS: 250 *\n",
		"one chunk":   fmt.Sprintf("C: BDAT %d LAST\n", len(text)) + `C| a: b\r\nReturn-Path: <x@y>\r\n\r\n.dot\r\nbare\r\n` + "\nS: 250 *\n",
		"many chunks": "C: BDAT 5\n" + `C| a: b\r` + fmt.Sprintf("\nS: 250 *\nC: BDAT %d\n", len(text)-5) + `C| \nReturn-Path: <x@y>\r\n\r\n.dot\r\nbare\r\n` + "\nS: 250 *\nC: BDAT 0 LAST\nS: 250 *\n",
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.play(t, toAnn+script)
				if got := h.delivered(t).env.Digest; got != want {
					t.Errorf("digest %x, want %x", got, want)
				}
			})
		})
	}
}

// The next hop hears of which maps the recipients are, and which of them are.
func TestGeneration(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.play(t, toAnn+"C: RCPT TO:<user-of-the-next-hop@mx.example>\nS: 250 *\n"+data+"C: a: b\nC: .\nS: 250 *\n")
		env := h.delivered(t).env
		if env.Generation != "generation 1" || !env.To[0].Known || env.To[1].Known {
			t.Errorf("%+v", env)
		}
	})
}
