package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"time"
)

// A Finding is something in a mailbox that is not as it should be.
type Finding struct {
	Path    string
	Problem Problem
	Text    string // for the administrator

	repair func() error // nil: there is no repair that is safe
}

// A Problem is a kind of Finding.
type Problem string

// The problems.
const (
	WrongSize   Problem = "size"          // the name of a message states a size that it has not
	Stale       Problem = "stale"         // a delivery that died left it
	WrongOwner  Problem = "owner"         // not that of the mailbox
	WrongMode   Problem = "mode"          // its owner cannot use it, or anybody can
	WrongQuota  Problem = "quota"         // maildirsize is not what is there
	Misplaced   Problem = "maildirfolder" // a Maildir that is no folder of another says that it is one
	Torn        Problem = "torn"          // an mbox ends in part of a message, which nobody was told had arrived
	BrokenFrom  Problem = "from"          // a line of an mbox that is no separator, and looks like one
	NotAMessage Problem = "kind"          // a folder, link or device among the messages
	Unreadable  Problem = "unreadable"
)

// Repairable reports whether Repair can do anything.
func (f Finding) Repairable() bool { return f.repair != nil }

// Repair mends what was found. It is called before the next Finding is asked
// for. What is gone by now needs no repair.
func (f Finding) Repair() error {
	if f.repair == nil {
		return fmt.Errorf("repair %s: %w", f.Path, errors.ErrUnsupported)
	}
	if err := f.repair(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("repair: %w", err)
	}
	return nil
}

// Check yields what is wrong in a Maildir and its folders. It reads every
// message whose name states sizes, and changes nothing but by Finding.Repair. An
// error comes last, and once. Deliveries may go on meanwhile; then a quota that
// seems wrong may be right.
func (l *Limited) Check(now time.Time) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		c := &checker{box: l, now: now, yield: yield, group: l.store.opts.Group}
		if err := c.check(); err != nil && !c.stopped {
			yield(Finding{}, fmt.Errorf("check %v: %w", l, err))
		}
	}
}

// A checker is one Check.
type checker struct {
	box     *Limited
	now     time.Time
	yield   func(Finding, error) bool
	stopped bool // nobody wants to know more

	fsys  FS
	owner uint32 // to whom all belongs
	group int    // who else may use it; 0: nobody
}

// errStopped ends a check that nobody listens to.
var errStopped = errors.New("stopped")

func (c *checker) found(f Finding, name string) error {
	f.Path = path.Join(f.Path, name)
	if !c.yield(f, nil) {
		c.stopped = true
		return errStopped
	}
	return nil
}

func (c *checker) check() error {
	fsys, done, err := c.box.open()
	if err != nil {
		return err
	}
	defer done()
	c.fsys = fsys
	root, err := fsys.OpenDir(c.box.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no delivery yet
	}
	if err != nil {
		return err
	}
	defer root.Close()
	above, err := fsys.OpenDir(path.Dir(c.box.path))
	if err != nil {
		return err
	}
	defer above.Close()
	return c.maildir(above, root)
}

// maildir checks the Maildir root, which is in the folder above.
func (c *checker) maildir(above, root Dir) error {
	at, name := path.Dir(c.box.String()), path.Base(c.box.path)
	info, err := above.Stat(name)
	if err != nil {
		return err
	}
	c.owner = info.Owner
	if err := c.modes(above, at, name, info); err != nil {
		return err
	}
	if _, err := root.Stat("maildirfolder"); err == nil {
		f := Finding{Path: c.box.String(), Problem: Misplaced, Text: "marks this Maildir as a folder of another", repair: func() error { return root.Remove("maildirfolder") }}
		if err := c.found(f, "maildirfolder"); err != nil {
			return err
		}
	}
	folders, err := foldersIn(root)
	if err != nil {
		return err
	}
	for _, folder := range append([]string{""}, folders...) {
		if err := c.folder(folder); err != nil {
			return err
		}
	}
	return c.quota(root)
}

