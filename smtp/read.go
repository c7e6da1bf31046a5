package smtp

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"
)

// ReadCommand waits for a command line and returns it. After ErrLineTooLong and
// ErrBareNewline the next command can be read.
func (c *Conn) ReadCommand() (Command, error) {
	line, err := c.readLine(maxCommand, true)
	if err != nil {
		return Command{}, err
	}
	return ParseCommand(line), nil
}

// readLine returns the next line without its CRLF. The line is valid until the next
// read. If it is longer than limit, it is read to its end and dropped. All of it must
// arrive within ReadTimeout: an octet now and then does not win the peer more time.
func (c *Conn) readLine(limit int, command bool) ([]byte, error) {
	seen := 0 // of buf[r:w], octets known to hold no CRLF
	for waited := command && c.resting; ; waited = true {
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
	if err := c.beginWait(false, false); err != nil {
		return err
	}
	return c.endWait(c.read())
}

// fillLine is fill for a line. Waited says that it has waited for the same line before:
// then the deadline stays as it is. The wait for a command can be interrupted. Replies
// are held back only if half a command is there because the buffer had no room for the
// rest, which then comes at once. In any other case a peer that sent half a command may
// be waiting for a reply before it sends the rest.
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
		return ErrLineTooLong // callers give up on a line long before that
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	c.full = c.w == bufferSize
	if n > 0 {
		return nil // an error comes again with the next read
	}
	return noProgress(err)
}

// readIdle reads while nothing is buffered, and needs as little memory as possible:
// most connections spend most of their lives waiting for a command.
func (c *Conn) readIdle() error {
	c.Shrink()
	idle := idles.Get().(*[idleSize]byte)
	defer idles.Put(idle)
	n, err := c.nc.Read(idle[:])
	if n == 0 {
		return noProgress(err)
	}
	c.makeRoom()
	c.w = copy(c.buf[:], idle[:n])
	c.full = n == idleSize
	return nil
}

// beginWait sets the deadline of a wait for the peer, unless an earlier wait for the same
// line has set it. Until endWait, a deadline in the past ends the wait: Dismiss sets it
// for any wait, Interrupt for a wait for a command.
func (c *Conn) beginWait(command, waited bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if command && c.interrupted {
		c.interrupted, c.waiting, c.resting = false, false, false
		return ErrInterrupted
	}
	c.waiting, c.command = true, command
	if waited && !c.dismissed {
		return c.stay()
	}
	c.since = time.Now()
	deadline := c.deadline(c.since)
	moment := c.since.Add(c.RestAfter)
	c.brief = command && c.RestAfter > 0 && c.socket != nil && c.Buffered() == 0 &&
		(deadline.IsZero() || moment.Before(deadline))
	if c.brief {
		deadline = moment
	}
	return c.nc.SetReadDeadline(deadline)
}

// endWait returns what the wait ended with: err as it is, ErrInterrupted, or ErrAtRest if
// only the first moments are over. If octets come together with an interruption, the next
// wait reports the interruption.
func (c *Conn) endWait(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.resting = false, false
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case c.command && c.interrupted:
		c.interrupted = false
		return ErrInterrupted
	case c.brief:
		return c.lieDown()
	}
	return err
}

// Limit sets the time at which reading ends, even if the peer sends an octet
// now and then. The zero Time takes the limit away.
func (c *Conn) Limit(end time.Time) { c.end = end }

// deadline returns when a wait that begins now has to end; the zero Time is never.
func (c *Conn) deadline(now time.Time) time.Time {
	if c.dismissed {
		return past
	}
	deadline := c.end
	if until := now.Add(c.ReadTimeout); c.ReadTimeout > 0 && (deadline.IsZero() || until.Before(deadline)) {
		deadline = until
	}
	return deadline
}

// makeRoom provides a buffer with room at its end, unless all of it is still unread.
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
