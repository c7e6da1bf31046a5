package mailbox_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/crashfs"
	"postern/internal/peer"
	"postern/mailbox"
)

func openMbox(t *testing.T, s *mailbox.Store, path string) *mailbox.Mbox {
	t.Helper()
	box, err := s.MboxAt(path)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// messageInMbox is what deliver makes of wire.
const messageInMbox = fromAnn + onDisk + "\n"

func TestMboxAfterOthers(t *testing.T) {
	tests := []struct{ name, before, want string }{
		{"nothing", "", messageInMbox},
		{"a message", messageInMbox, messageInMbox + messageInMbox},
		{"no empty line", "From x\na: b\n\nc\n", "From x\na: b\n\nc\n\n" + messageInMbox},
		{"half a line", "From x\na: b\n\nc", "From x\na: b\n\nc\n\n" + messageInMbox},
		{"one octet", "c", "c\n\n" + messageInMbox},
		{"an LF", "\n", "\n\n" + messageInMbox},
	}
	for _, tt := range tests {
		disk := crashfs.New()
		s := store(disk)
		box, err := s.Mbox("bob")
		must(t, "Mbox", err, nil)
		put(t, disk, "bob", tt.before)
		must(t, "deliver", deliver(box, wire), nil)
		if got := disk.Files(".")["bob"]; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// put makes a file.
func put(t *testing.T, disk *crashfs.Disk, name, text string) {
	t.Helper()
	dir := openDir(t, disk, ".")
	defer dir.Close()
	f, err := dir.Create(name)
	must(t, "Create", err, nil)
	_, err = io.WriteString(f, text)
	must(t, "Write", errors.Join(err, f.Close()), nil)
}

// What a journal tells of is taken away only if nothing else can have been meant.
func TestMboxJournal(t *testing.T) {
	at := func(n int) string { return fmt.Sprintf("at %019d\n", n) }
	old, lost := "From x\na: b\n\nc\n\n", "From y\nd: e\n\nlost message\n\n"
	tests := []struct{ name, box, journal, want string }{
		{"none of it", old, lost + at(len(old)), old},
		{"some of it", old + lost[:9], lost + at(len(old)), old},
		{"all of it", old + lost, lost + at(len(old)), old + lost},
		{"zeros", old + strings.Repeat("\x00", 12), lost + at(len(old)), old},
		{"some, and zeros", old + lost[:8] + strings.Repeat("\x00", 9), lost + at(len(old)), old},
		{"zeros, and some", old + "\x00\x00\x00\x00" + lost[4:9], lost + at(len(old)), old},
		{"all but a zero", old + lost[:9] + "\x00" + lost[10:], lost + at(len(old)), old},
		{"all, and another", old + lost + old, lost + at(len(old)), old + lost + old},
		{"another of the same size", old + strings.ToUpper(lost), lost + at(len(old)), old + strings.ToUpper(lost)},
		{"another", old + old, lost + at(len(old)), old + old},
		{"a reader removed some", old, lost + at(200), old},
		{"a journal cut short", old, lost + "at 00", old},
		{"an empty journal", old, "", old},
		{"a journal without a message", old, at(0), old},
		{"garbage", old, lost + strings.Repeat("x", 100), old},
	}
	for _, tt := range tests {
		disk := crashfs.New()
		box, err := store(disk).Mbox("bob")
		must(t, "Mbox", err, nil)
		put(t, disk, "bob", tt.box)
		put(t, disk, ".bob.journal", tt.journal)
		must(t, "deliver", deliver(box, wire), nil)
		if got, want := disk.Files(".")["bob"], tt.want+messageInMbox; got != want {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
		if got := disk.Files("."); len(got) != 1 {
			t.Errorf("%s: left over: %q", tt.name, got)
		}
	}
}

func TestMboxNames(t *testing.T) {
	s := store(crashfs.New())
	for _, name := range []string{"bob.lock", "..", "a/b", "", strings.Repeat("x", 129)} {
		if _, err := s.Mbox("example.org", name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if _, err := s.MboxAt("/var/mail/bob.lock"); err == nil {
		t.Error("/var/mail/bob.lock was taken")
	}
}

func TestMboxIsAFileAndNothingElse(t *testing.T) {
	s, _ := openStore(t, mailbox.Options{})
	home := t.TempDir()
	must(t, "deliver", deliver(openMbox(t, s, home+"/bob"), wire), nil)
	must(t, "Symlink", os.Symlink(home+"/bob", home+"/link"), nil)
	must(t, "deliver through a symbolic link", deliver(openMbox(t, s, home+"/link"), wire), syscall.ELOOP)
	must(t, "Link", os.Link(home+"/bob", home+"/hard"), nil)
	must(t, "deliver through a hard link", deliver(openMbox(t, s, home+"/hard"), wire), fs.ErrInvalid)
	must(t, "Remove", os.Remove(home+"/hard"), nil)
	must(t, "Mkfifo", unix.Mkfifo(home+"/fifo", 0o600), nil)
	must(t, "deliver into a FIFO", deliver(openMbox(t, s, home+"/fifo"), wire), fs.ErrInvalid)
	must(t, "Mkdir", os.Mkdir(home+"/dir", 0o700), nil)
	if err := deliver(openMbox(t, s, home+"/dir"), wire); err == nil {
		t.Error("delivered into a folder")
	}
	must(t, "deliver without a parent", deliver(openMbox(t, s, home+"/no/bob"), wire), fs.ErrNotExist)
	if got, err := os.ReadFile(home + "/bob"); err != nil || string(got) != messageInMbox {
		t.Errorf("bob has %q, %v", got, err)
	}
	if left, _ := filepath.Glob(home + "/.*"); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	if left, _ := filepath.Glob(home + "/*.lock"); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

func TestMboxLooksUnread(t *testing.T) {
	s, _ := openStore(t, mailbox.Options{})
	name := t.TempDir() + "/bob"
	must(t, "deliver", deliver(openMbox(t, s, name), wire), nil)
	now := time.Now()
	must(t, "Chtimes", os.Chtimes(name, now, now.Add(-time.Hour)), nil) // it was read
	time.Sleep(20 * time.Millisecond)                                   // more than a tick of the clock of files
	must(t, "deliver", deliver(openMbox(t, s, name), wire), nil)
	var st unix.Stat_t
	must(t, "Stat", unix.Stat(name, &st), nil)
	if read, written := time.Unix(st.Atim.Unix()), time.Unix(st.Mtim.Unix()); !read.Before(written) {
		t.Errorf("read at %v, written at %v", read, written)
	}
}

func TestMboxManyAtOnce(t *testing.T) {
	for _, locks := range [][]mailbox.Lock{{mailbox.Dotlock}, {mailbox.Fcntl}, {mailbox.Flock}, {mailbox.Fcntl, mailbox.Dotlock}} {
		const deliverers, each = 8, 4
		s, root := openStore(t, mailbox.Options{Mbox: mailbox.MboxOptions{Locks: locks, Wait: time.Minute}})
		var wg sync.WaitGroup
		for range deliverers {
			wg.Go(func() {
				box, err := s.Mbox("example.org", "bob")
				if err != nil {
					t.Error(err)
					return
				}
				for range each {
					if err := deliver(box, wire); err != nil {
						t.Errorf("%v: %v", locks, err)
					}
				}
			})
		}
		wg.Wait()
		found := files(t, root+"/example.org")
		if got, want := found["bob"], strings.Repeat(messageInMbox, deliverers*each); got != want || len(found) != 1 {
			t.Errorf("%v: %d octets, want %d; files %q", locks, len(got), len(want), slices.Collect(maps.Keys(found)))
		}
	}
}

func TestMboxHeldByOthers(t *testing.T) {
	name := t.TempDir() + "/bob"
	open := func() int {
		t.Helper()
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT, 0o600)
		must(t, "Open", err, nil)
		return fd
	}
	tests := []struct {
		lock mailbox.Lock
		hold func(t *testing.T) (release func())
	}{
		{mailbox.Fcntl, func(t *testing.T) func() { return holdFcntlLock(t, name) }},
		{mailbox.Flock, func(t *testing.T) func() {
			fd := open()
			must(t, "flock", unix.Flock(fd, unix.LOCK_EX), nil)
			return func() { unix.Close(fd) }
		}},
		{mailbox.Dotlock, func(t *testing.T) func() {
			must(t, "WriteFile", os.WriteFile(name+".lock", nil, 0o600), nil)
			return func() { os.Remove(name + ".lock") }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.lock.String(), func(t *testing.T) {
			s, _ := openStore(t, mailbox.Options{Mbox: mailbox.MboxOptions{Locks: []mailbox.Lock{tt.lock}, Wait: 50 * time.Millisecond}})
			release := tt.hold(t)
			if err := deliver(openMbox(t, s, name), wire); err == nil || !strings.Contains(err.Error(), "locked by another") {
				t.Errorf("held: %v", err)
			}
			release()
			must(t, "deliver", deliver(openMbox(t, s, name), wire), nil)
		})
	}
}

// holdFcntlLock has another process take a lock as readers do that know nothing of
// open file descriptions.
func holdFcntlLock(t *testing.T, name string) (release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HOLD_LOCK_OF="+name)
	stdin, err := cmd.StdinPipe()
	must(t, "StdinPipe", err, nil)
	stdout, err := cmd.StdoutPipe()
	must(t, "StdoutPipe", err, nil)
	must(t, "Start", cmd.Start(), nil)
	_, err = io.ReadFull(stdout, make([]byte, 1))
	must(t, "Read", err, nil)
	return func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		must(t, "Wait", cmd.Wait(), nil)
	}
}

// TestMain runs the tests, or is the other process of holdFcntlLock.
func TestMain(m *testing.M) {
	name := os.Getenv("HOLD_LOCK_OF")
	if name == "" {
		m.Run()
		return
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if err != nil {
		log.Fatal(err) // which the test sees as an end without a word
	}
	fmt.Print("!")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestMboxLockOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		box, err := store(disk).Mbox("bob")
		must(t, "Mbox", err, nil)
		put(t, disk, "bob.lock", "1\n")
		start := time.Now()
		if err := deliver(box, wire); err == nil {
			t.Error("held: no error")
		}
		if waited := time.Since(start); waited < 10*time.Second || waited > 11*time.Second {
			t.Errorf("waited for %v", waited)
		}
		time.Sleep(5 * time.Minute)
		must(t, "deliver", deliver(box, wire), nil)
		if got := disk.Files("."); len(got) != 1 || got["bob"] != messageInMbox {
			t.Errorf("found %q", got)
		}
	})
}

// Dovecot takes the same locks, and reads what is there, while we write.
func TestDovecotReadsMboxes(t *testing.T) {
	for _, format := range []mailbox.Format{mailbox.Mboxrd, mailbox.Mboxcl2} {
		t.Run(format.String(), func(t *testing.T) {
			root := t.TempDir()
			must(t, "Chmod", os.Chmod(filepath.Dir(root), 0o755), nil)
			dovecot := peer.StartDovecot(t, peer.DovecotConfig{
				Location: "mbox:" + root + "/%d/%n.d:INBOX=" + root + "/%d/%n",
				Extra:    "mbox_write_locks = dotlock fcntl\nmail_privileged_group =\n",
			})
			s, err := mailbox.Open(root, mailbox.Options{Host: "mx", Mbox: mailbox.MboxOptions{Format: format, Wait: time.Minute}})
			must(t, "Open", err, nil)
			defer s.Close()
			box, err := s.Mbox("example.org", "bob")
			must(t, "Mbox", err, nil)
			must(t, "deliver", deliver(box, wire), nil)
			chown(t, root)
			appendWhile(t, dovecot, func() {
				for range 10 {
					must(t, "deliver", deliver(box, wire), nil)
				}
			})
			found := dovecot.FetchIMAP("bob@example.org")
			if len(found) != 21 {
				t.Errorf("%d messages", len(found))
			}
			for _, got := range found {
				if text := string(got.Octets); text != wire && text != wire+"\r\n" {
					t.Errorf("read %q", got.Octets)
				}
				if slices.Contains(got.Flags, `\Seen`) {
					t.Errorf("flags %q", got.Flags)
				}
			}
			if complaints := dovecot.Complaints(); len(complaints) > 0 {
				t.Errorf("Dovecot complains: %q", complaints)
			}
		})
	}
}

// appendWhile has Dovecot append ten messages while f runs.
func appendWhile(t *testing.T, dovecot *peer.Dovecot, f func()) {
	t.Helper()
	lines := []string{"a LOGIN bob@example.org " + peer.Password}
	for i := range 10 {
		lines = append(lines, fmt.Sprintf("b%d APPEND INBOX {%d+}\r\n%s", i, len(wire), wire))
	}
	var wg sync.WaitGroup
	wg.Go(f)
	if said := ask(t, dovecot.IMAP, append(lines, "c LOGOUT")...); strings.Count(said, " Append completed") != 10 {
		t.Errorf("Dovecot says:\n%s", said)
	}
	wg.Wait()
}
