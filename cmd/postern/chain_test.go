package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"postern/internal/peer"
	"postern/internal/spool"
	"postern/lmtp"
	"postern/mail"
	"postern/mailbox"
	"postern/mda"
)

// A chain is our LMTP client, a proxy with faults, and our delivery agent behind
// its ledger, in one process.
type chain struct {
	client *lmtp.Client
	proxy  *faulty
	store  string
}

func newChain(t *testing.T) *chain {
	t.Helper()
	dir := peer.Dir(t)
	store, err := mailbox.Open(dir, mailbox.Options{Host: "mx.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	agent := &mda.Agent{Lookup: func(rcpt mail.Address) ([]mda.Target, error) {
		box, err := store.Maildir("example.com", rcpt.Local)
		return []mda.Target{{Address: rcpt, Mailbox: rcpt.Local, Open: func() (mailbox.Mailbox, error) { return box, err }}}, nil
	}}
	log := slog.New(slog.DiscardHandler)
	ledger := mda.OpenLedger(filepath.Join(dir, "delivered"), 1000, agent, log)
	srv := &lmtp.Server{
		Hostname: "mda.example.com", Next: ledger, Heard: ledger.Heard, Trusts: lmtp.TrustUsers(), Log: log,
		Spool: &spool.Spool{InMemory: 1 << 20, MaxMemory: 16 << 20, MaxFiles: 1 << 30},
	}
	l, err := net.Listen("unix", filepath.Join(dir, "lmtp.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- srv.Serve(ctx, l) }()
	c := &chain{proxy: newFaulty(t, dir, l.Addr().String()), store: dir}
	c.client = &lmtp.Client{
		Hostname: "mx.example.com", Dial: lmtp.Dialer("unix", c.proxy.path), DeliverTimeout: time.Second,
	}
	t.Cleanup(func() {
		c.client.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = ledger.Close()
		_ = store.Close()
	})
	return c
}

// Whatever goes wrong between the two halves after a message, the agent has
// delivered it, the client hears for whom that is not known and tries again, and
// the retry is nobody's second copy.
func TestFaultsBetweenTheHalves(t *testing.T) {
	instead := func(n int, reply string, goOn bool) fault {
		return func(k int, _, line string) (string, bool) {
			if k == n {
				return reply, goOn
			}
			return line, true
		}
	}
	late := func(n int, by time.Duration) fault {
		return func(k int, _, line string) (string, bool) {
			if k == n {
				time.Sleep(by)
			}
			return line, true
		}
	}
	tests := []struct {
		name  string
		fault fault
		heard [3]int // by the MX, for each recipient
		reply int    // to the client
	}{
		{"none", nil, [3]int{250, 250, 250}, 250},
		{"cut before the first reply", cutAfter(0), [3]int{451, 451, 451}, 451},
		{"cut after one", cutAfter(1), [3]int{250, 451, 451}, 451},
		{"cut after two", cutAfter(2), [3]int{250, 250, 451}, 451},
		{"cut after all", instead(2, "250 2.0.0 OK\r\n", false), [3]int{250, 250, 250}, 250},
		{"part of a reply", instead(1, "25", false), [3]int{250, 451, 451}, 451},
		{"a line without its CR", instead(1, "250 2.0.0 OK\n", false), [3]int{250, 451, 451}, 451},
		{"no reply at all", instead(1, "what?\r\n", true), [3]int{250, 451, 451}, 451},
		{"421 and gone", instead(1, "421 4.3.2 shutting down\r\n", false), [3]int{250, 451, 451}, 451},
		{"421 in the middle", instead(1, "421 4.3.2 busy\r\n", true), [3]int{250, 451, 250}, 451},
		{"one too late", late(1, 2*time.Second), [3]int{250, 451, 451}, 451},
		{"one late", late(1, 100*time.Millisecond), [3]int{250, 250, 250}, 250},
		{"one put off", instead(0, "452 4.2.2 mailbox full\r\n", true), [3]int{452, 250, 250}, 452},
		{"one refused", instead(2, "552 5.2.2 mailbox full\r\n", true), [3]int{250, 250, 552}, 451},
		{"one too many", instead(2, "250 2.0.0 OK\r\n250 2.0.0 OK\r\n", true), [3]int{250, 250, 250}, 250},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newChain(t)
			env := &mail.Envelope{
				From: mail.Address{Local: "ann", Domain: "client.example"}, Digest: mail.Digest{1},
			}
			for i := range 3 {
				env.To = append(env.To, mail.Recipient{Address: mail.Address{Local: fmt.Sprint("u", i), Domain: "example.com"}})
			}
			deliver := func() []mail.Reply {
				env.ID = mail.NewID(time.Now())
				msg := mail.NewMessage(mail.Octets("Subject: x\r\n\r\nx\r\n")).Prepend("Received: " + env.ID + "\r\n")
				return mail.Deliver(t.Context(), c.client, env, msg)
			}
			if tt.fault != nil {
				c.proxy.set(tt.fault)
			}
			replies := deliver()
			for i, r := range replies {
				if r.Code != tt.heard[i] {
					t.Errorf("recipient %d: heard %v, want %d", i, r, tt.heard[i])
				}
			}
			if merged := mail.Merge(replies); merged.Code != tt.reply {
				t.Errorf("the client hears %v, want %d", merged, tt.reply)
			}
			c.proxy.set(nil)
			for i, r := range deliver() {
				if !r.OK() {
					t.Errorf("recipient %d, again: %v", i, r)
				}
				dir := filepath.Join(c.store, "example.com", fmt.Sprint("u", i))
				if n := len(peer.Maildir(t, dir)); n != 1 {
					t.Errorf("recipient %d has %d copies", i, n)
				}
			}
		})
	}
}
