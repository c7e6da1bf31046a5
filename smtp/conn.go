// Package smtp is the wire that SMTP and LMTP share: lines, commands, replies
// and message data, parsed and written, on a connection that flushes when it is
// about to wait. It knows the grammar of RFC 5321 and its extensions, and
// nothing of who may send what to whom.
//
// Only CRLF ends a line, and only CRLF "." CRLF ends the data (RFC 5321, section
// 2.3.8 and 4.1.1.4): every other reading lets one message be taken for two.
package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"postern/mail"
)

const (
	// bufferSize is what is read at once where a peer has much to say.
	bufferSize = 32 << 10
	// idleSize is what a connection keeps while it waits for a command. The
	// batch of a pipelining client mostly fits.
	idleSize = 256
	// maxCommand is the longest command line, CRLF included. RFC 5321, section
	// 4.5.3.1.4, asks for 512 octets, and the extensions for some hundreds more.
	maxCommand = 4096
	// maxDiscard is how much of an endless line is read only to stay in step.
	maxDiscard = 256 << 10
	// flushSize is how many octets of replies are gathered at most.
	flushSize = 16 << 10
	// sendSize is how many octets of a message are sent within WriteTimeout: the
	// data block of RFC 5321, section 4.5.3.2.5.
	sendSize = 64 << 10
)

// What can be wrong with a line. The connection is in step after each of them,
// but not after ErrEndless.
var (
	ErrLineTooLong = errors.New("smtp: line too long")
	ErrBareNewline = errors.New("smtp: LF without CR")
	ErrEndless     = errors.New("smtp: no end of line in sight")
	ErrInterrupted = errors.New("smtp: interrupted while waiting for a command")
)

// A Conn is one end of an SMTP or LMTP connection. It is used by one goroutine,
// but for Interrupt and Close. The zero timeouts wait for ever.
type Conn struct {
	// ReadTimeout bounds the wait for the next octets, WriteTimeout the
	// sending of what was gathered, and of each 64 KiB of a message (RFC 5321,
	// section 4.5.3.2).
	ReadTimeout, WriteTimeout time.Duration

	nc   net.Conn
	end  time.Time         // when all reading ends, however busy the peer is; zero: never
	buf  *[bufferSize]byte // nil while nothing is buffered and a command is awaited
	r, w int               // buf[r:w] was received and not yet used
	full bool              // the last read left no room: there is more to read
	out  []byte            // written and not yet sent
	idle [idleSize]byte

	sendErr error // what ended the sending

	mu          sync.Mutex // for Interrupt and Close: of nc, and of these
	waiting     bool       // for a command
	interrupted bool
}

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// NewConn returns a Conn on nc, which it takes over.
func NewConn(nc net.Conn) *Conn { return &Conn{nc: nc} }

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

// Release gives the buffers back. The Conn must not be used after it.
func (c *Conn) Release() {
	c.releaseBuffer()
	c.out = nil
}

// Rest gives back what a connection does not need while nothing is said on it.
// Nothing may be buffered, and nothing gathered.
func (c *Conn) Rest() {
	c.releaseBuffer()
	if cap(c.out) > idleSize {
		c.out = nil
	}
}

