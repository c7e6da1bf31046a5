package mailbox_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
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
	opts mailbox.Options
	box  func(t *testing.T, s *mailbox.Store, user string) mailbox.Mailbox
	// found returns what a reader finds of the mailbox of user: messages as
	// they are on disk, and broken ones as they are.
	found func(disk *crashfs.Disk, user string) []string
	// torn tells that a reader may find a part of a message at the end, until
	// the next delivery has taken it away.
	torn bool
	// quiet tells that an error may go unheard after which nothing is lost.
	quiet bool
}

var ways = []way{
	{name: "Maildir", box: inMaildir, found: foundInMaildir},
	{name: "Maildir by tmp", set: noTmpfile, box: inMaildir, found: foundInMaildir},
	{name: "Maildir, ordered", set: ordered, opts: mailbox.Options{Durability: mailbox.Ordered}, box: inMaildir, found: foundInMaildir},
	{name: "Maildir, ordered, by tmp", set: func(d *crashfs.Disk) { ordered(d); noTmpfile(d) }, opts: mailbox.Options{Durability: mailbox.Ordered}, box: inMaildir, found: foundInMaildir},
	{name: "Maildir where nothing is ordered", opts: mailbox.Options{Durability: mailbox.Ordered}, box: inMaildir, found: foundInMaildir},
	{name: "Maildir, names by file", set: namesByFile, box: inMaildir, found: foundInMaildir},
	{name: "Maildir, names by file, by tmp", set: func(d *crashfs.Disk) { namesByFile(d); noTmpfile(d) }, box: inMaildir, found: foundInMaildir},
	{name: "Maildir++", opts: mailbox.Options{Subscribe: true}, box: inFolder, found: foundInFolder},
	{name: "Maildir with a quota", box: inLimited, found: foundInMaildir},
	{name: "mboxrd", box: inMbox, found: foundInMbox, torn: true, quiet: true},
	{name: "mboxrd by a named file", set: noTmpfile, box: inMbox, found: foundInMbox, torn: true, quiet: true},
	{name: "mboxrd, names by file", set: namesByFile, box: inMbox, found: foundInMbox, torn: true, quiet: true},
	{name: "mboxrd, names by file, by a named file", set: func(d *crashfs.Disk) { namesByFile(d); noTmpfile(d) }, box: inMbox, found: foundInMbox, torn: true, quiet: true},
	{name: "mboxo, fcntl", opts: mbox(mailbox.Mboxo, mailbox.Fcntl), box: inMbox, found: foundInMbox, torn: true, quiet: true},
	{name: "mboxcl2, fcntl dotlock", opts: mbox(mailbox.Mboxcl2, mailbox.Fcntl, mailbox.Dotlock), box: inMbox, found: foundInMbox, torn: true, quiet: true},
}

func ordered(d *crashfs.Disk) { d.Ordered = true }

func namesByFile(d *crashfs.Disk) { d.NamesByFile = true }

func noTmpfile(d *crashfs.Disk) { d.NoTmpfile = true }

func mbox(f mailbox.Format, locks ...mailbox.Lock) mailbox.Options {
	return mailbox.Options{Mbox: mailbox.MboxOptions{Format: f, Locks: locks}}
}

// disk returns a new disk for w.
func (w way) disk() *crashfs.Disk {
	disk := crashfs.New()
	if w.set != nil {
		w.set(disk)
	}
	return disk
}

// store returns a new Store on disk.
func (w way) store(disk *crashfs.Disk) *mailbox.Store {
	o := w.opts
	o.Host = "mx.example"
	return mailbox.New(disk, o)
}

// bob returns bob's mailbox in a new Store on disk.
func (w way) bob(t *testing.T, disk *crashfs.Disk) mailbox.Mailbox {
	t.Helper()
	return w.box(t, w.store(disk), "bob")
}

func inMaildir(t *testing.T, s *mailbox.Store, user string) mailbox.Mailbox {
	t.Helper()
	return maildir(t, s, "example.org", user)
}

func foundInMaildir(disk *crashfs.Disk, user string) []string {
	return slices.Collect(maps.Values(disk.Files("example.org/" + user + "/new")))
}

