package smtp

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dry reports whether nothing has come from the peer that was not used yet. If
// so, and once all is sent that was gathered, what comes next can be an answer to
// that: before, it is something that the peer sent without having heard it
// (RFC 2920). Octets that are still on their way are not known about, nor, under
// TLS, those that arrived in one piece with the ones used.
func (c *Conn) Dry() bool {
	if c.Buffered() > 0 {
		return false
	}
	nc := c.nc
	if tls, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = tls.NetConn()
	}
	socket, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	waiting := 0
	_ = raw.Control(func(fd uintptr) {
		var octet [1]byte
		waiting, _, _ = unix.Recvfrom(int(fd), octet[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return waiting <= 0
}
