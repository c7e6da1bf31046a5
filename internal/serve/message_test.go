package serve

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/spool"
	"postern/mail"
	"postern/smtp"
)

// A spool that fails.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// What comes of a message is a reply, for the sender's trouble and for ours; and the
// time for commands holds again after it.
func TestReceive(t *testing.T) {
	const text, end = "Subject: hi\r\n\r\nhello\r\n", ".\r\n"
	for _, tt := range []struct {
		name, sent string
		gone       bool
		after      time.Duration
		spool      io.Writer
		want       mail.Reply
	}{
		{"whole", text + end, false, 0, io.Discard, mail.Accepted},
		{"in good time", text + end, false, 59 * time.Second, io.Discard, mail.Accepted},
		{"silent", text, false, 0, io.Discard, mail.IdleTooLong},
		{"gone", text, true, 0, io.Discard, mail.ClientLost},
		{"too big", strings.Repeat(text, 10) + end, false, 0, io.Discard, mail.TooBig},
		{"without an end", strings.Repeat(text, 1<<21), false, 0, io.Discard, mail.FarTooBig},
		{"no room", text + end, false, 0, failing{fmt.Errorf("write: %w", syscall.ENOSPC)}, mail.NoSpace},
		{"over the quota of the spool's user", text + end, false, 0, failing{syscall.EDQUOT}, mail.NoSpace},
		{"too many in flight", text + end, false, 0, failing{spool.ErrFull}, mail.NoSpace},
		{"a sick disk", text + end, false, 0, failing{syscall.EIO}, mail.LocalError},
	} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			c := smtp.NewConn(ours)
			defer c.Close()
			go func() {
				time.Sleep(tt.after)
				_, _ = io.WriteString(theirs, tt.sent)
				if tt.gone {
					_ = theirs.Close()
				}
			}()
			c.ReadTimeout = 5 * time.Hour
			begun := time.Now()
			in := NewIncoming(tt.spool, time.Minute, time.Hour)
			got := in.Data(c, 100)
			if !got.Is(tt.want) || c.ReadTimeout != 5*time.Hour {
				t.Errorf("%s: %v, want %v; commands have %v", tt.name, got, tt.want, c.ReadTimeout)
			}
			if took := time.Since(begun); got.Is(mail.IdleTooLong) && took != time.Minute {
				t.Errorf("%s: it took %v", tt.name, took)
			}
			if got.Is(mail.Accepted) {
				go func() { time.Sleep(2 * time.Hour); _, _ = io.WriteString(theirs, "NOOP\r\n") }()
				if _, err := c.ReadCommand(); err != nil {
					t.Errorf("%s: a command after it: %v", tt.name, err)
				}
			}
		})
	}
}

// All of a message has a time, however often an octet comes.
func TestReceiveTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		c := smtp.NewConn(ours)
		go func() {
			for {
				if _, err := io.WriteString(theirs, "x\r\n"); err != nil {
					return
				}
				time.Sleep(59 * time.Second)
			}
		}()
		begun := time.Now()
		in := NewIncoming(io.Discard, time.Minute, time.Hour)
		got := in.Data(c, 1<<20)
		if took := time.Since(begun); !got.Is(mail.IdleTooLong) || took != time.Hour {
			t.Errorf("%v after %v", got, took)
		}
		_, _ = c.Close(), theirs.Close()
		time.Sleep(time.Minute) // until the peer notices
	})
}

func TestOutOfStep(t *testing.T) {
	for syntax, want := range map[error]mail.Reply{nil: mail.FarTooBig, mail.BadChunk: mail.BadChunk, mail.BadArgument: mail.FarTooBig} {
		if got := OutOfStep(syntax); !got.Is(want) || !got.Closes() || !errors.Is(got, ErrOutOfStep) {
			t.Errorf("%v: %v", syntax, got)
		}
	}
}
