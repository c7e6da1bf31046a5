package lmtp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postern/internal/dialogue"
	"postern/internal/spool"
	"postern/mail"
	"postern/smtp"
)

// A store takes everything but for nobody, and for flaky only at RCPT.
type store struct{ taken []string }

var (
	taken  = mail.Reply{Code: 250, Status: mail.Status{2, 0, 0}, Text: "taken"}
	putOff = mail.Reply{Code: 451, Status: mail.Status{4, 0, 0}, Text: "put off"}
)

func (s *store) Verify(_ context.Context, _ *mail.Envelope, rcpt mail.Recipient) error {
	if rcpt.Local == "nobody" {
		return mail.NoSuchUser
	}
	return nil
}

func (s *store) Deliver(_ context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	var text strings.Builder
	if _, err := msg.WriteTo(&text); err != nil {
		return env.Each(mail.LocalError)
	}
	replies := make([]mail.Reply, len(env.To))
	for i, rcpt := range env.To {
		replies[i] = taken
		if rcpt.Local == "flaky" {
			replies[i] = putOff
		}
		s.taken = append(s.taken, fmt.Sprintf("%v: %v to %v: %q", replies[i], env.From, rcpt.Address, text.String()))
	}
	return replies
}

// playSession plays a whole session of a client that says stream, and returns
// what it heard and what came to the store.
func playSession(stream string, sizes []byte, trusted bool) (heard string, stored []string) {
	next := new(store)
	srv := &Server{
		Hostname: "mda.example", Next: next, MaxSize: 2000, MaxRecipients: 3,
		Spool: &spool.Spool{InMemory: 1 << 20, MaxMemory: 1 << 30}, Log: slog.New(slog.DiscardHandler),
		Trusts: func(net.Conn) bool { return trusted },
	}
	nc := &dialogue.Recital{Says: stream, Pieces: sizes, Peer: &net.UnixAddr{Net: "unix"}}
	s := srv.session(smtp.NewConn(nc))
	_ = s.Serve(context.Background())
	s.conn.Release()
	return nc.Heard.String(), next.taken
}

// words are what the fuzzer's octets stand for, so that it speaks LMTP.
var words = []string{
	"LHLO a\r\n", "EHLO a\r\n", "MAIL FROM:<a@b>\r\n", "MAIL FROM:<>", "RCPT TO:<ann@b>\r\n", "RCPT TO:<flaky@b>\r\n",
	"RCPT TO:<nobody@b>\r\n", "RCPT TO:<a@b>", "DATA\r\n", ".\r\n", "\r\n.\r\n", "From: x\r\n", "\r\n", "\n", "\r", ".",
	"BDAT 5\r\n", "BDAT 3 LAST\r\n", "BDAT 0 LAST\r\n", "BDAT 5000\r\n", "RSET\r\n", "NOOP\r\n", "QUIT\r\n", " ", "x", "\x00", "\xff",
	" SMTPUTF8", " BODY=8BITMIME", " BODY=BINARYMIME", " SIZE=5000", " XID=0123456789abcdef", " XFOLDER=a", " XKNOWN", "XHEARD 0\r\n", " NOTIFY=NEVER",
}

// However the octets of a client arrive, it hears the same, and the same is
// taken; every reply is one; and each mailbox has its own after a message, in order.
func FuzzSession(f *testing.F) {
	if heard, stored := playSession("LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<ann@b>\r\nDATA\r\n.\r\n", nil, false); len(stored) != 1 {
		f.Fatalf("nothing can be delivered: %q", heard) // and nothing would be found
	}
	f.Add([]byte{0, 2, 4, 5, 6, 4, 8, 11, 12, 24, 10, 22}, []byte{0}, false)
	f.Add([]byte{0, 2, 4, 4, 16, 24, 24, 24, 24, 24, 17, 24, 12, 22}, []byte{3, 1}, true)
	f.Add([]byte{1, 0, 3, 31, 12, 7, 33, 12, 8, 9, 34, 2, 6, 8, 20}, []byte{}, true)
	line := regexp.MustCompile(`^[2-5][0-5][0-9][ -][ -~]*\r\n$`)
	f.Fuzz(func(t *testing.T, said, sizes []byte, trusted bool) {
		var b strings.Builder
		for _, octet := range said {
			b.WriteString(words[int(octet)%len(words)])
		}
		stream := b.String()
		heard, stored := playSession(stream, nil, trusted)
		for _, sizes := range [][]byte{sizes, {0}} {
			again, same := playSession(stream, sizes, trusted)
			if again != heard || !slices.Equal(same, stored) {
				t.Fatalf("%q in pieces of %v:\nheard  %q\nnot    %q\nstored %q\nnot    %q", stream, sizes, again, heard, same, stored)
			}
		}
		for l := range strings.Lines(heard) {
			if !line.MatchString(l) {
				t.Fatalf("%q: bad line %q", stream, l)
			}
			if !strings.Contains(l, " taken") && !strings.Contains(l, " put off") {
				continue
			}
			if len(stored) == 0 || !strings.HasPrefix(stored[0], strings.TrimSpace(l)) {
				t.Fatalf("%q: heard %q, stored %q", stream, l, stored)
			}
			stored = stored[1:]
		}
		if len(stored) > 0 {
			t.Fatalf("%q: nobody heard of %q: %q", stream, stored, heard)
		}
	})
}

