package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/peer"
)

// serveAsVmail starts both halves as the user whom Dovecot reads the store as.
func (s *site) serveAsVmail() {
	s.t.Helper()
	peer.NeedRoot(s.t)
	for _, dir := range []string{".", "state", "spool", "store"} {
		if err := os.Chown(filepath.Join(s.dir, dir), peer.Vmail, peer.Vmail); err != nil {
			s.t.Fatal(err)
		}
	}
	p := peer.Start(s.t, peer.AsUser(s.command("serve"), peer.Vmail))
	p.WaitOutput("msg=serving")
}

// dial opens a session with the MX of the site.
func (s *site) dial() *peer.Client {
	s.t.Helper()
	c, err := peer.Dial(s.t.Context(), peer.SMTP, "tcp", s.smtp)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask sends a command, and fails the test unless the reply begins with want.
func ask(t *testing.T, c *peer.Client, command, want string) {
	t.Helper()
	r, err := c.Command("%s", command)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	if !strings.HasPrefix(r.String(), want) {
		t.Errorf("%s: %v, want %s", command, r, want)
	}
}

// sendOne sends a message to one recipient and returns the reply.
func sendOne(t *testing.T, c *peer.Client, to, text string) string {
	t.Helper()
	replies, err := c.Send("someone@"+peer.SenderDomain, []string{to}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return replies[0].String()
}

func letter(octets int) string {
	return "Subject: letter\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", octets/72)
}

// A quota that is exceeded is said at RCPT to who states the size, and after the
// message to who does not.
func TestQuota(t *testing.T) {
	for reply, want := range map[string]string{"permanent": "552 5.2.2", "temporary": "452 4.2.2"} {
		t.Run(reply, func(t *testing.T) {
			s := newSite(t, fmt.Sprintf("mda: quota_reply = %q", reply))
			s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u0', 'u1']\nquota = '20kB'\n[mailbox.u2]\nquota = 0\n")
			s.start("serve")
			c := s.dial()
			ask(t, c, "MAIL FROM:<> SIZE=30000", "250")
			ask(t, c, "RCPT TO:<u1@example.com>", want)
			ask(t, c, "RCPT TO:<u2@example.com>", "250")
			ask(t, c, "RSET", "250")

			if r := sendOne(t, c, "u1@example.com", letter(15000)); !strings.HasPrefix(r, "250") {
				t.Fatal(r)
			}
			ask(t, c, "MAIL FROM:<>", "250") // of unknown size
			ask(t, c, "RCPT TO:<u1@example.com>", "250")
			ask(t, c, "DATA", "354")
			ask(t, c, letter(15000)+".", want)
			if n := len(s.mailbox("u1")); n != 1 {
				t.Errorf("%d messages", n)
			}
			if err := os.Remove(s.mailbox("u1")[0].Path); err != nil { // the user makes room
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(s.store, "example.com/u1/maildirsize")); err != nil {
				t.Fatal(err)
			}
			if r := sendOne(t, c, "u1@example.com", letter(15000)); !strings.HasPrefix(r, "250") {
				t.Error(r)
			}
		})
	}
}

// Mail for a sub-address goes to the folder of its name, which a real Dovecot
// lists; what can be none goes to the INBOX.
func TestDetailFolders(t *testing.T) {
	s := newSite(t)
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u1']\nfolders = 'detail'\nquota = '1GiB'\n")
	s.serveAsVmail()
	c := s.dial()
	for _, detail := range []string{"", "+lists", "+lists", "+a.b", "+a/b", "+a%b", "+inbox"} {
		if r := sendOne(t, c, "u1"+detail+"@example.com", letter(100)); !strings.HasPrefix(r, "250") {
			t.Errorf("%q: %s", detail, r)
		}
	}
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{Store: s.store})
	folders, err := peer.ListIMAP(dovecot.IMAP, "u1@example.com", peer.Password)
	slices.Sort(folders)
	if err != nil || !slices.Equal(folders, []string{"INBOX", "a", "a.b", "lists"}) {
		t.Errorf("folders %q, %v", folders, err)
	}
	for folder, want := range map[string]int{"INBOX": 4, "lists": 2, "a.b": 1} {
		found, err := peer.FetchIMAP(dovecot.IMAP, "u1@example.com", peer.Password, folder)
		if err != nil || len(found) != want {
			t.Errorf("%s has %d messages of %d, %v", folder, len(found), want, err)
		}
	}
	if complaints := dovecot.Complaints(); len(complaints) > 0 {
		t.Errorf("Dovecot complains: %q", complaints)
	}
}

// dovecotOfMboxes starts a Dovecot whose INBOXes are the mboxes of s.
func (s *site) dovecotOfMboxes() *peer.Dovecot {
	return peer.StartDovecot(s.t, peer.DovecotConfig{
		Store: s.store, Location: "mbox:" + s.dir + "/mbox/%n:INBOX=" + s.store + "/%d/%n.mbox",
	})
}

// fetchMbox returns what Dovecot shows of the mbox of user, and fails where it
// complains.
func (s *site) fetchMbox(user string) []peer.Stored {
	s.t.Helper()
	dovecot := s.dovecotOfMboxes()
	found := dovecot.FetchIMAP(user)
	if complaints := dovecot.Complaints(); len(complaints) > 0 {
		s.t.Errorf("Dovecot complains: %q", complaints)
	}
	return found
}

