package writer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"postern/mailbox"
)

// A Mailbox is one that a writer writes into. It is a mailbox.Mailbox.
type Mailbox struct {
	Pool     *Pool
	Account  string
	Settings Settings
	// Warned is called as that of mailbox.Quota, once the message is there. Nil:
	// nobody wants to know.
	Warned func(percent int, u mailbox.Usage)
}

var _ mailbox.Mailbox = (*Mailbox)(nil)

// Room returns mailbox.ErrOverQuota if the mailbox has no room for size octets.
func (m *Mailbox) Room(size int64) error {
	c, err := m.ask(frameRoom, request{Settings: m.Settings, Size: size})
	if err == nil {
		c.put()
	}
	return err
}

// Begin implements mailbox.Mailbox.
func (m *Mailbox) Begin(a mailbox.Arrival) (mailbox.Delivery, error) {
	c, err := m.ask(frameBegin, request{Settings: m.Settings, Sender: a.Sender, Time: a.Time})
	if err != nil {
		return nil, err
	}
	return &delivery{box: m, conn: c}, nil
}

// ask begins something on a connection. One that was idle may have lost its writer
// meanwhile; nothing has begun then, and another is tried.
func (m *Mailbox) ask(kind byte, q request) (*conn, error) {
	payload, err := encode(q)
	if err != nil {
		return nil, err
	}
	for {
		c, err := m.Pool.take(place{m.Account, m.Settings.Path})
		if err != nil {
			return nil, err
		}
		if _, err = c.exchange(kind, payload); err == nil {
			return c, nil
		}
		c.end(err)
		var said fault
		if !c.used || errors.As(err, &said) || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
	}
}

// exchange sends a frame and returns what it is answered. An answer that is an
// error is a fault.
func (c *conn) exchange(kind byte, payload []byte) (a answer, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writer of %s: %w", c.place.account, err)
		}
	}()
	if err := c.send(kind, payload); err != nil {
		return a, err
	}
	if err := c.w.Flush(); err != nil {
		return a, err
	}
	kind, payload, err = readFrame(c.r, c.buf)
	if err != nil {
		return a, fmt.Errorf("no answer: %w", err)
	}
	switch kind {
	case frameOK:
		err = json.Unmarshal(payload, &a)
	case frameError:
		var f fault
		if err = json.Unmarshal(payload, &f); err == nil {
			err = f
		}
	default:
		err = fmt.Errorf("%w: %q", errFrame, kind)
	}
	return a, err
}

func (c *conn) send(kind byte, payload []byte) error {
	if err := c.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	return writeFrame(c.w, kind, payload)
}

// end gives c back after err. A quota that is exceeded leaves a writer as it was;
// after any other error its state is unknown, so the connection is dropped.
func (c *conn) end(err error) {
	if errors.Is(err, mailbox.ErrOverQuota) {
		c.put()
	} else {
		c.drop()
	}
}

// A delivery is one into a Mailbox.
type delivery struct {
	box    *Mailbox
	conn   *conn // nil when it is over
	synced bool
	err    error // the first; what follows returns it again
}

var errOutOfOrder = errors.New("writer: Write, Sync and Commit out of order")

// Write implements mailbox.Delivery.
func (d *delivery) Write(p []byte) (n int, err error) {
	if !d.may(!d.synced) {
		return 0, d.err
	}
	for n < len(p) && d.err == nil {
		part := p[n:min(len(p), n+maxFrame)]
		if d.err = d.conn.send(frameData, part); d.err == nil {
			n += len(part)
		}
	}
	return n, d.end()
}

// Sync implements mailbox.Delivery.
func (d *delivery) Sync() error {
	if !d.may(!d.synced) {
		return d.err
	}
	_, d.err = d.conn.exchange(frameSync, nil)
	d.synced = true
	return d.end()
}

// Commit implements mailbox.Delivery. Without an answer it is an error, whatever
// became of the message.
func (d *delivery) Commit() error {
	if !d.may(d.synced) {
		return d.err
	}
	var a answer
	if a, d.err = d.conn.exchange(frameCommit, nil); d.err != nil {
		return d.end()
	}
	d.conn.put()
	d.conn = nil
	if a.Percent > 0 && d.box.Warned != nil {
		d.box.Warned(a.Percent, a.Usage)
	}
	return nil
}

// may reports whether d is under way, and it is time for what is to be done.
func (d *delivery) may(now bool) bool {
	if d.err == nil && (!now || d.conn == nil) {
		d.err = errOutOfOrder
		if d.conn != nil {
			d.conn.drop()
			d.conn = nil
		}
	}
	return d.err == nil
}

// end ends d if there was an error, and returns that.
func (d *delivery) end() error {
	if d.err != nil && d.conn != nil {
		d.conn.end(d.err)
		d.conn = nil
	}
	return d.err
}

// Abort implements mailbox.Delivery.
func (d *delivery) Abort() {
	c := d.conn
	if c == nil {
		return
	}
	d.conn = nil
	if d.err == nil {
		d.err = errOutOfOrder
	}
	if err := c.send(frameAbort, nil); err == nil && c.w.Flush() == nil {
		c.put()
		return
	}
	c.drop()
}
