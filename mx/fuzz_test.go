package mx

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/spool"
)

// A script is a connection on which the client said everything beforehand, in
// pieces of so many octets.
type script struct {
	net.Conn
	rest  string
	sizes []byte
	reads int
	heard strings.Builder
}

func (s *script) Read(p []byte) (int, error) {
	if s.rest == "" {
		return 0, io.EOF
	}
	n := len(s.rest)
	if len(s.sizes) > 0 {
		n = min(n, 1+int(s.sizes[s.reads%len(s.sizes)]))
	}
	n = copy(p, s.rest[:n])
	s.rest = s.rest[n:]
	s.reads++
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return s.heard.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// variable is what differs between two sessions that are the same.
var variable = regexp.MustCompile(`[0-9a-hjkmnp-tv-z]{16}|[A-Z][a-z]{2}, .*[+-][0-9]{4}\r\n`)

// session plays a whole session, and returns what the client heard and what was
// delivered.
func playSession(stream string, sizes []byte) (heard string, delivered []delivery) {
	next := new(nextHop)
	srv := &Server{
		Hostname: "mx.example", Next: next, MaxSize: 2000, MaxRecipients: 3, MaxErrors: 20,
		Spool:     &spool.Spool{InMemory: 1 << 20, MaxMemory: 1 << 30},
		Directory: func() Directory { return directory{} },
		Log:       slog.New(slog.DiscardHandler),
	}
	nc := &script{rest: stream, sizes: sizes}
	srv.shares = newShares(PerClient{})
	s := srv.session(nc, Listener{})
	_ = s.Serve(context.Background())
	s.conn.Release()
	for i, d := range next.got {
		next.got[i].env.ID = ""
		next.got[i].text = variable.ReplaceAllString(d.text, "?")
	}
	return variable.ReplaceAllString(nc.heard.String(), "?"), next.got
}

// words are what the fuzzer's octets stand for, so that it speaks SMTP.
var words = []string{
	"EHLO a\r\n", "HELO a\r\n", "MAIL FROM:<a@b>\r\n", "MAIL FROM:<>", "RCPT TO:<ann@mx.example>\r\n", "RCPT TO:<both@mx.example>\r\n",
	"RCPT TO:<nobody@mx.example>\r\n", "DATA\r\n", ".\r\n", "\r\n.\r\n", "From: x\r\n", "\r\n", "\n", "\r", ".", "BDAT 5\r\n", "BDAT 3 LAST\r\n",
	"RSET\r\n", "NOOP\r\n", "QUIT\r\n", "STARTTLS\r\n", " ", "x", "\x00", " PRDR", " SMTPUTF8", "BDAT 5000\r\n", "Return-Path: <x>\r\n", "VRFY a\r\n",
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
