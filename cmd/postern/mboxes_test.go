package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/peer"
)

// keptByReaders are the fields that Dovecot and mutt write into an mbox.
var keptByReaders = regexp.MustCompile(`(?mi)^(?:Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|Content-Length|Lines):[^\n]*\n`)

// fromMbox returns a message of an mbox as it was before mboxrd and its readers.
func fromMbox(octets []byte) []byte {
	text := toLF(string(octets))
	header, body, _ := strings.Cut(text, "\n\n")
	return []byte(keptByReaders.ReplaceAllString(header+"\n", "") + "\n" + quotedFrom.ReplaceAllString(body, "$1"))
}

// Sixteen of our writers, a Dovecot and a mutt have one mbox at the same time, and
// the two remove messages from it: each message is whole, and nothing is lost.
// POSTERN_SECONDS says for how long.
func TestMboxTogether(t *testing.T) {
	seconds := 4
	if text := os.Getenv("POSTERN_SECONDS"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, "policy: enforce = false")
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['m0']\nformat = 'mbox'\n")
	s.serveAs(mailUser)
	g := peer.Generator{Seed: 12, Min: 400, Max: 20 << 10}
	box := filepath.Join(s.store, "example.com", "m0.mbox")
	load := peer.Load{
		Protocol: peer.LMTP, Network: "unix", Addr: s.lmtp, Connections: 16, From: "someone@" + peer.SenderDomain,
		To: func(int) []string { return []string{"m0@example.com"} }, Messages: g,
	}
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{
		Store: s.store, Owner: mailUser, Location: "mbox:" + s.own("mbox") + "/%n:INBOX=" + s.store + "/%d/%n.mbox",
	})
	imap := &reader{
		box: &shared{site: s, user: "m0", messages: g}, name: "Dovecot", digit: 0,
		open: func() (peer.Session, error) { return peer.IMAPSession(dovecot.IMAP, "m0@example.com", peer.Password) },
		view: func(g peer.Generator, octets []byte) (peer.Message, error) { return g.IdentifyIMAP(fromMbox(octets)) },
		seen: make(map[string]int), uid: make(map[int]string), taken: make(map[int]bool),
	}
	mutt := newMuttReader(t, box)

	ctx, stop := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer stop()
	var others sync.WaitGroup
	for _, pass := range []func() error{imap.pass, mutt.pass} {
		others.Go(func() {
			for ctx.Err() == nil {
				if err := pass(); err != nil {
					t.Logf("among others: %.300v", err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	results := load.Run(ctx)
	others.Wait()
	if err := imap.pass(); err != nil {
		t.Errorf("Dovecot: %v", err)
	}
	checkMboxAfterwards(t, g, splitMbox(t, box), results, imap.taken, mutt.saved())
	if complaints := dovecot.Complaints(); len(complaints) > 0 {
		t.Errorf("Dovecot complains: %q", complaints)
	}
}

func checkMboxAfterwards(t *testing.T, g peer.Generator, left []string, results []peer.Result, expunged, saved map[int]bool) {
	t.Helper()
	there := make(map[int]int)
	for _, text := range left {
		msg, err := g.Identify(fromMbox([]byte(text)))
		if err != nil {
			t.Errorf("in the mbox: %v", err)
			continue
		}
		if there[msg.Index]++; there[msg.Index] > 1 {
			t.Errorf("message %d is there %d times", msg.Index, there[msg.Index])
		}
	}
	taken := 0
	for _, r := range results {
		if !r.Accepted() {
			continue // another held the locks for too long: it is sent again
		}
		taken++
		if i := r.Index; there[i] == 0 && !(i%10 == 0 && expunged[i]) && !(i%10 == 4 && saved[i]) {
			t.Errorf("message %d is lost", i)
		}
	}
	t.Logf("%d messages taken of %d; %d expunged by Dovecot, %d saved by mutt, %d left", taken, len(results), len(expunged), len(saved), len(left))
	if taken < 20 || len(expunged) == 0 || len(saved) == 0 {
		t.Error("they have not all been at work")
	}
}
