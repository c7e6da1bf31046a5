package mx

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"testing"

	"postern/internal/dialogue"
	"postern/internal/spool"
	"postern/smtp"
)

// variable is what differs between two sessions that are the same.
var variable = regexp.MustCompile(`[0-9a-hjkmnp-tv-z]{16}|[A-Z][a-z]{2}, .*[+-][0-9]{4}\r\n`)

// session plays a whole session, and returns what the client heard and what was
// delivered.
func playSession(stream string, sizes []byte) (heard string, delivered []delivery) {
	next := new(nextHop)
	srv := &Server{
		Hostname: "mx.example", Next: next, MaxSize: 2000, MaxRecipients: 3,
		Spool:     &spool.Spool{InMemory: 1 << 20, MaxMemory: 1 << 30},
		Directory: func() Directory { return directory{} },
		Log:       slog.New(slog.DiscardHandler),
	}
	nc := &dialogue.Recital{Says: stream, Pieces: sizes, Peer: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}
	srv.shares = newShares(PerClient{})
	s := srv.session(smtp.NewConn(nc), Listener{})
	_ = s.Serve(context.Background())
	s.conn.Release()
	for i, d := range next.got {
		next.got[i].env.ID = ""
		next.got[i].text = variable.ReplaceAllString(d.text, "?")
	}
	return variable.ReplaceAllString(nc.Heard.String(), "?"), next.got
}

// words are what the fuzzer's octets stand for, so that it speaks SMTP.
var words = []string{
	"EHLO a\r\n", "HELO a\r\n", "MAIL FROM:<a@b>\r\n", "MAIL FROM:<>", "RCPT TO:<ann@mx.example>\r\n", "RCPT TO:<both@mx.example>\r\n",
	"RCPT TO:<nobody@mx.example>\r\n", "DATA\r\n", ".\r\n", "\r\n.\r\n", "From: x\r\n", "\r\n", "\n", "\r", ".", "BDAT 5\r\n", "BDAT 3 LAST\r\n",
	"RSET\r\n", "NOOP\r\n", "QUIT\r\n", "STARTTLS\r\n", " ", "x", "\x00", " PRDR", " SMTPUTF8", "BDAT 5000\r\n", "Return-Path: <x>\r\n", "VRFY a\r\n",
	"RCPT TO:<postmaster@[192.0.2.1]>\r\n",
}

// However the octets of a client arrive, it hears the same, and the same is
// delivered; every reply is one; and nobody who heard no 250 after a message has
// it delivered.
func FuzzSession(f *testing.F) {
	if heard, delivered := playSession("EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<ann@mx.example>\r\nDATA\r\n.\r\n", nil); len(delivered) != 1 {
		f.Fatalf("nothing can be delivered: %q", heard) // and nothing would be found
	}
	f.Add([]byte{0, 2, 4, 7, 10, 11, 22, 9, 19}, []byte{0})
	f.Add([]byte{0, 2, 5, 15, 22, 22, 22, 22, 22, 16, 22, 11, 19}, []byte{3, 1})
	f.Add([]byte{1, 2, 4, 7, 8, 2, 4, 7, 12, 14, 12, 22, 9, 7, 17}, []byte{})
	f.Fuzz(func(t *testing.T, said, sizes []byte) {
		var stream strings.Builder
		for _, b := range said {
			stream.WriteString(words[int(b)%len(words)])
		}
		heard, delivered := playSession(stream.String(), nil)
		for _, sizes := range [][]byte{sizes, {0}} {
			again, same := playSession(stream.String(), sizes)
			if again != heard || fmt.Sprint(same) != fmt.Sprint(delivered) {
				t.Fatalf("%q in pieces of %v:\nheard     %q\nnot       %q\ndelivered %v\nnot       %v", stream.String(), sizes, again, heard, same, delivered)
			}
		}
		checkReplies(t, stream.String(), heard, len(delivered))
	})
}

func checkReplies(t *testing.T, stream, heard string, delivered int) {
	t.Helper()
	line := regexp.MustCompile(`^[2-5][0-5][0-9][ -][ -~]*\r\n$`)
	promised := 0
	for l := range strings.Lines(heard) {
		if !line.MatchString(l) {
			t.Fatalf("%q: bad line %q", stream, l)
		}
		if strings.HasPrefix(l, "250 2.0.0 OK ?") {
			promised++
		}
	}
	if promised != delivered {
		t.Fatalf("%q: %d messages promised, %d delivered: %q", stream, promised, delivered, heard)
	}
}
