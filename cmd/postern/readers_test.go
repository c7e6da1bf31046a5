package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/peer"
)

// mailUser is the user "mail" of Debian: Courier's IMAP server insists that the
// owner of a Maildir has an account.
const mailUser = 8

// messages returns how many messages a test with many is about: few, unless
// POSTERN_MESSAGES says how many.
func messages(t *testing.T, few int) int {
	t.Helper()
	text, ok := os.LookupEnv("POSTERN_MESSAGES")
	if !ok {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A reader is a program that has a mailbox open while we deliver into it. It sees
// each message once, and removes those whose index ends in digit.
type reader struct {
	t     testing.TB
	name  string
	digit int
	open  func() (peer.Session, error)

	messages peer.Generator
	view     func(peer.Generator, []byte) (peer.Message, error)
	seen     map[string]int // index by UID
	uid      map[int]string // and the reverse
	taken    map[int]bool
	passes   int
	failed   error // of the last pass
}

// pass reads what is new, and removes what is the reader's to remove.
func (r *reader) pass() {
	r.passes++
	r.failed = r.tryPass()
}

func (r *reader) tryPass() error {
	s, err := r.open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	found, err := s.Messages(func(id string) bool { _, ok := r.seen[id]; return ok })
	var mine []string
	for _, m := range found {
		if index, ok := r.note(m); ok && index%10 == r.digit {
			mine = append(mine, m.ID)
		}
	}
	if err == nil {
		err = s.Remove(mine)
	}
	if err := errors.Join(err, s.End()); err != nil {
		for _, id := range mine { // whether they are gone is not known
			delete(r.uid, r.seen[id])
			delete(r.seen, id)
		}
		return err
	}
	for _, id := range mine {
		r.taken[r.seen[id]] = true
	}
	return nil
}

// note checks a message that is new to the reader.
func (r *reader) note(m peer.Stored) (index int, ok bool) {
	msg, err := r.view(r.messages, m.Octets)
	if err != nil && len(m.Octets) < 200 && bytes.Contains(m.Octets, []byte("message unavailable")) {
		return 0, false // Courier's word for a message that another has removed or renamed
	}
	if err != nil {
		r.t.Errorf("%s: UID %s: %v", r.name, m.ID, err)
		return 0, false
	}
	if other, twice := r.uid[msg.Index]; twice {
		r.t.Errorf("%s: message %d is UID %s and %s", r.name, msg.Index, other, m.ID)
	}
	r.seen[m.ID], r.uid[msg.Index] = msg.Index, m.ID
	return msg.Index, true
}

// A witness is a program that sees a mailbox as files, or copies it.
type witness struct {
	name string
	pass func() error
}

// Dovecot and Courier by IMAP and POP3, mutt, Python, mbsync and notmuch read one
// Maildir, and six of them remove messages from it, while we deliver into it:
// nothing is lost, nothing doubled, no UID changes its meaning, and Dovecot has
// nothing to complain about.
func TestReadersTogether(t *testing.T) {
	count := messages(t, 300)
	s := newSite(t, "policy: enforce = false")
	s.serveAs(mailUser)
	g := peer.Generator{Seed: 11, Min: 400, Max: 20 << 10}
	box := filepath.Join(s.store, "example.com", "u0")
	load := peer.Load{
		Protocol: peer.LMTP, Network: "unix", Addr: s.lmtp, Connections: 4, From: "someone@" + peer.SenderDomain,
		To: func(int) []string { return []string{"u0@example.com"} }, Messages: g, Count: 1,
	}
	sendAll(t, load) // so that there is a mailbox
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{Store: s.store, Owner: mailUser})
	readers, python, mutt := s.readers(g, box, dovecot), newPythonReader(s, box), newMuttReader(t, box)
	witnesses := []witness{{"mutt", mutt.pass}, {"Python", python.pass}, {"mbsync", s.mbsync(box)}, {"notmuch", s.notmuch(box)}}

	delivered := make(chan struct{})
	var all sync.WaitGroup
	until := func(pass func()) {
		all.Go(func() {
			for done := false; !done; {
				select {
				case <-delivered:
					done = true
				case <-time.After(50 * time.Millisecond):
				}
				pass()
			}
		})
	}
	for _, r := range readers {
		until(r.pass)
	}
	for _, w := range witnesses {
		until(func() {
			if err := w.pass(); err != nil {
				t.Logf("%s, among others: %.300v", w.name, err)
			}
		})
	}
	load.First, load.Count = 1, count-1
	sendAll(t, load)
	close(delivered)
	all.Wait()
	settle(t, readers, witnesses)
	checkAfterwards(t, s, g, count, readers, python, mutt)
	if complaints := dovecot.Complaints(); len(complaints) > 0 {
		t.Errorf("Dovecot complains: %q", complaints)
	}
	s.checkCopies(g, count, box)
}

// serveAs starts both halves as another user than serveAsVmail does.
func (s *site) serveAs(uid uint32) {
	s.t.Helper()
	peer.NeedRoot(s.t)
	for _, dir := range []string{".", "state", "spool", "store"} {
		if err := os.Chown(filepath.Join(s.dir, dir), int(uid), int(uid)); err != nil {
			s.t.Fatal(err)
		}
	}
	peer.Start(s.t, peer.AsUser(s.command("serve"), uid)).WaitOutput("msg=serving")
}

func (s *site) readers(g peer.Generator, box string, d *peer.Dovecot) []*reader {
	courier := peer.NewCourier(s.t, box, mailUser)
	whole, withoutNUL := peer.Generator.Identify, peer.Generator.IdentifyIMAP
	user := "u0@example.com"
	readers := []*reader{
		{name: "Dovecot's IMAP", digit: 0, view: withoutNUL, open: func() (peer.Session, error) { return peer.IMAPSession(d.IMAP, user, peer.Password) }},
		{name: "Courier's IMAP", digit: 1, view: whole, open: courier.IMAP},
		{name: "Dovecot's POP3", digit: 2, view: whole, open: func() (peer.Session, error) { return peer.POP3Session(d.POP3, user, peer.Password) }},
		{name: "Courier's POP3", digit: 3, view: whole, open: courier.POP3},
	}
	for _, r := range readers {
		r.t, r.messages = s.t, g
		r.seen, r.uid, r.taken = make(map[string]int), make(map[int]string), make(map[int]bool)
	}
	return readers
}

// settle lets everybody have what is left, one after the other. In these passes
// nothing may fail.
func settle(t *testing.T, readers []*reader, witnesses []witness) {
	t.Helper()
	for _, r := range readers {
		if r.failed != nil {
			t.Logf("%s, among others: %v", r.name, r.failed)
		}
		r.pass()
		if r.failed != nil {
			t.Errorf("%s: %v", r.name, r.failed)
		}
	}
	for _, w := range witnesses {
		if err := w.pass(); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	}
	for _, r := range readers {
		r.pass()
	}
	t.Logf("passes: %s %d, %s %d, %s %d, %s %d", readers[0].name, readers[0].passes, readers[1].name, readers[1].passes,
		readers[2].name, readers[2].passes, readers[3].name, readers[3].passes)
}

func checkAfterwards(t *testing.T, s *site, g peer.Generator, count int, readers []*reader, python *pythonReader, mutt *muttReader) {
	t.Helper()
	left := peer.TakeCensus(t, s.store, g)
	if doubled := left.Doubled(); len(doubled) > 0 {
		t.Errorf("doubled: %v", doubled)
	}
	taken := map[int]map[int]bool{4: mutt.saved(), 5: python.taken}
	for _, r := range readers {
		taken[r.digit] = r.taken
	}
	for i := range count {
		there := left["u0@example.com"][i] == 1
		by, removed := taken[i%10]
		switch {
		case removed && !by[i]:
			t.Errorf("message %d was not seen by whom it was for; in the mailbox: %v", i, there)
		case removed && there:
			t.Errorf("message %d was removed and is there", i)
		case !removed && !there:
			t.Errorf("message %d is lost", i)
		}
		for _, r := range readers {
			if _, seen := r.uid[i]; !removed && !seen {
				t.Errorf("%s has not seen message %d", r.name, i)
			}
		}
	}
}

// A pythonReader is Python's module mailbox. It removes messages whose index ends
// in 5.
type pythonReader struct {
	site  *site
	box   string
	seen  map[string]bool
	taken map[int]bool
}

func newPythonReader(s *site, box string) *pythonReader {
	return &pythonReader{site: s, box: box, seen: make(map[string]bool), taken: make(map[int]bool)}
}

const pythonReads = `
import mailbox, re, sys
seen = set(sys.stdin.read().split())
box = mailbox.Maildir(sys.argv[1], create=False, factory=None)
for key in box.keys():
    if key in seen:
        continue
    try:
        text = box.get_bytes(key)
        index = int(re.search(rb"^X-Peer-Message: \d+\.(\d+)$", text, re.M).group(1))
        if index % 10 == 5:
            box.remove(key)
    except (KeyError, FileNotFoundError):
        continue
    print(key, index)
`

func (p *pythonReader) pass() error {
	cmd := peer.AsUser(exec.Command(peer.Need(p.site.t, "/usr/bin/python3")[0], "-c", pythonReads, p.box), mailUser)
	cmd.Stdin = strings.NewReader(strings.Join(slices.Collect(maps.Keys(p.seen)), " "))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, complaint.String())
	}
	for line := range strings.Lines(string(out)) {
		var key string
		var index int
		if _, err := fmt.Sscan(line, &key, &index); err != nil {
			return err
		}
		if p.seen[key] = true; index%10 == 5 {
			p.taken[index] = true
		}
	}
	return nil
}

