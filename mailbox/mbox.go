package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// MboxOptions say how the mboxes of a Store are written. All programs that
// touch them must be told the same.
type MboxOptions struct {
	Format Format

	// Locks are taken in this order, and given back in the other. Empty: Dotlock,
	// Fcntl, as Dovecot does by default (mbox_write_locks).
	Locks []Lock

	// Wait is how long a delivery waits for others to give them back. 0: 10
	// seconds.
	Wait time.Duration
}

const defaultLockWait = 10 * time.Second

func (o MboxOptions) withDefaults() MboxOptions {
	if len(o.Locks) == 0 {
		o.Locks = []Lock{Dotlock, Fcntl}
	}
	if o.Wait <= 0 {
		o.Wait = defaultLockWait
	}
	return o
}

// An Mbox is a file of messages, one after the other (RFC 4155).
//
// A message waits in a file of its own until it is durable. It is then copied to
// the end of the mbox, under its locks, while a second name of that file, hidden
// beside the mbox, tells where: the journal. Should the copy end in the middle,
// the next delivery finds the journal and removes what was copied. Until then a
// reader may see part of a message, which nobody was told had arrived; an mbox can
// do no better.
type Mbox struct {
	store *Store
	home  string // the folder that dir is relative to; "" is the store's root
	dir   string // where the file is
	name  string
}

// Mbox returns the mbox below the root whose path has the components names, as
// "example.org", "ann". It need not exist: the first delivery makes what is
// missing. An error tells that one of names could do harm.
func (s *Store) Mbox(names ...string) (*Mbox, error) {
	m, err := s.Maildir(names...) // the path of one is the path of the other
	if err != nil {
		return nil, err
	}
	return (&Mbox{store: s, dir: path.Dir(m.path), name: path.Base(m.path)}).checked()
}

// MboxAt returns the mbox with the absolute path name. The first delivery makes
// it if it does not exist, but not the folder that it is in, of which symbolic
// links are followed: it is the administrator's.
func (s *Store) MboxAt(name string) (*Mbox, error) {
	m, err := s.MaildirAt(name)
	if err != nil {
		return nil, err
	}
	return (&Mbox{store: s, home: m.home, dir: ".", name: m.path}).checked()
}

// checked returns m unless its name leaves no room for the names of the files
// beside it, or is itself such a name: the mbox "bob.lock" would be the lock of the
// mbox "bob", and be removed as one that was left behind.
func (m *Mbox) checked() (*Mbox, error) {
	const room = 128
	if len(m.name) > room || strings.HasSuffix(m.name, ".lock") {
		return nil, fmt.Errorf("mailbox: %q is not fit for the name of an mbox", m.name)
	}
	return m, nil
}

// String returns the path, for messages.
func (m *Mbox) String() string {
	if m.home != "" {
		return path.Join(m.home, m.name)
	}
	return path.Join(m.store.root, m.dir, m.name)
}

// Begin implements Mailbox.
func (m *Mbox) Begin(a Arrival) (Delivery, error) {
	d, err := m.begin(a)
	if err != nil {
		return nil, fmt.Errorf("begin delivery: %w", err)
	}
	return d, nil
}

func (m *Mbox) begin(a Arrival) (*mboxDelivery, error) {
	dir, err := m.openDir()
	if err != nil {
		return nil, err
	}
	if a.Time.IsZero() {
		a.Time = time.Now()
	}
	d := &mboxDelivery{box: m, folder: dir}
	if err := d.create(); err != nil {
		d.Abort()
		return nil, err
	}
	d.text = newMboxWriter(d.file, m.store.opts.Mbox.Format, a)
	d.lines = newLineWriter(d.text, &m.store.buffers)
	return d, nil
}

// openDir opens the folder that the mbox is in, and makes it if it is below the
// root.
func (m *Mbox) openDir() (Dir, error) {
	fsys := m.store.fs
	if m.home != "" {
		var err error
		if fsys, err = m.store.home(m.home); err != nil {
			return nil, err
		}
		defer fsys.Close()
	}
	if key := "mbox/" + m.dir; m.dir != "." && !m.store.isRooted(key) {
		if err := m.store.rootFolders(fsys, m.dir); err != nil {
			return nil, err
		}
		m.store.setRooted(key)
	}
	return fsys.OpenDir(m.dir)
}

