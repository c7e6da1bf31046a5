package mda_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"postern/internal/crashfs"
	"postern/mail"
	"postern/mailbox"
	"postern/mda"
)

var three = []string{"ann", "bob", "cid"}

// onDisk returns an agent whose recipients have Maildirs on disk.
func onDisk(disk *crashfs.Disk, share bool) *mda.Agent {
	store := mailbox.New(disk, mailbox.Options{Host: "mda.example"})
	return &mda.Agent{Share: share, Lookup: func(_ string, rcpt mail.Address) ([]mda.Target, error) {
		box, err := store.Maildir(rcpt.Local)
		if err != nil {
			return nil, err
		}
		open := func() (mailbox.Mailbox, error) { return box, nil }
		return []mda.Target{{Address: rcpt, Mailbox: rcpt.Local, Open: open}}, nil
	}}
}

const stored = "Return-Path: <sender@client.example>\nSubject: hi\n\nHow are you?\n"

// check holds what is found on disk against the replies: whoever was promised
// the message has it, and nobody has a part of it.
func check(t *testing.T, disk *crashfs.Disk, replies []mail.Reply) {
	t.Helper()
	for i, rcpt := range three {
		found := disk.Files(rcpt + "/new")
		if replies[i].OK() && len(found) != 1 || len(found) > 1 {
			t.Errorf("%s heard %v and has %d messages", rcpt, replies[i], len(found))
		}
		for name, text := range found {
			if text != stored {
				t.Errorf("%s has %s with %q", rcpt, name, text)
			}
		}
	}
}

// deliverThree delivers a message to ann, bob and cid, and holds all replies to
// what may be said: our trouble is nobody's bounce.
func deliverThree(t *testing.T, disk *crashfs.Disk, share bool) []mail.Reply {
	t.Helper()
	msg := message("Subject: hi\r\n\r\nHow are you?\r\n")
	replies := onDisk(disk, share).Deliver(t.Context(), envelope(three...), msg)
	for i, r := range replies {
		if !r.OK() && !r.Temporary() {
			t.Errorf("%s: %v", three[i], r)
		}
	}
	if n := disk.Open(); n != 0 {
		t.Errorf("%d handles left open", n)
	}
	return replies
}

// Power is lost before each operation of a delivery to three.
func TestPowerLoss(t *testing.T) {
	t.Run("a file for each", func(t *testing.T) { powerLoss(t, false) })
	t.Run("one file", func(t *testing.T) { powerLoss(t, true) })
}

func powerLoss(t *testing.T, share bool) {
	for op := 0; ; op++ {
		disk := crashfs.New()
		disk.PowerLoss = op
		replies := deliverThree(t, disk, share)
		for after := range disk.Fates() {
			check(t, after, replies)
		}
		if t.Failed() {
			t.Fatalf("power lost before operation %d\n%s", op, disk.Trace())
		}
		if disk.Ops() < op {
			return
		}
	}
}

// makeMailboxes makes the Maildirs of all three.
func makeMailboxes(t *testing.T, disk *crashfs.Disk) {
	t.Helper()
	for _, rcpt := range three {
		targets, err := onDisk(disk, false).Lookup("", address(rcpt))
		if err != nil {
			t.Fatal(err)
		}
		box, err := targets[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		d, err := box.Begin(mailbox.Arrival{})
		if err != nil {
			t.Fatal(err)
		}
		d.Abort()
	}
}

// Each operation of a delivery to three fails once, with each error: at most one
// recipient hears of it, and that one has nothing. The mailboxes are there: what
// they have in common fails for all.
func TestEachOperationFails(t *testing.T) {
	t.Run("a file for each", func(t *testing.T) { eachOperationFails(t, false) })
	t.Run("one file", func(t *testing.T) { eachOperationFails(t, true) })
}

func eachOperationFails(t *testing.T, share bool) {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.EACCES} {
		for op := 0; ; op++ {
			disk := crashfs.New()
			makeMailboxes(t, disk)
			disk.Fault, disk.Err = disk.Ops()+op, fault
			replies := deliverThree(t, disk, share)
			check(t, disk.Worst(), replies)
			refused := slices.DeleteFunc(slices.Clone(replies), mail.Reply.OK)
			if len(refused) > 1 {
				t.Errorf("%d recipients were refused: %v", len(refused), refused)
			}
			for _, r := range refused {
				if !errors.Is(r.Err, fault) || strings.Contains(r.Text, "ann") {
					t.Errorf("%v, cause %v", r, r.Err)
				}
			}
			if t.Failed() {
				t.Fatalf("%v at operation %d\n%s", fault, op, disk.Trace())
			}
			if !disk.Failed() {
				break
			}
		}
	}
}
