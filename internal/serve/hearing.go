package serve

import (
	"context"
	"errors"

	"postern/smtp"
)

// A Hearing reads the commands of a session, and finds out which replies its client has
// read. A client that sends nothing ahead shows by its next command that it has read the
// reply before.
type Hearing struct {
	// Tell is called with the ID of a transaction once its client is known to have read
	// the reply to the message. Nil: nobody wants to know.
	Tell func(id string)

	unheard string // the transaction whose reply the client may not have read; "": none
	shows   bool   // the next command proves that it has
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

// Command returns the next command from c. Before it waits, it sends what was written.
// If the wait is interrupted, it waits again while goOn reports true and ctx has not
// ended.
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
