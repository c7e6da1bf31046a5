package mailbox_test

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"postern/internal/crashfs"
	"postern/mailbox"
)

const (
	wire   = "From: ann@example.org\r\nSubject: hello\r\n\r\nHow are you?\r\n"
	onDisk = "From: ann@example.org\nSubject: hello\n\nHow are you?\n"
)

var received = time.Date(2026, 7, 1, 12, 30, 0, 0, time.UTC)

// A way is one of the ways that a message takes to the disk.
type way struct {
	name string
	set  func(*crashfs.Disk)
}

var ways = []way{
	{"unnamed", func(*crashfs.Disk) {}},
	{"tmp", func(d *crashfs.Disk) { d.NoTmpfile = true }},
}

// store returns a Store on disk.
func store(disk *crashfs.Disk) *mailbox.Store {
	return mailbox.New(disk, mailbox.Options{Host: "mx.example"})
}

func maildir(t *testing.T, s *mailbox.Store, names ...string) *mailbox.Maildir {
	t.Helper()
	box, err := s.Maildir(names...)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// deliver delivers text into box, in one piece.
func deliver(box mailbox.Mailbox, text string) error {
	d, err := box.Begin(mailbox.Arrival{Sender: "ann@example.org", Time: received})
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := io.WriteString(d, text); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	return d.Commit()
}

// violations returns what is wrong with a disk on which text was delivered n
// times into folder: promises of them were made.
func violations(disk *crashfs.Disk, folder, text string, promises, n int) error {
	found := disk.Files(folder + "/new")
	for name, got := range found {
		if got != text {
			return fmt.Errorf("%s has %q", name, got)
		}
	}
	if len(found) < promises || len(found) > n {
		return fmt.Errorf("found %d messages after %d promises in %d deliveries", len(found), promises, n)
	}
	return nil
}

// crashAt delivers twice on a disk that loses power before operation number op,
// checks all that may be left, and delivers once more onto it. It reports
// whether the power was lost at all.
func crashAt(t *testing.T, w way, op int, deliver func(*crashfs.Disk) error) bool {
	t.Helper()
	disk := crashfs.New()
	w.set(disk)
	disk.PowerLoss = op
	promises := 0
	for range 2 {
		if deliver(disk) == nil {
			promises++
		}
	}
	if n := disk.Open(); n != 0 {
		t.Errorf("%d handles left open", n)
	}
	for after := range disk.Fates() {
		if err := violations(after, "example.org/bob", onDisk, promises, 2); err != nil {
			t.Fatalf("power lost before operation %d: %v\n%s", op, err, disk.Trace())
		}
		if err := deliver(after); err != nil {
			t.Fatalf("power lost before operation %d, then: %v\n%s", op, err, disk.Trace())
		}
		if err := violations(after.Worst(), "example.org/bob", onDisk, promises+1, 3); err != nil {
			t.Fatalf("power lost before operation %d, and again after one more delivery: %v\n%s", op, err, after.Trace())
		}
	}
	return disk.Ops() >= op
}

func TestPowerLossBeforeEachOperation(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			// Every Disk has a Store of its own; the second delivery finds the first's.
			stores := make(map[*crashfs.Disk]*mailbox.Store)
			op := 0
			for crashAt(t, w, op, func(disk *crashfs.Disk) error {
				if stores[disk] == nil {
					stores[disk] = store(disk)
				}
				return deliver(maildir(t, stores[disk], "example.org", "bob"), wire)
			}) {
				op++
			}
			if op < 20 {
				t.Errorf("only %d operations", op)
			}
		})
	}
}

// A process that dies leaves folders whose names it had no time to sync. The
// next one must not take them for durable.
func TestProcessDiesBeforeEachOperation(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			for op := 0; deathAt(t, w, op); op++ {
			}
		})
	}
}

func deathAt(t *testing.T, w way, op int) bool {
	t.Helper()
	disk := crashfs.New()
	w.set(disk)
	disk.PowerLoss = op
	died := deliver(maildir(t, store(disk), "example.org", "bob"), wire) != nil
	disk.PowerLoss = -1 // it was the process only
	if err := deliver(maildir(t, store(disk), "example.org", "bob"), wire); err != nil {
		t.Fatalf("after a death at %d: %v\n%s", op, err, disk.Trace())
	}
	promises := 1
	if !died {
		promises++
	}
	for after := range disk.Fates() {
		if err := violations(after, "example.org/bob", onDisk, promises, 2); err != nil {
			t.Fatalf("after a death at %d: %v\n%s", op, err, disk.Trace())
		}
	}
	return died
}

