package main

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"postern/config"
	"postern/internal/fence"
	"postern/internal/writer"
	"postern/mailbox"
)

// maxFolders is how many folders a mailbox may have for a sub-address to make one
// more. Whoever writes to it chooses the name.
const maxFolders = 100

// A store is the folder of the mailboxes, as it is now. It is looked at anew for
// each delivery: while its disk is not mounted mail is put off, and once it is,
// none goes into the folder below it.
type store struct {
	path    string
	options mailbox.Options
	log     *slog.Logger
	warnAt  []int // percentages of a quota
	warned  func(m config.Member, percent int, u mailbox.Usage)
	warning *quotaWarning

	writers  *writer.Pool    // of the mailboxes of system users
	settings writer.Settings // what is the same for all of those

	mu     sync.Mutex
	opened *mailbox.Store // nil: not yet
	root   fs.FileInfo    // of the folder that opened stands on
	fence  *fence.Fence   // nil: none
}

// setFence tells the store what it can write from now on.
func (s *store) setFence(f *fence.Fence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fence = f
}

// reachable returns an error if path is outside of what the process can write. A
// reload may bring such paths, and what was given up cannot be had again.
func (s *store) reachable(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fence == nil || s.fence.Within(path) {
		return nil
	}
	return fmt.Errorf("%s is outside of what this server could write when it started: restart it, or name a folder above in mda.homes", path)
}

// unreachable tells of the mailboxes of r that are not reachable, where they stand
// in the maps.
func (s *store) unreachable(r *config.Recipients) config.Mistakes {
	if s == nil {
		return nil
	}
	return r.PathsNot(func(path string) bool { return s.reachable(path) == nil },
		"%s is outside of what the running delivery agent may write, and its mail is put off",
		"restart it, and name a folder above in mda.homes if more of them will come")
}

// get returns the Store on the folder that is at the path now.
func (s *store) get() (*mailbox.Store, error) {
	root, err := os.Stat(s.path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened != nil && os.SameFile(s.root, root) {
		return s.opened, nil
	}
	opened, err := mailbox.Open(s.path, s.options)
	if err != nil {
		return nil, err
	}
	if s.root != nil {
		s.log.Warn("another disk or folder is where the store was", "store", s.path)
	}
	// The one before stays open: deliveries may be under way in it, and disks
	// are not mounted so often.
	s.opened, s.root = opened, root
	return opened, nil
}

// within returns the Store, unless m has a path of its own that it cannot reach.
func (s *store) within(m config.Member) (*mailbox.Store, error) {
	opened, err := s.get()
	if err == nil && m.Path != "" {
		err = s.reachable(m.Path)
	}
	return opened, err
}

// maildir returns the Maildir of m: at its own path, or at its place in the store.
func (s *store) maildir(m config.Member) (*mailbox.Maildir, error) {
	opened, err := s.within(m)
	switch {
	case err != nil:
		return nil, err
	case m.Path != "":
		return opened.MaildirAt(m.Path)
	}
	return opened.Maildir(m.Domain, m.User)
}

// folder returns the folder that the mail for m goes to: that of its
// sub-address, if it is to have one.
func (s *store) folder(m config.Member) (*mailbox.Maildir, error) {
	box, err := s.maildir(m)
	if err != nil || m.Folders != config.DetailFolders || m.Detail == "" {
		return box, err
	}
	return box.DetailFolder(m.Detail, maxFolders)
}

// named returns the folder of m of that name, with its quota.
func (s *store) named(m config.Member, name string) (*mailbox.Limited, error) {
	box, err := s.maildir(m)
	if err != nil {
		return nil, err
	}
	folder, err := box.Folder(name)
	if err != nil {
		return nil, err
	}
	return folder.Limit(s.quota(m)), nil
}

// limited returns the folder that the mail for m goes to, with its quota.
func (s *store) limited(m config.Member) (*mailbox.Limited, error) {
	folder, err := s.folder(m)
	if err != nil {
		return nil, err
	}
	return folder.Limit(s.quota(m)), nil
}

// mbox returns the mbox of m, as maildir returns its Maildir.
func (s *store) mbox(m config.Member) (*mailbox.Mbox, error) {
	opened, err := s.within(m)
	switch {
	case err != nil:
		return nil, err
	case m.Path != "":
		return opened.MboxAt(m.Path)
	}
	return opened.Mbox(m.Domain, m.User+".mbox")
}

// clean removes what deliveries left behind which died. What hinders it in one
// mailbox is in the log, and the others are cleaned.
func (s *store) clean(ctx context.Context, all iter.Seq[config.Member], log *slog.Logger) {
	for m := range all {
		if ctx.Err() != nil {
			return
		}
		if m.NextHop || m.Account != "" { // a writer cleans when it begins
			continue
		}
		if err := s.cleanOne(m); err != nil {
			log.Warn("a mailbox cannot be cleaned", "mailbox", m.User+"@"+m.Domain, "cause", err)
		}
	}
}

func (s *store) cleanOne(m config.Member) error {
	if m.Format == config.Mbox {
		box, err := s.mbox(m)
		if err != nil {
			return err
		}
		return box.Clean(time.Now())
	}
	box, err := s.maildir(m)
	if err != nil {
		return err
	}
	return box.Clean(time.Now())
}

// cleanDaily cleans the mailboxes that there are then, once a day until ctx ends.
func (s *store) cleanDaily(ctx context.Context, recipients func() *config.Recipients, log *slog.Logger) {
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	for {
		select {
		case <-day.C:
			s.clean(ctx, recipients().All(), log)
		case <-ctx.Done():
			return
		}
	}
}

// probe tells the log what the file system of the store may do to messages.
// That it is not there yet is no error: it is looked for again.
func (s *store) probe(log *slog.Logger) error {
	found, err := mailbox.Probe(s.path)
	if err != nil {
		log.Error("no mail can be delivered until the store is there", "cause", err)
		return nil
	}
	for _, danger := range found.Dangers {
		log.Warn("the store's file system may lose messages", "store", s.path, "mount", found.Mount, "type", found.Type, "danger", danger)
	}
	_, err = s.get()
	if err != nil && s.options.Durability == mailbox.Full {
		log.Error("no mail can be delivered until the store is there", "cause", err)
		return nil
	}
	return err
}

// probeHomes does what probe does for the mailboxes that have a path of their own.
// The log hears once of each file system.
func (s *store) probeHomes(log *slog.Logger, all iter.Seq[config.Member]) {
	told, seen := make(map[string]bool), make(map[string]bool)
	if found, err := mailbox.Probe(s.path); err == nil {
		told[found.Mount] = true
	}
	for m := range all {
		dir := filepath.Dir(m.Path)
		if m.Path == "" || m.Account != "" || seen[dir] {
			continue
		}
		seen[dir] = true
		found, err := mailbox.Probe(fence.Existing(dir))
		if err != nil || told[found.Mount] {
			continue // what hinders a delivery there will be in the log
		}
		told[found.Mount] = true
		for _, danger := range found.Dangers {
			log.Warn("the file system of a mailbox may lose messages", "mailbox", m.User+"@"+m.Domain, "path", m.Path, "mount", found.Mount, "type", found.Type, "danger", danger)
		}
	}
}

// Close closes the store. No delivery may begin any more.
func (s *store) Close() error {
	if s.writers != nil {
		s.writers.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened == nil {
		return nil
	}
	return s.opened.Close()
}

// makeFolder makes a folder of ours that is missing, with those above it.
func makeFolder(what, path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
