package mailbox_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"postern/internal/crashfs"
	"postern/mailbox"
)

// What holds of a Delivery holds of those into every Mailbox.
func TestEveryMailbox(t *testing.T) {
	tests := map[string]func(*testing.T, way, *crashfs.Disk){
		"whole":        suiteWhole,
		"aborted":      suiteAborted,
		"out of order": suiteOutOfOrder,
		"failed":       suiteFailed,
	}
	for _, w := range ways {
		for name, test := range tests {
			t.Run(w.name+"/"+name, func(t *testing.T) {
				disk := w.disk()
				test(t, w, disk)
				if n := disk.Open(); n != 0 {
					t.Errorf("%d handles left open", n)
				}
				if left := leftovers(disk); len(left) > 0 {
					t.Errorf("left over: %q", left)
				}
			})
		}
	}
}

func begin(t *testing.T, box mailbox.Mailbox) mailbox.Delivery {
	t.Helper()
	d, err := box.Begin(mailbox.Arrival{Sender: "ann@example.org", Time: received})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w way) check(t *testing.T, disk *crashfs.Disk, n int) {
	t.Helper()
	if err := violations(w.found(disk.Worst(), "bob"), n, n, false); err != nil {
		t.Error(err)
	}
}

func suiteWhole(t *testing.T, w way, disk *crashfs.Disk) {
	box := w.bob(t, disk)
	for n := range len(wire) {
		d := begin(t, box)
		w.check(t, disk, n)
		_, err := io.WriteString(d, wire[:n])
		must(t, "Write", err, nil)
		_, err = io.WriteString(d, wire[n:])
		must(t, "Write", err, nil)
		must(t, "Sync", d.Sync(), nil)
		w.check(t, disk, n)
		must(t, "Commit", d.Commit(), nil)
		w.check(t, disk, n+1)
		d.Abort()
		d.Abort()
		w.check(t, disk, n+1)
	}
}

func suiteAborted(t *testing.T, w way, disk *crashfs.Disk) {
	box := w.bob(t, disk)
	large := strings.Repeat("postern\r\n", 100<<10)
	phases := []func(d mailbox.Delivery) error{
		func(d mailbox.Delivery) error { _, err := io.WriteString(d, wire); return err },
		func(d mailbox.Delivery) error { _, err := io.WriteString(d, large); return err },
		mailbox.Delivery.Sync,
	}
	for last := range len(phases) + 1 {
		d := begin(t, box)
		for _, phase := range phases[:last] {
			must(t, "a phase", phase(d), nil)
		}
		d.Abort()
		d.Abort()
		if _, err := io.WriteString(d, wire); err == nil {
			t.Error("wrote after Abort")
		}
		if d.Sync() == nil || d.Commit() == nil {
			t.Error("synced or committed after Abort")
		}
		d.Abort()
		w.check(t, disk, 0)
	}
}

func suiteOutOfOrder(t *testing.T, w way, disk *crashfs.Disk) {
	steps := map[string]func(mailbox.Delivery) error{
		"commit without sync": mailbox.Delivery.Commit,
		"sync twice":          func(d mailbox.Delivery) error { _ = d.Sync(); return d.Sync() },
		"write after sync": func(d mailbox.Delivery) error {
			_ = d.Sync()
			_, err := io.WriteString(d, "x")
			return err
		},
	}
	for name, step := range steps {
		d := begin(t, w.bob(t, disk))
		if err := step(d); err == nil {
			t.Errorf("%s: no error", name)
		}
		if d.Commit() == nil {
			t.Errorf("%s: committed", name)
		}
		d.Abort()
	}
	d := begin(t, w.bob(t, disk))
	defer d.Abort()
	_, err := io.WriteString(d, wire)
	must(t, "deliver", errors.Join(err, d.Sync(), d.Commit()), nil)
	if d.Commit() == nil {
		t.Error("committed twice")
	}
	w.check(t, disk, 1)
}

// suiteFailed: after an error every method returns it again, and nothing is
// tried twice.
func suiteFailed(t *testing.T, w way, disk *crashfs.Disk) {
	box := w.bob(t, disk)
	must(t, "deliver", deliver(box, wire), nil)
	d := begin(t, box)
	defer d.Abort()
	_, err := io.WriteString(d, wire)
	must(t, "Write", err, nil)
	disk.Fault, disk.Err = disk.Ops(), io.ErrUnexpectedEOF
	must(t, "Sync", d.Sync(), io.ErrUnexpectedEOF)
	ops := disk.Ops()
	must(t, "Sync again", d.Sync(), io.ErrUnexpectedEOF)
	must(t, "Commit", d.Commit(), io.ErrUnexpectedEOF)
	_, err = io.WriteString(d, wire)
	must(t, "Write", err, io.ErrUnexpectedEOF)
	if n := disk.Ops() - ops; n != 0 {
		t.Errorf("%d operations after the error", n)
	}
	w.check(t, disk, 1)
}
