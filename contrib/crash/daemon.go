package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A Site is a folder with the configuration of a delivery agent.
type Site struct {
	dir   string
	store string // all that it writes is below: mailboxes and state
}

// The recipients of Maildirs and of mboxes. A detail is a folder.
var (
	maildirs = []string{"ann@maildir.example", "bob@maildir.example", "cat@maildir.example", "ann+lists@maildir.example", "bob+a.b@maildir.example"}
	mboxes   = []string{"dan@mbox.example", "eve@mbox.example", "fay@mbox.example"}
)

// NewSite writes a configuration into dir, for a store and a state below disk.
func NewSite(dir, disk, durability string) (*Site, error) {
	s := &Site{dir: dir, store: disk + "/store"}
	for name, text := range map[string]string{
		"postern.toml": fmt.Sprintf("hostname = 'mx.example'\nrecipients = 'recipients.d'\nstate = %q\n"+
			"[mda]\nlisten = 'unix:lmtp.sock'\ncontrol = 'control.sock'\nstore = %q\ndurability = %q\n", disk+"/state", s.store, durability),
		"recipients.d/maildir.toml": "domain = 'maildir.example'\ndelimiter = '+'\nfolders = 'detail'\nmailboxes = ['ann', 'bob']\n" +
			"[mailbox.cat]\nquota = '1GiB'\n",
		"recipients.d/mbox.toml": "domain = 'mbox.example'\nformat = 'mbox'\nmailboxes = ['dan', 'eve', 'fay']\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// MakeFolders makes the folders that an administrator would.
func (s *Site) MakeFolders() error {
	if err := os.Mkdir(s.store, 0o700); err != nil {
		return err
	}
	return os.Mkdir(filepath.Dir(s.store)+"/state", 0o700)
}

func (s *Site) socket() string { return s.dir + "/lmtp.sock" }

// A Daemon is postern mda while it runs.
type Daemon struct {
	cmd *exec.Cmd
	log bytes.Buffer
}

// Start starts program as the site's delivery agent and waits until it serves.
func (s *Site) Start(program string) (*Daemon, error) {
	_ = os.Remove(s.socket()) // so that it is the new one that answers
	d := &Daemon{cmd: exec.Command(program, "--config", s.dir+"/postern.toml", "mda")}
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if conn, err := net.Dial("unix", s.socket()); err == nil {
			conn.Close()
			return d, nil
		}
		var status syscall.WaitStatus
		if pid, _ := syscall.Wait4(d.cmd.Process.Pid, &status, syscall.WNOHANG, nil); pid != 0 {
			break
		}
	}
	return nil, fmt.Errorf("the daemon does not serve: %s", d.Log())
}

// Kill ends the daemon at once, and returns when it holds nothing open.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

// Log ends the daemon and returns the end of what it wrote.
func (d *Daemon) Log() string {
	d.Kill()
	log := d.log.Bytes()
	return string(log[max(0, len(log)-2000):])
}
