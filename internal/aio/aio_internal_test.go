package aio

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A sync that has room in the queue is done by it, and by no system call that waits.
func TestDone(t *testing.T) {
	q, f := openQueue(t, 1), openFile(t)
	for _, opcode := range []uint16{opFsync, opFdatasync} {
		if done, err := q.do(opcode, int(f.Fd())); err != nil || !done {
			t.Errorf("command %d: %v, done: %v", opcode, err, done)
		}
	}
	// What has no room is not.
	op := <-q.free
	if done, err := q.do(opFsync, int(f.Fd())); err != nil || done {
		t.Errorf("without room: %v, done: %v", err, done)
	}
	q.free <- op
}

// All completions that are there are fetched, however few one call brings: no other
// edge comes for them.
func TestFewAtOnce(t *testing.T) {
	q, err := open(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := openFile(t)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 30 {
				if done, err := q.do(opFsync, int(f.Fd())); err != nil || !done {
					t.Errorf("%v, done: %v", err, done)
				}
			}
		})
	}
	all.Wait()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// Signals, of which the runtime sends itself many, disturb nothing.
func TestSignals(t *testing.T) {
	q, f := openQueue(t, 4), openFile(t)
	stop := make(chan struct{})
	var senders, syncs sync.WaitGroup
	senders.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			threads, _ := os.ReadDir("/proc/self/task")
			for _, thread := range threads {
				id, _ := strconv.Atoi(thread.Name())
				_ = unix.Tgkill(os.Getpid(), id, unix.SIGURG)
			}
		}
	})
	for range 4 {
		syncs.Go(func() {
			for range 300 {
				if _, err := q.Fsync(int(f.Fd())); err != nil {
					t.Error(err)
				}
				q.fetchSome(make([]completion, 1)) // of what is not there
			}
		})
	}
	syncs.Wait()
	close(stop)
	senders.Wait()
}

func openQueue(t *testing.T, size int) *Queue {
	t.Helper()
	q, err := Open(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func openFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
