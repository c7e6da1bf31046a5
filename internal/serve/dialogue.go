package serve

import (
	"errors"
	"os"
	"time"

	"postern/mail"
	"postern/smtp"
)

// ReplyToLine returns the reply to a command that could not be read. The error
// is nil unless nothing can be said any more.
func ReplyToLine(err error) (mail.Reply, error) {
	switch {
	case errors.Is(err, smtp.ErrInterrupted):
		return mail.ShuttingDown, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return mail.IdleTooLong, nil
	case errors.Is(err, smtp.ErrLineTooLong):
		return mail.LineTooLong, nil
	case errors.Is(err, smtp.ErrBareNewline):
		return mail.BadLine, nil
	case errors.Is(err, smtp.ErrEndless):
		return mail.TooManyErrors, nil
	}
	return mail.Reply{}, err
}

// IsMistake reports whether r answers a command that is out of order or not
// understood. Who makes many of them does not speak the protocol. A refused
// recipient is none: good servers carry old lists.
func IsMistake(r mail.Reply) bool {
	switch r.Code {
	case 500, 501, 502, 503, 555:
		return true
	}
	return false
}

// Refuse says r on a connection that ends with it, and whose client may not be
// listening.
func Refuse(c *smtp.Conn, r mail.Reply) {
	c.WriteTimeout = time.Second
	if c.WriteReply(r) == nil {
		_ = c.Flush()
	}
}
