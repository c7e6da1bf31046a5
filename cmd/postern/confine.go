package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"postern/config"
	"postern/internal/fence"
)

// system is what the libraries and the resolver of a host read.
var system = []string{"/etc", "/usr", "/lib", "/lib64", "/proc", "/sys", "/dev", "/run"}

// errConfined goes with a file that cannot be read at a reload.
var errConfined = errors.New("this server reads only in the folders that it knew when it started: if the permissions are right, restart it")

// forbidden says why a file may be forbidden whatever its permissions; "": it is not.
func (p *parts) forbidden() string {
	if p.confined == nil || !p.confined.Load() {
		return ""
	}
	return errConfined.Error()
}

// A reach is what the halves that run need of the file system: what they read to do
// their work, and what is their own to write.
type reach struct{ fence.Fence }

// confine has the process give up what it does not need, where that is wanted and
// the kernel can.
func (s *server) confine() {
	// Landlock requires it, and it is worth having without Landlock: no program that
	// is started from here, whoever starts it, gets more than we have.
	if err := fence.NoNewPrivileges(); err != nil {
		s.log.Warn("no_new_privs cannot be set: programs started from here could gain privileges", "cause", err)
	}
	if !s.config.Confine {
		s.log.Info("confine = false: the server may write wherever its user may")
		return
	}
	f := s.reach()
	if err := f.Close(); err != nil {
		s.log.Warn("the server may write wherever its user may", "cause", err)
		return
	}
	s.confined.Store(true)
	s.log.Info("confined", "writes", f.Write)
	if s.store != nil {
		s.store.setFence(&f.Fence)
	}
}

// reach returns what the halves that run may reach.
func (s *server) reach() reach {
	c := s.config
	var f reach
	f.Read = slices.Clone(system)
	f.Read = append(f.Read, filepath.Dir(c.File))
	f.Read = append(f.Read, fence.WithTargets(c.Recipients)...)
	if s.runs.mx {
		f.addMX(c)
	}
	if s.runs.mda {
		f.addMDA(c, s.recipients.Current())
	}
	return f
}

func (f *reach) addMX(c *config.Config) {
	f.Write = append(f.Write, filepath.Join(c.State, halves{mx: true}.name()), c.MX.Spool)
	f.Names = append(f.Names, filepath.Dir(c.MX.Control))
	for _, e := range slices.Concat(c.MX.Listen, c.MX.ListenProxy) {
		f.addSocket(e)
	}
	if c.MX.Metrics != nil {
		f.addSocket(*c.MX.Metrics)
	}
	if c.Policy.Access != "" {
		f.Read = append(f.Read, fence.WithTargets(c.Policy.Access)...)
	}
	for _, tls := range c.MX.TLS { // files are replaced: it is the folders that are read
		for _, name := range []string{tls.Cert, tls.Key} {
			f.Read = append(f.Read, filepath.Dir(name), filepath.Dir(fence.Target(name)))
		}
	}
}

func (f *reach) addMDA(c *config.Config, r *config.Recipients) {
	spool := c.MDA.Spool
	if spool == "" {
		spool = os.TempDir()
	}
	f.Write = append(f.Write, filepath.Join(c.State, halves{mda: true}.name()), spool, above(c.MDA.Store))
	f.Write = append(f.Write, c.MDA.Homes...)
	f.Names = append(f.Names, filepath.Dir(c.MDA.Control))
	f.addSocket(c.MDA.Listen)
	if c.MDA.Metrics != nil {
		f.addSocket(*c.MDA.Metrics)
	}
	if c.MDA.QuotaMessage != "" {
		f.Read = append(f.Read, filepath.Dir(c.MDA.QuotaMessage))
	}
	for m := range r.All() {
		if m.Path != "" && m.Account == "" && !f.Within(m.Path) {
			f.addMailbox(m)
		}
	}
}

// addMailbox adds one with a path of its own. A Maildir that is there needs
// nothing beside it to be written; an mbox has its lock there.
func (f *reach) addMailbox(m config.Member) {
	info, err := os.Stat(m.Path)
	if m.Format == config.Maildir && err == nil && info.IsDir() {
		f.Write = append(f.Write, m.Path)
		f.Names = append(f.Names, filepath.Dir(m.Path))
		return
	}
	f.Write = append(f.Write, fence.Existing(filepath.Dir(m.Path)))
}

func (f *reach) addSocket(e config.Endpoint) {
	if e.Network == "unix" {
		f.Names = append(f.Names, filepath.Dir(e.Address))
	}
}

// above returns the folder that the store is in: for the kernel what is mounted
// over a folder later is not below it, nor is one that was moved away and made
// anew, and mail must go on when the disk comes back. Where that would be all
// there is, it is the store.
func above(store string) string {
	if parent := fence.Existing(filepath.Dir(store)); parent != "/" {
		return parent
	}
	return fence.Existing(store)
}
