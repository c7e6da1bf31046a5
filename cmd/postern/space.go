package main

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"postern/mail"
)

const (
	// plentySpace is how much room makes it enough to look again after a second:
	// no disk fills so fast. Where there is less, each message is a reason to look.
	plentySpace  = 1 << 30
	plentyInodes = 100_000
	plentyFor    = time.Second
	// spareInodes is how many inodes must be left.
	spareInodes = 100
)

// A room watches the file system of a folder.
type room struct {
	dir     string
	reserve int64 // octets that are not for mail
	statfs  func(dir string, fs *unix.Statfs_t) error

	mu     sync.Mutex
	plenty time.Time // until when there is plenty of room
}

// space returns a function that tells whether the file system of dir has room,
// for others than root, for a message of size octets and reserve more, and some
// inodes. It refuses mail with 452 4.3.1 where it has not, and with 451 where dir
// cannot be looked at.
func space(dir string, reserve int64) func(size int64) error {
	return newRoom(dir, reserve).check
}

func newRoom(dir string, reserve int64) *room {
	return &room{dir: dir, reserve: reserve, statfs: unix.Statfs}
}

func (r *room) check(size int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.plenty) && size < plentySpace/2 {
		return nil
	}
	_, err := r.look(size, now)
	return err
}

// look returns how many octets are left, and the error of check.
func (r *room) look(size int64, now time.Time) (free int64, err error) {
	var fs unix.Statfs_t
	if err := r.statfs(r.dir, &fs); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", r.dir, err)
	}
	free = int64(fs.Bavail) * fs.Bsize
	limited := fs.Files > 0 // some file systems make inodes as they are needed
	switch {
	case free < size+r.reserve || limited && fs.Ffree < spareInodes:
		return free, mail.NoSpace.Because(fmt.Errorf("%s has %d octets and %d inodes free", r.dir, free, fs.Ffree))
	case free > plentySpace+r.reserve && (!limited || fs.Ffree > plentyInodes):
		r.plenty = now.Add(plentyFor)
	}
	return free, nil
}
