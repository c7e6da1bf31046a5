package dialogue

import (
	"net"
	"syscall"
)

// A Socket is a connection with a socket below it for which nobody ever has to
// wait before reading. So a session rests on it as it would on a real one, and in
// a bubble, too.
type Socket struct{ net.Conn }

// SyscallConn implements syscall.Conn.
func (Socket) SyscallConn() (syscall.RawConn, error) { return noWait{}, nil }

// noWait is a socket without a descriptor.
type noWait struct{}

func (noWait) Control(func(fd uintptr)) error    { return nil }
func (noWait) Read(func(fd uintptr) bool) error  { return nil }
func (noWait) Write(func(fd uintptr) bool) error { return nil }
