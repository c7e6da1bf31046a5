package writer

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"postern/mailbox"
)

// A fakeBox notes what is done to it, and fails at one step.
type fakeBox struct {
	fail string // "open", "begin", "write", "sync", "commit", "room"
	err  error
	warn int

	mu        sync.Mutex
	committed []string
	open      int // deliveries that are neither committed nor aborted
	last      mailbox.Arrival
	settings  Settings
}

func (b *fakeBox) at(step string) error {
	if b.fail == "panic" && step == "sync" {
		panic("at sync")
	}
	if b.fail == step {
		return b.err
	}
	return nil
}

func (b *fakeBox) Begin(a mailbox.Arrival) (mailbox.Delivery, error) {
	if err := b.at("begin"); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = a
	b.open++
	return &fakeDelivery{box: b}, nil
}

func (b *fakeBox) Room(int64) error { return b.at("room") }

type fakeDelivery struct {
	box    *fakeBox
	text   bytes.Buffer
	synced bool
	over   bool
	warned func(int, mailbox.Usage)
}

func (d *fakeDelivery) Write(p []byte) (int, error) {
	if d.synced || d.over {
		return 0, errOutOfOrder
	}
	if err := d.box.at("write"); err != nil {
		return 0, err
	}
	return d.text.Write(p)
}

func (d *fakeDelivery) Sync() error {
	if d.synced || d.over {
		return errOutOfOrder
	}
	d.synced = true
	return d.box.at("sync")
}

func (d *fakeDelivery) Commit() error {
	if !d.synced || d.over {
		return errOutOfOrder
	}
	if err := d.box.at("commit"); err != nil {
		return err
	}
	d.box.mu.Lock()
	defer d.box.mu.Unlock()
	d.over = true
	d.box.open--
	d.box.committed = append(d.box.committed, d.text.String())
	if d.warned != nil {
		d.warned(d.box.warn, mailbox.Usage{Octets: 7, Messages: 1})
	}
	return nil
}

func (d *fakeDelivery) Abort() {
	d.box.mu.Lock()
	defer d.box.mu.Unlock()
	if !d.over {
		d.over = true
		d.box.open--
	}
}

// warning has deliveries call warned.
type warning struct {
	*fakeBox
	warned func(int, mailbox.Usage)
}

func (w warning) Begin(a mailbox.Arrival) (mailbox.Delivery, error) {
	d, err := w.fakeBox.Begin(a)
	if err == nil && w.warn > 0 {
		d.(*fakeDelivery).warned = w.warned
	}
	return d, err
}

func (b *fakeBox) opener(s Settings, warned func(int, mailbox.Usage)) (Box, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settings = s
	if err := b.at("open"); err != nil {
		return nil, err
	}
	return warning{b, warned}, nil
}

// writers is a Pool whose writers write into box, and how many it has started.
type writers struct {
	*Pool
	t       *testing.T
	started int
	conns   []net.Conn // the writers' ends
	served  sync.WaitGroup
	stop    context.CancelFunc
}

func newWriters(t *testing.T, box *fakeBox) *writers {
	w := &writers{t: t}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	var mu sync.Mutex
	w.Pool = &Pool{Dial: func(string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		mu.Lock()
		defer mu.Unlock()
		w.started++
		w.conns = append(w.conns, theirs)
		w.served.Go(func() { _ = (&Server{Open: box.opener}).Serve(ctx, theirs) })
		return ours, nil
	}}
	return w
}

func (w *writers) close() {
	w.Close()
	w.served.Wait()
	w.stop()
	if len(w.lanes) > 0 || len(w.busy) > 0 {
		w.t.Errorf("%d lanes and %d places are not given back", len(w.lanes), len(w.busy))
	}
}

// errAtCommit is what deliver adds to an error that came as late as that.
var errAtCommit = errors.New("at commit")

// deliver makes a delivery as the agent does.
func deliver(box mailbox.Mailbox, text string) error {
	d, err := box.Begin(mailbox.Arrival{Sender: "ann@example.org", Time: time.Unix(1e9, 0)})
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write([]byte(text)); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	if err := d.Commit(); err != nil {
		return errors.Join(errAtCommit, err)
	}
	return nil
}
