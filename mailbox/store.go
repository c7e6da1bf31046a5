package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
)

// Options of a Store. The zero value is what most want.
type Options struct {
	Modes

	// Host names this host in the names of messages. Empty: the system's name.
	Host string

	// Syncs is how many syncs may run at once; the others wait. 0: DefaultSyncs.
	// The kernel commits concurrent syncs together: with few at a time that is
	// lost, with very many the last ones wait long. Only tests set it.
	Syncs int

	// Syncer is asked first to sync a file. Where it does not, and where there is none,
	// fsync(2) and fdatasync(2) do, each of which holds a thread while it runs. That is
	// as good for a few, but not for many at once.
	Syncer Syncer

	// Durability other than Full is refused by Open where it is not safe.
	Durability Durability

	Mbox MboxOptions

	// UTF8Folders has the names of folders in UTF-8 on disk, as Dovecot does with
	// mailbox_list_utf8, and not in modified UTF-7.
	UTF8Folders bool

	// Subscribe subscribes the user to a folder when a delivery makes it, as
	// Dovecot does with lda_mailbox_autosubscribe; in Courier's file, too, where
	// Courier has been at the Maildir.
	Subscribe bool
}

// A Durability says by which calls a message in a Maildir is made durable.
type Durability int

// The durabilities.
const (
	// Full syncs the content, gives the name, and syncs the folder: what the
	// manual page of fsync asks for, on every file system.
	Full Durability = iota

	// Ordered has the content written, gives the name, and syncs the file: one
	// commit of the journal in place of two. It rests on how ext4 and XFS are
	// made. A mailbox on any other file system than the root's is Full.
	Ordered
)

// DefaultSyncs is how many syncs run at once if Options do not say. One that had to
// wait comes after the commit that its neighbours share, and flushes the disk by
// itself. With 64, twenty messages at once to ten mailboxes each cost up to 37
// flushes a message; with 256, four.
const DefaultSyncs = 256

// A Store opens mailboxes: those below its root, and those that have a folder
// of their own elsewhere. It holds what they share. It is safe for use by many
// goroutines.
type Store struct {
	fs    FS
	home  func(dir string) (FS, error) // opens a folder outside of fs
	root  string                       // for messages
	opts  Options
	names *namer
	syncs chan struct{} // holds a token for each sync that runs

	buffers sync.Pool // of lineWriters

	mu     sync.Mutex
	rooted map[string]struct{} // mailboxes known to be complete and durable, by path
}

// maxRooted bounds what a Store remembers. What it forgets is synced once more.
const maxRooted = 1 << 16

// Open returns the Store whose root is the folder root. It must exist: were it
// made, an unmounted disk would be filled behind its mount point.
func Open(root string, o Options) (*Store, error) {
	if o.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
		o.Host = host
	}
	k := newKernel(o.Modes, o.Syncer)
	if o.Durability == Ordered {
		if err := k.probeOrdered(root); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	fsys, err := k.open(root)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := New(fsys, o)
	s.root = root
	s.home = k.open
	return s, nil
}

// New returns a Store on fsys. o.Modes are fsys's own business.
func New(fsys FS, o Options) *Store {
	if o.Syncs <= 0 {
		o.Syncs = DefaultSyncs
	}
	o.Mbox = o.Mbox.withDefaults()
	return &Store{
		fs:     fsys,
		home:   func(string) (FS, error) { return nil, errors.ErrUnsupported },
		opts:   o,
		names:  newNamer(o.Host),
		syncs:  make(chan struct{}, o.Syncs),
		rooted: make(map[string]struct{}),
	}
}

// Close closes the root. No Delivery may begin any more.
func (s *Store) Close() error { return s.fs.Close() }

// Maildir returns the Maildir below the root whose path has the components
// names, as "example.org", "ann". It need not exist: the first delivery makes
// what is missing. An error tells that one of names could do harm.
func (s *Store) Maildir(names ...string) (*Maildir, error) {
	for _, name := range names {
		if err := checkName(name); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, errors.New("mailbox: empty path")
	}
	return newMaildir(Maildir{store: s, path: strings.Join(names, "/")}), nil
}

// MaildirAt returns the Maildir with the absolute path name. The first delivery
// makes it if it does not exist, but not the folder that it is in, of which
// symbolic links are followed: it is the administrator's.
func (s *Store) MaildirAt(name string) (*Maildir, error) {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.Contains(name, "\x00") {
		return nil, fmt.Errorf("mailbox: path %q is not absolute and clean", name)
	}
	return newMaildir(Maildir{store: s, home: path.Dir(name), path: path.Base(name)}), nil
}

// sync calls f, one of the syncs that are counted.
func (s *Store) sync(f func() error) error {
	s.syncs <- struct{}{}
	defer func() { <-s.syncs }()
	return f()
}

func (s *Store) isRooted(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.rooted[key]
	return ok
}

func (s *Store) setRooted(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rooted) >= maxRooted {
		clear(s.rooted)
	}
	s.rooted[key] = struct{}{}
}

// rootMaildir makes the folders of the Maildir at dir that are missing, and all
// of them durable. new/ is made last: where it is, so is all else.
func (s *Store) rootMaildir(fsys FS, dir string) error {
	if err := s.rootFolders(fsys, dir); err != nil {
		return err
	}
	_, err := s.makeIn(fsys, dir, "tmp", "cur", "new")
	return err
}

// rootFolders makes the folders that are missing on the way to dir and dir
// itself, and makes their names durable. It also syncs what it finds, for
// whoever made that may not have come to its sync, and may have died since.
func (s *Store) rootFolders(fsys FS, dir string) error {
	at := "."
	for name := range strings.SplitSeq(dir, "/") {
		if _, err := s.makeIn(fsys, at, name); err != nil {
			return err
		}
		at = path.Join(at, name)
	}
	return nil
}

// makeIn makes the folders names in the folder at, and makes their names
// durable. It reports whether one of them is new.
func (s *Store) makeIn(fsys FS, at string, names ...string) (isNew bool, err error) {
	dir, err := fsys.OpenDir(at)
	if errors.Is(err, fs.ErrPermission) && allExist(fsys, at, names) {
		return false, nil // whoever may not look into a folder has made nothing in it
	}
	if err != nil {
		return false, err
	}
	defer dir.Close()
	for _, name := range names {
		err := dir.Mkdir(name)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return false, err
		}
		isNew = isNew || err == nil
	}
	return isNew, s.sync(dir.Sync)
}

// allExist reports whether all the folders names are in the folder at.
func allExist(fsys FS, at string, names []string) bool {
	for _, name := range names {
		dir, err := fsys.OpenDir(path.Join(at, name))
		if err != nil {
			return false
		}
		_ = dir.Close()
	}
	return true
}
