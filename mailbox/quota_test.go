package mailbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/crashfs"
	"postern/internal/peer"
	"postern/mailbox"
)

// size is what wire takes on disk.
const size = int64(len(onDisk))

func TestQuota(t *testing.T) {
	tests := []struct {
		name  string
		quota mailbox.Quota
		want  int // messages that fit
	}{
		{"none", mailbox.Quota{}, 5},
		{"octets", mailbox.Quota{Octets: 3 * size}, 3},
		{"one octet less", mailbox.Quota{Octets: 3*size - 1}, 2},
		{"messages", mailbox.Quota{Messages: 4}, 4},
		{"both", mailbox.Quota{Octets: 3 * size, Messages: 2}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk := crashfs.New()
			box := maildir(t, store(disk), "bob").Limit(tt.quota)
			for i := range 5 {
				var want error
				if i >= tt.want {
					want = mailbox.ErrOverQuota
				}
				must(t, "Room", box.Room(size), want)
				must(t, "deliver", deliver(box, wire), want)
			}
			if err := violations(inNew(disk, "bob"), tt.want, tt.want, false); err != nil {
				t.Error(err)
			}
			if n := disk.Open(); n != 0 {
				t.Errorf("%d handles left open", n)
			}
		})
	}
}

func TestQuotaOfWhatIsAbortedIsGivenBack(t *testing.T) {
	disk := crashfs.New()
	box := maildir(t, store(disk), "bob").Limit(mailbox.Quota{Messages: 2})
	must(t, "deliver", deliver(box, wire), nil)
	for range 5 {
		d, err := box.Begin(mailbox.Arrival{})
		must(t, "Begin", err, nil)
		must(t, "Sync", d.Sync(), nil)
		d.Abort()
		d.Abort()
	}
	if got, want := disk.Files("bob")["maildirsize"], "2C\n0 0\n51 1\n"+strings.Repeat("0 1\n0 -1\n", 5); got != want {
		t.Errorf("maildirsize is %q, want %q", got, want)
	}
	must(t, "deliver", deliver(box, wire), nil)
	must(t, "deliver", deliver(box, wire), mailbox.ErrOverQuota)
}

// The reader removes messages and tells nobody: the count that left no room is
// made again after a quarter of an hour, or when there were others after it.
func TestQuotaIsCountedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		box := maildir(t, store(disk), "bob").Limit(mailbox.Quota{Octets: 2 * size})
		must(t, "deliver", deliver(box, wire), nil)
		must(t, "deliver", deliver(box, wire), nil)
		must(t, "deliver", deliver(box, wire), mailbox.ErrOverQuota)
		if got, want := disk.Files("bob")["maildirsize"], fmt.Sprintf("%dS\n%d 2\n", 2*size, 2*size); got != want {
			t.Errorf("maildirsize is %q, want %q", got, want)
		}
		time.Sleep(time.Second)
		dir := openDir(t, disk, "bob/new")
		defer dir.Close()
		for name := range disk.Files("bob/new") {
			must(t, "Remove", dir.Remove(name), nil)
			break
		}
		must(t, "deliver", deliver(box, wire), nil) // for something has gone since it was counted
		must(t, "deliver", deliver(box, wire), mailbox.ErrOverQuota)
	})
}

func TestQuotaCountsFolders(t *testing.T) {
	disk := crashfs.New()
	s := store(disk)
	q := mailbox.Quota{Messages: 3}
	in := func(components ...string) *mailbox.Limited { return folder(t, s, components...).Limit(q) }
	must(t, "deliver", deliver(in("inbox"), wire), nil)
	must(t, "deliver", deliver(in("Junk"), wire), nil)
	must(t, "deliver", deliver(in("Entwürfe", "alt"), wire), nil)
	must(t, "deliver", deliver(in("Junk"), wire), mailbox.ErrOverQuota)
	must(t, "deliver", deliver(in("inbox"), wire), mailbox.ErrOverQuota)
	if got, want := disk.Files("bob")["maildirsize"], fmt.Sprintf("3C\n%d 3\n", 3*size); got != want {
		t.Errorf("maildirsize is %q, want %q", got, want)
	}
}

