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

// open returns the file system that path is relative to, and done, to be called in the
// end. A home is not kept open, since there may be many.
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
