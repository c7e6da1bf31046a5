package serve

import (
	"context"
	"errors"
	"os"
	"time"

	"postern/mail"
	"postern/smtp"
)

// A Speaker is what Converse needs of a session.
type Speaker interface {
	// GoesOn reports whether the session is to wait for another command.
	GoesOn() bool
	// Answer answers one command. An error ends the session without another word.
	Answer(ctx context.Context, cmd smtp.Command) (mail.Reply, error)
	// Count notes a mistake that reply answers. It returns reply, or
	// mail.TooManyErrors if there were too many.
	Count(reply mail.Reply) mail.Reply
	// Say writes reply, and does what it announces, such as to begin TLS. It reports
	// true if the session ends with this reply.
	Say(ctx context.Context, reply mail.Reply) (end bool, err error)
}

// Converse reads commands from c, has s answer them, and writes the replies, until
// either side ends the session or the client is silent for a while (smtp.ErrAtRest).
func Converse(ctx context.Context, c *smtp.Conn, h *Hearing, s Speaker) error {
	for {
		var reply mail.Reply
		cmd, err := h.Command(ctx, c, s.GoesOn)
		switch {
		case err == nil && cmd.HasControls():
			reply = mail.BadArgument
		case err == nil:
			reply, err = s.Answer(ctx, cmd)
		case !errors.Is(err, smtp.ErrAtRest):
			reply, err = ReplyToLine(err)
		}
		if err != nil {
			return err
		}
		if end, err := s.Say(ctx, s.Count(reply)); end || err != nil {
			return err
		}
	}
}

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

// MaxMistakes is how many mistakes a session may make. A client that speaks the
// protocol makes far fewer.
const MaxMistakes = 20

// IsMistake reports whether r answers a command that is out of order or not
// understood. A client that makes many mistakes does not speak the protocol. A refused
// recipient is no mistake: good servers carry old lists.
func IsMistake(r mail.Reply) bool {
	switch r.Code {
	case 500, 501, 502, 503, 555:
		return true
	}
	return false
}

// NeedArgument returns reply if the command has its argument, and else mail.BadArgument.
func NeedArgument(arg string, reply mail.Reply) mail.Reply {
	if arg == "" {
		return mail.BadArgument
	}
	return reply
}

// NoArgument returns reply if the command has no argument, and else mail.BadArgument: a
// client that gives one means something else (RFC 5321, section 4.1.1).
func NoArgument(arg string, reply mail.Reply) mail.Reply {
	if arg != "" {
		return mail.BadArgument
	}
	return reply
}

// Refuse sends r as the last reply on c. It does not wait long, since the client may
// not be listening.
func Refuse(c *smtp.Conn, r mail.Reply) {
	c.WriteTimeout = time.Second
	if c.WriteReply(r) == nil {
		_ = c.Flush()
	}
}
