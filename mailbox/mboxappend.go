package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// A lockedMbox is an open mbox whose locks are held.
type lockedMbox struct {
	Mbox
	folder  Dir
	file    File
	dotlock string // the name of the dotlock, if it is held
}

// lock opens the mbox, which it makes if it has to, and takes its locks.
func (m *Mbox) lock(folder Dir) (*lockedMbox, error) {
	var l *lockedMbox
	err := patiently(m.store.opts.Mbox.Wait, func() (err error) {
		l = &lockedMbox{Mbox: *m, folder: folder}
		if err = l.tryLock(); err != nil {
			err = errors.Join(err, l.unlock())
		}
		return err
	})
	return l, err
}

// tryLock takes the locks, in their order. Where another holds one, those that
// were taken must be given back: the other may be waiting for them.
func (l *lockedMbox) tryLock() error {
	if err := l.open(); err != nil {
		return err
	}
	for _, lock := range l.store.opts.Mbox.Locks {
		if lock == Dotlock {
			if err := l.takeDotlock(); err != nil {
				return err
			}
			continue
		}
		taken, err := l.file.TryLock(lock)
		if err != nil {
			return err
		}
		if !taken {
			return fmt.Errorf("%v: %w", lock, ErrLocked)
		}
	}
	return l.checkOpen()
}

func (l *lockedMbox) takeDotlock() error {
	name := l.name + ".lock"
	file, err := tryDotlock(l.folder, name)
	if err != nil {
		return err
	}
	l.dotlock = name
	return errors.Join(signDotlock(file, l.store.opts.Host), file.Close())
}

// open opens the file, and makes it first if there is none.
func (l *lockedMbox) open() (err error) {
	if l.file, err = l.folder.Open(l.name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := l.folder.Create(l.name)
	if err == nil {
		err = file.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	l.file, err = l.folder.Open(l.name)
	return err
}

// checkOpen returns an error if the name belongs to another file by now: somebody
// may have put a new one in its place before we had the locks.
func (l *lockedMbox) checkOpen() error {
	named, err := l.folder.Stat(l.name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removed meanwhile: %w", ErrLocked)
	}
	if err != nil {
		return err
	}
	opened, err := l.file.Stat()
	if err != nil {
		return err
	}
	if named.ID != opened.ID {
		return fmt.Errorf("replaced meanwhile: %w", ErrLocked)
	}
	return nil
}

// unlock gives the locks back and closes the file.
func (l *lockedMbox) unlock() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Close())
		l.file = nil
	}
	if l.dotlock != "" {
		errs = append(errs, l.folder.Remove(l.dotlock))
		l.dotlock = ""
	}
	return errors.Join(errs...)
}

// A trailer is at the end of a journal and tells where in the mbox the message
// before it begins.
const trailerSize = len("at 0000000000000000000\n")

func trailer(at int64) string { return fmt.Sprintf("at %019d\n", at) }

// copyInto appends the message to box, and makes that durable.
func (d *mboxDelivery) copyInto(box *lockedMbox) error {
	if err := box.repair(); err != nil {
		return fmt.Errorf("repair %v: %w", d.box, err)
	}
	at, err := box.end()
	if err != nil {
		return err
	}
	if err := d.publish(at); err != nil {
		return err
	}
	err = box.append(io.NewSectionReader(d.file, 0, d.text.size))
	if err != nil {
		// What was written goes; if not now, by the journal at the next delivery.
		return errors.Join(err, box.file.Truncate(at))
	}
	_ = d.folder.Remove(d.box.journal()) // if it stays, the next delivery finds that the copy is whole
	return nil
}

// publish makes the file of the message the journal, durably.
func (d *mboxDelivery) publish(at int64) error {
	if _, err := d.file.WriteAt([]byte(trailer(at)), d.text.size); err != nil {
		return err
	}
	if err := d.box.store.sync(d.file.Sync); err != nil {
		return err
	}
	if err := d.become(d.box.journal()); err != nil {
		return err
	}
	if d.folder.NamesByFile() {
		if err := d.box.store.sync(d.file.SyncAll); err != nil {
			return err
		}
	}
	return d.box.store.sync(d.folder.Sync)
}

