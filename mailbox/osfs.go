package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Modes says whom new files and folders belong to, whatever the umask of the
// process is. The zero value is 0600 and 0700, and the group that the kernel
// chooses.
type Modes struct {
	File  fs.FileMode
	Dir   fs.FileMode // with fs.ModeSetgid, files and folders inherit the group
	Group int         // numeric; 0: not changed
}

// OpenFS opens the part of the real file system below the folder dir, which
// must exist. Of dir itself symbolic links are followed.
func OpenFS(dir string, m Modes) (FS, error) {
	return newKernel(m).open(dir)
}

// A kernel is what the file systems of one store know in common.
type kernel struct {
	fileMode uint32
	dirMode  uint32
	group    int
	umask    uint32

	walk     atomic.Bool // openat2 is missing (before Linux 5.6) or forbidden
	named    atomic.Bool // some device, or all for want of /proc, has no unnamed files
	mu       sync.Mutex
	nameless map[uint64]bool // by device: does not have them
	noProc   bool
}

func newKernel(m Modes) *kernel {
	k := &kernel{
		fileMode: unixMode(m.File, 0o600),
		dirMode:  unixMode(m.Dir, 0o700),
		group:    m.Group,
		umask:    umask(),
		nameless: make(map[uint64]bool),
	}
	if !haveProc() {
		k.noProc = true
		k.named.Store(true)
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

// umask returns the umask of this process. It is not asked by umask(2), which
// would change it for a moment for all threads. Unknown is all bits: then every
// mode is set explicitly.
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

func (k *kernel) open(dir string) (FS, error) {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &osFS{kernel: k, fd: fd, root: dir}, nil
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

// closeFD closes fd. Linux releases it also when it says EINTR.
func closeFD(fd int) error {
	if err := unix.Close(fd); err != unix.EINTR {
		return err
	}
	return nil
}

type osFS struct {
	*kernel
	fd   int
	root string
}

func (f *osFS) Close() error { return closeFD(f.fd) }

const openFolder = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW

// OpenDir implements FS. openat2 has the kernel see to it in one call that no
// component is a symbolic link or leads out; an os.Root needs two calls for
// each component, and would follow a link from one mailbox into another.
func (f *osFS) OpenDir(name string) (Dir, error) {
	d := &osDir{osFS: f, name: name}
	if !fs.ValidPath(name) {
		return nil, d.failed("open", "", fs.ErrInvalid)
	}
	err := error(unix.ENOSYS)
	if !f.walk.Load() {
		how := unix.OpenHow{
			Flags:   openFolder | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		}
		d.fd, err = openat2(f.fd, name, &how)
	}
	switch err {
	case nil:
		return d, nil
	case unix.ENOSYS, unix.EPERM: // the latter from a seccomp filter that does not know it
		f.walk.Store(true)
		d.fd, err = walk(f.fd, name)
	case unix.EAGAIN: // somebody renames folders all the time
		d.fd, err = walk(f.fd, name)
	}
	if err != nil {
		return nil, d.failed("open", "", err)
	}
	return d, nil
}

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

type osDir struct {
	*osFS
	fd   int
	name string
}

// failed returns err with the call and the path that it belongs to.
func (d *osDir) failed(call, name string, err error) error {
	if err == nil {
		return nil
	}
	path := d.root
	for _, part := range []string{d.name, name} {
		if part != "" && part != "." {
			path += "/" + part
		}
	}
	return &fs.PathError{Op: call, Path: path, Err: err}
}

func (d *osDir) Mkdir(name string) error {
	err := retry(func() error { return unix.Mkdirat(d.fd, name, d.dirMode&0o777) })
	if err != nil {
		return d.failed("mkdir", name, err)
	}
	if d.group == 0 && d.dirMode&(d.umask|unix.S_ISGID) == 0 {
		return nil
	}
	fd, err := openat(d.fd, name, openFolder, 0)
	if err == nil {
		err = d.own(fd, d.dirMode)
		closeFD(fd)
	}
	if err != nil {
		_ = unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) // or the next one to look takes it for finished
		return d.failed("chmod", name, err)
	}
	return nil
}

// own gives what fd refers to its group and mode.
func (k *kernel) own(fd int, mode uint32) error {
	if k.group != 0 {
		if err := retry(func() error { return unix.Fchown(fd, -1, k.group) }); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		mode |= st.Mode & unix.S_ISGID // inherited: what a shared tree rests on
	}
	if st.Mode&0o7777 == mode {
		return nil
	}
	return retry(func() error { return unix.Fchmod(fd, mode) })
}

// newFile makes a file of an fd that was just created.
func (d *osDir) newFile(fd int, name string) (File, error) {
	f := &osFile{dir: d, fd: fd, name: name}
	if d.group == 0 && d.fileMode&d.umask == 0 {
		return f, nil
	}
	if err := d.own(fd, d.fileMode); err != nil {
		closeFD(fd)
		return nil, d.failed("chmod", name, err)
	}
	return f, nil
}

func (d *osDir) Create(name string) (File, error) {
	fd, err := openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, d.fileMode)
	if err != nil {
		return nil, d.failed("create", name, err)
	}
	f, err := d.newFile(fd, name)
	if err != nil {
		return nil, errors.Join(err, d.Remove(name))
	}
	return f, nil
}

// unnamed is the name of an unnamed file in messages.
const unnamed = "(unnamed file)"

func (d *osDir) Tmpfile() (File, error) {
	if d.mustName() {
		return nil, d.failed("create", unnamed, errors.ErrUnsupported)
	}
	fd, err := openat(d.fd, ".", unix.O_WRONLY|unix.O_TMPFILE, d.fileMode)
	switch err {
	case nil:
		return d.newFile(fd, unnamed)
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL:
		// The file system, or a kernel that takes the flags for others.
		d.mustNameFromNowOn()
		err = fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
	}
	return nil, d.failed("create", unnamed, err)
}

// mustName reports whether it is known that the folder's device has no unnamed
// files. Where all devices have them it costs nothing.
func (d *osDir) mustName() bool {
	if !d.named.Load() {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.noProc || d.nameless[uint64(st.Dev)]
}

func (d *osDir) mustNameFromNowOn() {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return // it is found out once more
	}
	d.mu.Lock()
	d.nameless[uint64(st.Dev)] = true
	d.mu.Unlock()
	d.named.Store(true)
}

func (d *osDir) Publish(file File, name string) error {
	f, ok := file.(*osFile)
	if !ok || f.dir.fd != d.fd {
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
		d.named.Store(true)
	case err == unix.EOPNOTSUPP || err == unix.EPERM || err == unix.ENOSYS || err == unix.EXDEV:
		d.mustNameFromNowOn()
	}
	return d.failed("link", name, err)
}

// Move implements Dir, by a link and an unlink where the file system knows no
// rename that does not replace.
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

// sameFile reports whether two names are one file. On NFS a link whose answer
// was lost is asked for again, and then fails because of itself.
func sameFile(dir1 int, name1 string, dir2 int, name2 string) bool {
	var st1, st2 unix.Stat_t
	err := errors.Join(
		unix.Fstatat(dir1, name1, &st1, unix.AT_SYMLINK_NOFOLLOW),
		unix.Fstatat(dir2, name2, &st2, unix.AT_SYMLINK_NOFOLLOW))
	return err == nil && st1.Dev == st2.Dev && st1.Ino == st2.Ino
}

func (d *osDir) Remove(name string) error {
	return d.failed("remove", name, retry(func() error { return unix.Unlinkat(d.fd, name, 0) }))
}

func (d *osDir) Names() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		fd, err := openat(d.fd, ".", openFolder, 0) // with a position of its own
		if err != nil {
			yield("", d.failed("open", "", err))
			return
		}
		f := os.NewFile(uintptr(fd), d.name)
		defer f.Close()
		for {
			names, err := f.Readdirnames(1024)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield("", d.failed("readdir", "", err))
				return
			}
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
		}
	}
}

func (d *osDir) Stat(name string) (Info, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return Info{}, d.failed("stat", name, err)
	}
	return info(&st), nil
}

func info(st *unix.Stat_t) Info {
	return Info{
		Folder:   st.Mode&unix.S_IFMT == unix.S_IFDIR,
		Regular:  st.Mode&unix.S_IFMT == unix.S_IFREG,
		Size:     st.Size,
		Modified: time.Unix(st.Mtim.Unix()),
		Changed:  time.Unix(st.Ctim.Unix()),
	}
}

func (d *osDir) Sync() error {
	return d.failed("fsync", "", retry(func() error { return unix.Fsync(d.fd) }))
}

func (d *osDir) Close() error { return d.failed("close", "", closeFD(d.fd)) }

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
