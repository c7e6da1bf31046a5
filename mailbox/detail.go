package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Folders returns the names on disk of the folders of m, each with its dot, in
// no order.
func (m *Maildir) Folders() ([]string, error) {
	names, err := m.folders()
	if err != nil {
		return nil, fmt.Errorf("list the folders of %v: %w", m, err)
	}
	return names, nil
}

func (m *Maildir) folders() ([]string, error) {
	fsys, done, err := m.open()
	if err != nil {
		return nil, err
	}
	defer done()
	dir, err := fsys.OpenDir(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no delivery yet
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return foldersIn(dir)
}

func foldersIn(dir Dir) ([]string, error) {
	var names []string
	for name, err := range dir.Names() {
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(name, ".") {
			continue
		}
		info, err := dir.Stat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if info.Folder {
			names = append(names, name)
		}
	}
	return names, nil
}

// Name returns the name of m on disk, with its dot, if it is a folder of a
// Maildir; otherwise nothing.
func (m *Maildir) Name() string { return m.folder }

// stored returns the folder of m that has the given name on disk.
func (m *Maildir) stored(folder string) *Maildir {
	return newMaildir(Maildir{store: m.store, home: m.home, path: m.path, folder: folder})
}

// DetailFolder returns the folder for mail to a sub-address (RFC 5233), in which
// dots separate the components: the one that Folder would return, if it exists or
// there are fewer than most. Otherwise, and for a name that no folder can have,
// it is m itself: whoever writes to a sub-address chooses it, and must neither
// be refused for it nor fill the mailbox with folders.
func (m *Maildir) DetailFolder(detail string, most int) (*Maildir, error) {
	folder, err := m.Folder(strings.Split(detail, ".")...)
	if err != nil || strings.HasPrefix(folder.folder, ".INBOX.") || folder.folder == "" {
		return m, nil
	}
	if m.store.isRooted(folder.key) {
		return folder, nil
	}
	names, err := m.Folders()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name == folder.folder {
			return folder, nil
		}
	}
	if len(names) >= most {
		return m, nil
	}
	return folder, nil
}
