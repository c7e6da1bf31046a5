package lmtp_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"postern/internal/delivertest"
	"postern/internal/spool"
	"postern/lmtp"
	"postern/mail"
)

// An answers is a mail.Deliverer that gives the reply that it was told to give
// for a local part, and 250 else. It remembers what was delivered.
type answers struct {
	rcpt  map[string]error      // to Verify, by local part
	final map[string]mail.Reply // to Deliver, by local part
	// hook, if there is one, is called by Deliver first.
	hook func(context.Context)

	mu        sync.Mutex
	delivered []delivered
}

type delivered struct {
	env  mail.Envelope
	text string
}

func (a *answers) Verify(_ context.Context, _ *mail.Envelope, rcpt mail.Recipient) error {
	return a.rcpt[rcpt.Local]
}

func (a *answers) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	if a.hook != nil {
		a.hook(ctx)
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return env.Each(mail.ReplyTo(err))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	copied := *env
	copied.To = slices.Clone(env.To)
	a.delivered = append(a.delivered, delivered{copied, b.String()})
	replies := make([]mail.Reply, len(env.To))
	for i, rcpt := range env.To {
		replies[i] = mail.Accepted
		if r, ok := a.final[rcpt.Local]; ok {
			replies[i] = r
		}
	}
	return replies
}

// texts returns what was delivered to rcpt.
func (a *answers) texts(rcpt mail.Address) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var texts []string
	for _, d := range a.delivered {
		for _, to := range d.env.To {
			if to.Address == rcpt && a.final[rcpt.Local].Code == 0 {
				texts = append(texts, d.text)
			}
		}
	}
	return texts
}

func (a *answers) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.delivered = nil
}

// last returns what was delivered last.
func (a *answers) last() delivered {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.delivered) == 0 {
		return delivered{}
	}
	return a.delivered[len(a.delivered)-1]
}

func newServer(next mail.Deliverer) *lmtp.Server {
	return &lmtp.Server{
		Hostname: "mda.example",
		Next:     next,
		Spool:    &spool.Spool{InMemory: 1 << 20, MaxMemory: 16 << 20, MaxFiles: 1 << 30},
		Log:      slog.New(slog.DiscardHandler),
	}
}

// serve has srv serve until the test ends, and returns what connects to it.
func serve(t testing.TB, srv *lmtp.Server) *pipes {
	t.Helper()
	l := newPipes()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l
}

func envelope(to ...string) *mail.Envelope {
	env := &mail.Envelope{ID: "id", From: mail.Address{Local: "ann", Domain: "client.example"}}
	for _, local := range to {
		env.To = append(env.To, mail.Recipient{Address: mail.Address{Local: local, Domain: "mda.example"}})
	}
	return env
}

func message(text string) *mail.Message { return mail.NewMessage(mail.Octets(text)) }

// What the client sends the server delivers, and every recipient hears what was
// said for it.
func TestClientAndServer(t *testing.T) {
	full := mail.Reply{Code: 552, Status: mail.Status{5, 2, 2}, Text: "mailbox full"}
	busy := mail.Reply{Code: 451, Status: mail.Status{4, 3, 0}, Text: "busy"}
	next := &answers{
		rcpt:  map[string]error{"nobody": mail.NoSuchUser},
		final: map[string]mail.Reply{"full": full, "busy": busy},
	}
	l := serve(t, newServer(next))
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	defer client.Close()

	env := envelope("bob", "nobody", "full", "bob", "busy")
	const text = "Subject: hi\r\n\r\n.dot\r\n..\r\nno end"
	replies := mail.Deliver(t.Context(), client, env, message(text))
	want := []mail.Reply{mail.Accepted, mail.NoSuchUser, full, mail.Accepted, busy}
	if !slices.EqualFunc(replies, want, func(a, b mail.Reply) bool { return a.Is(b) }) {
		t.Errorf("replies %v\n   want %v", replies, want)
	}
	if got := next.last(); got.text != text+"\r\n" || len(got.env.To) != 4 || got.env.From != env.From {
		t.Errorf("delivered %+v", got)
	}
	for _, local := range []string{"bob", "nobody"} {
		rcpt := envelope(local).To[0]
		if err, want := client.Verify(t.Context(), env, rcpt), next.rcpt[local]; !mail.ReplyTo(err).Is(mail.ReplyTo(want)) {
			t.Errorf("verify %v: %v, want %v", rcpt, err, want)
		}
	}
	if replies := client.Deliver(t.Context(), envelope("nobody"), message("x\r\n")); !replies[0].Is(mail.NoSuchUser) {
		t.Errorf("nobody: %v", replies)
	}
	if replies := client.Deliver(t.Context(), envelope("bob"), message("x\r\n")); !replies[0].OK() {
		t.Errorf("bob, afterwards: %v", replies)
	}
	offer, err := client.Offer(t.Context())
	if err != nil || !offer.Pipelining || !offer.EightBit || !offer.Status || !offer.SizeOffered {
		t.Errorf("offer %+v, %v", offer, err)
	}
}

// The client with the server behind it is a Deliverer like any other, if what is
// behind the server is one.
func TestConformance(t *testing.T) {
	delivertest.Run(t, func(t *testing.T) *delivertest.Subject {
		next := &answers{
			rcpt:  map[string]error{"nobody": mail.NoSuchUser},
			final: map[string]mail.Reply{"flaky": mail.LocalError},
		}
		l := serve(t, newServer(next))
		client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
		t.Cleanup(client.Close)
		to := envelope("ann", "bob", "nobody", "flaky").To
		return &delivertest.Subject{
			Deliverer: client, Delivered: next.texts,
			Ann: to[0].Address, Bob: to[1].Address, Nobody: to[2].Address, Flaky: to[3].Address,
		}
	})
}

// Whatever octets go in come out, but for a LF without CR, which gets one, and a
// last line without an end, which gets that.
func FuzzOctets(f *testing.F) {
	for _, seed := range []string{
		"", ".", "..", ".\r\n", "\r\n.\r\n", "\r", "\n", "a\n.\nb", "\r\r\n.\r\n", "x\r\n.\r", "\x00\xff",
		"\r\n.\r\nMAIL FROM:<>\r\n", strings.Repeat("x", 70000) + "\r\n.", strings.Repeat(".\r\n", 5000),
	} {
		f.Add([]byte(seed), uint8(1))
	}
	next := &answers{}
	l := serve(f, newServer(next))
	client := &lmtp.Client{Hostname: "mx.example", Dial: l.Dial}
	f.Cleanup(client.Close)
	f.Fuzz(func(t *testing.T, octets []byte, recipients uint8) {
		next.forget()
		env := envelope(slices.Repeat([]string{"bob"}, int(recipients))...)
		for i, r := range client.Deliver(t.Context(), env, message(string(octets))) {
			if !r.OK() {
				t.Fatalf("recipient %d: %v", i, r)
			}
		}
		if recipients == 0 {
			return
		}
		if got, want := next.last(), toCRLF(string(octets)); got.text != want || len(got.env.To) != int(recipients) {
			t.Errorf("%q came out as %q", octets, got.text)
		}
	})
}

func toCRLF(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] == '\n' && (i == 0 || s[i-1] != '\r') {
			b.WriteByte('\r')
		}
		b.WriteByte(s[i])
	}
	if s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteString("\r\n")
	}
	return b.String()
}
