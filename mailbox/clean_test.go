package mailbox_test

import (
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/crashfs"
	"postern/mailbox"
)

// leaveBehind leaves a file in tmp/, as a process that dies.
func leaveBehind(t *testing.T, disk *crashfs.Disk) {
	t.Helper()
	box := maildir(t, store(disk), "bob")
	d, err := box.Begin(mailbox.Arrival{})
	if err != nil {
		t.Fatal(err)
	}
	disk.PowerLoss = disk.Ops()
	d.Abort()
	disk.PowerLoss = -1
}

func TestClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		disk.NoTmpfile = true
		box := maildir(t, store(disk), "bob")
		if err := box.Clean(time.Now()); err != nil {
			t.Errorf("before the first delivery: %v", err)
		}
		if err := deliver(box, wire); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			leaveBehind(t, disk)
			time.Sleep(12 * time.Hour)
		}
		// Now they are 48, 36, 24 and 12 hours old; a minute more, and two are too old.
		for _, step := range []struct {
			after time.Duration
			left  int
		}{{0, 3}, {time.Minute, 2}, {12 * time.Hour, 1}, {11 * time.Hour, 1}, {time.Hour, 0}} {
			time.Sleep(step.after)
			if err := box.Clean(time.Now()); err != nil {
				t.Fatal(err)
			}
			if got := len(disk.Files("bob/tmp")); got != step.left {
				t.Errorf("%v later %d left in tmp, want %d", step.after, got, step.left)
			}
		}
		if n := len(disk.Files("bob/new")); n != 1 {
			t.Errorf("%d messages", n)
		}
		if n := disk.Open(); n != 0 {
			t.Errorf("%d handles left open", n)
		}
	})
}
