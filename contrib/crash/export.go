package main

import (
	"context"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// An Export is a folder in which disks are files, for loop devices to stand on.
type Export struct {
	server *fuse.Server

	mu    sync.Mutex
	disks map[string]*Disk
}

// NewExport mounts one on dir.
func NewExport(dir string) (*Export, error) {
	x := &Export{disks: make(map[string]*Disk)}
	server, err := fs.Mount(dir, &folder{export: x}, &fs.Options{
		NullPermissions: true,
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true, // no helper is needed: only root may use loop devices anyway
			FsName:            "crash",
			MaxWrite:          512 << 10,
		},
	})
	x.server = server
	if err == nil {
		err = keepToMyself("/dev/fuse")
	}
	return x, err
}

// keepToMyself has no program that is started inherit the open file path. The
// kernel would not notice that the server has died while another has it open.
func keepToMyself(path string) error {
	fds, err := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if target, _ := os.Readlink("/proc/self/fd/" + fd.Name()); target == path {
			n, err := strconv.Atoi(fd.Name())
			if err != nil {
				return err
			}
			unix.CloseOnExec(n)
		}
	}
	return err
}

// Close unmounts it.
func (x *Export) Close() error { return x.server.Unmount() }

// Add makes disk the file name.
func (x *Export) Add(name string, disk *Disk) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.disks[name] = disk
}

// Disk returns the disk that is the file name, or nil.
func (x *Export) Disk(name string) *Disk {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.disks[name]
}

// Remove forgets the disk; what is open stays so.
func (x *Export) Remove(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.disks, name)
}

type folder struct {
	fs.Inode
	export *Export
}

func (f *folder) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	disk := f.export.Disk(name)
	if disk == nil {
		return nil, syscall.ENOENT
	}
	out.Size = uint64(disk.Size())
	return f.NewInode(ctx, &file{disk: disk}, fs.StableAttr{Mode: fuse.S_IFREG}), 0
}

// A file is a disk as the kernel asks for it.
type file struct {
	fs.Inode
	disk *Disk
}

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Size = uint64(f.disk.Size())
	out.Mode = fuse.S_IFREG | 0o600
	return 0
}

func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *file) Read(_ context.Context, _ fs.FileHandle, p []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	f.disk.ReadAt(p, at)
	return fuse.ReadResultData(p), 0
}

func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	f.disk.WriteAt(append([]byte(nil), data...), at)
	return uint32(len(data)), 0
}

// flushTime is what a flush takes: long enough for deliveries to meet in it.
const flushTime = 500 * time.Microsecond

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.disk.Flush()
	time.Sleep(flushTime)
	return 0
}

// Allocate discards or zeroes a part of the disk. Both are writes of zeros.
func (f *file) Allocate(_ context.Context, _ fs.FileHandle, at, size uint64, mode uint32) syscall.Errno {
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) == 0 {
		return syscall.EOPNOTSUPP
	}
	f.disk.WriteAt(make([]byte, size), int64(at))
	return 0
}