func inFolder(t *testing.T, s *mailbox.Store, user string) mailbox.Mailbox {
	t.Helper()
	f, err := maildir(t, s, "example.org", user).Folder("Junk")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func foundInFolder(disk *crashfs.Disk, user string) []string {
	return slices.Collect(maps.Values(disk.Files("example.org/" + user + "/.Junk/new")))
}

func inLimited(t *testing.T, s *mailbox.Store, user string) mailbox.Mailbox {
	t.Helper()
	return maildir(t, s, "example.org", user).Limit(mailbox.Quota{Messages: 100})
}

func inMbox(t *testing.T, s *mailbox.Store, user string) mailbox.Mailbox {
	t.Helper()
	box, err := s.Mbox("example.org", user)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func foundInMbox(disk *crashfs.Disk, user string) []string {
	return splitMbox(disk.Files("example.org")[user])
}

// fromAnn begins each message in an mbox that deliver delivered.
const fromAnn = "From ann@example.org Wed Jul  1 12:30:00 2026\n"

// splitMbox returns the messages of an mbox that deliver delivered wire into.
// What is no such message, from fromAnn to the empty line at the end, stays as it
// is, up to where another may begin.
func splitMbox(text string) []string {
	header, body, _ := strings.Cut(onDisk, "\n\n")
	withLength := fmt.Sprintf("%s\nContent-Length: %-19d\n\n%s", header, len(body), body)
	var messages []string
	for text != "" {
		switch {
		case strings.HasPrefix(text, fromAnn+onDisk+"\n"):
			messages = append(messages, onDisk)
			text = text[len(fromAnn+onDisk+"\n"):]
		case strings.HasPrefix(text, fromAnn+withLength+"\n"):
			messages = append(messages, onDisk)
			text = text[len(fromAnn+withLength+"\n"):]
		default:
			end := len(text)
			if i := strings.Index(text[1:], "\n\nFrom "); i >= 0 {
				end = i + 3
			}
			messages = append(messages, text[:end])
			text = text[end:]
		}
	}
	return messages
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

// violations returns what is wrong with what was found of a mailbox that onDisk
// was delivered into n times: promises of them were made. It may end in a broken
// message if torn is set.
func violations(found []string, promises, n int, torn bool) error {
	whole := 0
	for i, got := range found {
		switch {
		case got == onDisk:
			whole++
		case !torn || i < len(found)-1:
			return fmt.Errorf("found %q", got)
		}
	}
	if whole < promises || len(found) > n {
		return fmt.Errorf("found %d messages, %d of them whole, after %d promises in %d deliveries", len(found), whole, promises, n)
	}
	return nil
}

// enumerate calls f with 0, 1, 2 and so on until it returns false, in a bubble
// in which locks of the dead grow old at once.
func enumerate(t *testing.T, f func(t *testing.T, w way, op int) bool) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				op := 0
				for f(t, w, op) {
					op++
				}
				if op < 15 {
					t.Errorf("only %d operations", op)
				}
			})
		})
	}
}

// longEnough is when a lock has been forgotten.
const longEnough = 6 * time.Minute

func TestPowerLossBeforeEachOperation(t *testing.T) { enumerate(t, crashAt) }

// crashAt delivers twice on a disk that loses power before operation number op,
// checks all that may be left, and delivers once more onto it. It reports
// whether the power was lost at all.
func crashAt(t *testing.T, w way, op int) bool {
	disk := w.disk()
	disk.PowerLoss = op
	box := w.bob(t, disk)
	promises := 0
	for range 2 {
		if deliver(box, wire) == nil {
			promises++
		}
	}
	if n := disk.Open(); n != 0 {
		t.Errorf("%d handles left open", n)
	}
	time.Sleep(longEnough)
	for after := range disk.Fates() {
		if err := violations(w.found(after, "bob"), promises, 2, w.torn); err != nil {
			t.Fatalf("power lost before operation %d: %v\n%s", op, err, disk.Trace())
		}
		if err := deliver(w.bob(t, after), wire); err != nil {
			t.Fatalf("power lost before operation %d, then: %v\n%s\n\n%s", op, err, disk.Trace(), after.Trace())
		}
		if err := violations(w.found(after.Worst(), "bob"), promises+1, 3, false); err != nil {
			t.Fatalf("power lost before operation %d, and again after one more delivery: %v\n%s\n\n%s", op, err, disk.Trace(), after.Trace())
		}
	}
	return disk.Ops() >= op
}

// A process that dies leaves folders whose names it had no time to sync. The
// next one must not take them for durable.
func TestProcessDiesBeforeEachOperation(t *testing.T) { enumerate(t, deathAt) }

func deathAt(t *testing.T, w way, op int) bool {
	disk := w.disk()
	disk.PowerLoss = op
	died := deliver(w.bob(t, disk), wire) != nil
	lost := disk.Ops() >= op
	disk.PowerLoss = -1 // it was the process only
	time.Sleep(longEnough)
	if err := deliver(w.bob(t, disk), wire); err != nil {
		t.Fatalf("after a death at %d: %v\n%s", op, err, disk.Trace())
	}
	promises := 1
	if !died {
		promises++
	}
	for after := range disk.Fates() {
		if err := violations(w.found(after, "bob"), promises, 2, false); err != nil {
			t.Fatalf("after a death at %d: %v\n%s", op, err, disk.Trace())
		}
	}
	return lost
}