// Interrupt makes ReadCommand return ErrInterrupted once, at once if it waits
// now, else the next time that it would wait. It may be called by any goroutine.
func (c *Conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupted = true
	if c.waiting {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// Buffered returns how many received octets have not been used yet.
func (c *Conn) Buffered() int { return c.w - c.r }

// Flush sends what was gathered.
func (c *Conn) Flush() error {
	if len(c.out) == 0 {
		return c.sendErr
	}
	return c.send(nil)
}

// send sends what was gathered, and p behind it. After an error nothing is sent
// any more: whatever came behind a gap would be taken for something else, and a
// dot for the end of a whole message.
func (c *Conn) send(p []byte) error {
	for c.sendErr == nil {
		n := min(len(p), sendSize)
		c.sendErr = c.write(p[:n])
		c.out = c.out[:0]
		if p = p[n:]; len(p) == 0 {
			break
		}
	}
	c.out = c.out[:0]
	return c.sendErr
}

// write writes what was gathered, and p behind it.
func (c *Conn) write(p []byte) error {
	var deadline time.Time
	if c.WriteTimeout > 0 {
		deadline = time.Now().Add(c.WriteTimeout)
	}
	if err := c.nc.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if len(p) == 0 {
		_, err := c.nc.Write(c.out)
		return err
	}
	if len(c.out) == 0 {
		_, err := c.nc.Write(p)
		return err
	}
	both := net.Buffers{c.out, p}
	_, err := both.WriteTo(c.nc)
	return err
}

// ReadCommand waits for a command line and returns it. After ErrLineTooLong and
// ErrBareNewline the next command can be read.
func (c *Conn) ReadCommand() (Command, error) {
	line, err := c.readLine(maxCommand, true)
	if err != nil {
		return Command{}, err
	}
	return ParseCommand(line), nil
}

// readLine returns the next line without its CRLF. The line is valid until the
// next read. If it is longer than limit it is read to its end and forgotten. It
// has ReadTimeout to arrive in whole: an octet now and then is no line.
func (c *Conn) readLine(limit int, command bool) ([]byte, error) {
	seen := 0 // of buf[r:w], octets known to hold no CRLF
	for waited := false; ; waited = true {
		if c.buf != nil {
			line := c.buf[c.r:c.w]
			if i := indexCRLF(line, seen); i >= 0 {
				c.r += i + 2
				switch line = line[:i]; {
				case i+2 > limit:
					return nil, ErrLineTooLong
				case bytes.IndexByte(line, '\n') >= 0:
					return nil, ErrBareNewline
				}
				return line, nil
			}
			if len(line) > limit {
				return nil, c.discardLine(waited)
			}
			seen = max(0, len(line)-1)
		}
		if err := c.fillLine(command, waited); err != nil {
			return nil, err
		}
	}
}

// discardLine reads to the end of a line that is too long.
func (c *Conn) discardLine(waited bool) error {
	for discarded := 0; discarded < maxDiscard; waited = true {
		rest := c.buf[c.r:c.w]
		if i := indexCRLF(rest, 0); i >= 0 {
			c.r += i + 2
			return ErrLineTooLong
		}
		keep := 0 // a CR at the end may be half of the CRLF
		if n := len(rest); n > 0 && rest[n-1] == '\r' {
			keep = 1
		}
		discarded += len(rest) - keep
		c.r = c.w - keep
		if err := c.fillLine(false, waited); err != nil {
			return err
		}
	}
	return ErrEndless
}

// indexCRLF returns where the first CRLF of b starts, or -1. The first from
// octets are known to hold none.
func indexCRLF(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return -1
		}
		if i += j; i > 0 && b[i-1] == '\r' {
			return i - 1
		}
	}
	return -1
}

// fill reads more octets behind those that are buffered. Whoever is about to
// wait for the peer first sends what the peer may be waiting for: so replies
// are sent just when the input runs dry, a batch of them in one write, and
// pipelining (RFC 2920) needs no further thought.
func (c *Conn) fill() error {
	if err := c.Flush(); err != nil {
		return err
	}
	if err := c.setReadDeadline(); err != nil {
		return err
	}
	return c.read()
}

// fillLine is fill for a line. Once waited, the deadline stays that of the first
// wait for the line. The wait for a command can be interrupted. Replies are held
// back only where half a command is there because there was no room for the rest:
// that comes at once. Else whoever sent half a command may send no more of it
// before it has heard what it waits for.
func (c *Conn) fillLine(command, waited bool) error {
	if !command || c.Buffered() == 0 || !c.full {
		if err := c.Flush(); err != nil {
			return err
		}
	}
	if err := c.beginWait(command, waited); err != nil {
		return err
	}
	read := c.read
	if command && c.Buffered() == 0 {
		read = c.readIdle
	}
	err := c.endWait(read())
	if err != nil {
		_ = c.Flush() // what was held back; there is nothing more to wait for
	}
	return err
}

