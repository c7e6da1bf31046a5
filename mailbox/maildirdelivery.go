package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// A maildirDelivery is a Delivery into a Maildir.
type maildirDelivery struct {
	store    *Store
	box      *Maildir
	received time.Time
	folder   Dir // new/; nil after release

	// Where the file system has unnamed files, file is one of them, made in
	// new/. Elsewhere it is tmpName in tmp/, and Commit moves it.
	file    File // nil when closed
	tmp     Dir
	tmpName string

	lines   lineWriter
	shared  bool // file is another delivery's, which has written it
	ordered bool // Durability is Ordered, and the file system is
	synced  bool
	err     error // the first; what follows returns it again
}

var errOutOfOrder = errors.New("mailbox: Write, Sync and Commit out of order")

// create makes the file that the message is written to.
func (d *maildirDelivery) create(fsys FS, dir string) error {
	file, err := d.folder.Tmpfile()
	if !errors.Is(err, errors.ErrUnsupported) {
		d.file = file
		d.ordered = d.store.opts.Durability == Ordered && d.folder.Ordered()
		return err
	}
	if d.tmp, err = fsys.OpenDir(dir + "/tmp"); err != nil {
		return err
	}
	return d.tryNames(func() (err error) {
		d.tmpName = d.store.names.next(time.Now())
		if d.file, err = d.tmp.Create(d.tmpName); errors.Is(err, fs.ErrExist) {
			d.tmpName = "" // another's
		}
		return err
	})
}

// tryNames calls f, which makes up a name, again if that name is taken; 8 times at most.
func (d *maildirDelivery) tryNames(f func() error) error {
	var err error
	for range 8 {
		if err = f(); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return err
}

// Write implements Delivery.
func (d *maildirDelivery) Write(p []byte) (int, error) {
	if d.err == nil && (d.synced || d.folder == nil) {
		d.err = errOutOfOrder
	}
	if d.err != nil {
		return 0, d.err
	}
	if d.shared {
		return len(p), nil // it is there already
	}
	n, err := d.lines.Write(p)
	d.err = err
	return n, err
}

// timeShown is the precision with which readers show when a message arrived, which they
// take from the time of its file. If less has passed since the arrival, the file has the
// right time already, and a call is saved.
const timeShown = time.Second

// Sync implements Delivery.
func (d *maildirDelivery) Sync() error {
	if err := d.finishWriting(); err != nil {
		return err
	}
	if d.shared {
		d.synced = true
		return nil
	}
	sync := d.file.Sync
	if d.ordered {
		sync = d.file.WriteOut // it becomes durable with the name
	}
	if time.Since(d.received).Abs() >= timeShown {
		d.err = d.file.SetTime(d.received)
	}
	if d.err == nil {
		d.err = d.store.sync(sync)
	}
	d.synced = d.err == nil
	return d.err
}

// finishWriting writes what is left. It may be called again.
func (d *maildirDelivery) finishWriting() error {
	if d.err == nil && (d.synced || d.folder == nil) {
		d.err = errOutOfOrder
	}
	if d.err == nil && !d.shared {
		d.err = d.lines.flush()
	}
	return d.err
}

// Commit implements Delivery.
func (d *maildirDelivery) Commit() error {
	if d.err == nil && (!d.synced || d.folder == nil) {
		d.err = errOutOfOrder
	}
	if d.err != nil {
		return d.err
	}
	var name string
	err := d.tryNames(func() error {
		name = sized(d.store.names.next(time.Now()), d.lines.size, d.lines.bare)
		return d.publish(name)
	})
	if err == nil && !d.ordered {
		err = d.store.sync(d.folder.Sync)
	}
	if err != nil {
		d.err = d.takeBack(name, err)
		return d.err
	}
	d.release()
	return nil
}

// publish gives the file its name in new/, and closes it before Commit returns, since
// some file systems report an error only then.
func (d *maildirDelivery) publish(name string) error {
	if d.tmp == nil {
		err := d.folder.Publish(d.file, name)
		if err != nil && d.shared && !errors.Is(err, fs.ErrExist) && d.unshare() == nil {
			err = d.folder.Publish(d.file, name)
		}
		if err != nil {
			return err
		}
		if d.ordered || d.folder.NamesByFile() {
			if err := d.store.sync(d.file.SyncAll); err != nil {
				return err
			}
		}
		return d.closeFile()
	}
	return d.move(name)
}

// move is publish for a file in tmp/. Where the sync of new/ may leave out its name
// (NamesByFile), the file stays open until it was moved, and is then synced once more.
func (d *maildirDelivery) move(name string) error {
	byFile := d.folder.NamesByFile()
	if !byFile {
		if err := d.closeFile(); err != nil {
			return err
		}
	}
	if err := d.tmp.Move(d.tmpName, d.folder, name); err != nil {
		return err
	}
	d.tmpName = ""
	if !byFile {
		return nil
	}
	if err := d.store.sync(d.file.SyncAll); err != nil {
		return err
	}
	return d.closeFile()
}

// takeBack removes name from new/ after err, whether or not our file got it. Only if err
// says that the name was taken can it be the name of another file.
func (d *maildirDelivery) takeBack(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	removed := d.folder.Remove(name)
	if removed == nil || errors.Is(removed, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w; taking the message back failed too: %w", err, removed)
}

func (d *maildirDelivery) closeFile() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}

// Abort implements Delivery. A file in tmp/ that cannot be removed is left to
// Clean.
func (d *maildirDelivery) Abort() { d.release() }

// release closes all that is open, and removes what has no name in new/.
func (d *maildirDelivery) release() {
	d.lines.release()
	_ = d.closeFile() // nothing depends on it any more
	if d.tmp != nil {
		if d.tmpName != "" {
			_ = d.tmp.Remove(d.tmpName)
		}
		_ = d.tmp.Close()
		d.tmp = nil
	}
	if d.folder != nil {
		_ = d.folder.Close()
		d.folder = nil
	}
}