func TestMaildirsizeStaysSmall(t *testing.T) {
	disk := crashfs.New()
	box := maildir(t, store(disk), "bob").Limit(mailbox.Quota{Messages: 10000})
	for i := range 800 {
		must(t, "deliver", deliver(box, wire), nil)
		if n := len(disk.Files("bob")["maildirsize"]); n > 5120+20 {
			t.Fatalf("maildirsize has %d octets after %d messages", n, i)
		}
	}
	must(t, "Room", box.Room(1), nil)
}

func TestQuotaAndFaults(t *testing.T) {
	for _, before := range []int{0, 1} { // without and with a maildirsize
		for op := 0; ; op++ {
			disk := crashfs.New()
			box := maildir(t, store(disk), "bob").Limit(mailbox.Quota{Messages: 10})
			for range before {
				must(t, "deliver", deliver(box, wire), nil)
			}
			disk.Fault, disk.Err = disk.Ops()+op, syscall.EIO
			err := deliver(box, wire)
			if !disk.Failed() {
				break
			}
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("operation %d failed, and was not told of: %v\n%s", op, err, disk.Trace())
			}
			if err := violations(inNew(disk, "bob"), before, before, false); err != nil {
				t.Fatalf("operation %d: %v\n%s", op, err, disk.Trace())
			}
			if n := disk.Open(); n != 0 {
				t.Errorf("operation %d: %d handles left open\n%s", op, n, disk.Trace())
			}
			must(t, "deliver", deliver(box, wire), nil)
		}
	}
}

// Whatever a crash makes of maildirsize, the mailbox takes what fits, and no
// more than what came while the power was lost.
func TestQuotaAndPowerLoss(t *testing.T) {
	q := mailbox.Quota{Messages: 2}
	for op := 0; ; op++ {
		disk := crashfs.New()
		disk.PowerLoss = op
		err := deliver(maildir(t, store(disk), "bob").Limit(q), wire)
		for after := range disk.Fates() {
			box := maildir(t, store(after), "bob").Limit(q)
			for len(after.Files("bob/new")) < 2 {
				if err := deliver(box, wire); err != nil {
					t.Fatalf("power lost before operation %d: %v\n%s", op, err, disk.Trace())
				}
			}
			must(t, "deliver", deliver(box, wire), mailbox.ErrOverQuota)
		}
		if err == nil {
			return
		}
	}
}

