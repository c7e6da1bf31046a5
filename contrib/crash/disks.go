package main

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
)

// Disks are the disks of the laboratory, by name. They live in a process that
// itself uses no file system on them, or it could wait for itself for ever: a
// process that is killed while it waits for a disk keeps the disk's file open,
// and is waiting still. Its methods are called by net/rpc.
type Disks struct {
	export *Export

	mu     sync.Mutex
	count  int
	states map[string]*states
}

// states are the crash states of a disk.
type states struct {
	history *History
	next    func() (State, bool)
	stop    func()
}

// A Request is for a disk.
type Request struct {
	Disk string
	Size int64
	Mark Mark
	N    int
	Seed uint64
	Path string
}

// A StateInfo is a State as it is told of; its disk is a file of the export.
type StateInfo struct {
	Disk  string // "": there is no other
	Name  string
	Marks []Mark
}

var errNoDisk = errors.New("no such disk")

// New makes a disk.
func (d *Disks) New(r Request, name *string) error {
	*name = d.add(NewDisk(r.Size))
	return nil
}

// add gives disk a name that no other had: the kernel may still be taking down a
// loop device on the file of that one.
func (d *Disks) add(disk *Disk) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	name := fmt.Sprint(d.count)
	d.export.Add(name, disk)
	return name
}

// Record begins the history of the disk.
func (d *Disks) Record(r Request, _ *struct{}) error {
	return d.with(r.Disk, func(disk *Disk) error { disk.Record(); return nil })
}

// Mark notes a mark in the history.
func (d *Disks) Mark(r Request, _ *struct{}) error {
	return d.with(r.Disk, func(disk *Disk) error { disk.Mark(r.Mark); return nil })
}

// Stop ends the history.
func (d *Disks) Stop(r Request, _ *struct{}) error {
	return d.with(r.Disk, func(disk *Disk) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.states[r.Disk] = &states{history: disk.Stop(), stop: func() {}}
		return nil
	})
}

// States begins a series of crash states, which Next then makes.
func (d *Disks) States(r Request, _ *struct{}) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.states[r.Disk]
	if s == nil || s.history == nil {
		return errNoDisk
	}
	s.stop()
	s.next, s.stop = iter.Pull(s.history.States(r.N, r.Seed))
	return nil
}

// Next makes the next state, whose disk the caller removes.
func (d *Disks) Next(r Request, info *StateInfo) error {
	d.mu.Lock()
	s := d.states[r.Disk]
	d.mu.Unlock()
	if s == nil || s.next == nil {
		return errNoDisk
	}
	if state, ok := s.next(); ok {
		*info = StateInfo{Disk: d.add(state.Disk), Name: state.name, Marks: state.Marks}
	}
	return nil
}

// Remove forgets a disk and its states. Who has it open may go on using it.
func (d *Disks) Remove(r Request, _ *struct{}) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.export.Remove(r.Disk)
	delete(d.states, r.Disk)
	return nil
}

// Save writes what the disk was at first into the file r.Path.
func (d *Disks) Save(r Request, _ *struct{}) error {
	return d.with(r.Disk, func(disk *Disk) error {
		f, err := os.Create(r.Path)
		if err != nil {
			return err
		}
		err = f.Truncate(disk.Size())
		for i, p := range disk.first {
			if p != nil && err == nil {
				_, err = f.WriteAt(p[:], int64(i)*pageSize)
			}
		}
		return errors.Join(err, f.Close())
	})
}

func (d *Disks) with(name string, do func(*Disk) error) error {
	disk := d.export.Disk(name)
	if disk == nil {
		return errNoDisk
	}
	return do(disk)
}
