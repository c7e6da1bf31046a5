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

// Await waits, after ErrAtRest, until ReadCommand has something to tell: because the
// peer said something, or hung up, its time is up, or the wait was interrupted. It
// reads nothing and needs so little of the stack that a goroutine which does nothing
// deeper keeps the smallest that there is.
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

// Resting reports whether ReadCommand goes on with a wait that ErrAtRest broke off.
func (c *Conn) Resting() bool { return c.resting }

// lieDown makes the wait for a command, whose first moments brought nothing, one that
// Await goes on with: as silent as before, with all the time that is left.
func (c *Conn) lieDown() error {
	c.waiting, c.brief, c.resting = true, false, true
	c.out = nil
	if err := c.nc.SetReadDeadline(c.deadline(c.since)); err != nil {
		return err
	}
	return ErrAtRest
}

// stay has a wait that began with its first moments, in which something came, last for
// all the time that it has.
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
