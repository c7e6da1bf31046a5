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
	box   *shared
	name  string
	digit int
	open  func() (peer.Session, error)

	view   func(peer.Generator, []byte) (peer.Message, error)
	seen   map[string]int // index by UID
	uid    map[int]string // and the reverse
	taken  map[int]bool
	passes int
}

// pass reads what is new, and removes what is the reader's to remove.
func (r *reader) pass() error {
	r.passes++
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
	msg, err := r.view(r.box.messages, m.Octets)
	if err != nil && len(m.Octets) < 200 && bytes.Contains(m.Octets, []byte("message unavailable")) {
		return 0, false // Courier's word for a message that another has removed or renamed
	}
	if err != nil {
		r.box.site.t.Errorf("%s: %s: UID %s: %v", r.box.user, r.name, m.ID, err)
		return 0, false
	}
	if other, twice := r.uid[msg.Index]; twice && !r.box.readByMany {
		r.box.site.t.Errorf("%s: %s: message %d is UID %s and %s", r.box.user, r.name, msg.Index, other, m.ID)
	}
	r.seen[m.ID], r.uid[msg.Index] = msg.Index, m.ID
	return msg.Index, true
}

// While we deliver into them, a Maildir is read by Dovecot, Python, notmuch and
// mbsync, one by Courier's IMAP server and one by its POP3 server, and one by all of
// them and mutt together, and most remove messages: nothing is lost, and nothing
// doubled. Where a server is the only one to rename files, no UID changes its
// meaning, and Dovecot has nothing to complain about. (Of files that another renames
// while it lists the folder, no server can be sure: of 9,000 messages Courier's IMAP
// server gave a handful two UIDs beside its POP3 server, and of 10,000 one that was
// removed, among all of them, stayed. That is between readers: we rename nothing.)
func TestReadersTogether(t *testing.T) {
	count := messages(t, 150)
	s := newSite(t, "policy: enforce = false")
	s.serveAs(mailUser)
	g := peer.Generator{Seed: 11, Min: 400, Max: 20 << 10}
	load := peer.Load{
		Protocol: peer.LMTP, Network: "unix", Addr: s.lmtp, Connections: 4, From: "someone@" + peer.SenderDomain,
		To: func(int) []string {
			return []string{"u0@example.com", "u1@example.com", "u2@example.com", "u3@example.com"}
		}, Messages: g, Count: 1,
	}
	sendAll(t, load) // so that there are mailboxes
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{Store: s.store, Owner: mailUser})
	boxes := []*shared{
		s.shared("u0", g).imap(0, dovecot).pop3(2, dovecot).python(5).witness("notmuch", s.notmuch("u0")).witness("mbsync", s.mbsync("u0", dovecot)),
		s.shared("u1", g).courierIMAP(1),
		s.shared("u3", g).courierPOP3(3),
		s.shared("u2", g).imap(0, dovecot).courierIMAP(1).pop3(2, dovecot).courierPOP3(3).mutt(4).python(5),
	}
	boxes[3].readByMany = true

	delivered := make(chan struct{})
	var all sync.WaitGroup
	for _, box := range boxes {
		for _, pass := range box.passes {
			all.Go(func() { again(t, box.user, pass, delivered) })
		}
	}
	load.First, load.Count = 1, count-1
	sendAll(t, load)
	close(delivered)
	all.Wait()
	left := peer.TakeCensus(t, s.store, g)
	if doubled := left.Doubled(); len(doubled) > 0 {
		t.Errorf("doubled: %v", doubled)
	}
	for _, box := range boxes {
		box.settle()
	}
	left = peer.TakeCensus(t, s.store, g)
	for _, box := range boxes {
		box.check(left[box.user+"@example.com"], count)
	}
	s.checkCopies(g, count, "u0")
	for _, line := range dovecot.Complaints() {
		if strings.Contains(line, "(u2@example.com)") || strings.Contains(line, "/u2/") {
			t.Logf("Dovecot, among others: %s", line)
			continue
		}
		t.Errorf("Dovecot complains: %s", line)
	}
}

// again calls a pass again and again until all is delivered, and once more.
func again(t *testing.T, user string, p pass, delivered <-chan struct{}) {
	for done := false; !done; {
		select {
		case <-delivered:
			done = true
		case <-time.After(50 * time.Millisecond):
		}
		if err := p.do(); err != nil {
			t.Logf("%s: %s, among others: %.300v", user, p.name, err)
		}
	}
}

// A shared is a mailbox that several programs have at the same time.
type shared struct {
	site       *site
	user, path string
	messages   peer.Generator
	readers    []*reader
	passes     []pass
	taken      map[int]func() map[int]bool // by the last digit of an index: what was removed
	readByMany bool
}

// A pass is what a program does each time.
type pass struct {
	name string
	do   func() error
}

func (s *site) shared(user string, g peer.Generator) *shared {
	return &shared{site: s, user: user, path: filepath.Join(s.store, "example.com", user), messages: g, taken: make(map[int]func() map[int]bool)}
}

