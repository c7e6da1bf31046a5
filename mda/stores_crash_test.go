package mda_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"postern/internal/crashfs"
	"postern/mail"
	"postern/mailbox"
	"postern/mda"
)

// A storage is a kind of mailbox that mail for ann goes to.
type storage struct {
	name string
	open func(*mailbox.Store) (mailbox.Mailbox, error)
	// found returns what a reader finds; of one message it must be whole.
	found func(*crashfs.Disk) []string
	whole string
	// unheard tells that an operation may fail after which nothing is lost, and
	// nobody need hear of it.
	unheard bool
}

func inside(folder string) func(*crashfs.Disk) []string {
	return func(disk *crashfs.Disk) (found []string) {
		for _, text := range disk.Files(folder) {
			found = append(found, text)
		}
		return found
	}
}

var storages = []storage{
	{
		name:  "Maildir",
		open:  func(s *mailbox.Store) (mailbox.Mailbox, error) { return s.Maildir("ann") },
		found: inside("ann/new"), whole: stored,
	},
	{
		name: "folder",
		open: func(s *mailbox.Store) (mailbox.Mailbox, error) {
			box, err := s.Maildir("ann")
			if err != nil {
				return nil, err
			}
			return box.Folder("Junk")
		},
		found: inside("ann/.Junk/new"), whole: stored,
	},
	{
		name: "quota",
		open: func(s *mailbox.Store) (mailbox.Mailbox, error) {
			box, err := s.Maildir("ann")
			if err != nil {
				return nil, err
			}
			return box.Limit(mailbox.Quota{Octets: 1 << 20}), nil
		},
		found: inside("ann/new"), whole: stored,
	},
	{
		name: "mbox",
		open: func(s *mailbox.Store) (mailbox.Mailbox, error) { return s.Mbox("ann") },
		found: func(disk *crashfs.Disk) []string {
			text := disk.Files(".")["ann"]
			if text == "" {
				return nil
			}
			_, message, _ := strings.Cut(text, "\n") // after the separator
			return []string{message}
		},
		whole: stored + "\n", unheard: true,
	},
}

// What each kind of trouble is to the sender, whichever operation of the file
// system it comes at: a 4xx of its own, and nothing stored; or 250, and all is.
func TestEachOperationFailsInEachStore(t *testing.T) {
	troubles := []struct {
		errno error
		want  mail.Reply
	}{
		{syscall.ENOSPC, mail.NoSpace}, // a write has written half by then
		{syscall.EDQUOT, mail.FullForNow},
		{syscall.EIO, mail.LocalError},
		{syscall.EINTR, mail.LocalError},
		{syscall.EROFS, mail.LocalError},
	}
	for _, s := range storages {
		for _, trouble := range troubles {
			t.Run(fmt.Sprintf("%s/%v", s.name, trouble.errno), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					operations := 0
					for s.fails(t, operations, trouble.errno, trouble.want) {
						operations++
					}
					if operations < 8 {
						t.Errorf("only %d operations", operations)
					}
				})
			})
		}
	}
}

// fails delivers while operation number op fails, and reports whether there was
// such an operation.
func (s storage) fails(t *testing.T, op int, errno error, want mail.Reply) bool {
	t.Helper()
	disk := crashfs.New()
	store := mailbox.New(disk, mailbox.Options{Host: "mda.example", Subscribe: true})
	defer store.Close()
	agent := &mda.Agent{Lookup: func(_ string, rcpt mail.Address) ([]mda.Target, error) {
		return []mda.Target{{Address: rcpt, Mailbox: "ann", Open: func() (mailbox.Mailbox, error) { return s.open(store) }}}, nil
	}}
	disk.Fault, disk.Err = op, errno
	reply := agent.Deliver(t.Context(), envelope("ann"), message("Subject: hi\r\n\r\nHow are you?\r\n"))[0]
	found := s.found(disk)
	promised := 0
	switch {
	case reply.OK() && disk.Failed() && !s.unheard:
		t.Errorf("nobody heard of it")
	case reply.OK():
		promised = 1
	case !reply.Is(want) || !errors.Is(reply.Err, errno):
		t.Errorf("%v for %v, want %v", reply, reply.Err, want)
	}
	if len(found) != promised || promised == 1 && found[0] != s.whole {
		t.Errorf("heard %v, found %q", reply, found)
	}
	if n := disk.Open(); n != 0 {
		t.Errorf("%d handles left open", n)
	}
	if t.Failed() {
		t.Fatalf("%v at operation %d\n%s", errno, op, disk.Trace())
	}
	return disk.Failed()
}
