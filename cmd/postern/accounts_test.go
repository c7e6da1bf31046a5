package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/config"
	"postern/internal/peer"
	"postern/internal/writer"
	"postern/mailbox"
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
	if os.Getuid() != 0 {
		t.Skip("only root becomes other users")
	}
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

// A writer that could become somebody else does not serve.
func TestWriterRefusesPrivilege(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has privileges to refuse")
	}
	for _, tt := range []struct {
		name string
		attr syscall.SysProcAttr
		want string
	}{
		{"root", syscall.SysProcAttr{}, "will not run as root"},
		{"a capability", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: annUID, Gid: annUID}, AmbientCaps: []uintptr{7}}, "nor with a capability"},
		{"nothing", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: annUID, Gid: annUID}}, "ready 1\n"},
	} {
		ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(ends[0]), "ours"), os.NewFile(uintptr(ends[1]), "theirs")
		cmd := exec.Command(binary, "writer", "/")
		cmd.SysProcAttr, cmd.ExtraFiles = &tt.attr, []*os.File{theirs}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = theirs.Close()
		said := make([]byte, 500)
		n, err := ours.Read(said)
		if err != nil || !strings.Contains(string(said[:n]), tt.want) {
			t.Errorf("%s: %q, %v", tt.name, said[:n], err)
		}
		_ = ours.Close()
		_ = cmd.Wait()
	}
}

// A writer delivers where it is told, in one mailbox.
func TestAccountWriter(t *testing.T) {
	home := t.TempDir()
	w := &accountWriter{home: home}
	base := writer.Settings{Host: "mx.example.com", MboxFormat: "mboxrd", MboxLocks: []string{"fcntl"}}
	deliver := func(change func(*writer.Settings)) error {
		s := base
		change(&s)
		box, err := w.open(s, func(int, mailbox.Usage) {})
		if err != nil {
			return err
		}
		d, err := box.Begin(mailbox.Arrival{})
		if err != nil {
			return err
		}
		defer d.Abort()
		if _, err := d.Write([]byte(letter(100))); err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Commit(), box.Room(1))
	}
	for _, tt := range []struct {
		change func(*writer.Settings)
		where  string // "": an error
	}{
		{func(s *writer.Settings) { s.Path = "Maildir" }, ""},
		{func(s *writer.Settings) { s.Path = "/x/../y" }, ""},
		{func(s *writer.Settings) { s.MboxLocks = []string{"none"} }, ""},
		{func(s *writer.Settings) {}, "Maildir"},
		{func(s *writer.Settings) { s.Folder = "Junk" }, "Maildir/.Junk"},
		{func(s *writer.Settings) { s.Detail = "a.b" }, "Maildir/.a.b"},
		{func(s *writer.Settings) { s.Folder = "../x" }, ""},
		{func(s *writer.Settings) { s.Quota = 10 }, ""},
		{func(s *writer.Settings) { s.Quota, s.Unrefused = 10, true }, ""}, // there is no room for more, but it is there
		{func(s *writer.Settings) { s.Mbox = true }, ""},
		{func(s *writer.Settings) { s.Path = home + "/other" }, ""},
	} {
		err := deliver(tt.change)
		if (err == nil) != (tt.where != "") {
			t.Errorf("into %q: %v", tt.where, err)
		}
		if tt.where != "" && len(peer.Maildir(t, filepath.Join(home, tt.where))) != 1 {
			t.Errorf("nothing in %s", tt.where)
		}
	}
	if n := len(peer.Maildir(t, filepath.Join(home, "Maildir"))); n != 2 {
		t.Errorf("%d messages, and not what must not be refused", n)
	}
	w = &accountWriter{home: home}
	if err := deliver(func(s *writer.Settings) { s.Mbox = true }); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(home, "mbox")); err != nil || !strings.HasPrefix(string(text), "From ") {
		t.Errorf("mbox %q, %v", text, err)
	}
}

// Two names of one mailbox are one, and folders are not.
func TestAccountTargets(t *testing.T) {
	s := &store{settings: writer.Settings{Host: "mx.example.com"}}
	ann := config.Member{User: "ann", Domain: "a.example", Account: "ann", Detail: "x", Storage: config.Storage{Format: config.Maildir, Folders: config.DetailFolders, Quota: 5}}
	same := ann
	same.Domain = "b.example"
	if a, b := s.accountTarget(ann), s.accountTarget(same); a.Mailbox != b.Mailbox || a.Room == nil {
		t.Errorf("%q and %q", a.Mailbox, b.Mailbox)
	}
	for i, change := range []func(m *config.Member){
		func(m *config.Member) { m.Account = "bob" },
		func(m *config.Member) { m.Path = "/x" },
		func(m *config.Member) { m.Detail = "y" },
		func(m *config.Member) { m.Detail = "" },
		func(m *config.Member) { m.Folders = config.NoFolders },
	} {
		other := ann
		change(&other)
		if a, b := s.accountTarget(ann), s.accountTarget(other); a.Mailbox == b.Mailbox {
			t.Errorf("%d: %q", i, a.Mailbox)
		}
	}
	junk, err := s.accountTarget(ann).Folder("Junk")
	if err != nil || junk.Mailbox == s.accountTarget(ann).Mailbox || junk.Folder != nil {
		t.Errorf("%+v, %v", junk, err)
	}
	box, err := junk.Open()
	if err != nil || box.(*writer.Mailbox).Settings.Folder != "Junk" {
		t.Errorf("%+v, %v", box, err)
	}
	box, err = s.accountTarget(ann).Open()
	if err != nil || box.(*writer.Mailbox).Settings.Folder != "" {
		t.Errorf("%+v, %v", box, err)
	}
	ann.Format = config.Mbox
	if target := s.accountTarget(ann); target.Folder != nil {
		t.Error("an mbox has folders")
	}
}

// The delivery agent itself, and who looks after the store, leave system users'
// mailboxes alone.
func TestOthersLeaveAccountsAlone(t *testing.T) {
	s := newAccounts(t)
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u0']\n[mailbox.ann]\nuser = 'ann'\npath = '"+s.home("ann/broken")+"'\n[mailbox.bob]\nuser = 'bob'\npath = '/nowhere/Maildir'\n")
	if err := os.WriteFile(s.home("ann/broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := s.command("store", "check").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "not looked at: 2 mailboxes that are system users'") {
		t.Errorf("%v: %s", err, out)
	}
	p, err := load(s.config, io.Discard, "")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p.log = slog.New(slog.NewTextHandler(&log, nil))
	store, err := p.openStore()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	log.Reset() // of what the file system is like
	store.probeHomes(p.log, p.recipients.Current().All())
	store.clean(t.Context(), p.recipients.Current().All(), p.log)
	if log.Len() > 0 {
		t.Error(log.String())
	}
	var f fence
	if f.addMDA(p.config, p.recipients.Current()); f.within("/nowhere/Maildir") {
		t.Errorf("the agent could write homes: %v", f.write)
	}
}

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
	launcher.WaitOutput(fmt.Sprintf("is not served\" uid=%d", annUID))
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
