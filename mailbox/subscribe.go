package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// subscriptions is the file in a Maildir in which Dovecot keeps the names of
// the folders that the user subscribed to, and maxSubscriptions the largest that
// is read.
const (
	subscriptions    = "subscriptions"
	maxSubscriptions = 1 << 20
)

// subscriptionsV2 is how the file begins in the newer of its two forms, in which
// a tab separates the components of a name. In the older one it is a dot.
const subscriptionsV2 = "V\t2\n\n"

// courierSubscriptions is the same for Courier, which names folders "INBOX.Junk",
// and courierUIDs what it leaves in every Maildir that it has opened. Where neither
// is there, Courier is not the reader.
const (
	courierSubscriptions = "courierimapsubscribed"
	courierUIDs          = "courierimapuiddb"
)

// subscribe adds the folder m to the subscriptions of its Maildir.
func (s *Store) subscribe(fsys FS, m *Maildir) error {
	dir, err := fsys.OpenDir(m.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	name := strings.TrimPrefix(m.folder, ".")
	if err := s.subscribeIn(dir, subscriptions, name); err != nil {
		return err
	}
	for _, file := range []string{courierSubscriptions, courierUIDs} {
		_, err := dir.Stat(file)
		if err == nil {
			return s.subscribeIn(dir, courierSubscriptions, "INBOX."+name)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// subscribeIn adds name to the file of subscriptions. As Dovecot does, it writes
// the new file as the lock, and renames it over the old one; Courier renames
// without a lock.
func (s *Store) subscribeIn(dir Dir, list, name string) error {
	lock := list + ".lock"
	var file File
	err := patiently(subscribeWait, func() (err error) {
		file, err = tryDotlock(dir, lock)
		return err
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	old, err := readFile(dir, list, maxSubscriptions)
	text := addSubscription(old, name)
	if err == nil {
		_, err = file.Write(text)
	}
	if err == nil && len(text) > len(old) {
		err = s.sync(file.Sync)
	}
	err = errors.Join(err, file.Close())
	if err != nil || len(text) == len(old) {
		return errors.Join(err, dir.Remove(lock))
	}
	if err := dir.Replace(lock, list); err != nil {
		return errors.Join(err, dir.Remove(lock))
	}
	return s.sync(dir.Sync)
}

// addSubscription returns the file old with the folder name in it, or old if it
// is there already.
func addSubscription(old []byte, name string) []byte {
	lines, isV2 := bytes.CutPrefix(old, []byte(subscriptionsV2))
	if isV2 {
		name = strings.ReplaceAll(name, ".", "\t")
	}
	for line := range bytes.Lines(lines) {
		if string(bytes.TrimSuffix(line, []byte("\n"))) == name {
			return old
		}
	}
	text := bytes.Clone(old)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return append(text, name+"\n"...)
}

// readFile returns what the file name holds; nothing if there is none.
func readFile(dir Dir, name string, limit int64) ([]byte, error) {
	f, err := dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d octets", name, limit)
	}
	return text, errors.Join(err, f.Close())
}

// subscribeWait is how long a delivery waits for the lock.
const subscribeWait = 2 * time.Second