func TestEachOperationFailsOnce(t *testing.T) {
	errnos := []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EINTR, syscall.EMFILE, syscall.EROFS, syscall.ESTALE}
	for _, w := range ways {
		for _, errno := range errnos {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v/late=%v", w.name, errno, late), func(t *testing.T) {
					for op := 0; faultAt(t, w, op, errno, late); op++ {
					}
				})
			}
		}
	}
}

// faultAt delivers while operation number op fails, and once more. It reports
// whether there was such an operation.
func faultAt(t *testing.T, w way, op int, errno error, late bool) bool {
	t.Helper()
	disk := crashfs.New()
	w.set(disk)
	disk.Fault, disk.Err, disk.Late = op, errno, late
	s := store(disk)
	box := maildir(t, s, "example.org", "bob")
	err := deliver(box, wire)
	failf := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("operation %d: %s\n%s", op, fmt.Sprintf(format, args...), disk.Trace())
	}
	if !disk.Failed() {
		return op < disk.Ops()
	}
	if !errors.Is(err, errno) {
		failf("%v is not %v", err, errno)
	}
	if err := violations(disk, "example.org/bob", onDisk, 0, 0); err != nil {
		failf("%v", err)
	}
	if left := disk.Files("example.org/bob/tmp"); len(left) > 0 {
		failf("left in tmp: %q", left)
	}
	if n := disk.Open(); n != 0 {
		failf("%d handles left open", n)
	}
	if err := deliver(box, wire); err != nil {
		failf("the next delivery: %v", err)
	}
	return true
}

// deliverAll delivers wire to each of users in phases, as the agent does, and
// returns who was promised it.
func deliverAll(t *testing.T, disk *crashfs.Disk, users []string) map[string]bool {
	t.Helper()
	s := store(disk)
	begun := make(map[string]mailbox.Delivery)
	for _, user := range users {
		d, err := maildir(t, s, "example.org", user).Begin(mailbox.Arrival{})
		if err == nil {
			defer d.Abort()
			_, err = io.WriteString(d, wire)
		}
		if err == nil {
			begun[user] = d
		}
	}
	for _, user := range users {
		if d := begun[user]; d != nil && d.Sync() != nil {
			delete(begun, user)
		}
	}
	promised := make(map[string]bool)
	for _, user := range users {
		if d := begun[user]; d != nil {
			promised[user] = d.Commit() == nil
		}
	}
	return promised
}

func TestPowerLossWithManyRecipients(t *testing.T) {
	users := []string{"ann", "bob", "cat"}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			for op, ops := 0, 1; op <= ops; op++ {
				disk := crashfs.New()
				w.set(disk)
				disk.PowerLoss = op
				promised := deliverAll(t, disk, users)
				if ops = disk.Ops(); op == ops {
					ops++
				}
				for after := range disk.Fates() {
					for _, user := range users {
						promises := 0
						if promised[user] {
							promises = 1
						}
						if err := violations(after, "example.org/"+user, onDisk, promises, 1); err != nil {
							t.Fatalf("power lost before operation %d: %s: %v\n%s", op, user, err, disk.Trace())
						}
					}
				}
			}
		})
	}
}

// One recipient's trouble is no other's.
func TestFaultWithManyRecipients(t *testing.T) {
	users := []string{"ann", "bob", "cat"}
	for op := 0; ; op++ {
		disk := crashfs.New()
		disk.Fault, disk.Err = op, syscall.ENOSPC
		promised := deliverAll(t, disk, users)
		if !disk.Failed() {
			return
		}
		failed := 0
		for _, user := range users {
			promises := 0
			if promised[user] {
				promises = 1
			} else {
				failed++
			}
			if err := violations(disk, "example.org/"+user, onDisk, promises, promises); err != nil {
				t.Fatalf("operation %d: %s: %v\n%s", op, user, err, disk.Trace())
			}
		}
		if failed != 1 {
			t.Errorf("operation %d: %d failed\n%s", op, failed, disk.Trace())
		}
	}
}