// A muttReader saves messages whose index ends in 4 into an mbox of its own.
type muttReader struct {
	t         *testing.T
	mutt      *peer.Mutt
	box, into string
}

func newMuttReader(t *testing.T, box string) *muttReader {
	dir := peer.Dir(t)
	if err := os.Chown(dir, mailUser, mailUser); err != nil {
		t.Fatal(err)
	}
	return &muttReader{t: t, mutt: peer.NewMutt(t, mailUser), box: box, into: filepath.Join(dir, "saved")}
}

func (m *muttReader) pass() error {
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	return m.mutt.Press(ctx, m.box, "<tag-pattern>~i [.][0-9]*4@<enter><tag-prefix-cond><save-message>"+m.into+"<enter><end-cond><sync-mailbox><exit>")
}

// saved returns the indexes of what mutt saved: one twice if another program renamed
// the file while mutt wanted to remove it.
func (m *muttReader) saved() map[int]bool {
	b, err := os.ReadFile(m.into)
	if err != nil {
		m.t.Error(err)
	}
	all := make(map[int]bool)
	for _, f := range regexp.MustCompile(`(?m)^X-Peer-Message: \d+\.(\d+)$`).FindAllSubmatch(b, -1) {
		i, _ := strconv.Atoi(string(f[1]))
		all[i] = true
	}
	return all
}

