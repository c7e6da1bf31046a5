package serve

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"postern/internal/spool"
	"postern/mail"
	"postern/smtp"
)

// An Incoming is a message on its way in: as data, or in chunks (RFC 3030, section 2).
type Incoming struct {
	lines   smtp.LineEnder // what chunks are written through
	chunks  int64          // octets of those that came
	silence time.Duration
	until   time.Time
}

// NewIncoming returns a message that is written to w. The client may be silent amid it
// for at most silence, and must be done within total.
func NewIncoming(w io.Writer, silence, total time.Duration) Incoming {
	return Incoming{lines: smtp.LineEnder{W: w}, silence: silence, until: time.Now().Add(total)}
}

// Data reads the message from c up to the dot, and takes at most limit octets. The reply
// is 250 if it is there in whole; any other is for the client, and after one that closes
// the session nothing more can be read.
func (in *Incoming) Data(c *smtp.Conn, limit int64) mail.Reply {
	return in.receive(c, func() error {
		data, err := c.ReadData(in.lines.W, limit)
		in.lines.Bare = data.BareNewlines
		return err
	})
}

// Chunk reads a chunk of the message from c; limit is for all of them together. It
// replies as Data does.
func (in *Incoming) Chunk(c *smtp.Conn, size, limit int64) mail.Reply {
	left := limit - in.chunks
	in.chunks += size
	return in.receive(c, func() error { return c.ReadChunk(&in.lines, size, left) })
}

// Drop reads a chunk that is refused, for its octets are no commands, and returns the
// refusal, or what ends the session meanwhile.
func (in *Incoming) Drop(c *smtp.Conn, size int64, refusal error) mail.Reply {
	if reply := in.Chunk(c, size, size); reply.Closes() {
		return reply
	}
	return mail.ReplyTo(refusal)
}

// BareNewlines reports whether there were LF without CR. They became CRLF.
func (in *Incoming) BareNewlines() bool { return in.lines.Bare }

// receive lets read take octets of the message from c.
func (in *Incoming) receive(c *smtp.Conn, read func() error) mail.Reply {
	before := c.ReadTimeout
	c.ReadTimeout = in.silence
	c.Limit(in.until)
	err := read()
	c.ReadTimeout = before
	c.Limit(time.Time{})
	switch {
	case err == nil:
		return mail.Accepted
	case errors.Is(err, os.ErrDeadlineExceeded):
		return mail.IdleTooLong
	case errors.Is(err, smtp.ErrEndless):
		return mail.FarTooBig // for good: what a 4xx brings back is no smaller
	case smtp.ConnLost(err):
		return mail.ClientLost // which is no trouble of ours, and common
	case errors.Is(err, smtp.ErrTooBig):
		return mail.TooBig
	case errors.Is(err, spool.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return mail.NoSpace.Because(err)
	}
	return mail.ReplyTo(err)
}

// ErrOutOfStep says that nobody knows where the next command begins: the size of a
// chunk is not known, or too large to read past.
var ErrOutOfStep = errors.New("serve: a chunk that is not read")

// OutOfStep returns the last reply of a session, to a chunk that is not read: one whose
// size is no number, as syntax says, or is far above what is taken.
func OutOfStep(syntax error) mail.Reply {
	reply := mail.ReplyTo(syntax)
	if !reply.Closes() {
		reply = mail.FarTooBig
	}
	return reply.Because(ErrOutOfStep)
}
