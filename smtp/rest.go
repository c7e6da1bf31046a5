package smtp

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrAtRest says that the peer has said nothing for RestAfter where a command is
// awaited. The wait is not over: Await goes on with it, and ReadCommand after that.
var ErrAtRest = errors.New("smtp: the peer says nothing")

// Await waits, after ErrAtRest, until ReadCommand has something to report: the peer said
// something or hung up, its time is up, or the wait was interrupted. It reads nothing,
// and needs so little stack that a goroutine which does no more than this keeps the
// smallest one.
func (c *Conn) Await() {
	_ = c.socket.Read(readable) // what it was is found by the read that follows
}

// readable reports whether a read would not wait. The runtime's poller tells of
// changes only, so one has to look before one waits.
func readable(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	n, err := unix.Poll(fds[:], 0)
	return n > 0 || err != nil && err != unix.EINTR
}

// Resting reports whether the next ReadCommand continues a wait after ErrAtRest.
func (c *Conn) Resting() bool { return c.resting }

// lieDown turns a wait for a command, whose first moments brought nothing, into one that
// Await continues. Silence counts on from where it began, and the deadline is the full
// one.
func (c *Conn) lieDown() error {
	c.waiting, c.brief, c.resting = true, false, true
	c.out = nil
	if err := c.nc.SetReadDeadline(c.deadline(c.since)); err != nil {
		return err
	}
	return ErrAtRest
}

// stay gives a wait its full deadline, once its first moments have brought something.
func (c *Conn) stay() error {
	if !c.brief {
		return nil
	}
	c.brief = false
	return c.nc.SetReadDeadline(c.deadline(c.since))
}

// socketOf returns the socket below nc; nil if there is none.
func socketOf(nc net.Conn) syscall.RawConn {
	if tls, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = tls.NetConn()
	}
	socket, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
