package mailbox

import (
	"io"
	"path"
)

// sharable returns the delivery whose file one into m may share; nil if it may
// not. In the Maildirs of one domain files and folders belong to the same user
// and group; of others that is not known. A file in tmp/ already has a name, by
// which it could vanish.
func (m *Maildir) sharable(same Delivery) *maildirDelivery {
	var d *maildirDelivery
	switch same := same.(type) {
	case *maildirDelivery:
		d = same
	case *limitedDelivery:
		d = same.maildirDelivery
	}
	if d == nil || !d.synced || d.file == nil || d.tmp != nil || d.store != m.store {
		return nil
	}
	if m.home != "" || d.box.home != "" || path.Dir(m.path) != path.Dir(d.box.path) {
		return nil
	}
	return d
}

// share has d store what same does, and the file with it.
func (d *maildirDelivery) share(same *maildirDelivery) (err error) {
	d.file, err = same.file.Share()
	if err != nil {
		return err
	}
	d.shared, d.ordered = true, same.ordered
	d.lines.size, d.lines.bare = same.lines.size, same.lines.bare
	return nil
}

// unshare gives d a file of its own after all, durably: the other one may have as
// many names as there can be, or the folder may be a volume of its own.
func (d *maildirDelivery) unshare() error {
	file, err := d.folder.Tmpfile()
	if err != nil {
		return err
	}
	_, err = io.Copy(file, io.NewSectionReader(d.file, 0, d.lines.size))
	if err == nil {
		err = file.SetTime(d.received)
	}
	if err == nil {
		err = d.store.sync(file.Sync)
	}
	if err != nil {
		_ = file.Close()
		return err
	}
	_ = d.closeFile() // nothing was written by it
	d.file, d.shared = file, false
	return nil
}