// become gives the file of the message the name of the journal.
func (d *mboxDelivery) become(journal string) error {
	if d.name == "" {
		return d.folder.Publish(d.file, journal)
	}
	if err := d.folder.Replace(d.name, journal); err != nil {
		return err
	}
	d.name = ""
	return nil
}

// end returns where a message may begin, after an empty line. Another program
// may have left none when it died.
func (l *lockedMbox) end() (int64, error) {
	info, err := l.file.Stat()
	if err != nil || info.Size == 0 {
		return 0, err
	}
	tail := make([]byte, min(info.Size, 2))
	if _, err := l.file.ReadAt(tail, info.Size-int64(len(tail))); err != nil && err != io.EOF {
		return 0, err
	}
	missing := "\n\n"
	switch {
	case string(tail) == "\n\n":
		return info.Size, nil
	case strings.HasSuffix(string(tail), "\n"):
		missing = "\n"
	}
	_, err = io.WriteString(l.file, missing)
	return info.Size + int64(len(missing)), err
}

// append writes text at the end of the file, and makes it durable.
func (l *lockedMbox) append(text io.Reader) error {
	if _, err := io.CopyBuffer(struct{ io.Writer }{l.file}, text, make([]byte, maxBuffer)); err != nil {
		return err
	}
	return l.store.sync(l.file.Sync)
}

// repair takes away what there is of a message whose copy ended in the middle.
func (l *lockedMbox) repair() error {
	journal, err := l.folder.Open(l.journal())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	at, torn, err := l.torn(journal)
	if err := errors.Join(err, journal.Close()); err != nil {
		return err
	}
	if torn {
		if err := l.file.Truncate(at); err != nil {
			return err
		}
		if err := l.store.sync(l.file.Sync); err != nil {
			return err
		}
	}
	return l.folder.Remove(l.journal())
}

// torn reports whether the mbox ends in a part of the message of the journal,
// which begins at at. A file system may have lost any of its octets to zeros. If
// the text is another, a reader has been at work, and knows better.
func (l *lockedMbox) torn(journal File) (at int64, torn bool, err error) {
	info, err := journal.Stat()
	if err != nil {
		return 0, false, err
	}
	size := info.Size - int64(trailerSize)
	if size < 0 {
		return 0, false, nil // not ours
	}
	last := make([]byte, trailerSize)
	if _, err := journal.ReadAt(last, size); err != nil && err != io.EOF {
		return 0, false, err
	}
	digits, isTrailer := strings.CutPrefix(strings.TrimSuffix(string(last), "\n"), "at ")
	at, err = strconv.ParseInt(digits, 10, 64)
	if err != nil || !isTrailer {
		return 0, false, nil
	}
	box, err := l.file.Stat()
	if err != nil || box.Size <= at || box.Size > at+size {
		return at, false, err
	}
	partly, whole, err := sameButZeros(io.NewSectionReader(l.file, at, box.Size-at), io.NewSectionReader(journal, 0, size))
	return at, partly && !(whole && box.Size == at+size), err
}

// sameButZeros reports whether got is the beginning of want where it is not zero,
// and whether it is so everywhere.
func sameButZeros(got, want *io.SectionReader) (partly, whole bool, err error) {
	whole = true
	a, b := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, err := io.ReadFull(got, a)
		if n == 0 && err == io.EOF {
			return true, whole, nil
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return false, false, err
		}
		if _, err := io.ReadFull(want, b[:n]); err != nil {
			return false, false, err
		}
		for i := range n {
			if a[i] == b[i] {
				continue
			}
			if whole = false; a[i] != 0 {
				return false, false, nil
			}
		}
	}
}
