package mailbox

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Modes are the permissions and the group of new files and folders, whatever the umask
// of the process is. The zero value stands for 0600, 0700, and the group that the kernel
// chooses.
type Modes struct {
	File  fs.FileMode
	Dir   fs.FileMode // with fs.ModeSetgid, files and folders inherit the group
	Group int         // numeric; 0: not changed
}

// A Syncer makes durable what a descriptor refers to: all of it, or the content alone.
// If it reports false it did not do so, and a system call has to. An error is final,
// like that of File.Sync.
type Syncer interface {
	Fsync(fd int) (done bool, err error)
	Fdatasync(fd int) (done bool, err error)
}

// A kernel is what the file systems of one store share: modes, and what is known of the
// system calls.
type kernel struct {
	fileMode uint32
	dirMode  uint32
	group    int
	umask    uint32
	syncer   Syncer // nil: only system calls

	orderedOn uint64 // the device that is known to be Ordered; 0: none

	noOpenat2      atomic.Bool // it is missing (before Linux 5.6) or forbidden
	tmpfileMayFail atomic.Bool // noTmpfile or noProc says so

	mu        sync.Mutex
	noTmpfile map[uint64]bool // the devices that have no unnamed files
	noProc    bool            // for want of /proc, no unnamed file can be given a name
}

func newKernel(m Modes, syncer Syncer) *kernel {
	k := &kernel{
		fileMode:  unixMode(m.File, 0o600),
		dirMode:   unixMode(m.Dir, 0o700),
		group:     m.Group,
		umask:     umask(),
		syncer:    syncer,
		noTmpfile: make(map[uint64]bool),
	}
	if !haveProc() {
		k.noProc = true
		k.tmpfileMayFail.Store(true)
	}
	return k
}

func unixMode(m fs.FileMode, otherwise uint32) uint32 {
	if m == 0 {
		return otherwise
	}
	mode := uint32(m.Perm())
	if m&fs.ModeSetgid != 0 {
		mode |= unix.S_ISGID
	}
	return mode
}

// umask returns the umask of this process. umask(2) would tell it too, but only by
// changing it for a moment for all threads. If it is unknown, all bits are set: then
// every mode is set explicitly.
func umask() uint32 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	_, after, _ := strings.Cut(string(status), "\nUmask:\t")
	digits, _, _ := strings.Cut(after, "\n")
	mask, err := strconv.ParseUint(digits, 8, 32)
	if err != nil {
		return 0o777
	}
	return uint32(mask)
}

// haveProc reports whether the path exists through which an unnamed file gets
// its name.
func haveProc() bool { return unix.Access("/proc/self/fd", unix.X_OK) == nil }

// open opens the part of the real file system below the folder dir, which must exist.
// Symbolic links in dir itself are followed.
func (k *kernel) open(dir string) (FS, error) {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &osFS{kernel: k, fd: fd, root: dir}, nil
}

// fsync makes durable all that fd refers to.
func (k *kernel) fsync(fd int) error {
	if k.syncer != nil {
		if done, err := k.syncer.Fsync(fd); done {
			return err
		}
	}
	return retry(func() error { return unix.Fsync(fd) })
}

// fdatasync makes durable the content of what fd refers to.
func (k *kernel) fdatasync(fd int) error {
	if k.syncer != nil {
		if done, err := k.syncer.Fdatasync(fd); done {
			return err
		}
	}
	return retry(func() error { return unix.Fdatasync(fd) })
}

// retry calls f until it is not interrupted by a signal.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func openat(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

// closeFD closes fd. Linux releases it even when it returns EINTR.
func closeFD(fd int) error {
	if err := unix.Close(fd); err != unix.EINTR {
		return err
	}
	return nil
}

const openFolder = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW

// openat2 opens name below the folder dir, as how says.
func openat2(dir int, name string, how *unix.OpenHow) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat2(dir, name, how)
		return err
	})
	return fd, err
}

// walk opens name below the folder dir, component by component.
func walk(dir int, name string) (int, error) {
	fd := dir
	for part := range strings.SplitSeq(name, "/") {
		next, err := openat(fd, part, openFolder, 0)
		if fd != dir {
			closeFD(fd)
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}
