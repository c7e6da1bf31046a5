package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postern/config"
	"postern/internal/peer"
	"postern/internal/writer"
	"postern/mailbox"
)

// A writer that could become somebody else does not serve.
func TestWriterRefusesPrivilege(t *testing.T) {
	peer.NeedRoot(t)
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
	store, err := p.openStore(nil)
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
	var f reach
	if f.addMDA(p.config, p.recipients.Current()); f.Within("/nowhere/Maildir") {
		t.Errorf("the agent could write homes: %v", f.Write)
	}
}