// read reads more octets behind those that are buffered.
func (c *Conn) read() error {
	c.makeRoom()
	if c.w == bufferSize {
		return ErrLineTooLong // no caller keeps as much in the buffer
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	c.full = c.w == bufferSize
	if n > 0 {
		return nil // an error comes again with the next read
	}
	return noProgress(err)
}

// readIdle reads while nothing is buffered, with as little memory as can be:
// most connections do nothing but wait for a command for most of their lives.
func (c *Conn) readIdle() error {
	c.Rest()
	n, err := c.nc.Read(c.idle[:])
	if n == 0 {
		return noProgress(err)
	}
	c.makeRoom()
	c.w = copy(c.buf[:], c.idle[:n])
	c.full = n == idleSize
	return nil
}

// beginWait sets the deadline of a wait for a line. From here to endWait
// Interrupt ends a wait for a command by a deadline in the past.
func (c *Conn) beginWait(command, waited bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if command && c.interrupted {
		c.interrupted = false
		return ErrInterrupted
	}
	c.waiting = command
	if waited {
		return nil
	}
	return c.setReadDeadline()
}

// endWait returns err, what the wait ended with, or that it was interrupted. An
// interruption that came together with octets is found by the next wait.
func (c *Conn) endWait(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	interrupted := c.waiting && c.interrupted && errors.Is(err, os.ErrDeadlineExceeded)
	c.waiting = false
	if !interrupted {
		return err
	}
	c.interrupted = false
	return ErrInterrupted
}

// Limit sets the time at which reading ends, even if the peer sends an octet
// now and then. The zero Time takes the limit away.
func (c *Conn) Limit(end time.Time) { c.end = end }

func (c *Conn) setReadDeadline() error {
	var deadline time.Time
	if c.ReadTimeout > 0 {
		deadline = time.Now().Add(c.ReadTimeout)
	}
	if !c.end.IsZero() && (deadline.IsZero() || c.end.Before(deadline)) {
		deadline = c.end
	}
	return c.nc.SetReadDeadline(deadline)
}

// makeRoom sees to it that there is a buffer with room at its end.
func (c *Conn) makeRoom() {
	switch {
	case c.buf == nil:
		c.buf = buffers.Get().(*[bufferSize]byte)
		c.r, c.w = 0, 0
	case c.r == c.w:
		c.r, c.w = 0, 0
	case c.w == bufferSize:
		c.w = copy(c.buf[:], c.buf[c.r:c.w])
		c.r = 0
	}
}

func (c *Conn) releaseBuffer() {
	if c.buf != nil {
		buffers.Put(c.buf)
		c.buf, c.r, c.w = nil, 0, 0
	}
}

func noProgress(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// WriteReply gathers r, to be sent when the peer is waited for.
func (c *Conn) WriteReply(r mail.Reply) error {
	c.out = AppendReply(c.out, r)
	return c.flushIfFull()
}

// WriteLine gathers a command or reply line; it adds the CRLF.
func (c *Conn) WriteLine(line string) error {
	c.out = append(append(c.out, line...), '\r', '\n')
	return c.flushIfFull()
}

func (c *Conn) flushIfFull() error {
	if len(c.out) < flushSize {
		return nil
	}
	return c.Flush()
}

// ErrEarlyData says that the peer sent something in the clear behind STARTTLS,
// which must not be taken for something said under TLS.
var ErrEarlyData = errors.New("smtp: data in the clear behind STARTTLS")

// StartTLS sends what was gathered and continues under TLS as the server (RFC
// 3207, section 4). On an error the connection is good for nothing.
func (c *Conn) StartTLS(ctx context.Context, config *tls.Config) error {
	if c.Buffered() > 0 {
		return ErrEarlyData
	}
	if err := c.Flush(); err != nil {
		return err
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return err
	}
	conn := tls.Server(c.nc, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("smtp: TLS handshake: %w", err)
	}
	c.releaseBuffer()
	c.mu.Lock()
	c.nc = conn
	c.mu.Unlock()
	return nil
}

// TLS describes the TLS layer, as "TLSv1.3 TLS_AES_128_GCM_SHA256"; it returns
// "" where there is none.
func (c *Conn) TLS() string {
	conn, ok := c.nc.(*tls.Conn)
	if !ok {
		return ""
	}
	state := conn.ConnectionState()
	version := "TLSv" + strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")
	return version + " " + tls.CipherSuiteName(state.CipherSuite)
}
