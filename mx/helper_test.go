package mx

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
	"postern/internal/spool"
	"postern/mail"
)

// A house is a Server with its neighbours, in a bubble: clients on one side, a
// next hop that does as it is told on the other.
type house struct {
	*Server
	next     *nextHop
	outcomes []mail.Outcome // in order
	shutdown context.CancelFunc

	ctx      context.Context
	listener Listener
	start    sync.Once
	conns    chan net.Conn
	ended    chan error
}

// inHouse runs test in a bubble, and checks afterwards that nothing is left.
func inHouse(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := &house{next: new(nextHop), conns: make(chan net.Conn), ended: make(chan error, 1)}
		h.ctx, h.shutdown = context.WithCancel(context.Background())
		var mu sync.Mutex
		h.Server = &Server{
			Hostname:       "mx.example",
			Next:           h.next,
			Spool:          &spool.Spool{InMemory: 1 << 10, MaxMemory: 1 << 20, MaxFiles: 1 << 30, Dir: dir},
			Directory:      func() Directory { return directory{} },
			Log:            slog.New(slog.DiscardHandler),
			MaxSize:        1 << 20,
			MaxRecipients:  100,
			MaxConnections: 10,
			Record: func(o mail.Outcome) {
				mu.Lock()
				defer mu.Unlock()
				h.outcomes = append(h.outcomes, o)
			},
		}
		defer h.check(t)
		test(t, h)
	})
}

// check ends the server, and looks for what it left behind.
func (h *house) check(t *testing.T) {
	h.shutdown()
	h.start.Do(func() { h.ended <- nil })
	if err := <-h.ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	memory, files := h.Spool.Held()
	if memory != 0 || files != 0 || h.Connections() != 0 {
		t.Errorf("left behind: %d octets in memory, %d in files, %d connections", memory, files, h.Connections())
	}
}

// dial connects a client, and starts the server if it is the first.
func (h *house) dial() net.Conn {
	client, server := net.Pipe()
	h.dialled(server)
	return client
}

// dialled hands the server its end of a connection from 192.0.2.1.
func (h *house) dialled(nc net.Conn) { h.dialledFrom(nc, "192.0.2.1:12345") }

// dialledFrom is dialled from another address.
func (h *house) dialledFrom(nc net.Conn, addr string) {
	h.start.Do(func() {
		if h.listener.Listener == nil {
			h.listener.Listener = pipes{h.conns, h.ctx}
		}
		go func() { h.ended <- h.Serve(h.ctx, h.listener) }()
	})
	h.conns <- from{dialogue.Socket{Conn: nc}, netip.MustParseAddrPort(addr)}
}

// play connects a client that says what script says, and then is gone.
func (h *house) play(t *testing.T, script string) {
	t.Helper()
	nc := h.dial()
	defer nc.Close()
	dialogue.Play(t, nc, script)
}

// play is the whole test of a dialogue that needs nothing special.
func play(t *testing.T, script string) {
	t.Helper()
	inHouse(t, func(t *testing.T, h *house) { h.play(t, script) })
}

// delivered returns the only message that the next hop got.
func (h *house) delivered(t *testing.T) delivery {
	t.Helper()
	synctest.Wait()
	if len(h.next.got) != 1 {
		t.Fatalf("%d messages delivered", len(h.next.got))
	}
	return h.next.got[0]
}

// nothingDelivered checks that the next hop got no message.
func (h *house) nothingDelivered(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if n := len(h.next.got); n != 0 {
		t.Errorf("%d messages delivered: %q", n, h.next.got[0].text)
	}
}

// outcome returns the only outcome of its kind.
func (h *house) outcome(t *testing.T, event mail.Event) mail.Outcome {
	t.Helper()
	synctest.Wait()
	var found []mail.Outcome
	for _, o := range h.outcomes {
		if o.Event == event {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d outcomes of kind %v among %v", len(found), event, h.outcomes)
	}
	return found[0]
}

// Parts of dialogues.
const (
	greeting = "S: 220 mx.example ESMTP *\n"
	ehlo     = greeting + "C: EHLO client.example\nS: 250-mx.example\nS: ...\nS: 250 *\n"
	sender   = ehlo + "C: MAIL FROM:<sender@client.example>\nS: 250 2.1.0 *\n"
	toAnn    = sender + "C: RCPT TO:<ann@mx.example>\nS: 250 2.1.5 *\n"
	toBoth   = toAnn + "C: RCPT TO:<bob@mx.example>\nS: 250 2.1.5 *\n"
	data     = "C: DATA\nS: 354 *\n"
	quit     = "C: QUIT\nS: 221 2.0.0 mx.example *\nS.\n"
)

// pipes is a net.Listener whose clients are in the same bubble.
type pipes struct {
	conns chan net.Conn
	ctx   context.Context
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{Port: 25} }

// from is a connection from somewhere.
type from struct {
	dialogue.Socket
	addr netip.AddrPort
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.addr) }

// LocalAddr returns the address of the server, as a listener on [::] shows it.
func (f from) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[::ffff:192.0.2.26]:25"))
}

// directory knows ann, bob, postmaster, and the alias both.
type directory struct{}

func (directory) Generation() string { return "generation 1" }

func (directory) Expand(addr mail.Address) ([]mail.Recipient, error) {
	if addr.Domain == "" {
		addr.Domain = "mx.example"
	}
	if !strings.EqualFold(addr.Domain, "mx.example") && addr.Domain != "[192.0.2.25]" {
		return nil, mail.NoRelay
	}
	box := func(local string) mail.Recipient {
		return mail.Recipient{Address: mail.Address{Local: local, Domain: "mx.example"}, Known: local != "user-of-the-next-hop"}
	}
	switch local := strings.ToLower(addr.Local); {
	case local == "both":
		return []mail.Recipient{box("ann"), box("bob")}, nil
	case local == "ann", local == "bob", local == "postmaster", local == "a b", local == "ü", strings.HasPrefix(local, "user"):
		return []mail.Recipient{box(addr.Local)}, nil
	}
	return nil, mail.NoSuchUser
}

// A nextHop takes everything, unless it is told otherwise.
type nextHop struct {
	refuse map[string]error      // by local part: what Verify says
	answer map[string]mail.Reply // by local part: what Deliver says
	think  time.Duration         // how long Deliver takes
	trip   func()                // called by Deliver

	mu  sync.Mutex
	got []delivery
}

type delivery struct {
	env  mail.Envelope
	text string
}

func (n *nextHop) Verify(_ context.Context, _ *mail.Envelope, rcpt mail.Recipient) error {
	return n.refuse[rcpt.Local]
}

func (n *nextHop) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	if n.trip != nil {
		n.trip()
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return nil
	}
	select {
	case <-time.After(n.think):
	case <-ctx.Done():
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, delivery{*env, b.String()})
	replies := make([]mail.Reply, len(env.To))
	for i, rcpt := range env.To {
		replies[i] = mail.Accepted
		if r, told := n.answer[rcpt.Local]; told {
			replies[i] = r
		}
	}
	return replies
}

// body returns what follows the header fields that we put on top.
func (d delivery) body() string {
	_, rest, _ := strings.Cut(d.text, ";\r\n\tSat, 01 Jan 2000 ")
	_, rest, _ = strings.Cut(rest, "\r\n")
	return rest
}
