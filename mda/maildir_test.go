package mda_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postern/internal/delivertest"
	"postern/mail"
	"postern/mailbox"
	"postern/mda"
)

// newMaildirs returns an agent whose recipients have Maildirs below root, named
// after their local parts. That of "flaky" is below a folder that is a file.
func newMaildirs(t testing.TB, root string) *mda.Agent {
	t.Helper()
	store, err := mailbox.Open(root, mailbox.Options{Host: "mda.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return &mda.Agent{Lookup: func(_ string, rcpt mail.Address) ([]mda.Target, error) {
		names := []string{rcpt.Local}
		switch rcpt.Local {
		case "nobody":
			return nil, mail.NoSuchUser
		case "flaky":
			names = []string{"file", "flaky"}
		}
		box, err := store.Maildir(names...)
		if err != nil {
			return nil, err
		}
		open := func() (mailbox.Mailbox, error) { return box, nil }
		return []mda.Target{{Address: rcpt, Mailbox: box.String(), Open: open}}, nil
	}}
}

// inMaildir returns the messages in new/ as they would be sent.
func inMaildir(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(names))
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = strings.ReplaceAll(string(text), "\n", "\r\n")
	}
	return texts
}

func TestMaildirConformance(t *testing.T) {
	delivertest.Run(t, func(t *testing.T) *delivertest.Subject {
		root := t.TempDir()
		return &delivertest.Subject{
			Deliverer: newMaildirs(t, root),
			Delivered: func(rcpt mail.Address) []string { return inMaildir(t, filepath.Join(root, rcpt.Local)) },
			Ann:       address("ann"), Bob: address("bob"), Nobody: address("nobody"), Flaky: address("flaky"),
		}
	})
}

// Maildirs of one folder share the file of a message where that is wanted, and
// one write; those of others have their own.
func TestSharedFiles(t *testing.T) {
	root := t.TempDir()
	store, err := mailbox.Open(root, mailbox.Options{Host: "mda.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	agent := &mda.Agent{Share: true, Lookup: func(_ string, rcpt mail.Address) ([]mda.Target, error) {
		box, err := store.Maildir(rcpt.Domain, rcpt.Local)
		if err != nil {
			return nil, err
		}
		open := func() (mailbox.Mailbox, error) { return box.Limit(mailbox.Quota{Octets: 1 << 20}), nil }
		return []mda.Target{{Address: rcpt, Mailbox: box.String(), Open: open}}, nil
	}}
	env := envelope("ann", "bob", "cid")
	env.To[2].Domain = "elsewhere.example"
	msg := message("Subject: hi\r\n\r\nhello\r\n")
	for i, r := range agent.Deliver(t.Context(), env, msg) {
		if !r.OK() {
			t.Errorf("%v: %v", env.To[i].Address, r)
		}
	}
	want := "Return-Path: <sender@client.example>\r\nSubject: hi\r\n\r\nhello\r\n"
	for i, links := range []uint64{2, 2, 1} {
		to := env.To[i].Address
		dir := filepath.Join(root, to.Domain, to.Local)
		names, _ := filepath.Glob(filepath.Join(dir, "new/*,S=56,W=60"))
		if len(names) != 1 {
			all, _ := filepath.Glob(filepath.Join(dir, "new/*"))
			t.Fatalf("%v has %q", to, all)
		}
		info, err := os.Stat(names[0])
		if err != nil || info.Sys().(*syscall.Stat_t).Nlink != links {
			t.Errorf("%v: %+v, %v, want %d links", to, info, err, links)
		}
		if got := inMaildir(t, dir); got[0] != want {
			t.Errorf("%v has %q", to, got)
		}
	}
}
