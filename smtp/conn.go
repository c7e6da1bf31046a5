// Package smtp is the wire that SMTP and LMTP share: lines, commands, replies
// and message data, parsed and written, on a connection that flushes when it is
// about to wait. It knows the grammar of RFC 5321 and its extensions, and
// nothing of who may send what to whom.
//
// Only CRLF ends a line, and only CRLF "." CRLF ends the data (RFC 5321, sections
// 2.3.8 and 4.1.1.4): any other reading lets one message be taken for two.
package smtp

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// bufferSize is what is read at once where a peer has much to say.
	bufferSize = 32 << 10
	// idleSize is how much a connection reads at once while nothing is buffered and it
	// waits for a command. The batch of a pipelining client usually fits.
	idleSize = 256
	// maxCommand is the longest command line, CRLF included. RFC 5321, section
	// 4.5.3.1.4, asks for 512 octets, and the extensions for some hundreds more.
	maxCommand = 4096
	// maxDiscard is how much of a line that is too long is read to stay in step.
	maxDiscard = 256 << 10
	// flushSize is how many octets of replies are gathered at most.
	flushSize = 16 << 10
	// sendSize is how many octets of a message are sent within WriteTimeout: the
	// data block of RFC 5321, section 4.5.3.2.5.
	sendSize = 64 << 10
)

// Why a line was not read. After all of these but ErrEndless the connection is in
// step.
var (
	ErrLineTooLong = errors.New("smtp: line too long")
	ErrBareNewline = errors.New("smtp: LF without CR")
	ErrEndless     = errors.New("smtp: no end of line in sight")
	ErrInterrupted = errors.New("smtp: interrupted while waiting for a command")
)

// A Conn is one end of an SMTP or LMTP connection. It is used by one goroutine at a time,
// but for Interrupt, Dismiss, Silence, CloseRead and Close. The zero timeouts wait for ever.
type Conn struct {
	// ReadTimeout bounds the wait for the next octets, WriteTimeout the
	// sending of what was gathered, and of each 64 KiB of a message (RFC 5321,
	// section 4.5.3.2).
	ReadTimeout, WriteTimeout time.Duration
	// Host is what a server is called in a reply that ends the session; see
	// mail.Reply.By.
	Host string
	// RestAfter is how long ReadCommand waits before it returns ErrAtRest, so that its
	// caller can wait with less memory. It waits on if RestAfter is 0, or if there is
	// no socket.
	RestAfter time.Duration

	nc     net.Conn
	socket syscall.RawConn   // the one below nc; nil: there is none
	end    time.Time         // when all reading ends, however busy the peer is; zero: never
	buf    *[bufferSize]byte // nil while nothing is buffered and a command is awaited
	r, w   int               // buf[r:w] was received and not yet used
	full   bool              // the last read left no room: there is more to read
	out    []byte            // written and not yet sent

	sendErr error // why nothing can be sent any more

	mu          sync.Mutex // guards nc and what follows, which other goroutines use
	waiting     bool       // for the peer
	command     bool       // what is waited for is a command
	since       time.Time  // when waiting for this line, or for these octets, began
	interrupted bool
	dismissed   bool
	brief       bool // the deadline is that of RestAfter
	resting     bool // ErrAtRest was returned, and the wait goes on
}

var (
	buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}
	idles   = sync.Pool{New: func() any { return new([idleSize]byte) }}
)

// NewConn returns a Conn on nc, which it takes over.
func NewConn(nc net.Conn) *Conn { return &Conn{nc: nc, socket: socketOf(nc)} }

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.nc }

// Close closes the connection without sending what was gathered. It may be
// called by any goroutine; only the Conn's own may call Release after it.
func (c *Conn) Close() error {
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	return nc.Close()
}

// CloseRead ends all reading, but lets replies be sent. Where the network cannot do
// that, it closes the connection. It may be called by any goroutine.
func (c *Conn) CloseRead() {
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	if tls, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = tls.NetConn()
	}
	if half, ok := nc.(interface{ CloseRead() error }); ok {
		_ = half.CloseRead()
		return
	}
	_ = nc.Close()
}

// Release gives the buffers back. The Conn must not be used after it.
func (c *Conn) Release() {
	c.releaseBuffer()
	c.out = nil
}

// Shrink gives back what a connection does not need while it is idle.
// Nothing may be buffered, and nothing gathered.
func (c *Conn) Shrink() {
	c.releaseBuffer()
	if cap(c.out) > idleSize {
		c.out = nil
	}
}

// Interrupt makes ReadCommand return ErrInterrupted once: now if it is waiting, and
// else the next time that it would wait. It may be called by any goroutine.
func (c *Conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupted = true
	if c.waiting && c.command {
		_ = c.nc.SetReadDeadline(past)
	}
}

// Silence returns how long we have been waiting for the peer to end a line, or to send
// more of a message; 0 if we are not waiting. It may be called by any goroutine.
func (c *Conn) Silence() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.waiting {
		return 0
	}
	return time.Since(c.since)
}

// Dismiss ends all waiting for the peer, now and from now on, as if its time were
// up. It may be called by any goroutine.
func (c *Conn) Dismiss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dismissed = true
	_ = c.nc.SetReadDeadline(past)
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// Buffered returns how many received octets have not been used yet.
func (c *Conn) Buffered() int { return c.w - c.r }
