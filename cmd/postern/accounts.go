package main

import (
	"path/filepath"

	"postern/config"
	"postern/internal/writer"
	"postern/mailbox"
)

// writerSettings returns what the writers of all system users are told.
func (p *parts) writerSettings() writer.Settings {
	c := p.config
	return writer.Settings{
		Host: c.Hostname, Ordered: c.MDA.Durability == config.Ordered, UTF8Folders: c.MDA.FolderNames == config.UTF8,
		MboxFormat: c.MDA.MboxFormat, MboxLocks: c.MDA.MboxLocks, Warn: c.MDA.QuotaWarn, Confine: c.Confine,
	}
}

// storeOptions returns how mailboxes are kept, here and by writers.
func storeOptions(s writer.Settings) (o mailbox.Options, err error) {
	o = mailbox.Options{Host: s.Host, Subscribe: true, UTF8Folders: s.UTF8Folders}
	if s.Ordered {
		o.Durability = mailbox.Ordered
	}
	if o.Mbox.Format, err = mailbox.ParseFormat(s.MboxFormat); err != nil {
		return o, err
	}
	for _, name := range s.MboxLocks {
		lock, err := mailbox.ParseLock(name)
		if err != nil {
			return o, err
		}
		o.Mbox.Locks = append(o.Mbox.Locks, lock)
	}
	return o, nil
}

// remote returns the mailbox of m, which is a system user's.
func (s *store) remote(m config.Member) *writer.Mailbox {
	settings := s.settings
	settings.Path, settings.Mbox, settings.Quota = m.Path, m.Format == config.Mbox, m.Quota
	if m.Folders == config.DetailFolders {
		settings.Detail = m.Detail
	}
	return &writer.Mailbox{
		Pool: s.writers, Account: m.Account, Settings: settings,
		Warned: func(percent int, u mailbox.Usage) { s.warned(m, percent, u) },
	}
}

// homePath returns where the mailbox of a system user is who has no path.
func homePath(home string, mbox bool) string {
	if mbox {
		return filepath.Join(home, "mbox")
	}
	return filepath.Join(home, "Maildir")
}
