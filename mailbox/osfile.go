package mailbox

import (
	"io"
	"time"

	"golang.org/x/sys/unix"
)

type osFile struct {
	dir  *osDir
	fd   int
	name string
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
	return f.dir.failed("fdatasync", f.name, retry(func() error { return unix.Fdatasync(f.fd) }))
}

func (f *osFile) Close() error { return f.dir.failed("close", f.name, closeFD(f.fd)) }
