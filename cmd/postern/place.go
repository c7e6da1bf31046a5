package main

import (
	"time"

	"postern/mail"
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

// placeOf looks at a folder.
func placeOf(what, path string) Place {
	p := Place{What: what, Path: path}
	found, err := mailbox.Probe(path)
	if err == nil {
		p.Type, p.Dangers = found.Type, found.Dangers
		p.Free, err = newRoom(path, spareSpace).look(0, time.Now())
	}
	switch {
	case err == nil:
	case mail.ReplyTo(err).Code == mail.NoSpace.Code:
		p.Trouble = "it is full: " + err.Error()
	default:
		p.Trouble = err.Error()
	}
	return p
}

// place tells of the store.
func (s *store) place() Place {
	p := placeOf("store", s.path)
	if _, err := s.get(); err != nil && p.Trouble == "" {
		p.Trouble = err.Error()
	}
	return p
}

// spoolPlace tells of the spool, but of no dangers: no message in it has been
// acknowledged.
func spoolPlace(path string) Place {
	p := placeOf("spool", path)
	p.Dangers = nil
	return p
}
