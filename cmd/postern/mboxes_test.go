package main

import (
	"context"
	"fmt"
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

// Sixteen of our writers have three mboxes, one beside a Dovecot, one beside a mutt,
// and one beside both, and the two remove messages: each message is whole, and
// nothing is lost or doubled. But mutt holds no lock while it saves a message: it saves
// what Dovecot has moved to that place, and then deletes the one that it meant. What
// such readers do to each other is logged. POSTERN_SECONDS says for how long.
func TestMboxTogether(t *testing.T) {
	seconds := 4
	if text := os.Getenv("POSTERN_SECONDS"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, "policy: enforce = false")
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['m0', 'm1', 'm2']\nformat = 'mbox'\n")
	s.serveAs(mailUser)
	g := peer.Generator{Seed: 12, Min: 400, Max: 20 << 10}
	users := []string{"m0@example.com", "m1@example.com", "m2@example.com"}
	load := peer.Load{
		Protocol: peer.LMTP, Network: "unix", Addr: s.lmtp, Connections: 16, From: "someone@" + peer.SenderDomain,
		To: func(int) []string { return users }, Messages: g, First: 1, Count: 1,
	}
	sendAll(t, load) // mutt asks questions of a mailbox that is not there
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{
		Store: s.store, Owner: mailUser, Location: "mbox:" + s.own("mbox") + "/%n:INBOX=" + s.store + "/%d/%n.mbox",
	})
	boxes := []*mboxOfMany{
		{site: s, user: "m0", imap: s.mboxIMAP("m0", g, dovecot, false)},
		{site: s, user: "m1", mutt: newMuttReader(t, s.mbox("m1"))},
		{site: s, user: "m2", imap: s.mboxIMAP("m2", g, dovecot, true), mutt: newMuttReader(t, s.mbox("m2"))},
	}

	ctx, stop := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer stop()
	var others sync.WaitGroup
	for _, box := range boxes {
		for _, pass := range box.passes() {
			others.Go(func() { untilDone(ctx, t, box.user, pass) })
		}
	}
	load.First, load.Count = 2, 0
	results := load.Run(ctx)
	others.Wait()
	for i, box := range boxes {
		taken := []int{1}
		for _, r := range results {
			if i < len(r.Replies) && r.Replies[i].Code == 250 {
				taken = append(taken, r.Index) // else another held the locks for too long
			}
		}
		box.check(g, taken)
	}
	for _, line := range dovecot.Complaints() {
		if strings.Contains(line, "(m2@example.com)") {
			t.Logf("Dovecot, beside mutt: %s", line)
			continue
		}
		t.Errorf("Dovecot complains: %s", line)
	}
}

// An mboxOfMany is an mbox that we write into beside its readers, of which each may
// be nil.
type mboxOfMany struct {
	site *site
	user string
	imap *reader
	mutt *muttReader
}

func (b *mboxOfMany) readByMany() bool { return b.imap != nil && b.mutt != nil }

func (b *mboxOfMany) passes() []func() error {
	var all []func() error
	if b.imap != nil {
		all = append(all, b.imap.pass)
	}
	if b.mutt != nil {
		all = append(all, b.mutt.pass)
	}
	return all
}

func (s *site) mbox(user string) string { return filepath.Join(s.store, "example.com", user+".mbox") }

func (s *site) mboxIMAP(user string, g peer.Generator, d *peer.Dovecot, many bool) *reader {
	return &reader{
		box: &shared{site: s, user: user, messages: g, readByMany: many}, name: "Dovecot", digit: 0,
		open: func() (peer.Session, error) { return peer.IMAPSession(d.IMAP, user+"@example.com", peer.Password) },
		view: func(g peer.Generator, octets []byte) (peer.Message, error) { return g.IdentifyIMAP(fromMbox(octets)) },
		seen: make(map[string]int), uid: make(map[int]string), taken: make(map[int]bool),
	}
}

// untilDone calls pass again and again until ctx is done, and once more.
func untilDone(ctx context.Context, t *testing.T, user string, pass func() error) {
	for done := false; !done; time.Sleep(50 * time.Millisecond) {
		done = ctx.Err() != nil
		if err := pass(); err != nil {
			t.Logf("%s: among others: %.300v", user, err)
		}
	}
}

// check holds what is in the mbox against the indexes taken that it was sent.
func (b *mboxOfMany) check(g peer.Generator, taken []int) {
	t := b.site.t
	t.Helper()
	left := make(map[int]int)
	for _, text := range splitMbox(t, b.site.mbox(b.user)) {
		msg, err := g.Identify(fromMbox([]byte(text)))
		if err != nil {
			b.complain("in the mbox: %v", err)
			continue
		}
		if left[msg.Index]++; left[msg.Index] == 2 {
			b.complain("message %d is there twice", msg.Index)
		}
	}
	var expunged, saved map[int]bool
	if b.imap != nil {
		expunged = b.imap.taken
	}
	if b.mutt != nil {
		saved = b.mutt.saved()
	}
	for _, i := range taken {
		switch removed := i%10 == 0 && expunged[i] || i%10 == 4 && saved[i]; {
		case left[i] == 0 && !removed && i%10 == 4:
			b.complain("message %d is lost", i)
		case left[i] == 0 && !removed:
			t.Errorf("%s: message %d is lost", b.user, i)
		}
	}
	t.Logf("%s: %d messages taken; %d expunged by Dovecot, %d saved by mutt, %d left", b.user, len(taken), len(expunged), len(saved), len(left))
	if len(taken) < 20 || b.imap != nil && len(expunged) == 0 || b.mutt != nil && len(saved) == 0 {
		t.Errorf("%s: they have not all been at work", b.user)
	}
}

// complain fails the test with what a reader may do to another, unless there is
// another.
func (b *mboxOfMany) complain(format string, args ...any) {
	b.site.t.Helper()
	if b.readByMany() {
		b.site.t.Logf(b.user+": between readers: "+format, args...)
		return
	}
	b.site.t.Errorf(b.user+": "+format, args...)
}

// A real mutt saves messages into an mbox whose bodies have lines that begin with
// "From ", and states their lengths: nothing is wrong with it.
func TestCheckOfMuttsMbox(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u0']\n[mailbox.u1]\nformat = 'mbox'\n")
	must(t, os.Chown(s.store, peer.Vmail, peer.Vmail))
	for i := range 3 {
		cmd := peer.AsUser(s.command("deliver", "--to", "u0@example.com"), peer.Vmail)
		cmd.Stdin = strings.NewReader(fmt.Sprintf("Subject: %d\n\nFrom here\nto\n\nFrom ann@example.com Sun Nov 22 08:00:00 2026\nthere.%s", i, strings.Repeat("\n", i)))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("deliver: %v: %s", err, out)
		}
	}
	folder := filepath.Join(s.store, "example.com")
	mutt := peer.NewMutt(t, 0, "set mbox_type=mbox")
	must(t, mutt.Press(t.Context(), filepath.Join(folder, "u0"), "<tag-pattern>~A<enter><tag-prefix><save-message>"+filepath.Join(folder, "u1.mbox")+"<enter><sync-mailbox><exit>"))
	text, err := os.ReadFile(filepath.Join(folder, "u1.mbox"))
	must(t, err)
	if n := strings.Count(string(text), "\nFrom here\n"); n != 3 || strings.Count(string(text), "\nContent-Length: ") != 3 {
		t.Fatalf("mutt wrote %q", text)
	}
	if out, err := s.command("store", "check").CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%q", err, out, text)
	}
}
