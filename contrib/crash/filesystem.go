package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A FileSystem is a kind of file system, and how one is made. Discarding blocks
// of a new disk is left out, for they are zeros anyway.
type FileSystem struct {
	Name    string
	size    int64 // the least that mkfs takes, with the room that the daemon wants left
	mkfs    []string
	ordered bool // commits names in order: durability "ordered" is allowed

	// commit commits what is not durable, but not the content of files. Where it
	// is nil, a sync of any file does that.
	commit func(*os.File)
}

var fileSystems = []FileSystem{
	{"ext4", 256 << 20, []string{"mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0", "-O", "has_journal,^fast_commit"}, true, nil},
	{"xfs", 320 << 20, []string{"mkfs.xfs", "-q", "-K"}, true, nil},
	{"btrfs", 320 << 20, []string{"mkfs.btrfs", "-q", "-K"}, false, commitBtrfs},
}

// commitBtrfs begins a commit, as the kernel does after 30 seconds.
func commitBtrfs(f *os.File) {
	const startSync = 0x80089418 // BTRFS_IOC_START_SYNC
	var id uint64
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, f.Fd(), startSync, uintptr(unsafe.Pointer(&id)))
}

// choose returns the file systems with the given names.
func choose(names []string) (systems []FileSystem, err error) {
	for _, name := range names {
		i := slices.IndexFunc(fileSystems, func(f FileSystem) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("-fs %s is not known", name)
		}
		systems = append(systems, fileSystems[i])
	}
	return systems, nil
}

// missing returns what the laboratory needs and this machine lacks.
func missing(systems []FileSystem) error {
	var errs []error
	if os.Getuid() != 0 {
		errs = append(errs, errors.New("it mounts file systems, for which it must run as root"))
	}
	for _, device := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(device); err != nil {
			errs = append(errs, err)
		}
	}
	known, err := os.ReadFile("/proc/filesystems")
	errs = append(errs, err)
	for _, f := range systems {
		if _, err := exec.LookPath(f.mkfs[0]); err != nil {
			errs = append(errs, err)
		}
		if !strings.Contains(string(known), "\t"+f.Name+"\n") {
			_ = exec.Command("modprobe", f.Name).Run()
			if known, _ = os.ReadFile("/proc/filesystems"); !strings.Contains(string(known), "\t"+f.Name+"\n") {
				errs = append(errs, fmt.Errorf("this kernel has no %s", f.Name))
			}
		}
	}
	return errors.Join(errs...)
}

// mount mounts a disk on dir, after mkfs if the disk is new.
func (f FileSystem) mount(image, dir string, isNew bool) error {
	loop, err := attach(image)
	if err != nil {
		return err
	}
	defer loop.Close()
	if isNew {
		args := append(slices.Clone(f.mkfs[1:]), loop.Name())
		if out, err := exec.Command(f.mkfs[0], args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", f.mkfs[0], err, out)
		}
	}
	if err := unix.Mount(loop.Name(), dir, f.Name, 0, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	return nil
}

// unmount unmounts what is mounted on dir. Who used it must be gone; the kernel
// may take a moment to notice.
func unmount(dir string) (err error) {
	for range 100 {
		if err = unix.Unmount(dir, 0); err != unix.EBUSY {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("unmount %s: %w", dir, err)
}
