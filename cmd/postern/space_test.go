package main

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"postern/mail"
)

// Where there is plenty of room it is looked at once a second, and where there is
// not, for each message.
func TestRoomIsWatched(t *testing.T) {
	const block = 4 << 10
	for _, tt := range []struct {
		name             string
		blocks, inodes   uint64
		size             int64
		again            bool // the second message is a reason to look
		full             bool
		inodesAreLimited bool
	}{
		{name: "plenty", blocks: 2 << 30 / block, inodes: 1 << 20, inodesAreLimited: true},
		{name: "plenty, and inodes made as needed", blocks: 2 << 30 / block},
		{name: "plenty, but not for such a message", blocks: 2 << 30 / block, size: 1 << 30, again: true},
		{name: "little", blocks: 1 << 30 / block, inodes: 1 << 20, inodesAreLimited: true, again: true},
		{name: "few inodes", blocks: 2 << 30 / block, inodes: 1000, inodesAreLimited: true, again: true},
		{name: "none", blocks: 64<<20/block - 1, again: true, full: true},
		{name: "no inodes", blocks: 2 << 30 / block, inodes: 99, inodesAreLimited: true, again: true, full: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now, looked := unix.Statfs_t{Bsize: block, Bavail: tt.blocks, Ffree: tt.inodes}, 0
				if tt.inodesAreLimited {
					now.Files = 1 << 21
				}
				r := &room{dir: "/mail", reserve: 64 << 20, statfs: func(_ string, fs *unix.Statfs_t) error {
					looked++
					*fs = now
					return nil
				}}
				check := func(full bool, times int) {
					t.Helper()
					err := r.check(tt.size)
					if is := mail.ReplyTo(err).Is(mail.NoSpace); is != full || looked != times {
						t.Errorf("%v, looked %d times; want full %v, %d times", err, looked, full, times)
					}
				}
				check(tt.full, 1)
				now.Bavail = 0
				if tt.again {
					check(true, 2)
					return
				}
				check(false, 1)
				time.Sleep(time.Second)
				check(true, 2)
			})
		})
	}
}