func TestEachOperationFailsOnce(t *testing.T) {
	errnos := []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EINTR, syscall.EROFS}
	for _, errno := range errnos {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/late=%v", errno, late), func(t *testing.T) {
				enumerate(t, func(t *testing.T, w way, op int) bool { return faultAt(t, w, op, errno, late) })
			})
		}
	}
}

// faultAt delivers while operation number op fails, and once more. It reports
// whether there was such an operation.
func faultAt(t *testing.T, w way, op int, errno error, late bool) bool {
	disk := w.disk()
	disk.Fault, disk.Err, disk.Late = op, errno, late
	box := w.bob(t, disk)
	err := deliver(box, wire)
	failf := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("operation %d: %s\n%s", op, fmt.Sprintf(format, args...), disk.Trace())
	}
	if !disk.Failed() {
		return op < disk.Ops()
	}
	stored := 0
	switch {
	case err == nil && w.quiet:
		stored = 1
	case !errors.Is(err, errno):
		failf("%v is not %v", err, errno)
	}
	if err := violations(w.found(disk, "bob"), stored, stored, false); err != nil {
		failf("%v", err)
	}
	if n := disk.Open(); n != 0 {
		failf("%d handles left open", n)
	}
	time.Sleep(longEnough)
	if err := deliver(box, wire); err != nil {
		failf("the next delivery: %v", err)
	}
	end := disk.Worst()
	if strings.Contains(disk.Trace(), fmt.Sprintf("\n%d: fsync", op)) {
		end = disk // a file system that cannot sync a folder is read-only from then on
	}
	if err := violations(w.found(end, "bob"), stored+1, stored+1, false); err != nil {
		failf("after the next delivery: %v", err)
	}
	if left := leftovers(disk); len(left) > 0 {
		failf("left over: %q", left)
	}
	return true
}

// leftovers returns the names of files that no reader looks for.
func leftovers(disk *crashfs.Disk) []string {
	left := slices.Collect(maps.Keys(disk.Files("example.org/bob/tmp")))
	left = slices.AppendSeq(left, maps.Keys(disk.Files("example.org/bob/.Junk/tmp")))
	for name := range disk.Files("example.org") {
		if name != "bob" {
			left = append(left, name)
		}
	}
	return left
}

// deliverAll delivers wire to each of users in phases, as the agent does, and
// returns how many promises of it each of them was made.
func deliverAll(t *testing.T, w way, disk *crashfs.Disk, users []string) map[string]int {
	t.Helper()
	s := w.store(disk)
	begun := make(map[string]mailbox.Delivery)
	for _, user := range users {
		d, err := w.box(t, s, user).Begin(mailbox.Arrival{Sender: "ann@example.org", Time: received})
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
	promises := make(map[string]int)
	for _, user := range users {
		if d := begun[user]; d != nil && d.Commit() == nil {
			promises[user] = 1
		}
	}
	return promises
}

var users = []string{"ann", "bob", "cat"}

func TestPowerLossWithManyRecipients(t *testing.T) {
	enumerate(t, func(t *testing.T, w way, op int) bool {
		disk := w.disk()
		disk.PowerLoss = op
		promises := deliverAll(t, w, disk, users)
		for after := range disk.Fates() {
			for _, user := range users {
				if err := violations(w.found(after, user), promises[user], 1, w.torn); err != nil {
					t.Fatalf("power lost before operation %d: %s: %v\n%s", op, user, err, disk.Trace())
				}
			}
		}
		return disk.Ops() >= op
	})
}

// One recipient's trouble is no other's.
func TestFaultWithManyRecipients(t *testing.T) {
	enumerate(t, func(t *testing.T, w way, op int) bool {
		disk := w.disk()
		disk.Fault, disk.Err = op, syscall.ENOSPC
		promises := deliverAll(t, w, disk, users)
		if !disk.Failed() {
			return op < disk.Ops()
		}
		served := 0
		for _, user := range users {
			served += promises[user]
			if err := violations(w.found(disk, user), promises[user], promises[user], false); err != nil {
				t.Fatalf("operation %d: %s: %v\n%s", op, user, err, disk.Trace())
			}
		}
		if served < 2 || served > 2 && !w.quiet {
			t.Errorf("operation %d: %d served\n%s", op, served, disk.Trace())
		}
		return true
	})
}

// inNew returns the messages in new/ of the Maildir dir.
func inNew(disk *crashfs.Disk, dir string) []string {
	return slices.Collect(maps.Values(disk.Files(dir + "/new")))
}
