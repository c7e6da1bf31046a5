package serve

import (
	"context"
	"errors"

	"postern/smtp"
)

// Hearing waits for the commands of a session, and finds out what its client has
// heard: one that sends nothing ahead shows by its next command that it read our reply.
type Hearing struct {
	// Tell is told of a transaction whose client read the reply to its message; nil:
	// nobody wants to know.
	Tell func(id string)

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
		if err == nil && h.shows {
			h.Heard()
		}
		if !errors.Is(err, smtp.ErrInterrupted) || ctx.Err() != nil {
			return cmd, err
		}
	}
	return smtp.Command{}, smtp.ErrInterrupted
}
