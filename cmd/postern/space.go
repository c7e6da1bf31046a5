package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"postern/mail"
)

// space returns a function that tells whether the file system of dir has room,
// for others than root, for a message of size octets and reserve more, and some
// inodes. It refuses mail with 452 4.3.1 where it has not, and with 451 where dir
// cannot be looked at.
func space(dir string, reserve int64) func(size int64) error {
	return func(size int64) error {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return fmt.Errorf("free space of %s: %w", dir, err)
		}
		free := int64(fs.Bavail) * fs.Bsize
		if free < size+reserve || fs.Files > 0 && fs.Ffree < 100 {
			return mail.NoSpace.Because(fmt.Errorf("%s has %d octets and %d inodes free", dir, free, fs.Ffree))
		}
		return nil
	}
}