// A real Dovecot reads the mboxes.
func TestMbox(t *testing.T) {
	s := newSite(t)
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nformat = 'mbox'\nmailboxes = ['u1']\n")
	s.serveAsVmail()
	c := s.dial()
	text := letter(200) + "From the beginning\r\n"
	for range 3 {
		if r := sendOne(t, c, "u1+x@example.com", text); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}
	found := s.fetchMbox("u1@example.com")
	if len(found) != 3 {
		t.Fatalf("%d messages of 3", len(found))
	}
	for _, m := range found {
		if !strings.HasSuffix(string(m.Octets), strings.TrimPrefix(strings.ReplaceAll(text, "\r\nFrom ", "\r\n>From "), "Subject: letter\r\n")) {
			t.Errorf("got %q", m.Octets)
		}
	}
}

// A real Dovecot takes the length of a message in mboxcl2 from us, so that nobody can
// send two in one, or hide one.
func TestMboxcl2(t *testing.T) {
	s := newSite(t, "mda: mbox_format = 'mboxcl2'")
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nformat = 'mbox'\nmailboxes = ['u1']\n")
	s.serveAsVmail()
	c := s.dial()
	const body = "hi\r\n\r\nFrom a@b.example Sat Jan  1 00:00:00 2000\r\nFrom: boss@example.com\r\n\r\nforged\r\n"
	for _, hidden := range []string{"X-Status" + strings.Repeat(" ", 40) + ": D", "Content-Length\x00: 1", "X-Status\r\n D", "Content-Length: 1"} {
		if r := sendOne(t, c, "u1@example.com", "Subject: one\r\n"+hidden+"\r\nFrom: ann@example.net\r\n\r\n"+body); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}
	found := s.fetchMbox("u1@example.com")
	if len(found) != 4 {
		t.Fatalf("%d messages of 4", len(found))
	}
	for _, m := range found {
		if !strings.HasSuffix(string(m.Octets), body) {
			t.Errorf("got %q", m.Octets)
		}
	}
}

// The store is refused where ordered durability is not known to be safe.
func TestOrderedRefused(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "postern-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(shm)
	s := newSite(t, "mda: durability = 'ordered'", fmt.Sprintf("mda: store = %q", shm))
	out, err := s.command("mda").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "durability ordered is not safe") {
		t.Errorf("%v: %s", err, out)
	}
	s = newSite(t, fmt.Sprintf("mda: store = %q", shm))
	p := s.start("mda")
	if log := p.Output(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "is in memory only") {
		t.Errorf("log: %s", log)
	}
}

// A group that may use the mailboxes can.
func TestGroup(t *testing.T) {
	peer.NeedRoot(t)
	s := newSite(t, "mda: group = '65533'")
	s.start("serve")
	if r := sendOne(t, s.dial(), "u1@example.com", letter(100)); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	for path, want := range map[string]os.FileMode{
		filepath.Dir(s.mailbox("u1")[0].Path): os.ModeDir | 0o770,
		s.mailbox("u1")[0].Path:               0o660,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want || groupOf(info) != 65533 {
			t.Errorf("%s: %v of group %d", path, info.Mode(), groupOf(info))
		}
	}
}

func groupOf(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Gid }

// What a check finds it leaves as it is; a repair mends it, and says so.
func TestStoreCheck(t *testing.T) {
	s := newSite(t)
	if err := os.MkdirAll(filepath.Join(s.store, "example.com/u1/cur"), 0o700); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(s.store, "example.com/u1/cur/a,S=9:2,S")
	if err := os.WriteFile(wrong, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		verb, want string
		code       int
	}{
		{"check", `"mailbox":"u1@example.com","path":"` + wrong + `","problem":"size","text":"has 2 octets, 3 with CRLF","repaired":false`, 1},
		{"repair", `"problem":"size","text":"has 2 octets, 3 with CRLF","repaired":true`, 0},
		{"check", "", 0},
	} {
		cmd := s.command("store", tt.verb, "--json")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != tt.code || !strings.Contains(string(out), tt.want) || (tt.want == "") != (len(out) == 0) {
			t.Errorf("%s: code %d: %s", tt.verb, cmd.ProcessState.ExitCode(), out)
		}
	}
	if _, err := os.Stat(strings.Replace(wrong, "S=9", "S=2", 1)); err != nil {
		t.Error(err)
	}
}

// Where a person looks on, a check shows how far it is.
func TestStoreCheckProgress(t *testing.T) {
	s := newSite(t)
	command := strings.Join(s.command("store", "check").Args, " ")
	out, err := exec.Command(peer.Need(t, "script")[0], "-qec", command, "/dev/null").CombinedOutput()
	if want := "[..............................] 0% of 10 mailboxes"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
	for want, got := range map[string]string{
		"[###############...............] 50% of 10 mailboxes, 3s left": bar(5, 10, 3*time.Second),
		"[##############################] 100% of 1 mailboxes, 0s left": bar(1, 1, time.Hour),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
