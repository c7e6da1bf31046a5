package mailbox

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

type osFS struct {
	*kernel
	fd   int
	root string
}

func (f *osFS) Close() error { return closeFD(f.fd) }

// OpenDir implements FS. With openat2 the kernel makes sure, in one call, that no
// component is a symbolic link or leads out. An os.Root needs two calls for each
// component, and would follow a link from one mailbox into another.
func (f *osFS) OpenDir(name string) (Dir, error) {
	d := &osDir{osFS: f, name: name}
	if !fs.ValidPath(name) {
		return nil, d.failed("open", "", fs.ErrInvalid)
	}
	err := error(unix.ENOSYS)
	if !f.noOpenat2.Load() {
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
		f.noOpenat2.Store(true)
		d.fd, err = walk(f.fd, name)
	case unix.EAGAIN: // somebody keeps renaming folders
		d.fd, err = walk(f.fd, name)
	}
	if err != nil {
		return nil, d.failed("open", "", err)
	}
	return d, nil
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
		_ = unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) // else whoever finds it takes it for finished
		return d.failed("chmod", name, err)
	}
	return nil
}

// own sets the group and the mode of what fd refers to.
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
		mode |= st.Mode & unix.S_ISGID // inherited, and a shared tree relies on it
	}
	if st.Mode&0o7777 == mode {
		return nil
	}
	return retry(func() error { return unix.Fchmod(fd, mode) })
}

// newFile returns the File of fd, which was just created.
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
	fd, err := openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, d.fileMode)
	if err != nil {
		return nil, d.failed("create", name, err)
	}
	f, err := d.newFile(fd, name)
	if err != nil {
		return nil, errors.Join(err, d.Remove(name))
	}
	return f, nil
}

func (d *osDir) Own(name string) error {
	return d.change(name, func(fd int, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return d.own(fd, d.dirMode)
		}
		return d.own(fd, d.fileMode)
	})
}

func (d *osDir) Chown(name string, owner uint32) error {
	return d.change(name, func(fd int, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink > 1 {
			return fs.ErrInvalid // it may be somebody else's
		}
		return retry(func() error { return unix.Fchown(fd, int(owner), -1) })
	})
}

// change opens the file or folder name, and does something to it.
func (d *osDir) change(name string, do func(fd int, st *unix.Stat_t) error) error {
	fd, err := openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return d.failed("open", name, err)
	}
	defer closeFD(fd)
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return d.failed("stat", name, err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return d.failed("change", name, fs.ErrInvalid)
	}
	return d.failed("change", name, do(fd, &st))
}

// Ordered implements Dir. It is true only on the device that was probed.
func (d *osDir) Ordered() bool {
	if d.orderedOn == 0 {
		return false
	}
	var st unix.Stat_t
	err := unix.Fstat(d.fd, &st)
	return err == nil && uint64(st.Dev) == d.orderedOn
}

// NamesByFile implements Dir. On btrfs, names were missing after a crash although the
// folder had been synced, if a transaction was committed amid deliveries
// (contrib/crash/README.md has the figures). When a file is synced, btrfs notes its
// names, and the new folders above it. For a file without a name it notes nothing, so
// that the sync of the content is not enough. If the type of the file system cannot be
// told, one sync too many is better than one too few.
func (d *osDir) NamesByFile() bool {
	var st unix.Statfs_t
	err := retry(func() error { return unix.Fstatfs(d.fd, &st) })
	return err != nil || st.Type == unix.BTRFS_SUPER_MAGIC
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
		ID:       [2]uint64{uint64(st.Dev), st.Ino},
		Owner:    st.Uid,
		Group:    st.Gid,
		Mode:     fs.FileMode(st.Mode & 0o777),
	}
}

func (d *osDir) Sync() error {
	return d.failed("fsync", "", d.fsync(d.fd))
}

func (d *osDir) Close() error { return d.failed("close", "", closeFD(d.fd)) }
