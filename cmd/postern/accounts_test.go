package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postern/internal/peer"
)

// The accounts of the tests, which this host need not have: the programs see a
// passwd(5) of their own.
const (
	annUID  = 61001
	bobUID  = 61002
	friends = 61050 // a group that ann is in
	lowUID  = 60999 // below the minimum
)

// newAccounts is a site whose map has mailboxes of the system users ann and bob, and
// whose delivery agent is vmail.
func newAccounts(t *testing.T, extra ...string) *site {
	t.Helper()
	peer.NeedRoot(t)
	s := newSite(t, append([]string{
		"mda: launcher = 'launch.sock'", "mda: quota_warn = ['20%']", fmt.Sprintf("mda: launch_users = ['%d']", peer.Vmail), "mda: launch_min_uid = 61001",
	}, extra...)...)
	s.write("recipients.d/example.com.toml", `domain = "example.com"
mailboxes = ["u0"]
[mailbox.ann]
user = "ann"
folders = "detail"
[mailbox.bob]
user = "bob"
path = "`+s.dir+`/homes/bob/mail/box"
format = "mbox"
[mailbox.full]
user = "ann"
path = "`+s.dir+`/homes/ann/full"
quota = "4kB"
[mailbox.low]
user = "low"
[mailbox.nobody]
user = "nosuchuser"
[aliases]
all = ["ann", "bob", "u0"]
`)
	passwd := "root:x:0:0::/root:/bin/sh\n"
	for name, uid := range map[string]int{"ann": annUID, "bob": bobUID, "low": lowUID} {
		home := filepath.Join(s.dir, "homes", name)
		passwd += fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", name, uid, uid, home)
		for _, dir := range []string{home, home + "/mail"} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, uid, uid); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.write("passwd", passwd)
	s.write("group", fmt.Sprintf("root:x:0:\nfriends:x:%d:bob-not,ann\n", friends))
	for _, dir := range []string{s.dir, filepath.Join(s.dir, "homes")} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// seeingAccounts returns a command of the program that finds the accounts, whatever
// this host has.
func (s *site) seeingAccounts(args ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{
		"-m", "sh", "-c", `mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"`, s.dir, binary, "--config", s.config,
	}, args...)...)
}

func (s *site) startLauncher() *peer.Process {
	s.t.Helper()
	p := peer.Start(s.t, s.seeingAccounts("launch"))
	p.WaitOutput("msg=serving")
	return p
}

// writersOf returns the processes that p has started.
func writersOf(t *testing.T, p *peer.Process) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err == nil && bytes.Contains(text, fmt.Appendf(nil, "\nPPid:\t%d\n", p.PID())) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// owned fails unless all below dir is of the user uid, and for nobody else.
func owned(t *testing.T, dir string, uid int) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if int(st.Uid) != uid || int(st.Gid) != uid || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is of %d:%d, mode %v", name, st.Uid, st.Gid, info.Mode())
		}
		if !d.IsDir() {
			files++
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%s: %d files, %v", dir, files, err)
	}
}

func (s *site) home(path string) string { return filepath.Join(s.dir, "homes", path) }