// own makes a folder that belongs to mailUser.
func (s *site) own(name string) string {
	dir := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, mailUser, mailUser)); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// mbsync returns a pass of mbsync, which copies what is new in the Maildir box.
func (s *site) mbsync(box string) func() error {
	dir := s.own("mbsync")
	s.write("mbsync/rc", fmt.Sprintf(`MaildirStore far
Inbox %s
AltMap yes

MaildirStore near
Inbox %s/copy
AltMap yes

Channel all
Far :far:
Near :near:
Sync Pull New
Create Near
SyncState %s/state
`, box, dir, dir))
	return s.runs(dir, "mbsync", "-q", "-c", dir+"/rc", "all")
}

// notmuch returns a pass of notmuch, which indexes the Maildir box.
func (s *site) notmuch(box string) func() error {
	dir := s.own("notmuch")
	s.write("notmuch/rc", fmt.Sprintf("[database]\npath=%s\nmail_root=%s\n[user]\nname=x\nprimary_email=x@example.com\n[new]\ntags=new\nignore=/^(courier|dovecot|[.]).*/\n[maildir]\nsynchronize_flags=false\n", dir, box))
	return s.runs(dir, "notmuch", "--config="+dir+"/rc", "new", "--quiet")
}

// runs returns what runs a program as mailUser.
func (s *site) runs(home, name string, args ...string) func() error {
	path := peer.Need(s.t, name)[0]
	return func() error {
		cmd := peer.AsUser(exec.Command(path, args...), mailUser)
		cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %.2000s", name, err, out)
		}
		return nil
	}
}

// checkCopies checks what mbsync copied and notmuch indexed.
func (s *site) checkCopies(g peer.Generator, count int, box string) {
	t := s.t
	t.Helper()
	copied := make(map[int]int)
	for _, f := range peer.Maildir(t, s.dir+"/mbsync/copy") {
		text := f.Read(t)
		i := bytes.Index(text, []byte(fmt.Sprintf("X-Peer-Message: %d.", g.Seed)))
		var index int
		if _, err := fmt.Sscanf(string(text[max(i, 0):]), "X-Peer-Message: 11.%d\n", &index); err != nil {
			t.Errorf("mbsync copied %s: %v", f.Name, err)
		}
		copied[index]++
	}
	for i := range count {
		if n := copied[i]; n > 1 || n == 0 && i%10 > 5 {
			t.Errorf("mbsync copied message %d %d times", i, n)
		}
	}
	cmd := peer.AsUser(exec.Command("notmuch", "--config="+s.dir+"/notmuch/rc", "count", "--output=files", "*"), mailUser)
	cmd.Env = []string{"HOME=" + s.dir + "/notmuch"}
	out, err := cmd.Output()
	if want := fmt.Sprint(len(peer.Maildir(t, box))); err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("notmuch has %s of %s messages, %v", out, want, err)
	}
}
