// Package aio has the kernel sync files on threads of its own (io_submit(2), the
// commands FSYNC and FDSYNC, since Linux 4.18).
//
// A goroutine that calls fsync(2) keeps a thread for as long as the disk takes, which
// is most of the life of a small message. The runtime finds out after 20 us that the
// thread does not come back, takes its processor away and wakes another thread for
// it, and all of them meet again once the journal has committed. Here the
// goroutine waits as it would for a socket, and the completions of one commit
// are fetched by one call.
//
// Why not io_uring: it does the same for a sync, and many containers and some
// distributions forbid it.
package aio

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Queue is where the kernel takes syncs from. It is safe for use by many
// goroutines.
type Queue struct {
	context uintptr
	event   *os.File   // an eventfd: readable when something is done
	ops     []*op      // by the number that the kernel is told
	free    chan *op   // those that nobody uses
	closed  chan struct{}
	fetched chan error // why there are no more completions
}

// An op is one sync that is under way, or the room for one.
type op struct {
	iocb   iocb
	result chan int64 // 0, or the negative errno
}

// An iocb is struct iocb of linux/aio_abi.h.
type iocb struct {
	data     uint64    // returned with the completion: the op's number
	_        [2]uint32 // in an order that is the machine's
	opcode   uint16
	priority int16
	fd       uint32
	buf      uint64
	size     uint64
	offset   int64
	reserved uint64
	flags    uint32
	eventFD  uint32
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

// Open returns a Queue for size syncs at once; the others wait for them. The error
// is the system's that has no such thing, or all of it in use (aio-max-nr in
// proc(5)).
func Open(size int) (*Queue, error) {
	q := &Queue{ops: make([]*op, size), free: make(chan *op, size),
		closed: make(chan struct{}), fetched: make(chan error, 1)}
	if _, _, errno := unix.RawSyscall(unix.SYS_IO_SETUP, uintptr(size), uintptr(unsafe.Pointer(&q.context)), 0); errno != 0 {
		return nil, fmt.Errorf("io_setup: %w", errno)
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = q.destroy()
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	q.event = os.NewFile(uintptr(fd), "eventfd")
	for i := range q.ops {
		q.ops[i] = &op{
			iocb:   iocb{data: uint64(i), flags: flagEventFD, eventFD: uint32(fd)},
			result: make(chan int64, 1),
		}
		q.free <- q.ops[i]
	}
	events, err := q.event.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), q.event.Close(), q.destroy())
	}
	go q.fetch(events)
	return q, nil
}

// Close waits for the syncs under way, and gives back what q holds. It may be called
// once. Later syncs are made by fsync(2) and fdatasync(2).
func (q *Queue) Close() error {
	close(q.closed)
	for range q.ops {
		<-q.free
	}
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

// Fsync is fsync(2) of the descriptor, with its errors.
func (q *Queue) Fsync(fd int) error {
	if result, ok := q.do(opFsync, fd); ok {
		return result
	}
	return retry(fd, unix.Fsync)
}

// Fdatasync is fdatasync(2) of the descriptor, with its errors.
func (q *Queue) Fdatasync(fd int) error {
	if result, ok := q.do(opFdatasync, fd); ok {
		return result
	}
	return retry(fd, unix.Fdatasync)
}

// retry calls sync until it is not interrupted by a signal.
func retry(fd int, sync func(int) error) error {
	for {
		if err := sync(fd); err != unix.EINTR {
			return err
		}
	}
}

// do has the kernel do what opcode says, and waits for it. It reports false if the
// request was not taken, and is to be made by a call that waits.
func (q *Queue) do(opcode uint16, fd int) (result error, taken bool) {
	var op *op
	select {
	case op = <-q.free:
	case <-q.closed:
		return nil, false
	}
	defer func() { q.free <- op }()
	op.iocb.opcode, op.iocb.fd = opcode, uint32(fd)
	// The kernel has copied what list leads to when the call returns. It only
	// queues, so that the runtime need not hear of it.
	list := [1]*iocb{&op.iocb}
	if n, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, q.context, 1, uintptr(unsafe.Pointer(&list))); errno != 0 || n != 1 {
		return nil, false
	}
	if code := <-op.result; code < 0 {
		return syscall.Errno(-code), true
	}
	return nil, true
}

// fetch hands out the completions until the eventfd is closed. The eventfd is
// never read: each completion wakes whoever waits for it, whatever its count is.
func (q *Queue) fetch(events syscall.RawConn) {
	completions := make([]completion, 64)
	q.fetched <- events.Read(func(uintptr) (end bool) {
		for q.fetchSome(completions) == len(completions) {
		}
		return false
	})
}

// fetchSome hands out the completions that are there, as many as buf has room for,
// and returns how many they were. It does not wait.
func (q *Queue) fetchSome(buf []completion) int {
	var now unix.Timespec
	n, _, errno := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, q.context, 0, uintptr(len(buf)),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&now)), 0)
	if errno != 0 {
		panic("aio: io_getevents: " + errno.Error()) // only wrong arguments have it fail
	}
	for _, c := range buf[:n] {
		q.ops[c.data].result <- c.result
	}
	return int(n)
}
