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

// A chain is our LMTP client, a proxy with faults, and an LMTP server behind it.
type chain struct {
	next   mail.Deliverer // what an MX delivers to
	client *lmtp.Client   // of it
	proxy  *faulty
	store  string
}

// newChain is a chain that ends with our delivery agent behind its ledger.
func newChain(t *testing.T) *chain {
	t.Helper()
	dir := peer.Dir(t)
	store, err := mailbox.Open(dir, mailbox.Options{Host: "mx.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	agent := &mda.Agent{Lookup: func(_ string, rcpt mail.Address) ([]mda.Target, error) {
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
	t.Cleanup(func() { // after the client, which newChainTo closes
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = ledger.Close()
		_ = store.Close()
	})
	c := newChainTo(t, dir, l.Addr().String(), dir)
	c.next = c.client
	return c
}

// newChainTo is a chain to an LMTP server that is not ours, at the socket behind,
// whose mailboxes are in store. Our ledger stands before it.
func newChainTo(t *testing.T, dir, behind, store string) *chain {
	t.Helper()
	c := &chain{proxy: newFaulty(t, dir, behind), store: store}
	c.client = &lmtp.Client{Hostname: "mx.example.com", Dial: lmtp.Dialer("unix", c.proxy.path)}
	ledger := mda.OpenLedger(filepath.Join(dir, "heard-of"), 1000, c.client, slog.New(slog.DiscardHandler))
	c.next = ledger
	t.Cleanup(func() {
		c.client.Close()
		_ = ledger.Close()
	})
	return c
}

// copies returns how many copies each user has.
func (c *chain) copies(t *testing.T, users [3]string) (n [3]int) {
	t.Helper()
	for i, user := range users {
		n[i] = len(peer.Maildir(t, filepath.Join(c.store, "example.com", user)))
	}
	return n
}

// deliver delivers the same message to the users, and returns what each is
// answered.
func (c *chain) deliver(t *testing.T, users [3]string) []mail.Reply {
	t.Helper()
	env := &mail.Envelope{
		ID: mail.NewID(time.Now()), From: mail.Address{Local: "ann", Domain: "client.example"}, Digest: mail.Digest{1},
	}
	for _, user := range users {
		env.To = append(env.To, mail.Recipient{Address: mail.Address{Local: user, Domain: "example.com"}})
	}
	msg := mail.NewMessage(mail.Octets("Subject: x\r\n\r\nx\r\n")).Prepend(fmt.Sprintf("Received: %s\r\n", env.ID))
	return mail.Deliver(t.Context(), c.next, env, msg)
}