// journal returns the name that the message has while it is copied.
func (m *Mbox) journal() string { return "." + m.name + ".journal" }

// waiting returns how the name begins that the message has before that, if it has
// one.
func (m *Mbox) waiting() string { return "." + m.name + ".waiting." }

// An mboxDelivery is a Delivery into an Mbox.
type mboxDelivery struct {
	box    *Mbox
	folder Dir    // nil after release
	file   File   // holds the message, as the mbox will have it
	name   string // of file, where there are no unnamed files

	lines  lineWriter
	text   *mboxWriter
	synced bool
	err    error // the first; what follows returns it again
}

// create makes the file that the message waits in.
func (d *mboxDelivery) create() (err error) {
	d.file, err = d.folder.Tmpfile()
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	d.name = d.box.waiting() + d.box.store.names.next(time.Now())
	d.file, err = d.folder.Create(d.name)
	if errors.Is(err, fs.ErrExist) {
		d.name = "" // another's
	}
	return err
}

// Write implements Delivery.
func (d *mboxDelivery) Write(p []byte) (int, error) {
	if d.err == nil && (d.synced || d.folder == nil) {
		d.err = errOutOfOrder
	}
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.lines.Write(p)
	d.err = err
	return n, err
}

// Sync implements Delivery.
func (d *mboxDelivery) Sync() error {
	if d.err == nil && (d.synced || d.folder == nil) {
		d.err = errOutOfOrder
	}
	if d.err == nil {
		d.err = d.finish()
	}
	d.synced = d.err == nil
	return d.err
}

func (d *mboxDelivery) finish() error {
	if err := d.lines.flush(); err != nil {
		return err
	}
	length, err := d.text.finish()
	if err != nil {
		return err
	}
	if d.text.field > 0 {
		if _, err := io.WriteString(io.NewOffsetWriter(d.file, d.text.field), length); err != nil {
			return err
		}
	}
	return d.box.store.sync(d.file.Sync)
}

// Commit implements Delivery.
func (d *mboxDelivery) Commit() error {
	if d.err == nil && (!d.synced || d.folder == nil) {
		d.err = errOutOfOrder
	}
	if d.err != nil {
		return d.err
	}
	if d.err = d.commit(); d.err == nil {
		d.release()
	}
	return d.err
}

func (d *mboxDelivery) commit() error {
	box, err := d.box.lock(d.folder)
	if err != nil {
		return fmt.Errorf("lock %v: %w", d.box, err)
	}
	if err = d.copyInto(box); err != nil {
		return errors.Join(err, box.unlock())
	}
	_ = box.unlock() // whoever it hinders will say so; this message is stored
	return nil
}

// Abort implements Delivery. A file that cannot be removed is left to Clean.
func (d *mboxDelivery) Abort() { d.release() }

func (d *mboxDelivery) release() {
	d.lines.release()
	if d.file != nil {
		_ = d.file.Close() // nothing depends on it any more
		d.file = nil
	}
	if d.folder == nil {
		return
	}
	if d.name != "" {
		_ = d.folder.Remove(d.name)
		d.name = ""
	}
	_ = d.folder.Close()
	d.folder = nil
}

// Clean removes the files that deliveries left behind when they died, where the
// file system has no unnamed files. It is meant to be called now and then.
func (m *Mbox) Clean(now time.Time) error {
	dir, err := m.openDir()
	if err != nil {
		return fmt.Errorf("clean up beside %v: %w", m, err)
	}
	defer dir.Close()
	err = removeOld(dir, now.Add(-abandoned), func(name string) bool {
		return strings.HasPrefix(name, m.waiting())
	})
	if err != nil {
		return fmt.Errorf("clean up beside %v: %w", m, err)
	}
	return nil
}
