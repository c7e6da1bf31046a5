package smtp

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Quiet waits for d and reports whether the peer said nothing in that time. What
// it said can be read after it. Interrupt ends the wait, and the next one, too.
func (c *Conn) Quiet(d time.Duration) (bool, error) {
	if c.Buffered() > 0 {
		return false, nil
	}
	timeout, rest := c.ReadTimeout, c.RestAfter
	c.ReadTimeout, c.RestAfter = d, 0
	err := c.fillLine(true, false)
	c.ReadTimeout, c.RestAfter = timeout, rest
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
	return c.control(func(fd int) int {
		waiting, _ := unix.IoctlGetInt(fd, unix.SIOCINQ)
		return waiting
	}) <= 0
}

// Stale reports whether an idle connection is good for nothing any more: its peer
// closed it, or said something unasked.
func (c *Conn) Stale() bool {
	return c.Buffered() > 0 || c.control(func(fd int) int {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
		n, _ := unix.Poll(fds, 0)
		return n
	}) > 0
}

// control returns what f says of the descriptor of the socket; 0 if there is none.
func (c *Conn) control(f func(fd int) int) (result int) {
	if c.socket != nil {
		_ = c.socket.Control(func(fd uintptr) { result = f(int(fd)) })
	}
	return result
}
