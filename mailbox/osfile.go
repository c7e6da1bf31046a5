package mailbox

import (
	"io"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Open implements Dir. Neither a FIFO nor a device makes it wait.
func (d *osDir) Open(name string) (File, error) {
	const flags = unix.O_RDWR | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	// Looking at the end of an mbox must not look as if its reader had read it.
	fd, err := openat(d.fd, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = openat(d.fd, name, flags, 0)
	}
	if err != nil {
		return nil, d.failed("open", name, err)
	}
	var st unix.Stat_t
	err = retry(func() error { return unix.Fstat(fd, &st) })
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1) {
		err = fs.ErrInvalid
	}
	if err != nil {
		_ = closeFD(fd)
		return nil, d.failed("open", name, err)
	}
	return &osFile{dir: d, fd: fd, name: name}, nil
}

type osFile struct {
	dir  *osDir
	fd   int
	name string

	locks []Lock // taken
}

func (f *osFile) Write(p []byte) (int, error) {
	n, err := writeAll(func(p []byte) (int, error) { return unix.Write(f.fd, p) }, p)
	return n, f.dir.failed("write", f.name, err)
}

// writeAll calls write until all of p is written: it may be interrupted, or
// write less where room is short, and then tell why when asked for the rest.
func writeAll(write func([]byte) (int, error), p []byte) (written int, err error) {
	for written < len(p) {
		n, err := write(p[written:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return written, err
		case n <= 0:
			return written, io.ErrShortWrite
		}
		written += n
	}
	return written, nil
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := writeAll(func(rest []byte) (int, error) {
		return unix.Pwrite(f.fd, rest, off+int64(len(p)-len(rest)))
	}, p)
	return n, f.dir.failed("write", f.name, err)
}

func (f *osFile) SetTime(t time.Time) error {
	keep := unix.Timespec{Nsec: unix.UTIME_OMIT}
	mtime, err := unix.TimeToTimespec(t)
	if err == nil {
		err = retry(func() error {
			return unix.UtimesNanoAt(f.fd, "", []unix.Timespec{keep, mtime}, unix.AT_EMPTY_PATH)
		})
	}
	if err == unix.EINVAL { // before Linux 5.8
		tv := []unix.Timeval{unix.NsecToTimeval(time.Now().UnixNano()), unix.NsecToTimeval(t.UnixNano())}
		err = unix.Futimes(f.fd, tv)
	}
	return f.dir.failed("utimens", f.name, err)
}

func (f *osFile) Sync() error {
	return f.dir.failed("fdatasync", f.name, f.dir.fdatasync(f.fd))
}

func (f *osFile) WriteOut() error {
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return f.dir.failed("sync_file_range", f.name, retry(func() error { return unix.SyncFileRange(f.fd, 0, 0, all) }))
}

func (f *osFile) SyncAll() error {
	return f.dir.failed("fsync", f.name, f.dir.fsync(f.fd))
}

func (f *osFile) Share() (File, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, f.dir.failed("dup", f.name, err)
	}
	return &osFile{dir: f.dir, fd: fd, name: f.name}, nil
}

// Close implements File. Locks are released explicitly: a sync from the kernel's queue
// may keep the open file, and so its locks, alive a little longer.
func (f *osFile) Close() error {
	for _, l := range slices.Backward(f.locks) {
		if l == Fcntl {
			_ = f.fcntlLock(unix.F_UNLCK)
			continue
		}
		_ = unix.Flock(f.fd, unix.LOCK_UN)
	}
	return f.dir.failed("close", f.name, closeFD(f.fd))
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	read := 0
	for read < len(p) {
		n, err := unix.Pread(f.fd, p[read:], off+int64(read))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return read, f.dir.failed("read", f.name, err)
		case n == 0:
			return read, io.EOF
		}
		read += n
	}
	return read, nil
}

func (f *osFile) Stat() (Info, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return Info{}, f.dir.failed("stat", f.name, err)
	}
	return info(&st), nil
}

func (f *osFile) Truncate(size int64) error {
	return f.dir.failed("truncate", f.name, retry(func() error { return unix.Ftruncate(f.fd, size) }))
}

func (f *osFile) TryLock(l Lock) (bool, error) {
	var err error
	switch l {
	case Fcntl:
		err = f.fcntlLock(unix.F_WRLCK)
	case Flock:
		err = retry(func() error { return unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB) })
	default:
		err = fs.ErrInvalid
	}
	switch err {
	case nil:
		f.locks = append(f.locks, l)
		return true, nil
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	}
	return false, f.dir.failed("lock", f.name, err)
}

// fcntlLock sets the lock of the whole file to kind. Locks of an open file description
// meet those of fcntl(2) as others use it, but the goroutines of one process meet each
// other too, and closing the file elsewhere does not drop them.
func (f *osFile) fcntlLock(kind int16) error {
	whole := unix.Flock_t{Type: kind, Whence: io.SeekStart}
	return retry(func() error { return unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLK, &whole) })
}
