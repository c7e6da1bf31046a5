package crashfs

import (
	"errors"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"postern/mailbox"
)

// unable reports whether err tells that an operation was not even attempted.
func unable(err error) bool { return errors.Is(err, fs.ErrClosed) || errors.Is(err, ErrPowerLoss) }

// unnamed is the name of an unnamed file in messages.
const unnamed = "(unnamed file)"

type dir struct {
	disk   *Disk
	node   *node
	name   string
	closed bool
}

// op does an operation on name in the folder.
func (d *dir) op(call, name string, do func() error) error {
	if d.closed {
		return &fs.PathError{Op: call, Path: d.name, Err: fs.ErrClosed}
	}
	return d.disk.op(call, d.name+"/"+name, do)
}

// set gives the name to n, or takes it away if n is nil.
func (d *dir) set(name string, n *node) {
	d.node.touch()
	if d.disk.Ordered {
		d.disk.log = append(d.disk.log, change{node: d.node, name: name, child: n})
	}
	delete(d.node.droppedNames, name)
	if n == nil {
		delete(d.node.names, name)
		return
	}
	d.node.names[name] = n
	n.newName = d.disk.NamesByFile && !n.folder
	n.changedAt = time.Now()
}

// vacant returns an error unless name can be given.
func (d *dir) vacant(name string) error {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return fs.ErrInvalid
	}
	if d.node.names[name] != nil {
		return fs.ErrExist
	}
	return nil
}

func (d *dir) Mkdir(name string) error {
	return d.op("mkdir", name, func() error {
		if err := d.vacant(name); err != nil {
			return err
		}
		d.set(name, newFolder(d.disk.nextID()))
		return nil
	})
}

func (d *dir) Tmpfile() (mailbox.File, error) {
	var n *node
	err := d.op("create", unnamed, func() error {
		if d.disk.NoTmpfile {
			return errors.ErrUnsupported
		}
		n = newFile(d.disk.nextID())
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.disk.opened(1)
	return &file{disk: d.disk, node: n, name: d.name + "/" + unnamed}, nil
}

func (d *dir) Create(name string) (mailbox.File, error) {
	var n *node
	err := d.op("create", name, func() error {
		if err := d.vacant(name); err != nil {
			return err
		}
		n = newFile(d.disk.nextID())
		d.set(name, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.disk.opened(1)
	return &file{disk: d.disk, node: n, name: d.name + "/" + name}, nil
}

func (d *dir) Publish(f mailbox.File, name string) error {
	return d.op("link", name, func() error {
		if d.disk.NoLink {
			d.disk.NoTmpfile = true
			return errors.ErrUnsupported
		}
		if err := d.vacant(name); err != nil {
			return err
		}
		d.set(name, f.(*file).node)
		return nil
	})
}

func (d *dir) Move(name string, to mailbox.Dir, newname string) error {
	target := to.(*dir)
	return d.op("rename", name+" "+target.name+"/"+newname, func() error {
		n := d.node.names[name]
		if n == nil {
			return fs.ErrNotExist
		}
		if err := target.vacant(newname); err != nil {
			return err
		}
		target.set(newname, n)
		d.set(name, nil)
		return nil
	})
}

func (d *dir) Open(name string) (mailbox.File, error) {
	var n *node
	err := d.op("open", name, func() error {
		if n = d.node.names[name]; n == nil {
			return fs.ErrNotExist
		}
		if n.folder {
			return fs.ErrInvalid
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.disk.opened(1)
	return &file{disk: d.disk, node: n, name: d.name + "/" + name}, nil
}

func (d *dir) Replace(name, newname string) error {
	return d.op("rename", name+" over "+newname, func() error {
		n := d.node.names[name]
		if n == nil {
			return fs.ErrNotExist
		}
		d.set(newname, n)
		d.set(name, nil)
		return nil
	})
}

// Own implements mailbox.Dir. Nobody owns anything here.
func (d *dir) Own(name string) error {
	return d.op("chmod", name, func() error {
		if d.node.names[name] == nil {
			return fs.ErrNotExist
		}
		return nil
	})
}

func (d *dir) Chown(name string, _ uint32) error { return d.Own(name) }

func (d *dir) Ordered() bool { return d.disk.Ordered }

func (d *dir) NamesByFile() bool { return d.disk.NamesByFile }

func (d *dir) Remove(name string) error {
	return d.op("remove", name, func() error {
		n := d.node.names[name]
		if n == nil || n.folder {
			return fs.ErrNotExist
		}
		d.set(name, nil)
		return nil
	})
}

func (d *dir) Names() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var names []string
		err := d.op("readdir", "", func() error {
			names = slices.Sorted(maps.Keys(d.node.names))
			return nil
		})
		if err != nil {
			yield("", err)
			return
		}
		for _, name := range names {
			if !yield(name, nil) {
				return
			}
		}
	}
}

func (d *dir) Stat(name string) (mailbox.Info, error) {
	var info mailbox.Info
	err := d.op("stat", name, func() error {
		n := d.node.names[name]
		if n == nil {
			return fs.ErrNotExist
		}
		info = n.info()
		return nil
	})
	return info, err
}

func (n *node) info() mailbox.Info {
	return mailbox.Info{
		Folder:   n.folder,
		Regular:  !n.folder,
		Size:     int64(len(n.data)),
		Modified: n.time,
		Changed:  n.changedAt,
		ID:       [2]uint64{n.id},
	}
}

// changed returns the names whose meaning on disk is another, in order.
func (n *node) changed() []string {
	var changed []string
	for name, child := range n.names {
		if n.syncedNames[name] != child {
			changed = append(changed, name)
		}
	}
	for name := range n.syncedNames {
		if n.names[name] == nil {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed
}

func (d *dir) Sync() error {
	done := false
	err := d.op("fsync", "", func() error {
		done = true
		if d.disk.Ordered {
			d.disk.commit()
			return nil
		}
		synced := maps.Clone(d.node.names)
		leaveOut := func(name string) {
			delete(synced, name)
			if n := d.node.syncedNames[name]; n != nil {
				synced[name] = n
			}
		}
		for name := range d.node.droppedNames {
			leaveOut(name)
		}
		for name, n := range d.node.names {
			if n.newName && !d.node.droppedNames[name] {
				leaveOut(name)
				d.disk.half = append(d.disk.half, change{node: d.node, name: name, child: n})
			}
		}
		d.node.syncedNames = synced
		return nil
	})
	if err != nil && !done && !unable(err) && !d.disk.Ordered {
		d.disk.mu.Lock()
		defer d.disk.mu.Unlock()
		for _, name := range d.node.changed() {
			d.node.droppedNames[name] = true
		}
	}
	return err
}

func (d *dir) Close() error {
	if d.closed {
		return &fs.PathError{Op: "close", Path: d.name, Err: fs.ErrClosed}
	}
	d.closed = true
	d.disk.opened(-1)
	return nil
}