// Each mailbox is written as its owner, by a process that can do nothing else, and
// the delivery agent cannot look into it.
func TestAccounts(t *testing.T) {
	s := newAccounts(t)
	launcher := s.startLauncher()
	agent := s.asVmail("serve")
	c := s.dial()
	for _, tt := range []struct{ to, want, cause string }{
		{"ann", "250", ""},
		{"bob", "250", ""},
		{"ann+lists", "250", ""},
		{"u0", "250", ""},
		{"all", "250", ""},
		{"full", "250", ""},
		{"low", "451 4.3.0", "launcher: the account low has the number 60999, below 61001"},
		{"nobody", "451 4.3.0", "launcher: the account nosuchuser: user: unknown user nosuchuser"},
	} {
		if r := sendOne(t, c, tt.to+"@example.com", letter(1000)); !strings.HasPrefix(r, tt.want) {
			t.Errorf("to %s: %s, want %s\n%s", tt.to, r, tt.want, agent.Output())
		}
		if !strings.Contains(agent.Output(), tt.cause) {
			t.Errorf("to %s: not in the log: %s", tt.to, tt.cause)
		}
	}
	if r := sendOne(t, c, "full@example.com", letter(5000)); !strings.HasPrefix(r, "552 5.2.2") {
		t.Errorf("over quota: %s", r)
	}
	for path, want := range map[string]int{"ann/Maildir": 2, "ann/Maildir/.lists": 1, "ann/full": 2} {
		if n := len(peer.Maildir(t, s.home(path))); n != want {
			t.Errorf("%s has %d messages, want %d", path, n, want)
		}
	}
	if !slices.ContainsFunc(peer.Maildir(t, s.home("ann/full")), func(f peer.File) bool {
		return strings.Contains(string(f.Read(t)), "Subject: Your mailbox is ")
	}) {
		t.Errorf("ann was not warned of her quota")
	}
	if text, err := os.ReadFile(s.home("bob/mail/box")); err != nil || strings.Count("\n"+string(text), "\nFrom ") != 2 {
		t.Errorf("bob's mbox: %v\n%s", err, text)
	}
	owned(t, s.home("ann"), annUID)
	owned(t, s.home("bob"), bobUID)
	if left, _ := os.ReadDir(s.home("low")); len(left) != 1 {
		t.Errorf("low has %v", left)
	}
	if out, err := peer.AsUser(exec.Command("ls", s.home("ann/Maildir")), peer.Vmail).CombinedOutput(); err == nil {
		t.Errorf("the agent sees %s", out)
	}
	powerless(t, launcher)
}

// powerless fails if a writer could become somebody else, or write elsewhere.
func powerless(t *testing.T, launcher *peer.Process) {
	t.Helper()
	writers := writersOf(t, launcher)
	if len(writers) == 0 {
		t.Error("no writer is kept for the next message")
	}
	for _, pid := range writers {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it was idle for too long
		}
		uid := strings.Fields(string(text[bytes.Index(text, []byte("\nUid:")):]))[1]
		for _, want := range []string{
			"\nUid:\t" + strings.Join([]string{uid, uid, uid, uid}, "\t") + "\n", "\nGid:\t" + strings.Join([]string{uid, uid, uid, uid}, "\t") + "\n",
			"\nNoNewPrivs:\t1\n", "\nCapPrm:\t0000000000000000\n", "\nCapEff:\t0000000000000000\n", "\nCapInh:\t0000000000000000\n", "\nCapAmb:\t0000000000000000\n",
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("a writer's status lacks %q:\n%s", want, text)
			}
		}
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || len(env) > 0 {
			t.Errorf("environment %q, %v", env, err)
		}
		if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || dir != "/" {
			t.Errorf("folder %q, %v", dir, err)
		}
		groups := uid + " "
		if uid == fmt.Sprint(annUID) {
			groups += fmt.Sprint(friends, " ")
		}
		if !strings.Contains(string(text), "\nGroups:\t"+groups+"\n") {
			t.Errorf("a writer has other groups than %s:\n%s", groups, text)
		}
		if info, err := os.Stat(fmt.Sprintf("/proc/%d/status", pid)); err == nil && info.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Error("a writer's user may look into it")
		}
		if uid == "0" {
			t.Error("a writer is root")
		}
	}
}

// So it is without Landlock. With it, a writer leaves alone what is beside the mailbox.
func TestWritersAreConfined(t *testing.T) {
	t.Run("not wanted", func(t *testing.T) {
		s := newAccounts(t, ": confine = false")
		launcher := s.startLauncher()
		s.asVmail("serve")
		if r := sendOne(t, s.dial(), "ann@example.com", letter(100)); !strings.HasPrefix(r, "250") {
			t.Error(r)
		}
		powerless(t, launcher)
	})
	s := newAccounts(t)
	launcher := s.startLauncher()
	agent := s.asVmail("serve")
	c := s.dial()
	send := func(want string) {
		t.Helper()
		if r := sendOne(t, c, "ann@example.com", letter(100)); !strings.HasPrefix(r, want) {
			t.Errorf("%s, want %s", r, want)
		}
	}
	send("250")
	kill(t, launcher)
	send("250") // by a writer that found the Maildir, and needs nothing beside it
	if err := os.RemoveAll(s.home("ann/Maildir")); err != nil {
		t.Fatal(err)
	}
	send("451 4.3.0")
	if cause := "mkdir " + s.home("ann/Maildir") + ": permission denied"; !strings.Contains(agent.Output(), cause) {
		t.Errorf("not in the log: %s\n%s", cause, agent.Output())
	}
	send("250") // by another
}
