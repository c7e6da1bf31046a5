package mda_test

import (
	"os"
	"path/filepath"
	"strings"
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
	return &mda.Agent{Lookup: func(rcpt mail.Address) ([]mda.Target, error) {
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
