package serve

import (
	"errors"
	"os"
	"syscall"
	"time"

	"postern/internal/spool"
	"postern/mail"
	"postern/smtp"
)

// Receive lets read take octets of a message from c, which may be silent for so long,
// until that time. The reply is 250 if they are there in whole; any other is for the
// client, and after one that closes the session nothing more can be read.
func Receive(c *smtp.Conn, silence time.Duration, until time.Time, read func() error) mail.Reply {
	before := c.ReadTimeout
	c.ReadTimeout = silence
	c.Limit(until)
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
// chunk is not known, or nobody waits for so much to go by.
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
