package mailbox

import (
	"errors"
	"fmt"
)

// Begin implements Mailbox. The Sync of the Delivery returns ErrOverQuota if the
// message does not fit.
func (l *Limited) Begin(a Arrival) (Delivery, error) {
	d, err := l.Maildir.begin(a)
	if err != nil {
		return nil, fmt.Errorf("begin delivery: %w", err)
	}
	if !l.limits() {
		return d, nil
	}
	return &limitedDelivery{maildirDelivery: d, box: l}, nil
}

// A limitedDelivery is a Delivery into a Maildir with a quota. What it stores is
// recorded before it is visible: others that are under way see it then, and an
// error comes in time to be told.
type limitedDelivery struct {
	*maildirDelivery
	box      *Limited
	recorded Usage
	before   Usage // what was stored before
}

// Sync implements Delivery.
func (d *limitedDelivery) Sync() error {
	if err := d.finishWriting(); err != nil {
		return err
	}
	if err := d.reserve(Usage{d.lines.size, 1}); err != nil {
		d.err = err
		return err
	}
	return d.maildirDelivery.Sync()
}

// reserve records u if there is room for it.
func (d *limitedDelivery) reserve(u Usage) error {
	fsys, done, err := d.box.open()
	if err != nil {
		return err
	}
	defer done()
	dir, err := fsys.OpenDir(d.box.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	d.before, err = d.box.room(fsys, dir, u.Octets)
	if err != nil && !(d.box.unrefused && errors.Is(err, ErrOverQuota)) {
		return err
	}
	if err := d.box.record(dir, u); err != nil {
		return fmt.Errorf("record the quota of %v: %w", d.box, err)
	}
	d.recorded = u
	return nil
}

// Commit implements Delivery.
func (d *limitedDelivery) Commit() error {
	if err := d.maildirDelivery.Commit(); err != nil {
		return err
	}
	after := Usage{d.before.Octets + d.recorded.Octets, d.before.Messages + d.recorded.Messages}
	d.recorded = Usage{}
	if q := d.box.Quota; q.Warned != nil && q.reached(after) > q.reached(d.before) {
		q.Warned(q.reached(after), after)
	}
	return nil
}

// Abort implements Delivery. What cannot be taken back of the record, the next
// count puts right.
func (d *limitedDelivery) Abort() {
	d.maildirDelivery.Abort()
	if d.recorded == (Usage{}) {
		return
	}
	back := Usage{-d.recorded.Octets, -d.recorded.Messages}
	d.recorded = Usage{}
	fsys, done, err := d.box.open()
	if err != nil {
		return
	}
	defer done()
	dir, err := fsys.OpenDir(d.box.path)
	if err != nil {
		return
	}
	defer dir.Close()
	_ = d.box.record(dir, back)
}
