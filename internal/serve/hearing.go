package serve

import (
	"context"
	"errors"
	"time"

	"postern/smtp"
)

// Hearing waits for the commands of a session, and finds out what its client has
// heard. One that sends nothing ahead shows by its next command that it read our
// reply, and one that sends the next message, ahead or not, is not trying again. One
// that hangs up in order, with all that we said in its hands, has read it, too: the
// system of one that has not says so, by a reset.
type Hearing struct {
	// Tell is told of a transaction whose client read the reply to its message; nil:
	// nobody wants to know.
	Tell func(id string)
	// Relayed says that somebody stands between us and the client: how it hangs up
	// says nothing of the client.
	Relayed bool

	unheard string // the transaction whose reply the client may not have read; "": none
	shows   bool   // the next command shows that it has
}

// Answered notes that the reply to the message of a transaction is written.
func (h *Hearing) Answered(id string) { h.unheard = id }

// Heard notes that the client read the reply to its last message, if there was one.
func (h *Hearing) Heard() {
	if h.unheard != "" && h.Tell != nil {
		h.Tell(h.unheard)
	}
	h.unheard, h.shows = "", false
}

// Command returns the next command of c. What is written is sent before it waits for
// one. When it is interrupted it goes on while goOn says so, until ctx ends.
func (h *Hearing) Command(ctx context.Context, c *smtp.Conn, goOn func() bool) (smtp.Command, error) {
	if h.unheard != "" && !c.Resting() {
		h.shows = c.Dry()
	}
	for goOn() {
		cmd, err := c.ReadCommand()
		if err == nil && (h.shows || cmd.Verb == "MAIL") || h.unheard != "" && h.isRead(c, err) {
			h.Heard()
		}
		if !errors.Is(err, smtp.ErrInterrupted) || ctx.Err() != nil {
			return cmd, err
		}
	}
	return smtp.Command{}, smtp.ErrInterrupted
}

// isRead reports whether err, of reading from c, says that the client hung up and has
// read all.
func (h *Hearing) isRead(c *smtp.Conn, err error) bool {
	return !h.Relayed && smtp.HungUp(err) && c.Delivered()
}

// parting is how long a client may take to hang up once the last word is said.
const parting = time.Second

// Part finds out, once the last word is said on c, whether a client that sent its QUIT
// ahead has read the reply to its message.
func (h *Hearing) Part(c *smtp.Conn) {
	if h.unheard != "" && !h.Relayed && h.isRead(c, c.Part(parting)) {
		h.Heard()
	}
}
