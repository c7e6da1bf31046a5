package mda_test

import (
	"errors"
	"testing"

	"postern/mail"
	"postern/mda"
)

// Mail for a folder goes there, once for each mailbox whatever its recipients are
// called; where there are no folders it goes where other mail goes.
func TestFolder(t *testing.T) {
	s := &store{}
	a := newAgent(s)
	known := a.Lookup
	a.Lookup = func(_ string, rcpt mail.Address) ([]mda.Target, error) {
		targets, err := known("", rcpt)
		for i, t := range targets {
			if t.Mailbox == "bob" {
				continue // has no folders
			}
			targets[i].Folder = func(name string) (mda.Target, error) {
				if name == "bad" {
					return mda.Target{}, errors.New("bad name")
				}
				t.Mailbox += "/" + name
				t.Open = s.open(t.Mailbox)
				return t, nil
			}
		}
		return targets, err
	}
	env := envelope("ann", "team", "ann+x", "nobody")
	env.Folder = "Junk"
	replies := a.Deliver(t.Context(), env, message("A: b\r\n\r\n"))
	for i, want := range []int{250, 250, 250, 550} {
		if replies[i].Code != want {
			t.Errorf("recipient %d: %v", i, replies[i])
		}
	}
	for box, want := range map[string]int{"ann": 0, "ann/Junk": 1, "bob": 1} {
		if got := len(s.delivered(box)); got != want {
			t.Errorf("%s has %d messages", box, got)
		}
	}
	env.Folder = "bad"
	if replies := a.Deliver(t.Context(), env, message("A: b\r\n\r\n")); !replies[0].Is(mail.LocalError) || !replies[1].Is(mail.LocalError) {
		t.Errorf("a folder that cannot be: %v", replies)
	}
}
