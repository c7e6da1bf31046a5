package aio

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"postern/internal/peer"
)

// What is synced has the errors of fsync(2).
func TestErrors(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	file, err := os.Create(filepath.Join(dir.Name(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	q := openQueue(t, 4)
	for _, test := range []struct {
		what string
		fd   int
		want error
	}{
		{"a file", int(file.Fd()), nil},
		{"a folder", int(dir.Fd()), nil},
		{"a pipe", int(w.Fd()), syscall.EINVAL},
		{"nothing", 1 << 20, syscall.EBADF},
	} {
		if err := fsync(q, test.fd); !errors.Is(err, test.want) {
			t.Errorf("Fsync of %s: %v, want %v", test.what, err, test.want)
		}
		if err := fdatasync(q, test.fd); !errors.Is(err, test.want) {
			t.Errorf("Fdatasync of %s: %v, want %v", test.what, err, test.want)
		}
	}
}

// fsync and fdatasync sync as a caller of the queue does: by the system call where the
// queue has not done it. In these tests a pipe and no file have the error of either.
func fsync(q *Queue, fd int) error {
	if done, err := q.Fsync(fd); done {
		return err
	}
	return unix.Fsync(fd)
}

func fdatasync(q *Queue, fd int) error {
	if done, err := q.Fdatasync(fd); done {
		return err
	}
	return unix.Fdatasync(fd)
}

// Many are all done: more than there is room for, and more than one call fetches.
func TestMany(t *testing.T) {
	t.Run("few ops", func(t *testing.T) { syncMany(t, openQueue(t, 3)) })
	t.Run("many ops", func(t *testing.T) { syncMany(t, openQueue(t, 1000)) })
}

func syncMany(t *testing.T, q *Queue) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			f, err := os.CreateTemp(dir, "")
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for range 5 {
				_, err := f.WriteString("a line\n")
				if err := errors.Join(err, fdatasync(q, int(f.Fd()))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// What the queue does not do while it is closed, or afterwards, is still to be done.
func TestCloseMeanwhile(t *testing.T) {
	q, err := Open(8)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all, begun sync.WaitGroup
	closed := make(chan struct{})
	for range 8 {
		begun.Add(1)
		all.Go(func() {
			stop := false
			for i := 0; !stop; i++ {
				select {
				case <-closed:
					stop = true // after one more
				default:
				}
				_, err := f.WriteAt([]byte("x"), 0)
				if err := errors.Join(err, fsync(q, int(f.Fd()))); err != nil {
					t.Error(err)
				}
				if i == 0 {
					begun.Done()
				}
			}
		})
	}
	begun.Wait()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	close(closed)
	all.Wait()
}

// An error that a disk has while the kernel's thread syncs is told.
func TestErrorOfTheDisk(t *testing.T) {
	peer.NeedRoot(t)
	// The disk is a file with holes where there is no room to fill them.
	room, dir := peer.Dir(t), peer.Dir(t)
	for _, c := range [][]string{
		{"mount", "-t", "tmpfs", "-o", "size=2m", "room", room},
		{"truncate", "-s", "64M", room + "/image"},
		{"mkfs.ext4", "-q", "-O", "^has_journal", room + "/image"},
		{"mount", "-o", "loop", room + "/image", dir},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
		if c[0] == "mount" {
			at := c[len(c)-1]
			t.Cleanup(func() {
				if err := syscall.Unmount(at, 0); err != nil {
					t.Errorf("unmount %s: %v", at, err)
					_ = syscall.Unmount(at, unix.MNT_DETACH)
				}
			})
		}
	}
	f, err := os.Create(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 8<<20)); err != nil {
		t.Fatal(err)
	}
	q := openQueue(t, 1)
	if err := fdatasync(q, int(f.Fd())); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
		t.Errorf("Fdatasync: %v, want %v or, from an older kernel, %v", err, syscall.ENOSPC, syscall.EIO)
	}
}

// What the system has no room for is an error.
func TestTooMany(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/fs/aio-max-nr")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if q, err := Open(min(most+1, 1<<24)); err == nil {
		t.Errorf("got %v, want an error", q)
	}
}
