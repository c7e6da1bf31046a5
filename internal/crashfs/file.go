package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"postern/mailbox"
)

type file struct {
	disk   *Disk
	node   *node
	name   string
	closed bool
}

func (f *file) op(call string, do func() error) error {
	if f.closed {
		return &fs.PathError{Op: call, Path: f.name, Err: fs.ErrClosed}
	}
	return f.disk.op(call, f.name, do)
}

func (f *file) Write(p []byte) (int, error) {
	done := false
	err := f.op("write", func() error {
		done = true
		f.node.data = append(f.node.data, p...)
		f.node.touch()
		return nil
	})
	switch {
	case err == nil:
		return len(p), nil
	case done || unable(err):
		return 0, err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	half := len(p) / 2
	f.node.data = append(f.node.data, p[:half]...)
	f.node.touch()
	return half, err
}

func (f *file) SetTime(t time.Time) error {
	return f.op("utimens", func() error {
		f.node.time, f.node.changedAt = t, time.Now()
		return nil
	})
}

func (f *file) Sync() error {
	done := false
	err := f.op("fdatasync", func() error {
		done = true
		if f.node.dropped == 0 {
			f.node.synced = slices.Clone(f.node.data)
		}
		f.disk.keepNames(f.node)
		return nil
	})
	if err != nil && !done && !unable(err) {
		f.disk.mu.Lock()
		f.node.dropped = common(f.node.data, f.node.synced) + 1
		f.disk.mu.Unlock()
	}
	return err
}

func (f *file) WriteOut() error {
	return f.op("sync_file_range", func() error {
		f.disk.log = append(f.disk.log, change{node: f.node, data: slices.Clone(f.node.data)})
		return nil
	})
}

func (f *file) SyncAll() error {
	return f.op("fsync", func() error {
		f.disk.keepNames(f.node)
		f.disk.log = append(f.disk.log, change{node: f.node, data: slices.Clone(f.node.data)})
		f.disk.commit()
		return nil
	})
}

func (f *file) Share() (mailbox.File, error) {
	if err := f.op("dup", func() error { return nil }); err != nil {
		return nil, err
	}
	f.disk.opened(1)
	return &file{disk: f.disk, node: f.node, name: f.name}, nil
}

func (f *file) Close() error {
	err := f.op("close", nil)
	if f.closed {
		return err
	}
	f.closed = true
	f.disk.opened(-1)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	maps.DeleteFunc(f.node.locks, func(_ mailbox.Lock, holder *file) bool { return holder == f })
	return err
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.op("read", func() error {
		if off >= int64(len(f.node.data)) {
			return io.EOF
		}
		if n = copy(p, f.node.data[off:]); n < len(p) {
			return io.EOF
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}

func (f *file) Stat() (info mailbox.Info, err error) {
	err = f.op("stat", func() error {
		info = f.node.info()
		return nil
	})
	return info, err
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.op("write", func() error {
		end := int(off) + len(p)
		data := make([]byte, max(end, len(f.node.data)))
		copy(data, f.node.data)
		n = copy(data[off:], p)
		f.node.data = data
		f.node.touch()
		return nil
	})
	return n, err
}

func (f *file) TryLock(l mailbox.Lock) (taken bool, err error) {
	err = f.op("lock", func() error {
		if f.node.locks == nil {
			f.node.locks = make(map[mailbox.Lock]*file)
		}
		holder := f.node.locks[l]
		if taken = holder == nil || holder == f; taken {
			f.node.locks[l] = f
		}
		return nil
	})
	return taken, err
}

func (f *file) Truncate(size int64) error {
	return f.op("truncate", func() error {
		data := make([]byte, size)
		copy(data, f.node.data)
		f.node.data = data
		if int(size) < f.node.dropped {
			f.node.dropped = 0 // what was dropped is not wanted any more
		}
		f.node.touch()
		return nil
	})
}
