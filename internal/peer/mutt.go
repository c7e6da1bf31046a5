package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Mutt is a person's mail program, which reads a mailbox as its file or folder.
type Mutt struct {
	t      testing.TB
	owner  uint32
	dir    string // its home
	rcfile string
}

// NewMutt returns a mutt of the user with the numeric id owner; 0 means Vmail.
// settings are lines of its muttrc.
func NewMutt(t testing.TB, owner int, settings ...string) *Mutt {
	t.Helper()
	Need(t, "mutt", "script")
	if owner == 0 {
		owner = Vmail
	}
	m := &Mutt{t: t, owner: uint32(owner), dir: Dir(t)}
	if err := os.Chown(m.dir, owner, owner); err != nil {
		t.Fatalf("peer: %v", err)
	}
	m.rcfile = write(t, m.dir, "muttrc", "set folder="+m.dir+" wait_key=no quit=yes move=no mark_old=no delete=yes confirmappend=no confirmcreate=no sort=mailbox-order "+
		"header_cache=\"\" pipe_decode=no pipe_split=yes pipe_sep=\"\" mail_check=0\n"+strings.Join(settings, "\n")+"\n")
	return m
}

// Press opens the mailbox, presses keys, as "<delete-message>", and waits until
// mutt has ended. mutt wants a terminal, and gets that of script(1).
func (m *Mutt) Press(ctx context.Context, mailbox, keys string) error {
	command := fmt.Sprintf("exec mutt -n -F %s -f %s -e 'push \"%s\"'", m.rcfile, mailbox, keys)
	cmd := exec.CommandContext(ctx, "script", "-qec", command, "/dev/null")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TERM=vt100", "SHELL=/bin/sh", "USER=reader", "HOME=" + m.dir, "LC_ALL=C.UTF-8"}
	out, err := AsUser(cmd, m.owner).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mutt on %s: %w\n%q", mailbox, err, out)
	}
	return nil
}

// Messages returns the messages of a mailbox, or those that a pattern of mutt's
// fits, as mutt pipes them to a program, in the order of the mailbox.
func (m *Mutt) Messages(mailbox, pattern string) [][]byte {
	m.t.Helper()
	dir := mkdir(m.t, int(m.owner), m.dir, "piped")
	defer os.RemoveAll(dir)
	catcher := write(m.t, m.dir, "catch", "#!/bin/sh\nexec cat >"+dir+"/$(date +%s%N)\n")
	if err := os.Chmod(catcher, 0o755); err != nil {
		m.t.Fatalf("peer: %v", err)
	}
	err := m.Press(m.t.Context(), mailbox, "<tag-pattern>"+pattern+"<enter><tag-prefix><pipe-message>"+catcher+"<enter><exit>")
	if err != nil {
		m.t.Fatalf("peer: %v", err)
	}
	names, _ := filepath.Glob(dir + "/*") // sorted
	all := make([][]byte, len(names))
	for i, name := range names {
		if all[i], err = os.ReadFile(name); err != nil {
			m.t.Fatalf("peer: %v", err)
		}
	}
	return all
}
