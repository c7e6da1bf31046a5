package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// abandoned is the age at which a file in tmp/ belongs to a delivery that died
// (maildir(5)).
const abandoned = 36 * time.Hour

// Clean removes from tmp/ what deliveries left there when they died, and from the
// tmp/ of each folder in m. There is such only where the file system has no unnamed
// files; elsewhere it does nothing. It is meant to be called now and then, not for
// each delivery.
func (m *Maildir) Clean(now time.Time) error {
	named, err := m.clean(now)
	var folders []string
	if named && err == nil && m.folder == "" {
		folders, err = m.folders()
	}
	for _, name := range folders {
		if err == nil {
			_, err = m.stored(name).clean(now)
		}
	}
	if err != nil {
		return fmt.Errorf("clean %v: %w", m, err)
	}
	return nil
}

// clean cleans the tmp/ of m alone, and reports whether that is of any use.
func (m *Maildir) clean(now time.Time) (named bool, err error) {
	fsys, done, err := m.open()
	if err != nil {
		return false, err
	}
	defer done()
	tmp, err := fsys.OpenDir(m.dir + "/tmp")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // no delivery yet
	}
	if err != nil {
		return false, err
	}
	defer tmp.Close()
	file, err := tmp.Tmpfile()
	if err == nil {
		return false, file.Close()
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return false, err
	}
	return true, removeOld(tmp, now.Add(-abandoned), func(string) bool { return true })
}

// removeOld removes the files in dir to which nothing has been done since then. A
// time of modification alone does not tell: it may have been set.
func removeOld(dir Dir, then time.Time, those func(name string) bool) error {
	for name, err := range dir.Names() {
		if err != nil {
			return err
		}
		if !those(name) {
			continue
		}
		info, err := dir.Stat(name)
		if err == nil && info.Regular && info.Modified.Before(then) && info.Changed.Before(then) {
			err = dir.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
