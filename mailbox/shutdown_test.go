package mailbox_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"postern/mailbox"
)

// mountExt4 mounts a new ext4 with a journal. It returns where, a function that
// stops it as a crash of the kernel would, and one that mounts it again.
func mountExt4(t *testing.T) (dir string, crash, remount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("run this as root, as contrib/check does: only root may mount")
	}
	for _, program := range []string{"mkfs.ext4", "losetup"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(t.TempDir(), "ext4")
	must(t, "WriteFile", os.WriteFile(image, nil, 0o600), nil)
	must(t, "Truncate", os.Truncate(image, 64<<20), nil)
	run(t, "mkfs.ext4", "-q", "-O", "has_journal,^fast_commit", image)
	dir = t.TempDir()
	mount := func() (unmount func()) {
		t.Helper()
		out, err := exec.Command("losetup", "--find", "--show", image).Output()
		must(t, "losetup", err, nil)
		loop := strings.TrimSpace(string(out))
		must(t, "Mount", unix.Mount(loop, dir, "ext4", 0, ""), nil)
		return func() {
			must(t, "Unmount", unix.Unmount(dir, 0), nil)
			run(t, "losetup", "--detach", loop)
		}
	}
	unmount := mount()
	t.Cleanup(func() { unmount() })
	crash = func() {
		root, err := os.Open(dir)
		must(t, "Open", err, nil)
		const shutdown, withoutFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
		err = unix.IoctlSetPointerInt(int(root.Fd()), shutdown, withoutFlush)
		must(t, "shut down", errors.Join(err, root.Close()), nil)
	}
	// A namespace that another test made may hold what was mounted, as it was left: so
	// the file is mounted from another device.
	return dir, crash, func() {
		t.Helper()
		unmount()
		unmount = mount()
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

// deliverUntilCrash delivers from many goroutines, crashes in their midst, and
// returns the texts that were promised.
func deliverUntilCrash(t *testing.T, crash func(), deliver func(user, text string) error) (promises map[string]bool) {
	const deliverers, enough = 8, 200
	var acks atomic.Int64
	var mu sync.Mutex
	promises = make(map[string]bool)
	midst := make(chan struct{})
	failed := make(chan error, deliverers)
	var wg sync.WaitGroup
	for i := range deliverers {
		wg.Go(func() {
			for j := 0; ; j++ {
				text := fmt.Sprintf("Subject: %d.%d\n\n%send\n", i, j, strings.Repeat("postern\n", j%2000))
				if err := deliver(fmt.Sprint("user", j%5), text); err != nil {
					failed <- err // the crash, or so it should be
					return
				}
				mu.Lock()
				promises[text] = true
				mu.Unlock()
				if acks.Add(1) == enough {
					close(midst)
				}
			}
		})
	}
	select {
	case <-midst:
	case err := <-failed:
		t.Errorf("before the crash: %v", err)
	}
	crash()
	wg.Wait()
	return promises
}

// wrongAfterCrash returns what is wrong with what is left in dir.
func wrongAfterCrash(t *testing.T, dir string, promises map[string]bool) (wrong []string) {
	t.Helper()
	names, err := filepath.Glob(dir + "/example.org/*/new/*")
	must(t, "Glob", err, nil)
	for _, name := range names {
		text, err := os.ReadFile(name)
		must(t, "ReadFile", err, nil)
		delete(promises, string(text))
		if !strings.HasSuffix(string(text), "\nend\n") || strings.Contains(string(text), "\x00") || !strings.HasPrefix(string(text), "Subject: ") {
			wrong = append(wrong, filepath.Base(name)+" is broken")
		}
	}
	for text := range promises {
		wrong = append(wrong, fmt.Sprintf("%.14q is lost", text))
	}
	return wrong
}

// What the real ext4 has after a crash of the kernel.
func TestExt4Crash(t *testing.T) {
	for name, durability := range map[string]mailbox.Durability{"full": mailbox.Full, "ordered": mailbox.Ordered} {
		t.Run(name, func(t *testing.T) {
			dir, crash, remount := mountExt4(t)
			for range 5 {
				s, err := mailbox.Open(dir, mailbox.Options{Host: "mx", Durability: durability})
				must(t, "Open", err, nil)
				promises := deliverUntilCrash(t, crash, func(user, text string) error {
					return deliver(maildir(t, s, "example.org", user), strings.ReplaceAll(text, "\n", "\r\n"))
				})
				s.Close()
				remount()
				promised := len(promises)
				if wrong := wrongAfterCrash(t, dir, promises); len(wrong) > 0 {
					t.Errorf("after %d promises: %d wrong, as %s", promised, len(wrong), wrong[0])
				}
				must(t, "RemoveAll", os.RemoveAll(dir+"/example.org"), nil)
			}
		})
	}
}

// The crash must find what is wrong with a wrong order.
func TestExt4CrashHasTeeth(t *testing.T) {
	dir, crash, remount := mountExt4(t)
	for i := range 5 {
		must(t, "MkdirAll", os.MkdirAll(fmt.Sprintf("%s/example.org/user%d/new", dir, i), 0o700), nil)
	}
	var n atomic.Int64
	promises := deliverUntilCrash(t, crash, func(user, text string) error {
		fsys, err := mailbox.OpenFS(dir, mailbox.Modes{})
		if err != nil {
			return err
		}
		defer fsys.Close()
		folder, err := fsys.OpenDir("example.org/" + user + "/new")
		if err != nil {
			return err
		}
		defer folder.Close()
		f, err := folder.Tmpfile()
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.WriteString(f, text) // and not synced
		return errors.Join(err, folder.Publish(f, fmt.Sprint(n.Add(1))), folder.Sync())
	})
	remount()
	if wrong := wrongAfterCrash(t, dir, promises); len(wrong) == 0 {
		t.Error("nothing is wrong")
	}
}

func TestOrderedOnlyWhereItIsSafe(t *testing.T) {
	dir := t.TempDir()
	is, err := mailbox.Probe(dir)
	must(t, "Probe", err, nil)
	s, err := mailbox.Open(dir, mailbox.Options{Host: "mx", Durability: mailbox.Ordered})
	if (err == nil) != is.Ordered {
		t.Errorf("Open: %v on %+v", err, is)
	}
	if err == nil {
		s.Close()
	}
	if _, err := mailbox.Open("/proc", mailbox.Options{Host: "mx", Durability: mailbox.Ordered}); err == nil {
		t.Error("ordered on /proc")
	}
	if _, err := mailbox.Open(dir+"/nothing", mailbox.Options{Host: "mx", Durability: mailbox.Ordered}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ordered on nothing: %v", err)
	}
}
