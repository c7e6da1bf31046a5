// Package aio has the kernel sync files on threads of its own (io_submit(2), the
// commands FSYNC and FDSYNC).
//
// A goroutine that calls fsync(2) keeps a thread for as long as the disk takes, which
// is most of the life of a small message. The runtime finds out after 20 us that the
// thread does not come back, takes its processor away and wakes another thread for
// it, and all of them meet again once the journal has committed. Here the
// goroutine waits as it would for a socket, and the completions of one commit
// are fetched by one call.
//
// It takes Linux 4.18; an older kernel refuses each request, which the caller then
// makes by a system call. A process that is killed ends when the syncs that it
// asked for have, which is long on a network file system whose server is gone.
//
// Why not io_uring: it does the same for a sync, and many containers and some
// distributions forbid it.
package aio

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Queue is where the kernel takes syncs from. It is safe for use by many
// goroutines.
type Queue struct {
	context uintptr
	event   *os.File // an eventfd: an edge for each completion
	ops     []*op    // by the number that the kernel is told
	free    chan *op // those that nobody uses
	closing atomic.Bool
	fetched chan bool // closed when no more completions are fetched
}

// An op is one sync that is under way, or the room for one.
type op struct {
	iocb   iocb
	result chan int64 // 0, or the negative errno
}

// An iocb is struct iocb of linux/aio_abi.h.
type iocb struct {
	data    uint64    // returned with the completion: the op's number
	_       [2]uint32 // key and rw_flags, in an order that is the machine's
	opcode  uint16
	_       int16 // the priority
	fd      uint32
	_       [4]uint64 // buf, nbytes, offset, reserved
	flags   uint32
	eventFD uint32
}

// A completion is struct io_event.
type completion struct {
	data    uint64
	iocb    uint64
	result  int64
	result2 int64
}

const (
	opFsync     = 2      // IOCB_CMD_FSYNC
	opFdatasync = 3      // IOCB_CMD_FDSYNC
	flagEventFD = 1 << 0 // IOCB_FLAG_RESFD
)

// Open returns a Queue for size syncs at once. The error is the system's that has no
// such thing, or all of it in use (aio-max-nr in proc(5)).
func Open(size int) (*Queue, error) { return open(size, 64) }

// open is Open; one call fetches at most atOnce completions.
func open(size, atOnce int) (*Queue, error) {
	var context uintptr
	if _, _, errno := unix.RawSyscall(unix.SYS_IO_SETUP, uintptr(size), uintptr(unsafe.Pointer(&context)), 0); errno != 0 {
		return nil, fmt.Errorf("io_setup: %w", errno)
	}
	q := &Queue{context: context, ops: make([]*op, size), free: make(chan *op, size), fetched: make(chan bool)}
	events, err := q.openEvent()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), q.destroy())
	}
	go q.fetch(events, make([]completion, atOnce))
	return q, nil
}

// openEvent makes the eventfd, and the ops that it is told of.
func (q *Queue) openEvent() (syscall.RawConn, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	q.event = os.NewFile(uintptr(fd), "eventfd")
	// An error tells that the runtime does not poll it, and that fetch could not wait.
	err = q.event.SetReadDeadline(time.Time{})
	events, connErr := q.event.SyscallConn()
	if err = errors.Join(err, connErr); err != nil {
		return nil, errors.Join(err, q.event.Close())
	}
	for i := range q.ops {
		q.ops[i] = &op{
			iocb:   iocb{data: uint64(i), flags: flagEventFD, eventFD: uint32(fd)},
			result: make(chan int64, 1),
		}
		q.free <- q.ops[i]
	}
	return events, nil
}

// Close waits for the syncs under way, and gives back what q holds. It may be called
// once. No sync is done meanwhile or later.
func (q *Queue) Close() error {
	for range q.ops {
		<-q.free
	}
	q.closing.Store(true)
	err := q.event.Close()
	<-q.fetched
	return errors.Join(err, q.destroy())
}

// destroy gives the kernel's part back.
func (q *Queue) destroy() error {
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, q.context, 0, 0); errno != 0 {
		return fmt.Errorf("io_destroy: %w", errno)
	}
	return nil
}

// Fsync is fsync(2) of the descriptor, with its errors. It reports false if that was
// not done, and the caller has to make the system call: no op is free (a disk that
// answers no more may hold them all), the kernel did not take it, or it was interrupted.
func (q *Queue) Fsync(fd int) (done bool, err error) { return q.do(opFsync, fd) }

// Fdatasync is fdatasync(2) of the descriptor, and reports as Fsync does.
func (q *Queue) Fdatasync(fd int) (done bool, err error) { return q.do(opFdatasync, fd) }

// do has the kernel do what opcode says, and waits for it.
func (q *Queue) do(opcode uint16, fd int) (done bool, err error) {
	var op *op
	select {
	case op = <-q.free:
	default:
		return false, nil
	}
	defer func() { q.free <- op }()
	op.iocb.opcode, op.iocb.fd = opcode, uint32(fd)
	// The kernel has copied what list leads to when the call returns. It queues, and
	// waits for nothing but memory, so that the runtime need not hear of it.
	list := [1]*iocb{&op.iocb}
	if n, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, q.context, 1, uintptr(unsafe.Pointer(&list))); errno != 0 || n != 1 {
		return false, nil
	}
	const restart = 512 // ERESTARTSYS, which is for the kernel alone
	switch errno := syscall.Errno(-<-op.result); errno {
	case 0:
		return true, nil
	case unix.EINTR, restart:
		return false, nil
	default:
		return true, errno
	}
}

// fetch hands out the completions, as many at once as buf has room for, until the
// eventfd is closed. The eventfd is never read: each completion is an edge for the
// poller, whatever its count is.
func (q *Queue) fetch(events syscall.RawConn, buf []completion) {
	defer close(q.fetched)
	err := events.Read(func(uintptr) (end bool) {
		for q.fetchSome(buf) == len(buf) {
		}
		return false
	})
	if !q.closing.Load() {
		panic(fmt.Sprintf("aio: wait for the eventfd: %v", err)) // or all would wait for ever
	}
}

// fetchSome hands out the completions that are there, as many as buf has room for,
// and returns how many they were. It does not wait.
func (q *Queue) fetchSome(buf []completion) int {
	var now unix.Timespec
	n, _, errno := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, q.context, 0, uintptr(len(buf)),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&now)), 0)
	switch errno {
	case 0:
	case unix.EINTR: // nothing was there, and a signal is; what is done later is another edge
		return 0
	default:
		panic("aio: io_getevents: " + errno.Error()) // only wrong arguments have it fail
	}
	for _, c := range buf[:n] {
		q.ops[c.data].result <- c.result
	}
	return int(n)
}
