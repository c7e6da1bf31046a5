package peer

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Courier serves one Maildir by Courier's IMAP and POP3 servers, which are
// started for each session, as its own listener does behind the login.
type Courier struct {
	t       testing.TB
	owner   uint32
	root    string // where its packages are unpacked
	maildir string
}

// NewCourier returns a Courier for the Maildir, whose owner must have an account.
// Its packages cannot be installed beside Dovecot's; contrib/check unpacks them
// into .tools at the top of the tree.
func NewCourier(t testing.TB, maildir string, owner int) *Courier {
	t.Helper()
	NeedRoot(t)
	c := &Courier{t: t, owner: uint32(owner), root: unpacked(".tools/courier"), maildir: maildir}
	Need(t, c.root+"/usr/bin/imapd", c.root+"/usr/lib/courier/courier/courierpop3d", c.root+"/usr/bin/deliverquota.courier")
	return c
}

// unpacked returns the path of something in .tools at the top of the tree.
func unpacked(name string) string {
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, name); isThere(path) {
			return path
		}
	}
	return name
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// command returns a program of Courier's that works on the Maildir.
func (c *Courier) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.root, name), args...)
	cmd.Dir = filepath.Dir(c.maildir)
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "HOME=" + cmd.Dir, "IMAP_USELOCKS=1", "IMAP_ENHANCEDIDLE=0", "IMAP_IDLE_TIMEOUT=60",
		"LD_LIBRARY_PATH=" + c.root + "/usr/lib:" + c.root + "/usr/lib/x86_64-linux-gnu:" + c.root + "/usr/lib/aarch64-linux-gnu",
	}
	return AsUser(cmd, c.owner)
}

// IMAP opens the Maildir by IMAP.
func (c *Courier) IMAP() (Session, error) {
	p, err := c.start("usr/bin/imapd")
	if err != nil {
		return nil, err
	}
	return openIMAP(p, "", "")
}

// AskIMAP sends lines to the IMAP server, and returns all that it says.
func (c *Courier) AskIMAP(lines ...string) (string, error) {
	cmd := c.command("usr/bin/imapd", "./"+filepath.Base(c.maildir))
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\r\n") + "\r\n")
	out, err := cmd.Output()
	return string(out), err
}

// POP3 opens the Maildir by POP3.
func (c *Courier) POP3() (Session, error) {
	p, err := c.start("usr/lib/courier/courier/courierpop3d")
	if err != nil {
		return nil, err
	}
	return openPOP3(p)
}

// DeliverQuota delivers a message with deliverquota(8), which keeps maildirsize
// for the quota, as "1000S,10C". It reports false if there is no room.
func (c *Courier) DeliverQuota(quota, message string) bool {
	c.t.Helper()
	cmd := c.command("usr/bin/deliverquota.courier", c.maildir, quota)
	cmd.Stdin = strings.NewReader(message)
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "quota exceeded") {
		return false
	}
	if err != nil {
		c.t.Fatalf("peer: deliverquota: %v\n%s", err, out)
	}
	return true
}

// A piped is a program at whose standard input and output a session is.
type piped struct {
	io.WriteCloser
	io.Reader
	cmd *exec.Cmd
}

func (c *Courier) start(name string) (*piped, error) {
	cmd := c.command(name, "./"+filepath.Base(c.maildir))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &piped{in, out, cmd}, cmd.Start()
}

// Close ends the program and waits for it.
func (p *piped) Close() error {
	_ = p.WriteCloser.Close()
	_, _ = io.Copy(io.Discard, p.Reader)
	return p.cmd.Wait()
}