// Dovecot and this package keep the same maildirsize.
func TestDovecotKeepsTheSameQuota(t *testing.T) {
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{Extra: `
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=100K:messages=4
}
`})
	s, err := mailbox.Open(dovecot.Store, mailbox.Options{Host: "mx"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	box := maildir(t, s, "example.org", "bob").Limit(mailbox.Quota{Octets: 100 << 10, Messages: 4})
	must(t, "deliver", deliver(box, wire), nil)
	must(t, "deliver", deliver(box, wire), nil)
	chown(t, dovecot.Store)
	login := "a LOGIN bob@example.org " + peer.Password
	if said := ask(t, dovecot.IMAP, login, "b GETQUOTAROOT INBOX", "c LOGOUT"); !strings.Contains(said, "MESSAGE 2 4") {
		t.Errorf("Dovecot counts:\n%s", said)
	}
	literal := fmt.Sprintf("b APPEND INBOX {%d+}\r\n%s", len(wire), wire)
	if said := ask(t, dovecot.IMAP, login, literal, "c GETQUOTAROOT INBOX", "d LOGOUT"); !strings.Contains(said, "MESSAGE 3 4") {
		t.Errorf("Dovecot counts:\n%s", said)
	}
	must(t, "deliver", deliver(box, wire), nil)
	must(t, "deliver", deliver(box, wire), mailbox.ErrOverQuota)
	chown(t, dovecot.Store)
	if said := ask(t, dovecot.IMAP, login, "b GETQUOTAROOT INBOX", literal, "d LOGOUT"); !strings.Contains(said, "MESSAGE 4 4") || !strings.Contains(said, "[OVERQUOTA]") {
		t.Errorf("Dovecot counts:\n%s", said)
	}
	if complaints := dovecot.Complaints(); len(complaints) > 0 {
		t.Errorf("Dovecot complains: %q", complaints)
	}
}

// A real Courier keeps the same maildirsize, and counts as we do.
func TestCourierKeepsTheSameQuota(t *testing.T) {
	root := peer.Dir(t)
	s, err := mailbox.Open(root, mailbox.Options{Host: "mx"})
	must(t, "Open", err, nil)
	defer s.Close()
	q := mailbox.Quota{Octets: 100 << 10, Messages: 4}
	box := maildir(t, s, "bob").Limit(q)
	const theirs = "102400S,4C"
	courier := peer.NewCourier(t, root+"/bob", peer.Vmail)
	count := func() string {
		t.Helper()
		chown(t, root)
		b, err := os.ReadFile(root + "/bob/maildirsize")
		must(t, "ReadFile", err, nil)
		first, lines, _ := strings.Cut(string(b), "\n")
		var octets, messages int
		for line := range strings.Lines(lines) {
			var o, m int
			_, err := fmt.Sscan(line, &o, &m)
			must(t, "Sscan", err, nil)
			octets, messages = octets+o, messages+m
		}
		return fmt.Sprint(first, " ", octets, " ", messages)
	}
	size := len(onDisk)
	must(t, "deliver", deliver(box, wire), nil)
	if got, want := count(), fmt.Sprint("102400S,4C ", size, " 1"); got != want {
		t.Errorf("we count %s, want %s", got, want)
	}
	if !courier.DeliverQuota(theirs, onDisk) {
		t.Error("Courier has no room for the second message")
	}
	if got, want := count(), fmt.Sprint("102400S,4C ", 2*size, " 2"); got != want {
		t.Errorf("Courier counts %s, want %s", got, want)
	}
	must(t, "deliver", deliver(box, wire), nil)
	must(t, "deliver", deliver(box, wire), nil)
	must(t, "deliver", deliver(box, wire), mailbox.ErrOverQuota)
	if got, want := count(), fmt.Sprint("102400S,4C ", 4*size, " 4"); got != want {
		t.Errorf("we count %s, want %s", got, want)
	}
	if courier.DeliverQuota(theirs, onDisk) {
		t.Error("Courier has room for a fifth message")
	}
}

// chown gives all in dir to the user that Dovecot serves it as.
func chown(t *testing.T, dir string) {
	t.Helper()
	chownTo(t, dir, peer.Vmail)
}

func chownTo(t *testing.T, dir string, id int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, id, id)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whoever comes to a level is warned of it once, of the highest; the warning is
// counted and never refused.
func TestQuotaWarning(t *testing.T) {
	disk := crashfs.New()
	var warned []string
	var box *mailbox.Limited
	q := mailbox.Quota{Octets: 10 * int64(len(onDisk)), Warn: []int{50, 80, 90}}
	q.Warned = func(percent int, u mailbox.Usage) {
		warned = append(warned, fmt.Sprint(percent, " with ", u.Messages))
		must(t, "deliver the warning", deliver(box.Unrefused(), wire), nil)
	}
	box = maildir(t, store(disk), "bob").Limit(q)
	for range 8 {
		if err := deliver(box, wire); err != nil && !errors.Is(err, mailbox.ErrOverQuota) {
			t.Error(err)
		}
	}
	must(t, "deliver beyond the quota", deliver(box, wire), mailbox.ErrOverQuota)
	if want := []string{"50 with 5", "80 with 8"}; !slices.Equal(warned, want) {
		t.Errorf("warned %q, want %q", warned, want)
	}
	if n := len(disk.Files("bob/new")); n != 10 {
		t.Errorf("%d messages of 10", n)
	}
}
