package main

import (
	"slices"
	"sync"
)

const pageSize = 4096

// A page is never written to: a change puts another in its place, so that
// images and the log share them.
type page = [pageSize]byte

var zeros page

// A Disk is a disk in memory that remembers the order of what happens to it. It
// is safe for use by many goroutines.
type Disk struct {
	mu      sync.Mutex
	pages   []*page // nil is all zeros
	first   []*page // what they were, of a crash state
	history *History
}

// A History is what happened to a disk since recording began.
type History struct {
	start  []*page
	events []event
}

// An event is a write, unless it is a flush or a mark.
type event struct {
	at    int64 // where the disk was written
	data  []byte
	flush bool
	mark  *Mark
}

// A Mark is what the client of the daemon did or learnt at that moment.
type Mark struct {
	Message string // its ID
	To      string
	Acked   bool // it has read 250; otherwise it is about to send the message
}

// NewDisk returns a disk of zeros.
func NewDisk(size int64) *Disk { return &Disk{pages: make([]*page, size/pageSize)} }

func (d *Disk) Size() int64 { return int64(len(d.pages)) * pageSize }

// ReadAt reads from the disk; what is beyond its end is zeros.
func (d *Disk) ReadAt(p []byte, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(p) > 0 {
		i, off := at/pageSize, at%pageSize
		n := min(len(p), int(pageSize-off))
		if i < int64(len(d.pages)) && d.pages[i] != nil {
			copy(p[:n], d.pages[i][off:])
		} else {
			clear(p[:n])
		}
		p, at = p[n:], at+int64(n)
	}
}

// WriteAt writes data, which belongs to the disk from now on.
func (d *Disk) WriteAt(data []byte, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for piece := range pieces(event{at: at, data: data}) {
		apply(d.pages, piece)
	}
	d.add(event{at: at, data: data})
}

// Flush is what makes the writes before it durable.
func (d *Disk) Flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(event{flush: true})
}

// Mark notes m among the writes and flushes.
func (d *Disk) Mark(m Mark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(event{mark: &m})
}

func (d *Disk) add(e event) {
	if d.history != nil {
		d.history.events = append(d.history.events, e)
	}
}

// Record begins a history, in which all that is on the disk by now is durable.
func (d *Disk) Record() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.history = &History{start: slices.Clone(d.pages)}
}

// Stop ends the history and returns it.
func (d *Disk) Stop() *History {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.history
	d.history = nil
	return h
}

// pieces yields the parts of a write that can be torn from each other: those in
// different pages.
func pieces(e event) func(yield func(event) bool) {
	return func(yield func(event) bool) {
		for at, data := e.at, e.data; len(data) > 0; {
			n := min(len(data), int(pageSize-at%pageSize))
			if !yield(event{at: at, data: data[:n]}) {
				return
			}
			at, data = at+int64(n), data[n:]
		}
	}
}

// apply does a piece of a write to pages.
func apply(pages []*page, piece event) {
	i, off := piece.at/pageSize, piece.at%pageSize
	if i >= int64(len(pages)) {
		return
	}
	switch {
	case len(piece.data) < pageSize:
	case *(*page)(piece.data) == zeros:
		pages[i] = nil
		return
	default:
		pages[i] = (*page)(piece.data)
		return
	}
	var p page
	if pages[i] != nil {
		p = *pages[i]
	}
	copy(p[off:], piece.data)
	pages[i] = &p
}
