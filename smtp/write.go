package smtp

import (
	"net"
	"time"

	"postern/mail"
)

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

// WriteReply gathers r, to be sent when the peer is waited for.
func (c *Conn) WriteReply(r mail.Reply) error {
	c.out = AppendReply(c.out, r.By(c.Host))
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
