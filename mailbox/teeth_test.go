package mailbox_test

import (
	"io"
	"testing"

	"postern/internal/crashfs"
	"postern/mailbox"
)

// A wrongOrder is a way to deliver that looks as if it worked. Each step may be
// left out or be in the wrong place; folders are made beforehand.
type wrongOrder struct {
	name      string
	noParent  bool // the folders' names are not synced
	nameFirst bool // the content is synced after the name
	noContent bool // the content is not synced
	noFolder  bool // the folder is not synced
	inNew     bool // written under its name, in new/
	again     bool // a sync that failed is tried again
	writeOut  bool // the content is written out, and all synced after the name,
	ordered   bool // on a disk that commits names in order
	byFile    bool // on a disk that keeps the name of a file by the sync of the file,
	syncName  bool // which is done
}

func (o wrongOrder) deliver(fsys mailbox.FS, text string) error {
	at := "."
	for _, name := range []string{"example.org", "bob", "new"} {
		dir, err := fsys.OpenDir(at)
		if err != nil {
			return err
		}
		defer dir.Close()
		_ = dir.Mkdir(name)
		if !o.noParent {
			if err := dir.Sync(); err != nil {
				return err
			}
		}
		at += "/" + name
		if at[:2] == "./" {
			at = at[2:]
		}
	}
	dir, err := fsys.OpenDir(at)
	if err != nil {
		return err
	}
	defer dir.Close()
	return o.file(dir, text)
}

func (o wrongOrder) file(dir mailbox.Dir, text string) error {
	f, err := dir.Tmpfile()
	if o.inNew {
		f, err = dir.Create("1.x.mx")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	if o.writeOut && !o.noContent {
		if err := f.WriteOut(); err != nil {
			return err
		}
	}
	if !o.nameFirst && !o.noContent && !o.writeOut {
		err := f.Sync()
		if err != nil && o.again {
			err = f.Sync()
		}
		if err != nil {
			return err
		}
	}
	if !o.inNew {
		if err := dir.Publish(f, "1.x.mx"); err != nil {
			return err
		}
	}
	if o.nameFirst {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if o.writeOut {
		return f.SyncAll()
	}
	if o.syncName {
		if err := f.SyncAll(); err != nil {
			return err
		}
	}
	if o.noFolder {
		return nil
	}
	return dir.Sync()
}

// caught reports whether the checks of this package find something wrong with o.
func (o wrongOrder) caught() bool {
	for fault := -1; fault < 20; fault++ {
		for op := 0; op < 20; op++ {
			disk := crashfs.New()
			disk.Ordered, disk.NamesByFile = o.ordered, o.byFile
			disk.PowerLoss, disk.Fault, disk.Err = op, fault, io.ErrUnexpectedEOF
			promises := 0
			if o.deliver(disk, onDisk) == nil {
				promises++
			}
			for after := range disk.Fates() {
				if violations(inNew(after, "example.org/bob"), promises, 1, false) != nil {
					return true
				}
			}
		}
	}
	return false
}

// The checks must find what is wrong with a wrong order, or they prove nothing
// of the right one.
func TestChecksHaveTeeth(t *testing.T) {
	wrong := []wrongOrder{
		{name: "name first", nameFirst: true},
		{name: "no sync of the content", noContent: true},
		{name: "no sync of the folder", noFolder: true},
		{name: "no sync of the parents", noParent: true},
		{name: "written in place", inNew: true},
		{name: "sync tried again", again: true},
		{name: "one sync where names are not in order", writeOut: true},
		{name: "one sync, and the content not written out", writeOut: true, noContent: true, ordered: true},
		{name: "name first, in order", nameFirst: true, ordered: true},
		{name: "no sync of the folder, in order", noFolder: true, ordered: true},
		{name: "the file not synced with its name", byFile: true},
		{name: "the file synced with its name, but no sync of the folder", byFile: true, syncName: true, noFolder: true},
	}
	for _, o := range wrong {
		if !o.caught() {
			t.Errorf("%s: not caught", o.name)
		}
	}
	for _, o := range []wrongOrder{{}, {ordered: true}, {ordered: true, writeOut: true}, {ordered: true, noParent: true, writeOut: true}, {byFile: true, syncName: true}} {
		if o.caught() {
			t.Errorf("the right order was caught: %+v", o)
		}
	}
}
