package mailbox

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// recount counts all messages of the Maildir dir, and writes maildirsize unless
// messages came or went meanwhile.
func (l *Limited) recount(fsys FS, dir Dir) (Usage, error) {
	total, before, err := l.usage(fsys, dir)
	if err != nil {
		return Usage{}, err
	}
	for name, modified := range before {
		now, err := modification(fsys, name)
		if err != nil {
			return Usage{}, err
		}
		if !now.Equal(modified) {
			return total, nil
		}
	}
	return total, l.write(dir, total)
}

// usage counts all messages of the Maildir dir, and tells when the folders that
// they are in were last changed before that.
func (l *Limited) usage(fsys FS, dir Dir) (total Usage, before map[string]time.Time, err error) {
	folders, err := l.folders(dir)
	if err != nil {
		return Usage{}, nil, err
	}
	before = make(map[string]time.Time)
	for _, folder := range folders {
		for _, sub := range []string{"new", "cur"} {
			name := path.Join(l.path, folder, sub)
			u, modified, err := sum(fsys, name)
			if err != nil {
				return Usage{}, nil, err
			}
			total.Octets += u.Octets
			total.Messages += u.Messages
			before[name] = modified
		}
	}
	return total, before, nil
}

// folders returns the folders of a Maildir: "." and those of Maildir++.
func (l *Limited) folders(dir Dir) ([]string, error) {
	names, err := foldersIn(dir)
	return append([]string{"."}, names...), err
}

// changedSince reports whether messages may have come to the Maildir dir since t, or
// gone: programs that know nothing of maildirsize take messages away, too.
func (l *Limited) changedSince(fsys FS, dir Dir, t time.Time) bool {
	folders, err := l.folders(dir)
	for _, folder := range folders {
		for _, sub := range []string{"new", "cur"} {
			modified, e := modification(fsys, path.Join(l.path, folder, sub))
			if err = errors.Join(err, e); !modified.Before(t) {
				return true
			}
		}
	}
	return err != nil // which the count will tell
}

// modification returns when the folder name was last changed; the zero Time if
// it does not exist.
func modification(fsys FS, name string) (time.Time, error) {
	dir, err := fsys.OpenDir(path.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	defer dir.Close()
	info, err := dir.Stat(path.Base(name))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	return info.Modified, err
}

// sum counts the messages in the folder name, and tells when it was last changed
// before that.
func sum(fsys FS, name string) (u Usage, modified time.Time, err error) {
	if modified, err = modification(fsys, name); err != nil || modified.IsZero() {
		return u, modified, err
	}
	dir, err := fsys.OpenDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return u, modified, nil
	}
	if err != nil {
		return u, modified, err
	}
	defer dir.Close()
	for file, err := range dir.Names() {
		if err != nil {
			return u, modified, err
		}
		if strings.HasPrefix(file, ".") {
			continue
		}
		size, ok := statedSize(file)
		if !ok {
			info, err := dir.Stat(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue // read meanwhile, and renamed
			}
			if err != nil {
				return u, modified, err
			}
			size = info.Size
		}
		u.Octets += size
		u.Messages++
	}
	return u, modified, nil
}

// statedSize returns the size that the name of a message states (",S=").
func statedSize(name string) (size int64, ok bool) {
	_, after, found := strings.Cut(name, ",S=")
	if !found {
		return 0, false
	}
	digits := after
	if i := strings.IndexAny(after, ",:"); i >= 0 {
		digits = after[:i]
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	return size, err == nil && size >= 0
}

// write replaces maildirsize. It is not synced: it can be counted again.
func (l *Limited) write(dir Dir, u Usage) error {
	name := maildirsize + "." + l.store.names.next(time.Now())
	f, err := dir.Create(name)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, formatMaildirsize(l.Quota, u))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = dir.Replace(name, maildirsize)
	}
	if err != nil {
		return errors.Join(err, dir.Remove(name))
	}
	return nil
}
