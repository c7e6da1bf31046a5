package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"
)

// A Maildir is a folder with the folders tmp, new and cur, as qmail defined it
// (maildir(5)). A message is a file in new/, which a reader moves to cur/.
//
// By default it is made durable in the one order that the manual page of fsync
// justifies on every file system: first the content, then the name, then the
// folder. Where that is not enough (NamesByFile) the file is synced a second time,
// once it has its name.
type Maildir struct {
	store  *Store
	home   string // the folder that path is relative to; "" is the store's root
	path   string
	folder string // the folder of Maildir++, with its dot; "" is INBOX

	dir    string // path and folder: what new/ is in
	newDir string // new/ itself
	key    string // by which the store remembers it
}

func newMaildir(m Maildir) *Maildir {
	m.dir = path.Join(m.path, m.folder)
	m.newDir = m.dir + "/new"
	m.key = m.home + "/" + m.dir
	return &m
}

// String returns the path, for messages.
func (m *Maildir) String() string {
	if m.home != "" {
		return path.Join(m.home, m.dir)
	}
	return path.Join(m.store.root, m.dir)
}

// Begin implements Mailbox.
func (m *Maildir) Begin(a Arrival) (Delivery, error) {
	d, err := m.begin(a)
	if err != nil {
		return nil, fmt.Errorf("begin delivery: %w", err)
	}
	return d, nil
}

func (m *Maildir) begin(a Arrival) (*maildirDelivery, error) {
	fsys, done, err := m.open()
	if err != nil {
		return nil, err
	}
	defer done()
	folder, err := m.openNew(fsys)
	if err != nil {
		return nil, err
	}
	if a.Time.IsZero() {
		a.Time = time.Now()
	}
	d := &maildirDelivery{store: m.store, box: m, received: a.Time, folder: folder}
	if same := m.sharable(a.Same); same != nil && d.share(same) == nil {
		return d, nil
	}
	if err := d.create(fsys, m.dir); err != nil {
		d.Abort()
		return nil, err
	}
	d.lines = newLineWriter(d.file, &m.store.buffers)
	return d, nil
}

// open returns the file system that path is relative to, and what to call in
// the end. A folder of the mailbox's own is not kept open: there may be many.
func (m *Maildir) open() (fsys FS, done func(), err error) {
	if m.home == "" {
		return m.store.fs, func() {}, nil
	}
	if fsys, err = m.store.home(m.home); err != nil {
		return nil, nil, err
	}
	return fsys, func() { _ = fsys.Close() }, nil
}

// openNew opens new/, and makes the Maildir if it has to.
func (m *Maildir) openNew(fsys FS) (Dir, error) {
	if m.store.isRooted(m.key) {
		folder, err := fsys.OpenDir(m.newDir)
		if !errors.Is(err, fs.ErrNotExist) {
			return folder, err
		}
		// It was removed meanwhile.
	}
	if err := m.store.rootMaildir(fsys, m.path); err != nil {
		return nil, err
	}
	if m.folder != "" {
		if err := m.store.rootFolder(fsys, m); err != nil {
			return nil, err
		}
	}
	m.store.setRooted(m.key)
	return fsys.OpenDir(m.newDir)
}

// A maildirDelivery is a Delivery into a Maildir.
type maildirDelivery struct {
	store    *Store
	box      *Maildir
	received time.Time
	folder   Dir // new/; nil after release

	// Where the file system has unnamed files, file is one of them, made in
	// new/. Elsewhere it is tmpName in tmp/, and moved.
	file    File // nil when closed
	tmp     Dir
	tmpName string

	lines   lineWriter
	shared  bool // file is another delivery's, which has written it
	ordered bool // Durability is Ordered, and can be
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

// tryNames calls f, which makes a name, until the name is not taken.
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

// timeShown is the precision with which readers show when a message arrived, which
// they take from the time of its file. A file written within it of the arrival has
// the right time already, and the call that would set it is spared.
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
		sync = d.file.WriteOut // durable with the name
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

// publish gives the file its name in new/, and closes it: an error that the
// file system reports only then still comes in time.
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
// (NamesByFile), the file is synced once it is there, and stays open until then.
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

// takeBack removes name from new/ after err, whether or not it got there: unless err
// says that the name was taken, no file but ours can have it.
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
