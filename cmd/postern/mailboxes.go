package main

import (
	"cmp"
	"fmt"

	"postern/config"
	"postern/mail"
	"postern/mailbox"
	"postern/mda"
)

// mailboxes finds the mailboxes that the recipient maps name.
type mailboxes struct {
	store      *store
	recipients func(generation string) *config.Recipients
}

// lookup is for mda.Agent.Lookup.
func (b mailboxes) lookup(generation string, addr mail.Address) ([]mda.Target, error) {
	members, err := lookup(b.recipients(generation), addr)
	if err != nil {
		return nil, err
	}
	targets := make([]mda.Target, len(members))
	for i, m := range members {
		if m.NextHop {
			return nil, fmt.Errorf("the map of %s leaves its mailboxes to the next hop, and nothing comes after the delivery agent", m.Domain)
		}
		if targets[i], err = b.store.target(m); err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// target returns the mailbox of m.
func (s *store) target(m config.Member) (mda.Target, error) {
	if m.Account != "" {
		return s.accountTarget(m), nil
	}
	return s.ownTarget(m)
}

// ownTarget returns the mailbox of m, which is ours to write.
func (s *store) ownTarget(m config.Member) (mda.Target, error) {
	inbox := mda.Target{
		Address: mail.Address{Local: m.User, Domain: m.Domain},
		Mailbox: cmp.Or(m.Path, m.Domain+"/"+m.User),
		Open:    func() (mailbox.Mailbox, error) { return s.limited(m) },
	}
	if m.Format == config.Mbox {
		inbox.Open = func() (mailbox.Mailbox, error) { return s.mbox(m) }
		return inbox, nil
	}
	room := func(size int64) error {
		box, err := s.limited(m)
		if err != nil {
			return err
		}
		return box.Room(size)
	}
	target := withFolders(inbox, m, room, func(name string) mda.Target {
		return mda.Target{
			Mailbox: inbox.Mailbox + "/" + name,
			Open:    func() (mailbox.Mailbox, error) { return s.named(m, name) },
		}
	})
	if m.Detail == "" || m.Folders != config.DetailFolders {
		return target, nil
	}
	folder, err := s.folder(m)
	if err != nil {
		return target, err
	}
	target.Mailbox += folder.Name()
	return target, nil
}

// accountTarget returns the mailbox of m, which is a system user's. Only its writer
// knows where it is, so that account, path and sub-address have to identify it.
func (s *store) accountTarget(m config.Member) mda.Target {
	box := s.remote(m)
	inbox := mda.Target{
		Address: mail.Address{Local: m.User, Domain: m.Domain},
		Mailbox: "user " + m.Account + " " + m.Path,
		Open:    func() (mailbox.Mailbox, error) { return box, nil },
	}
	if m.Format == config.Mbox {
		return inbox
	}
	target := withFolders(inbox, m, box.Room, func(name string) mda.Target {
		folder := *box
		folder.Settings.Folder = name
		return mda.Target{
			Mailbox: inbox.Mailbox + " folder " + name,
			Open:    func() (mailbox.Mailbox, error) { return &folder, nil },
		}
	})
	if box.Settings.Detail != "" {
		target.Mailbox += " detail " + box.Settings.Detail
	}
	return target
}

// withFolders returns inbox with what a Maildir has beside it: the quota of m, if there is
// one, and folders. A folder has the owner of the INBOX and shares its quota; folder
// supplies the rest of it.
func withFolders(inbox mda.Target, m config.Member, room func(size int64) error, folder func(name string) mda.Target) mda.Target {
	if m.Quota == 0 {
		room = nil
	}
	target := inbox
	target.Room = room
	target.Folder = func(name string) (mda.Target, error) {
		f := folder(name)
		f.Address, f.Room = inbox.Address, room
		return f, nil
	}
	return target
}