// says are what the fuzzer's octets stand for, so that it speaks as a next hop.
// The first ends its turn.
var says = []string{
	"", "220 hi\r\n", "250 OK\r\n", "250-a\r\n", "250-PIPELINING\r\n", "250-SIZE 9\r\n", "250-CHUNKING\r\n", "250-" + announcement + "\r\n",
	"250 2.1.5 OK\r\n", "354 go\r\n", "353 go\r\n", "421 4.3.2 bye\r\n", "451 4.3.0 no\r\n", "552 5.2.2 full\r\n", "550 no\r\n", "25", "0 OK\r\n",
	"\r\n", "\n", "what?\r\n", "200\r\n", "250-", "999 x\r\n", "\x00", "\xff", "550-a\r\n551 b\r\n", "503 5.5.1 no\r\n", "220-a\r\n220 b\r\n",
}

// A hop is the recital of a peer that ends its turn and waits to hear something.
type hop struct {
	dialogue.Recital
	turns []string
}

func (h *hop) Write(p []byte) (int, error) {
	if h.Says == "" && len(h.turns) > 0 {
		h.Says, h.turns = h.turns[0], h.turns[1:]
	}
	return h.Recital.Write(p)
}

// Whatever a next hop says, and in whatever pieces, each recipient has a reply
// that a client can be given; it says 2xx only if the next hop has heard the
// whole message and said so often enough: to LHLO, MAIL, RCPT and the message.
func FuzzNextHop(f *testing.F) {
	f.Add([]byte{1, 0, 3, 4, 2, 0, 2, 2, 2, 9, 0, 2, 12}, []byte{0}, uint8(1))
	f.Add([]byte{1, 0, 2, 0, 2, 0, 2, 0, 9, 0, 11}, []byte{1}, uint8(0))
	f.Add([]byte{1, 0, 3, 4, 2, 0, 2, 13, 13, 9, 0, 2}, []byte{}, uint8(1))
	f.Add([]byte{1, 0, 3, 4, 2, 0, 2, 2, 2, 2, 9, 0, 2, 11, 2}, []byte{}, uint8(2))
	f.Add([]byte{1, 0, 3, 4, 6, 7, 2, 0, 2, 2, 2, 2, 12}, []byte{0}, uint8(1)) // one of ours
	const text = "Subject: x\r\n\r\n.x\r\n"
	f.Fuzz(func(t *testing.T, said, sizes []byte, recipients uint8) {
		nc := &hop{Recital: dialogue.Recital{Pieces: sizes, Peer: &net.UnixAddr{Net: "unix"}}, turns: []string{""}}
		for _, octet := range said {
			word := says[int(octet)%len(says)]
			if word == "" {
				nc.turns = append(nc.turns, "")
			}
			nc.turns[len(nc.turns)-1] += word
		}
		stream := strings.Join(nc.turns, "")
		nc.Says, nc.turns = nc.turns[0], nc.turns[1:]
		env := &mail.Envelope{ID: "id", From: mail.Address{Local: "ann", Domain: "client.example"}}
		for range int(recipients)%5 + 1 {
			env.To = append(env.To, mail.Recipient{Address: mail.Address{Local: "bob", Domain: "mda.example"}})
		}
		dials := 0
		client := &Client{Hostname: "mx.example", Dial: func(context.Context) (net.Conn, error) {
			if dials++; dials > 1 {
				return nil, io.EOF
			}
			return nc, nil
		}}
		replies := client.Deliver(context.Background(), env, mail.NewMessage(mail.Octets(text)))
		client.Close()
		checkAnswers(t, stream, nc.Heard.String(), replies, len(env.To))
	})
}

func checkAnswers(t *testing.T, said, heard string, replies []mail.Reply, recipients int) {
	t.Helper()
	if len(replies) != recipients {
		t.Fatalf("%q: %d replies for %d recipients", said, len(replies), recipients)
	}
	whole := strings.Contains(heard, "\r\n..x\r\n.\r\n") || strings.Contains(heard, " LAST\r\nSubject: x\r\n\r\n.x\r\n")
	c := smtp.NewConn(&dialogue.Recital{Says: said})
	positive := 0
	for {
		r, err := c.ReadReply()
		if err != nil {
			break
		}
		if r.OK() {
			positive++
		}
	}
	for i, r := range replies {
		switch class := r.Code / 100; {
		case class != 2 && class != 4 && class != 5, r.Closes(), r.Code == 421:
			t.Fatalf("%q: reply %d is %v", said, i, r)
		case class == 2 && (!whole || positive < 4):
			t.Fatalf("%q: reply %d is %v to a message that the next hop did not take: it heard %q", said, i, r, heard)
		}
	}
}
