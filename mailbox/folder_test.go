package mailbox_test

import (
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/crashfs"
	"postern/internal/peer"
	"postern/mailbox"
)

// subscribing returns a Store on disk that subscribes users to new folders.
func subscribing(disk *crashfs.Disk) *mailbox.Store {
	return mailbox.New(disk, mailbox.Options{Host: "mx.example", Subscribe: true})
}

func folder(t *testing.T, s *mailbox.Store, components ...string) *mailbox.Maildir {
	t.Helper()
	f, err := maildir(t, s, "bob").Folder(components...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFolder(t *testing.T) {
	disk := crashfs.New()
	s := subscribing(disk)
	for range 2 {
		for _, name := range []string{"Junk", "Lists|go", "Entwürfe", "inbox"} {
			if err := deliver(folder(t, s, strings.Split(name, "|")...), wire); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, dir := range []string{"bob/.Junk", "bob/.Lists.go", "bob/.Entw&APw-rfe", "bob"} {
		if err := violations(inNew(disk, dir), 2, 2, false); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		if _, is := disk.Files(dir)["maildirfolder"]; is != (dir != "bob") {
			t.Errorf("%s has maildirfolder: %v", dir, is)
		}
	}
	if got := disk.Files("bob"); len(got) != 1 || got["subscriptions"] != "Junk\nLists.go\nEntw&APw-rfe\n" {
		t.Errorf("files in the Maildir: %q", got)
	}
	if _, err := folder(t, s, "Junk").Folder("x"); err == nil {
		t.Error("a folder of a folder")
	}
	// The user may leave folders that were not asked for.
	unsubscribed := subscribing(disk)
	dir := openDir(t, disk, "bob")
	must(t, "Remove", dir.Remove("subscriptions"), nil)
	must(t, "Close", dir.Close(), nil)
	if err := deliver(folder(t, unsubscribed, "Junk"), wire); err != nil {
		t.Error(err)
	}
	if got := disk.Files("bob"); len(got) != 0 {
		t.Errorf("files in the Maildir: %q", got)
	}
}

func TestFolderAndPowerLoss(t *testing.T) {
	for op := 0; ; op++ {
		disk := crashfs.New()
		disk.PowerLoss = op
		err := deliver(folder(t, subscribing(disk), "Junk"), wire)
		promises := 0
		if err == nil {
			promises = 1
		}
		for after := range disk.Fates() {
			if err := violations(inNew(after, "bob/.Junk"), promises, 1, false); err != nil {
				t.Fatalf("power lost before operation %d: %v\n%s", op, err, disk.Trace())
			}
			files := after.Files("bob")
			if text, is := files["subscriptions"]; text != "Junk\n" && (is || promises > 0) {
				t.Fatalf("power lost before operation %d: subscriptions %q\n%s", op, text, disk.Trace())
			}
			if _, is := after.Files("bob/.Junk")["maildirfolder"]; promises > 0 && !is {
				t.Fatalf("power lost before operation %d: no maildirfolder\n%s", op, disk.Trace())
			}
		}
		if err == nil {
			return
		}
	}
}

func TestFolderAndFaults(t *testing.T) {
	for op := 0; ; op++ {
		disk := crashfs.New()
		disk.Fault, disk.Err = op, syscall.ENOSPC
		err := deliver(folder(t, subscribing(disk), "Junk"), wire)
		if !disk.Failed() {
			return
		}
		if err == nil {
			t.Errorf("operation %d failed, and was not told of\n%s", op, disk.Trace())
		}
		if verr := violations(inNew(disk, "bob/.Junk"), 0, 0, false); verr != nil {
			t.Errorf("operation %d: %v", op, verr)
		}
		if n := disk.Open(); n != 0 {
			t.Errorf("operation %d: %d handles left open", op, n)
		}
		if _, is := disk.Files("bob")["subscriptions.lock"]; is {
			t.Errorf("operation %d: the lock stays", op)
		}
	}
}

func TestSubscriptionsLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		s := subscribing(disk)
		if err := deliver(maildir(t, s, "bob"), wire); err != nil {
			t.Fatal(err)
		}
		dir := openDir(t, disk, "bob")
		defer dir.Close()
		lock := func() {
			t.Helper()
			f, err := dir.Create("subscriptions.lock")
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
		}
		lock()
		go func() { // Dovecot, for a second
			time.Sleep(time.Second)
			_ = dir.Remove("subscriptions.lock")
		}()
		if err := deliver(folder(t, s, "Junk"), wire); err != nil {
			t.Errorf("locked for a second: %v", err)
		}
		lock()
		if err := deliver(folder(t, s, "Sent"), wire); err == nil {
			t.Error("locked for ever: no error")
		}
		time.Sleep(10 * time.Minute)
		if err := deliver(folder(t, s, "Trash"), wire); err != nil {
			t.Errorf("locked by a dead one: %v", err)
		}
		if got := disk.Files("bob")["subscriptions"]; got != "Junk\nTrash\n" {
			t.Errorf("subscriptions: %q", got)
		}
	})
}

// Dovecot sees the folders, with their names, as subscribed, and reads them.
func TestDovecotReadsFolders(t *testing.T) {
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{})
	s, err := mailbox.Open(dovecot.Store, mailbox.Options{Host: "mx", Subscribe: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"inbox", "Junk", "Lists|go", "Entwürfe"} {
		box, err := maildir(t, s, "example.org", "bob").Folder(strings.Split(name, "|")...)
		if err != nil {
			t.Fatal(err)
		}
		if err := deliver(box, wire); err != nil {
			t.Fatal(err)
		}
	}
	chown(t, dovecot.Store)
	for _, name := range []string{"INBOX", "Junk", "Lists.go", "Entw&APw-rfe"} {
		found, err := peer.FetchIMAP(dovecot.IMAP, "bob@example.org", peer.Password, name)
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %d messages, %v", name, len(found), err)
			continue
		}
		if got := found[0]; string(got.Octets) != wire || got.Size != int64(len(wire)) || !got.Received.Equal(received) {
			t.Errorf("%s: %q, size %d, received %v", name, got.Octets, got.Size, got.Received)
		}
	}
	if complaints := dovecot.Complaints(); len(complaints) > 0 {
		t.Errorf("Dovecot complains: %q", complaints)
	}
	subscribed := ask(t, dovecot.IMAP, "a LOGIN bob@example.org "+peer.Password, `b LSUB "" "*"`, "c LOGOUT")
	for _, name := range []string{"Junk", "Lists.go", "Entw&APw-rfe"} {
		if !strings.Contains(subscribed, " "+name+"\r\n") {
			t.Errorf("not subscribed to %s:\n%s", name, subscribed)
		}
	}
}

