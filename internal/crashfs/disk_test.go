package crashfs_test

import (
	"errors"
	"io"
	"maps"
	"slices"
	"syscall"
	"testing"

	"postern/internal/crashfs"
	"postern/mailbox"
)

// fates returns what may become of the files in the root, each once, as
// "name=content" separated by spaces.
func fates(disk *crashfs.Disk) []string {
	var all []string
	for after := range disk.Fates() {
		files := after.Files(".")
		text := ""
		for _, name := range slices.Sorted(maps.Keys(files)) {
			text += name + "=" + files[name] + " "
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func root(t *testing.T, disk *crashfs.Disk) mailbox.Dir {
	t.Helper()
	dir, err := disk.OpenDir(".")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// create makes a file with text, not synced.
func create(t *testing.T, dir mailbox.Dir, name, text string) mailbox.File {
	t.Helper()
	f, err := dir.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
	return f
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestFates(t *testing.T) {
	const zeros = "\x00\x00\x00\x00"
	tests := []struct {
		name string
		do   func(t *testing.T, dir mailbox.Dir)
		want []string
	}{
		{"nothing synced", func(t *testing.T, dir mailbox.Dir) {
			create(t, dir, "a", "text")
		}, []string{"", "a=" + zeros + " ", "a= ", "a=te ", "a=text "}},
		{"the content synced", func(t *testing.T, dir mailbox.Dir) {
			check(t, create(t, dir, "a", "text").Sync())
		}, []string{"", "a=text "}},
		{"the folder synced", func(t *testing.T, dir mailbox.Dir) {
			create(t, dir, "a", "text")
			check(t, dir.Sync())
		}, []string{"a=" + zeros + " ", "a= ", "a=te ", "a=text "}},
		{"both synced", func(t *testing.T, dir mailbox.Dir) {
			check(t, create(t, dir, "a", "text").Sync(), dir.Sync())
		}, []string{"a=text "}},
		{"moved", func(t *testing.T, dir mailbox.Dir) {
			check(t, create(t, dir, "a", "x").Sync(), dir.Sync(), dir.Move("a", dir, "b"))
		}, []string{"", "a=x ", "a=x b=x ", "b=x "}},
		{"removed", func(t *testing.T, dir mailbox.Dir) {
			check(t, create(t, dir, "a", "x").Sync(), dir.Sync(), dir.Remove("a"))
		}, []string{"", "a=x "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk := crashfs.New()
			tt.do(t, root(t, disk))
			if got := fates(disk); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFailedSyncIsNotHealedByAnother(t *testing.T) {
	disk := crashfs.New()
	dir := root(t, disk)
	f := create(t, dir, "a", "x")
	disk.Fault, disk.Err = disk.Ops(), syscall.EIO
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync: %v", err)
	}
	check(t, f.Sync(), dir.Sync())
	if got := disk.Worst().Files("."); got["a"] != "" {
		t.Errorf("the content survived: %q", got)
	}

	disk = crashfs.New()
	dir = root(t, disk)
	check(t, create(t, dir, "a", "x").Sync())
	disk.Fault, disk.Err = disk.Ops(), syscall.EIO
	if err := dir.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync: %v", err)
	}
	check(t, dir.Sync())
	if got := disk.Worst().Files("."); len(got) != 0 {
		t.Errorf("the name survived: %q", got)
	}
}

func TestFaults(t *testing.T) {
	for _, late := range []bool{false, true} {
		disk := crashfs.New()
		dir := root(t, disk)
		disk.Fault, disk.Err, disk.Late = 2, syscall.ENOSPC, late
		f, err := dir.Create("a")
		check(t, err)
		n, err := io.WriteString(f, "text")
		if !errors.Is(err, syscall.ENOSPC) || !late && n != 2 || !disk.Failed() {
			t.Errorf("late=%v: wrote %d, %v", late, n, err)
		}
		want := "te"
		if late {
			want = "text"
		}
		if got := disk.Files(".")["a"]; got != want {
			t.Errorf("late=%v: %q is there", late, got)
		}
		_, err = io.WriteString(f, "!")
		check(t, err)
	}
}

func TestPowerLoss(t *testing.T) {
	disk := crashfs.New()
	disk.PowerLoss = 2
	dir := root(t, disk)
	f, err := dir.Create("a")
	check(t, err)
	for range 2 {
		if err := f.Sync(); !errors.Is(err, crashfs.ErrPowerLoss) {
			t.Errorf("Sync: %v", err)
		}
	}
	if disk.Open() != 2 {
		t.Errorf("%d open", disk.Open())
	}
	_ = f.Close()
	_ = dir.Close()
	if disk.Open() != 0 || disk.Ops() != 2 {
		t.Errorf("%d open, %d operations", disk.Open(), disk.Ops())
	}
	if err := f.Sync(); errors.Is(err, crashfs.ErrPowerLoss) || err == nil {
		t.Errorf("Sync after Close: %v", err)
	}
}