// folder checks the three folders of a folder.
func (c *checker) folder(folder string) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		err := c.files(path.Join(folder, sub), sub == "tmp")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (c *checker) files(sub string, isTmp bool) error {
	dir, err := c.fsys.OpenDir(path.Join(c.box.path, sub))
	if err != nil {
		return err
	}
	defer dir.Close()
	at := path.Join(c.box.String(), sub)
	for name, err := range dir.Names() {
		if err != nil {
			return err
		}
		info, err := dir.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // read meanwhile, and renamed
		}
		if err != nil {
			return err
		}
		if isTmp {
			err = c.stale(dir, at, name, info)
		} else if !strings.HasPrefix(name, ".") {
			err = c.message(dir, at, name, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stale checks a file in tmp/.
func (c *checker) stale(dir Dir, at, name string, info Info) error {
	then := c.now.Add(-abandoned)
	if !info.Regular || !info.Modified.Before(then) || !info.Changed.Before(then) {
		return nil
	}
	return c.found(Finding{Path: at, Problem: Stale,
		Text:   fmt.Sprintf("%d octets of a delivery that died on %s", info.Size, info.Changed.Format(time.DateOnly)),
		repair: func() error { return dir.Remove(name) }}, name)
}

// message checks a file in new/ or cur/.
func (c *checker) message(dir Dir, at, name string, info Info) error {
	if !info.Regular {
		return c.found(Finding{Path: at, Problem: NotAMessage, Text: "is no file"}, name)
	}
	if err := c.modes(dir, at, name, info); err != nil {
		return err
	}
	if !strings.Contains(name, ",S=") && !strings.Contains(name, ",W=") {
		return nil
	}
	size, wire, err := measure(dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errEncoded):
		return nil
	case errors.Is(err, fs.ErrInvalid): // it has another name, as a copy by IMAP has
		size, wire = info.Size, -1
	case err != nil:
		return c.found(Finding{Path: at, Problem: Unreadable, Text: err.Error()}, name)
	}
	right := restated(name, size, wire)
	if right == name {
		return nil
	}
	f := Finding{Path: at, Problem: WrongSize, Text: fmt.Sprintf("has %d octets, %d with CRLF", size, wire)}
	if wire < 0 {
		f.Text = fmt.Sprintf("has %d octets, if nothing packed them; it has a second name, and is not read", size)
	} else {
		f.repair = func() error { return dir.Move(name, dir, right) }
	}
	return c.found(f, name)
}

// modes checks whom a file or folder belongs to, and who may use it.
func (c *checker) modes(dir Dir, at, name string, info Info) error {
	if info.Owner != c.owner {
		f := Finding{Path: at, Problem: WrongOwner, Text: fmt.Sprintf("belongs to user %d, the mailbox to %d", info.Owner, c.owner)}
		if owner := c.owner; os.Geteuid() == 0 { // nobody else may give files away
			f.repair = func() error { return dir.Chown(name, owner) }
		}
		if err := c.found(f, name); err != nil {
			return err
		}
	}
	need := fs.FileMode(0o600)
	if info.Folder {
		need = 0o700
	}
	if c.group != 0 {
		need |= need >> 3
	}
	text := ""
	switch {
	case info.Mode&need != need:
		text = fmt.Sprintf("has mode %04o, and needs %04o", info.Mode.Perm(), need)
	case info.Mode&0o007 != 0:
		text = fmt.Sprintf("has mode %04o, which lets anybody in", info.Mode.Perm())
	case c.group != 0 && info.Group != uint32(c.group):
		text = fmt.Sprintf("belongs to group %d, and not to %d", info.Group, c.group)
	default:
		return nil
	}
	return c.found(Finding{Path: at, Problem: WrongMode, Text: text, repair: func() error { return dir.Own(name) }}, name)
}

// quota checks maildirsize.
func (c *checker) quota(root Dir) error {
	l := c.box
	if _, err := root.Stat(maildirsize); !l.limits() || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	says, err := l.read(root)
	if err != nil {
		return err
	}
	is, _, err := l.usage(c.fsys, root)
	if err != nil {
		return err
	}
	if says != nil && says.usage == is {
		return nil
	}
	f := Finding{Path: l.String(), Problem: WrongQuota, Text: "cannot be believed: it is broken, too long, or for another quota"}
	if says != nil {
		f.Text = fmt.Sprintf("says %d octets in %d messages, and there are %d in %d", says.usage.Octets, says.usage.Messages, is.Octets, is.Messages)
	}
	// The next delivery counts, as the user whose file it then is.
	f.repair = func() error { return root.Remove(maildirsize) }
	return c.found(f, maildirsize)
}
