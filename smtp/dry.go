package smtp

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Quiet waits for d and reports whether the peer said nothing in that time. What
// it said can be read after it. Interrupt ends the wait, and the next one, too.
func (c *Conn) Quiet(d time.Duration) (bool, error) {
	if c.Buffered() > 0 {
		return false, nil
	}
	timeout := c.ReadTimeout
	c.ReadTimeout = d
	err := c.fillLine(true, false)
	c.ReadTimeout = timeout
	switch {
	case errors.Is(err, ErrInterrupted):
		c.Interrupt()
		return true, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	}
	return false, err
}

// Dry reports whether nothing has come from the peer that was not used yet. If
// so, and once all is sent that was gathered, what comes next can be an answer to
// that: before, it is something that the peer sent without having heard it
// (RFC 2920). Octets that are still on their way are not known about, nor, under
// TLS, those that arrived in one piece with the ones used.
func (c *Conn) Dry() bool {
	if c.Buffered() > 0 {
		return false
	}
	waiting := 0
	c.control(func(fd int) { waiting, _ = unix.IoctlGetInt(fd, unix.SIOCINQ) })
	return waiting <= 0
}

// Stale reports whether a connection at rest is good for nothing any more: its peer
// closed it, or said something unasked.
func (c *Conn) Stale() bool {
	stale := c.Buffered() > 0
	c.control(func(fd int) {
		var b [1]byte
		_, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		stale = stale || err != unix.EAGAIN && err != unix.EINTR
	})
	return stale
}

// control calls f with the descriptor of the socket, if there is one.
func (c *Conn) control(f func(fd int)) {
	nc := c.nc
	if tls, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = tls.NetConn()
	}
	socket, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
