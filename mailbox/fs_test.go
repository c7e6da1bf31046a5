package mailbox_test

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"
	"time"

	"postern/internal/crashfs"
	"postern/mailbox"
)

// The disk that loses power must otherwise do what the real one does, or what
// is proven on it is not proven.
func TestBothFileSystems(t *testing.T) {
	t.Run("real", func(t *testing.T) {
		fsys, err := mailbox.OpenFS(t.TempDir(), mailbox.Modes{})
		if err != nil {
			t.Fatal(err)
		}
		defer fsys.Close()
		testFS(t, fsys)
	})
	t.Run("crashfs", func(t *testing.T) {
		disk := crashfs.New()
		testFS(t, disk)
		if n := disk.Open(); n != 0 {
			t.Errorf("%d handles left open", n)
		}
	})
}

// openDir opens a folder until the end of the test.
func openDir(t *testing.T, fsys mailbox.FS, name string) mailbox.Dir {
	t.Helper()
	dir, err := fsys.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// must fails the test unless err is want.
func must(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// isAPathError checks that err says what was done to what.
func isAPathError(t *testing.T, what string, err error) {
	t.Helper()
	var pe *fs.PathError
	if !errors.As(err, &pe) || pe.Op == "" || pe.Path == "" {
		t.Errorf("%s: %v does not tell what was done to what", what, err)
	}
}

func testFS(t *testing.T, fsys mailbox.FS) {
	root := openDir(t, fsys, ".")
	defer root.Close()
	must(t, "Mkdir", root.Mkdir("a"), nil)
	must(t, "Mkdir again", root.Mkdir("a"), fs.ErrExist)
	for _, name := range []string{"nothing", "a/nothing", "nothing/a"} {
		_, err := fsys.OpenDir(name)
		must(t, "OpenDir "+name, err, fs.ErrNotExist)
		isAPathError(t, "OpenDir "+name, err)
	}
	for _, name := range []string{"", "..", "/", "/a", "a/", "a/../a", "./a", "a//b"} {
		_, err := fsys.OpenDir(name)
		must(t, "OpenDir "+name, err, fs.ErrInvalid)
	}
	a := openDir(t, fsys, "a")
	defer a.Close()
	must(t, "Mkdir", a.Mkdir("b"), nil)
	b := openDir(t, fsys, "a/b")
	defer b.Close()
	testNewFiles(t, a, b)
	testNames(t, a, b)
	testOpenFiles(t, a)
	must(t, "Sync", a.Sync(), nil)
}

// testNewFiles makes x in a, y in b, and tries to be in their way.
func testNewFiles(t *testing.T, a, b mailbox.Dir) {
	when := time.Date(2001, 2, 3, 4, 5, 6, 789_000_000, time.UTC)
	unnamed, err := a.Tmpfile()
	must(t, "Tmpfile", err, nil)
	named, err := a.Create("x")
	must(t, "Create", err, nil)
	_, err = a.Create("x")
	must(t, "Create again", err, fs.ErrExist)
	isAPathError(t, "Create again", err)
	for _, f := range []mailbox.File{unnamed, named} {
		n, err := f.Write([]byte("text"))
		if n != 4 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
		must(t, "SetTime", f.SetTime(when), nil)
		must(t, "Sync", f.Sync(), nil)
	}
	must(t, "Publish onto another", a.Publish(unnamed, "x"), fs.ErrExist)
	must(t, "Publish onto a folder", a.Publish(unnamed, "b"), fs.ErrExist)
	must(t, "Publish", a.Publish(unnamed, "z"), nil)
	must(t, "Move onto another", a.Move("z", a, "x"), fs.ErrExist)
	must(t, "Move", a.Move("z", b, "y"), nil)
	must(t, "Move of nothing", a.Move("z", b, "y2"), fs.ErrNotExist)
	for _, f := range []mailbox.File{unnamed, named} {
		must(t, "Close", f.Close(), nil)
	}
	info, err := b.Stat("y")
	must(t, "Stat", err, nil)
	if !info.Regular || info.Folder || info.Size != 4 || !info.Modified.Equal(when) || time.Since(info.Changed) > time.Hour {
		t.Errorf("Stat: %+v", info)
	}
}

func testNames(t *testing.T, a, b mailbox.Dir) {
	names := func(dir mailbox.Dir) (all []string) {
		t.Helper()
		for name, err := range dir.Names() {
			must(t, "Names", err, nil)
			all = append(all, name)
		}
		slices.Sort(all)
		return all
	}
	for range 2 { // it begins at the beginning each time
		if got := names(a); !slices.Equal(got, []string{"b", "x"}) {
			t.Errorf("names in a: %q", got)
		}
	}
	for range a.Names() {
		break
	}
	must(t, "Remove", b.Remove("y"), nil)
	must(t, "Remove again", b.Remove("y"), fs.ErrNotExist)
	if err := a.Remove("b"); err == nil {
		t.Error("Remove of a folder")
	}
	if got := names(b); len(got) != 0 {
		t.Errorf("names in b: %q", got)
	}
	_, err := b.Stat("y")
	must(t, "Stat of nothing", err, fs.ErrNotExist)
	info, err := a.Stat("b")
	must(t, "Stat of a folder", err, nil)
	if !info.Folder || info.Regular {
		t.Errorf("Stat of a folder: %+v", info)
	}
}

func testOpenFiles(t *testing.T, dir mailbox.Dir) {
	_, err := dir.Open("nothing")
	must(t, "Open of nothing", err, fs.ErrNotExist)
	isAPathError(t, "Open of nothing", err)
	_, err = dir.Open("b")
	if err == nil {
		t.Error("Open of a folder")
	}
	made, err := dir.Create("f")
	must(t, "Create", err, nil)
	_, err = io.WriteString(made, "0123456789")
	must(t, "Write", err, nil)
	_, err = made.WriteAt([]byte("ab"), 3)
	must(t, "WriteAt", err, nil)
	_, err = made.WriteAt([]byte("cd"), 9)
	must(t, "WriteAt over the end", err, nil)
	checkContent(t, made, "012ab5678cd")
	must(t, "Close", made.Close(), nil)

	f, err := dir.Open("f")
	must(t, "Open", err, nil)
	defer f.Close()
	must(t, "Truncate", f.Truncate(5), nil)
	for range 2 {
		_, err = io.WriteString(f, "xy")
		must(t, "Write", err, nil)
	}
	checkContent(t, f, "012abxyxy")
	must(t, "Sync", f.Sync(), nil)
	// Another file takes the name.
	other, err := dir.Create("g")
	must(t, "Create", err, nil)
	must(t, "Close", other.Close(), nil)
	must(t, "Replace", dir.Replace("g", "f"), nil)
	must(t, "Replace of nothing", dir.Replace("g", "f"), fs.ErrNotExist)
	before, err := f.Stat()
	must(t, "Stat", err, nil)
	after, err := dir.Stat("f")
	must(t, "Stat", err, nil)
	if before.ID == after.ID || before.Size != 9 || after.Size != 0 {
		t.Errorf("%+v was replaced by %+v", before, after)
	}
	locked, err := dir.Open("f")
	must(t, "Open", err, nil)
	testLocks(t, dir, locked)
}

// checkContent checks what a file holds.
func checkContent(t *testing.T, f mailbox.File, want string) {
	t.Helper()
	got := make([]byte, 100)
	n, err := f.ReadAt(got, 0)
	if err != io.EOF || string(got[:n]) != want {
		t.Errorf("read %q, %v, want %q", got[:n], err, want)
	}
	if n, err = f.ReadAt(got[:2], 1); err != nil || string(got[:n]) != want[1:3] {
		t.Errorf("read %q at 1, %v", got[:n], err)
	}
	if n, err = f.ReadAt(got, int64(len(want))); n != 0 || err != io.EOF {
		t.Errorf("read %d at the end, %v", n, err)
	}
	info, err := f.Stat()
	if err != nil || info.Size != int64(len(want)) || !info.Regular {
		t.Errorf("Stat: %+v, %v", info, err)
	}
}

func testLocks(t *testing.T, dir mailbox.Dir, f mailbox.File) {
	other, err := dir.Open("f")
	must(t, "Open", err, nil)
	for _, l := range []mailbox.Lock{mailbox.Fcntl, mailbox.Flock} {
		try := func(f mailbox.File, want bool) {
			t.Helper()
			if got, err := f.TryLock(l); got != want || err != nil {
				t.Errorf("%v: %v, %v, want %v", l, got, err, want)
			}
		}
		try(f, true)
		try(f, true)
		try(other, false)
	}
	must(t, "Close", f.Close(), nil)
	for _, l := range []mailbox.Lock{mailbox.Fcntl, mailbox.Flock} {
		if got, err := other.TryLock(l); !got || err != nil {
			t.Errorf("%v after Close: %v, %v", l, got, err)
		}
	}
	must(t, "Close", other.Close(), nil)
}
