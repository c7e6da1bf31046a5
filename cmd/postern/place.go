package main

import (
	"golang.org/x/sys/unix"

	"postern/mailbox"
)

// A Place is a folder that mail is written to, as the status tells of it.
type Place struct {
	What    string   `json:"what"` // "store" or "spool"
	Path    string   `json:"path"`
	Type    string   `json:"type,omitempty"` // of its file system
	Free    int64    `json:"free"`           // octets, for others than root
	Dangers []string `json:"dangers,omitempty"`
	Trouble string   `json:"trouble,omitempty"` // why nothing can be written
}

// placeOf looks at a folder. There must be spare octets left in it.
func placeOf(what, path string, spare int64) Place {
	p := Place{What: what, Path: path}
	found, err := mailbox.Probe(path)
	if err != nil {
		p.Trouble = err.Error()
		return p
	}
	p.Type = found.Type
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		p.Trouble = err.Error()
		return p
	}
	p.Free = int64(fs.Bavail) * fs.Bsize
	if err := space(path, spare)(0); err != nil {
		p.Trouble = "it is full: " + err.Error()
	}
	return p
}

// place tells of the store.
func (s *store) place() Place {
	p := placeOf("store", s.path, spareSpace)
	if found, err := mailbox.Probe(s.path); err == nil {
		p.Dangers = found.Dangers
	}
	if _, err := s.get(); err != nil && p.Trouble == "" {
		p.Trouble = err.Error()
	}
	return p
}
