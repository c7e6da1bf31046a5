package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
	"postern/mail"
	"postern/smtp"
)

// A counting session answers each command, and counts.
type counting struct {
	talk
	turns, left int
	panicAt     int // the turn
}

func (c *counting) Serve(ctx context.Context) error {
	if c.turns++; c.turns == c.panicAt {
		panic("a defect")
	}
	for {
		cmd, err := c.conn.ReadCommand()
		if errors.Is(err, smtp.ErrAtRest) {
			return err
		}
		reply := mail.Accepted
		if err != nil {
			if reply, err = ReplyToLine(err); err != nil {
				return err
			}
		}
		if err := c.conn.WriteReply(reply); err != nil {
			return err
		}
		if reply.Closes() || cmd.Verb == "QUIT" {
			return c.conn.Flush()
		}
	}
}

func (c *counting) Leave() { c.left++ }

// A session at rest is called again for what comes next, here at once, and is left
// once, however it ends.
func TestAtRest(t *testing.T) {
	tests := []struct {
		name    string
		panicAt int
		stop    bool // the server ends while the session rests
		heard   string
		turns   int
	}{
		{"until it quits", 0, false, "250 2.0.0 250 2.0.0 ", 3},
		{"until the server ends", 0, true, "250 2.0.0 421 4.3.2 ", 3},
		{"until it panics", 3, false, "250 2.0.0 421 4.3.0 ", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			session := &counting{panicAt: tt.panicAt}
			visited := func(t *testing.T, h *hall) {
				client, server := net.Pipe()
				h.door.conns <- dialogue.Socket{Conn: server}
				time.Sleep(time.Second)
				synctest.Wait()
				if session.turns != 2 || session.left != 0 || h.Connections() != 1 {
					t.Errorf("at rest: %d turns, left %d times, %d connections", session.turns, session.left, h.Connections())
				}
				heard := make(chan string, 1)
				go func() { heard <- hears(client) }()
				_, _ = io.WriteString(client, "NOOP\r\n")
				time.Sleep(time.Second)
				if tt.stop {
					h.close()
				} else {
					_, _ = io.WriteString(client, "QUIT\r\n")
				}
				got := ""
				for line := range strings.Lines(<-heard) {
					got += line[:10]
				}
				synctest.Wait()
				if got != tt.heard || session.turns != tt.turns || session.left != 1 {
					t.Errorf("heard %q after %d turns, left %d times; want %q, %d", got, session.turns, session.left, tt.heard, tt.turns)
				}
			}
			inHallWith(t, func(h *hall, c *smtp.Conn) Session {
				session.talk = talk{conn: c, refused: &h.refused}
				return session
			}, visited)
		})
	}
}
