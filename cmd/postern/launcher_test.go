package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/internal/peer"
)

// Without a launcher mail for system users waits at the sender; what others get does
// not depend on it, and idle writers outlive theirs.
func TestLauncherIsGone(t *testing.T) {
	s := newAccounts(t)
	agent := s.asVmail("serve")
	c := s.dial()
	send := func(to, want string) {
		t.Helper()
		if r := sendOne(t, c, to+"@example.com", letter(100)); !strings.HasPrefix(r, want) {
			t.Errorf("to %s: %s, want %s\n%s", to, r, want, agent.Output())
		}
	}
	send("ann", "451 4.3.0")
	send("u0", "250")
	if cause := "launch.sock: connect: no such file or directory: does postern launch run?"; !strings.Contains(agent.Output(), cause) {
		t.Errorf("not in the log: %s", cause)
	}
	launcher := s.startLauncher()
	send("ann", "250")
	launcher.Kill()
	send("ann", "250")
	send("bob", "451 4.3.0")
	s.startLauncher()
	send("bob", "250")
	if n := len(peer.Maildir(t, s.home("ann/Maildir"))); n != 2 {
		t.Errorf("ann has %d messages", n)
	}
}

// A writer that dies in the middle of a delivery costs a retry; one that dies between
// deliveries costs nothing.
func TestWriterIsKilled(t *testing.T) {
	s := newAccounts(t)
	launcher := s.startLauncher()
	s.asVmail("serve")
	c := s.dial()
	if r := sendOne(t, c, "ann@example.com", letter(100)); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	kill(t, launcher)
	if r := sendOne(t, c, "ann@example.com", letter(101)); !strings.HasPrefix(r, "250") {
		t.Errorf("after the writer died: %s", r)
	}
	kill(t, launcher)

	lock := s.home("bob/mail/box.lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	reply := make(chan string)
	go func() { reply <- sendOne(t, c, "bob@example.com", letter(102)) }()
	kill(t, launcher) // it waits for the lock
	if r := <-reply; !strings.HasPrefix(r, "451 4.3.0") {
		t.Errorf("while the writer died: %s", r)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	if r := sendOne(t, c, "bob@example.com", letter(102)); !strings.HasPrefix(r, "250") {
		t.Errorf("the retry: %s", r)
	}
	if text, err := os.ReadFile(s.home("bob/mail/box")); err != nil || strings.Count("\n"+string(text), "\nFrom ") != 1 {
		t.Errorf("bob's mbox: %v\n%s", err, text)
	}
	if n := len(peer.Maildir(t, s.home("ann/Maildir"))); n != 2 {
		t.Errorf("ann has %d messages", n)
	}
}

// kill kills the writers of a launcher, of which there is at least one soon, and
// waits until they are gone.
func kill(t *testing.T, launcher *peer.Process) {
	t.Helper()
	var pids []int
	for deadline := time.Now().Add(20 * time.Second); len(pids) == 0; pids = writersOf(t, launcher) {
		if time.Now().After(deadline) {
			t.Error("there is no writer")
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for deadline := time.Now().Add(20 * time.Second); len(writersOf(t, launcher)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the writers are not reaped")
			return
		}
	}
}

// The launcher serves the delivery agent and root, whoever else may connect.
func TestLauncherServesTheAgentAlone(t *testing.T) {
	s := newAccounts(t)
	launcher := s.startLauncher()
	deliver := func(uid uint32) error {
		cmd := peer.AsUser(s.command("deliver", "--to", "ann@example.com"), uid)
		cmd.Stdin = strings.NewReader(letter(100))
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	if err := deliver(peer.Vmail); err != nil {
		t.Errorf("the agent's user: %v", err)
	}
	if err := deliver(annUID); err == nil || !strings.Contains(err.Error(), "exit status 75") {
		t.Errorf("another user: %v", err)
	}
	launcher.WaitOutput(fmt.Sprintf("got none\" uid=%d", annUID))
	if n := len(peer.Maildir(t, s.home("ann/Maildir"))); n != 1 {
		t.Errorf("ann has %d messages", n)
	}
	cmd := peer.AsUser(s.command("launch"), peer.Vmail)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "must be root") {
		t.Errorf("as another user: %v: %s", err, out)
	}
}

// Many at once share few writers, and each message arrives once.
func TestAccountsAtOnce(t *testing.T) {
	s := newAccounts(t)
	launcher := s.startLauncher()
	s.asVmail("serve")
	const senders, each = 8, 10
	var all sync.WaitGroup
	for i := range senders {
		c := s.dial()
		all.Go(func() {
			for k := range each {
				if r := sendOne(t, c, "all@example.com", fmt.Sprintf("X: %d of %d\r\n", k, i)+letter(100)); !strings.HasPrefix(r, "250") {
					t.Error(r)
				}
			}
		})
	}
	all.Wait()
	if n := len(writersOf(t, launcher)); n > 2*senders {
		t.Errorf("%d writers for %d senders to two accounts", n, senders)
	}
	if n := len(peer.Maildir(t, s.home("ann/Maildir"))); n != senders*each {
		t.Errorf("ann has %d messages", n)
	}
	if text, err := os.ReadFile(s.home("bob/mail/box")); err != nil || strings.Count("\n"+string(text), "\nFrom ") != senders*each {
		t.Errorf("bob's mbox: %v, %d messages", err, strings.Count("\n"+string(text), "\nFrom "))
	}
	owned(t, s.home("ann"), annUID)
	owned(t, s.home("bob"), bobUID)
}

// check says which system users there are not, or must not be, where they are named,
// and whether anybody starts their writers.
func TestCheckAccounts(t *testing.T) {
	s := newAccounts(t)
	check := func() string {
		out, _ := s.seeingAccounts("check").CombinedOutput()
		return string(out)
	}
	out := check()
	for _, want := range []string{
		`example.com.toml:15:8: mailbox "low": the account low has the number 60999, below 61001`,
		`example.com.toml:17:8: mailbox "nobody": there is no system user "nosuchuser"`,
		"nobody listens on " + s.dir + "/launch.sock (mda.launcher) to start their writers",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("not said: %s\n%s", want, out)
		}
	}
	if strings.Contains(out, `"ann"`) || strings.Contains(out, "homes/bob/mail/box is below none") {
		t.Errorf("said too much:\n%s", out)
	}
	s.startLauncher()
	if out := check(); strings.Contains(out, "nobody listens on "+s.dir+"/launch.sock") {
		t.Error(out)
	}
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u0']\n")
	if out := check(); strings.Contains(out, "accounts:") {
		t.Error(out)
	}
}

// The user reads what was written as the user.
func TestRecipeDovecotSystemUsers(t *testing.T) {
	s := newAccounts(t)
	users, accounts := filepath.Join(s.dir, "users"), filepath.Join(s.dir, "accounts")
	writeOpen(t, users, "ann:{PLAIN}another password\n")
	writeOpen(t, accounts, fmt.Sprintf("ann:x:%d:%d::%s:\n", annUID, annUID, s.home("ann")))
	// Its driver passwd would ask this host, which has no ann.
	r := readRecipe(t, "dovecot.md", "/etc/dovecot/users", users, "driver = passwd\n", "driver = passwd-file\n  args = "+accounts+"\n")
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{
		Users: []string{"somebody@else.example"}, Location: "maildir:/nowhere", Extra: r.file("/etc/dovecot/conf.d/99-postern-system.conf"),
	})
	s.startLauncher()
	s.asVmail("serve")
	if r := sendOne(t, s.dial(), "ann@example.com", letter(100)); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	byIMAP, err := peer.FetchIMAP(dovecot.IMAP, "ann@example.com", "another password", "INBOX")
	if err != nil || len(byIMAP) != 1 || !strings.Contains(string(byIMAP[0].Octets), letter(100)) {
		t.Errorf("%d messages, %v", len(byIMAP), err)
	}
	if c := dovecot.Complaints(); len(c) > 0 {
		t.Errorf("Dovecot complains: %q", c)
	}
}
