package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/peer"
)

// Once it serves, the server writes where it has something to write, and nowhere
// else, whatever its user may: the kernel sees to it.
func TestConfined(t *testing.T) {
	outside := peer.Dir(t)
	s := newSite(t, "mda: homes = ['homes']")
	s.replaceInConfig("homes = ['homes']", fmt.Sprintf("homes = [%q]", s.dir+"/homes"))
	for _, dir := range []string{"homes/ann", "elsewhere/Maildir/new"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(s.dir, "homes/link")); err != nil {
		t.Fatal(err)
	}
	maps := func(names ...string) string {
		text := "domain = 'example.com'\nmailboxes = ['u0']\n[mailbox.elsewhere]\npath = '" + s.dir + "/elsewhere/Maildir'\n"
		for _, name := range names {
			box, path, _ := strings.Cut(name, "=")
			if !filepath.IsAbs(path) {
				path = filepath.Join(s.dir, path)
			}
			text += fmt.Sprintf("[mailbox.%s]\npath = '%s'\n", box, path)
		}
		return text
	}
	s.write("recipients.d/example.com.toml", maps())
	p := s.start("serve")
	if log := p.Output(); !strings.Contains(log, "msg=confined") {
		t.Fatalf("the kernel of this machine must offer Landlock: %s", log)
	}
	s.write("recipients.d/example.com.toml", maps("ann=homes/ann/Maildir", "link=homes/link/Maildir", "later="+outside+"/Maildir", "box=homes/ann/mbox"))
	later := fmt.Sprintf("recipients.d/example.com.toml:10:8: %s/Maildir is outside of what the running delivery agent may write", outside)
	for _, command := range []string{"reload", "status"} {
		out, err := s.command(command).CombinedOutput()
		if (err != nil) != (command == "reload") || strings.Count(string(out), "is outside of") != 1 || !strings.Contains(string(out), later) {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
	if found := checked(t, s, false); strings.Count(found, "is below none of mda.homes") != 1 || !strings.Contains(found, outside+"/Maildir is below") {
		t.Errorf("check: %s", found)
	}
	c := s.dial()
	for to, want := range map[string]string{"u0": "250", "elsewhere": "250", "ann": "250", "box": "250", "link": "451 4.3.0", "later": "451 4.3.0"} {
		if r := sendOne(t, c, to+"@example.com", letter(100)); !strings.HasPrefix(r, want) {
			t.Errorf("to %s: %s, want %s", to, r, want)
		}
	}
	for _, cause := range []string{"/homes/link: permission denied", "/Maildir is outside of what this server could write when it started: restart it"} {
		if !strings.Contains(p.Output(), cause) {
			t.Errorf("not in the log: %s", cause)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}

	// A disk that comes back is another folder to the kernel, and not to the mail.
	if err := os.Rename(s.store, s.store+".away"); err != nil {
		t.Fatal(err)
	}
	if r := sendOne(t, c, "u0@example.com", letter(100)); !strings.HasPrefix(r, "451") {
		t.Errorf("without a store: %s", r)
	}
	if err := os.Mkdir(s.store, 0o755); err != nil {
		t.Fatal(err)
	}
	if r := sendOne(t, c, "u0@example.com", letter(100)); !strings.HasPrefix(r, "250") {
		t.Errorf("with a store again: %s", r)
	}

	// It does not read there either, and the way out is told.
	if err := os.WriteFile(outside+"/map", []byte("domain = 'example.org'\nmailboxes = ['u0']\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside+"/map", s.dir+"/recipients.d/example.org.toml"); err != nil {
		t.Fatal(err)
	}
	const why = "this server reads only in the folders that it knew when it started"
	p.WaitOutput("/recipients.d/example.org.toml: cannot be read: permission denied; " + why)
	for _, command := range []string{"reload", "status"} {
		out, err := s.command(command).CombinedOutput()
		if (err != nil) != (command == "reload") || strings.Count(string(out), why) != 1 || strings.Contains(string(out), "if its domain is to go, reload") {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
}

// Without it the administrator is told, and all else is the same.
func TestNotConfined(t *testing.T) {
	s := newSite(t, ": confine = false")
	p := s.start("serve")
	if log := p.Output(); strings.Contains(log, "msg=confined") || !strings.Contains(log, "confine = false") {
		t.Errorf("log: %s", log)
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.PID()))
	must(t, err)
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err == nil && !strings.Contains(string(status), "NoNewPrivs:\t1\n") {
			t.Errorf("%s: new privileges may be had", thread)
		}
	}
	if len(threads) < 2 {
		t.Errorf("threads: %q", threads)
	}
}

// replaceInConfig edits postern.toml.
func (s *site) replaceInConfig(old, text string) {
	s.t.Helper()
	b, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("postern.toml", strings.Replace(string(b), old, text, 1))
}

// Mailboxes are kept as the configuration says.
func TestHowMailboxesAreKept(t *testing.T) {
	s := newSite(t, "mda: mbox_format = 'mboxo'", "mda: mbox_locks = ['fcntl']", "mda: folder_names = 'utf-8'", "mda: hard_links = true")
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u1', 'u2', 'u3']\nfolders = 'detail'\n[mailbox.m]\nformat = 'mbox'\nfolders = 'none'\n[aliases]\nteam = ['u1', 'u2']\n")
	s.start("serve")
	c := s.dial()
	lock := filepath.Join(s.store, "example.com/m.mbox.lock") // which counts for nobody
	if err := os.MkdirAll(filepath.Dir(lock), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"m", "team"} {
		if r := sendOne(t, c, to+"@example.com", "Subject: x\r\n\r\nFrom a\r\n>From b\r\n"); !strings.HasPrefix(r, "250") {
			t.Fatalf("%s: %s", to, r)
		}
	}
	if b, err := os.ReadFile(filepath.Join(s.store, "example.com/m.mbox")); err != nil || !strings.HasSuffix(string(b), "\n\n>From a\n>From b\n\n") {
		t.Errorf("mbox %q, %v", b, err)
	}
	one, err1 := os.Stat(s.mailbox("u1")[0].Path)
	two, err2 := os.Stat(s.mailbox("u2")[0].Path)
	if err1 != nil || err2 != nil || !os.SameFile(one, two) {
		t.Errorf("u1 and u2 do not share a file: %v, %v", err1, err2)
	}
	ask(t, c, "MAIL FROM:<> SMTPUTF8", "250")
	ask(t, c, "RCPT TO:<u3+\u00e4@example.com>", "250")
	ask(t, c, "DATA", "354")
	ask(t, c, letter(10)+".", "250")
	if _, err := os.Stat(filepath.Join(s.store, "example.com/u3/.\u00e4/new")); err != nil {
		t.Error(err)
	}
}

// Whose mailbox is nearly full finds a message about it, in the words of the
// administrator if he has some, and once a day.
func TestQuotaWarning(t *testing.T) {
	s := newSite(t, "mda: quota_warn = ['95%', '50%']", "mda: quota_message = 'quota.txt'")
	s.write("quota.txt", "Subject: {mailbox} is {percent}% full\n\n{used} of {quota}\n")
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u1']\nquota = '20kB'\n")
	s.start("serve")
	c := s.dial()
	for range 3 {
		if r := sendOne(t, c, "u1@example.com", letter(11_000)); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
		for _, f := range s.mailbox("u1") { // and removes it, to come to the level again
			if text := string(f.Read(t)); strings.Contains(text, "Subject: letter") {
				if err := os.Remove(f.Path); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.Remove(filepath.Join(s.store, "example.com/u1/maildirsize")); err != nil {
			t.Fatal(err)
		}
	}
	files := s.mailbox("u1")
	if len(files) != 1 {
		t.Fatalf("%d warnings", len(files))
	}
	text := string(files[0].Read(t))
	for _, want := range []string{"Return-Path: <>\n", "Subject: u1@example.com is 57% full\n\n11.4 kB of 20.0 kB\n", "To: <u1@example.com>\n", "Auto-Submitted: auto-generated\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	s.write("quota.txt", "no header\n")
	if out, err := s.command("mda").CombinedOutput(); err == nil || !strings.Contains(string(out), "must begin with a Subject field") {
		t.Errorf("%v: %s", err, out)
	}
}