// mailUser is a user of Debian: Courier insists that owners have an account.
const mailUser = 8

// A real Courier, which has been at the Maildir, finds the folders, and its user is
// subscribed to them.
func TestCourierReadsFolders(t *testing.T) {
	root := peer.Dir(t)
	s, err := mailbox.Open(root, mailbox.Options{Host: "mx", Subscribe: true, UTF8Folders: true})
	must(t, "Open", err, nil)
	defer s.Close()
	box := maildir(t, s, "bob")
	must(t, "deliver", deliver(box, wire), nil)
	chownTo(t, root, mailUser)
	courier := peer.NewCourier(t, root+"/bob", mailUser)
	lists := func() string {
		out, err := courier.AskIMAP(`a LIST "" "*"`, `b LSUB "" "*"`, "c SELECT INBOX", "d LOGOUT")
		must(t, "AskIMAP", err, nil)
		return out
	}
	lists()
	names := []string{"Junk", "Lists.go", "Entwürfe"}
	for _, name := range names {
		f, err := box.Folder(strings.Split(name, ".")...)
		must(t, "Folder", err, nil)
		must(t, "deliver", deliver(f, wire), nil)
	}
	chownTo(t, root, mailUser)
	said := lists()
	for _, name := range []string{"Junk", "Lists.go", "Entw&APw-rfe"} {
		for _, list := range []string{"LIST", "LSUB"} {
			if !regexp.MustCompile(`(?m)^\* ` + list + ` \(.*\) "\." "INBOX\.` + regexp.QuoteMeta(name) + `"\r$`).MatchString(said) {
				t.Errorf("no %s in %s:\n%s", name, list, said)
			}
		}
	}
}

// ask sends lines to the server at addr, and returns all that it says.
func ask(t *testing.T, addr string, lines ...string) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(nc)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}