// settle lets everybody have what is left, one after the other. Nothing may fail
// now.
func (b *shared) settle() {
	t := b.site.t
	t.Helper()
	for range 2 {
		for _, p := range b.passes {
			if err := p.do(); err != nil {
				t.Errorf("%s: %s: %v", b.user, p.name, err)
			}
		}
	}
	for _, r := range b.readers {
		t.Logf("%s: %s: %d passes, %d messages seen, %d removed", b.user, r.name, r.passes, len(r.uid), len(r.taken))
	}
}

// check holds what is left against what was removed.
func (b *shared) check(left map[int]int, count int) {
	t := b.site.t
	t.Helper()
	for i := range count {
		there := left[i] == 1
		by, removed := b.taken[i%10]
		switch {
		case removed && !by()[i]:
			t.Errorf("%s: message %d was not seen by whom it was for; in the mailbox: %v", b.user, i, there)
		case removed && there && b.readByMany: // whoever removed it missed the new name
			t.Logf("%s: message %d was removed, among others, and is there", b.user, i)
		case removed && there:
			t.Errorf("%s: message %d was removed and is there", b.user, i)
		case !removed && !there:
			t.Errorf("%s: message %d is lost", b.user, i)
		}
		for _, r := range b.readers {
			if _, seen := r.uid[i]; !removed && !seen {
				t.Errorf("%s: %s has not seen message %d", b.user, r.name, i)
			}
		}
	}
}

func (b *shared) witness(name string, do func() error) *shared {
	b.passes = append(b.passes, pass{name, do})
	return b
}

// reader adds a server that removes messages whose index ends in digit.
func (b *shared) reader(name string, digit int, view func(peer.Generator, []byte) (peer.Message, error), open func() (peer.Session, error)) *shared {
	r := &reader{
		box: b, name: name, digit: digit, open: open, view: view,
		seen: make(map[string]int), uid: make(map[int]string), taken: make(map[int]bool),
	}
	b.readers = append(b.readers, r)
	b.taken[digit] = func() map[int]bool { return r.taken }
	return b.witness(name, r.pass)
}

func (b *shared) imap(digit int, d *peer.Dovecot) *shared {
	return b.reader("Dovecot's IMAP", digit, peer.Generator.IdentifyIMAP, func() (peer.Session, error) {
		return peer.IMAPSession(d.IMAP, b.user+"@example.com", peer.Password)
	})
}

func (b *shared) pop3(digit int, d *peer.Dovecot) *shared {
	return b.reader("Dovecot's POP3", digit, peer.Generator.Identify, func() (peer.Session, error) {
		return peer.POP3Session(d.POP3, b.user+"@example.com", peer.Password)
	})
}

func (b *shared) courierIMAP(digit int) *shared {
	return b.reader("Courier's IMAP", digit, peer.Generator.Identify, peer.NewCourier(b.site.t, b.path, mailUser).IMAP)
}

func (b *shared) courierPOP3(digit int) *shared {
	return b.reader("Courier's POP3", digit, peer.Generator.Identify, peer.NewCourier(b.site.t, b.path, mailUser).POP3)
}

func (b *shared) python(digit int) *shared {
	p := newPythonReader(b.site, b.path)
	b.taken[digit] = func() map[int]bool { return p.taken }
	return b.witness("Python", p.pass)
}

func (b *shared) mutt(digit int) *shared {
	m := newMuttReader(b.site.t, b.path)
	b.taken[digit] = sync.OnceValue(m.saved)
	return b.witness("mutt", m.pass)
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
	t         testing.TB
	mutt      *peer.Mutt
	box, into string
}

func newMuttReader(t testing.TB, box string) *muttReader {
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

// mbsync returns a pass of mbsync, which copies what is new at Dovecot.
func (s *site) mbsync(user string, d *peer.Dovecot) func() error {
	dir := s.own("mbsync")
	host, port, _ := strings.Cut(d.IMAP, ":")
	s.write("mbsync/rc", fmt.Sprintf(`IMAPStore far
Host %s
Port %s
User %s@example.com
Pass %s
AuthMechs LOGIN
SSLType None

MaildirStore near
Inbox %s/copy

Channel all
Far :far:
Near :near:
Sync Pull New
Create Near
SyncState %s/state
`, host, port, user, peer.Password, dir, dir))
	return s.runs(dir, "mbsync", "-q", "-c", dir+"/rc", "all")
}

// notmuch returns a pass of notmuch, which indexes the Maildir of user.
func (s *site) notmuch(user string) func() error {
	dir, box := s.own("notmuch"), filepath.Join(s.store, "example.com", user)
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
func (s *site) checkCopies(g peer.Generator, count int, user string) {
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
	if want := fmt.Sprint(len(s.mailbox(user))); err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("notmuch has %s of %s messages, %v", out, want, err)
	}
}
