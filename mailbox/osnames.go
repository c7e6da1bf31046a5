package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// unnamed is the name of an unnamed file in messages.
const unnamed = "(unnamed file)"

func (d *osDir) Tmpfile() (File, error) {
	if d.lacksTmpfile() {
		return nil, d.failed("create", unnamed, errors.ErrUnsupported)
	}
	fd, err := openat(d.fd, ".", unix.O_RDWR|unix.O_TMPFILE, d.fileMode)
	switch err {
	case nil:
		return d.newFile(fd, unnamed)
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL:
		// The file system has none, or the kernel does not know the flag.
		d.noteNoTmpfile()
		err = fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
	}
	return nil, d.failed("create", unnamed, err)
}

// lacksTmpfile reports whether it is known that unnamed files do not work in this
// folder. Where they work everywhere, it costs nothing.
func (d *osDir) lacksTmpfile() bool {
	if !d.tmpfileMayFail.Load() {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.noProc || d.noTmpfile[uint64(st.Dev)]
}

// noteNoTmpfile notes that the folder's device has no unnamed files.
func (d *osDir) noteNoTmpfile() {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return // the next Tmpfile finds out again
	}
	d.mu.Lock()
	d.noTmpfile[uint64(st.Dev)] = true
	d.mu.Unlock()
	d.tmpfileMayFail.Store(true)
}

func (d *osDir) Publish(file File, name string) error {
	f, ok := file.(*osFile)
	if !ok {
		return d.failed("link", name, fs.ErrInvalid)
	}
	source := "/proc/self/fd/" + strconv.Itoa(f.fd)
	err := retry(func() error {
		return unix.Linkat(unix.AT_FDCWD, source, d.fd, name, unix.AT_SYMLINK_FOLLOW)
	})
	switch {
	case err == unix.ENOENT && !haveProc():
		d.mu.Lock()
		d.noProc = true
		d.mu.Unlock()
		d.tmpfileMayFail.Store(true)
	case f.dir != d: // a file of another folder, which can have no further name here
	case err == unix.EOPNOTSUPP || err == unix.EPERM || err == unix.ENOSYS || err == unix.EXDEV:
		d.noteNoTmpfile()
	}
	return d.failed("link", name, err)
}

// Move implements Dir. Where the file system has no rename that refuses to replace a
// file, it takes a link and an unlink.
func (d *osDir) Move(name string, to Dir, newname string) error {
	target, ok := to.(*osDir)
	if !ok {
		return d.failed("rename", name, fs.ErrInvalid)
	}
	err := retry(func() error {
		return unix.Renameat2(d.fd, name, target.fd, newname, unix.RENAME_NOREPLACE)
	})
	if err != unix.EINVAL && err != unix.ENOSYS && err != unix.EOPNOTSUPP {
		return target.failed("rename", newname, err)
	}
	return d.moveByLink(name, target, newname)
}

func (d *osDir) moveByLink(name string, target *osDir, newname string) error {
	err := retry(func() error { return unix.Linkat(d.fd, name, target.fd, newname, 0) })
	if err != nil && !sameFile(d.fd, name, target.fd, newname) {
		return target.failed("link", newname, err)
	}
	return d.Remove(name)
}

// sameFile reports whether two names are of one file. On NFS, a link whose answer was
// lost is requested again, and then fails because the first request made it.
func sameFile(dir1 int, name1 string, dir2 int, name2 string) bool {
	var st1, st2 unix.Stat_t
	err := errors.Join(
		unix.Fstatat(dir1, name1, &st1, unix.AT_SYMLINK_NOFOLLOW),
		unix.Fstatat(dir2, name2, &st2, unix.AT_SYMLINK_NOFOLLOW))
	return err == nil && st1.Dev == st2.Dev && st1.Ino == st2.Ino
}

func (d *osDir) Replace(name, newname string) error {
	return d.failed("rename", newname, retry(func() error { return unix.Renameat(d.fd, name, d.fd, newname) }))
}

func (d *osDir) Remove(name string) error {
	return d.failed("remove", name, retry(func() error { return unix.Unlinkat(d.fd, name, 0) }))
}
