package main

import (
	"fmt"
	"io/fs"
	"os"
	"sync"

	"postern/mailbox"
)

// A store is the folder of the mailboxes, as it is now. It is looked at anew for
// each delivery: while its disk is not mounted mail is put off, and once it is,
// none goes into the folder below it.
type store struct {
	path    string
	options mailbox.Options

	mu     sync.Mutex
	opened *mailbox.Store // nil: not yet
	root   fs.FileInfo    // of the folder that opened stands on
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
	// The one before stays open: deliveries may be under way in it, and disks
	// are not mounted so often.
	s.opened, s.root = opened, root
	return opened, nil
}

// maildir returns the mailbox at an absolute path, or at its place in the store.
func (s *store) maildir(path, domain, user string) (mailbox.Mailbox, error) {
	opened, err := s.get()
	switch {
	case err != nil:
		return nil, err
	case path != "":
		return opened.MaildirAt(path)
	}
	return opened.Maildir(domain, user)
}

// Close closes the store. No delivery may begin any more.
func (s *store) Close() error {
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
