package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"postern/config"
)

// A fence is what a server may still reach of the file system, once it has all
// its sockets: what it reads to do its work, and what is its own to write.
// Whoever takes it over then finds no other mail, no keys and no homes.
type fence struct {
	read  []string // files, and folders with all below them
	write []string // folders with all below them
	names []string // folders in which sockets come and go
	list  []string // folders of which the names may be read
}

// system is what the libraries and the resolver of a host read.
var system = []string{"/etc", "/usr", "/lib", "/lib64", "/proc", "/sys", "/dev", "/run"}

// leastLandlock is the first version in which a file may be linked from one
// folder into another, which a delivery does.
const leastLandlock = 2

// close gives up all that is outside, for the whole process and for good.
func (f fence) close() error {
	const (
		read  = ll.AccessFSReadFile | ll.AccessFSReadDir
		names = ll.AccessFSReadDir | ll.AccessFSMakeSock | ll.AccessFSRemoveFile
	)
	if !hasLandlock() {
		return errNoLandlock
	}
	rules := []landlock.Rule{
		landlock.RWFiles("/dev/null").IgnoreIfMissing(),
		landlock.RWDirs(there(f.write)...).WithRefer(),
		landlock.PathAccess(names, there(f.names)...),
		landlock.PathAccess(ll.AccessFSReadDir, there(f.list)...),
	}
	for _, path := range there(f.read) {
		rights := landlock.AccessFSSet(read)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			rights = ll.AccessFSReadFile
		}
		rules = append(rules, landlock.PathAccess(rights, path))
	}
	return landlock.V5.BestEffort().RestrictPaths(rules...)
}

var errNoLandlock = fmt.Errorf("the kernel offers no Landlock of version %d (Linux 5.19) or newer", leastLandlock)

func hasLandlock() bool {
	version, err := ll.LandlockGetABIVersion()
	return err == nil && version >= leastLandlock
}

// there returns the paths that the user can open: to others no rule can be made, and
// none is needed.
func there(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err != nil
	})
}

// within reports whether path can be written inside the fence.
func (f fence) within(path string) bool {
	return slices.ContainsFunc(f.write, func(dir string) bool { return isBelow(path, dir) })
}

func isBelow(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// errConfined goes with a file that cannot be read at a reload.
var errConfined = errors.New("this server reads only in the folders that it knew when it started: if the permissions are right, restart it")

// confine has the process give up what it does not need, where that is wanted and
// the kernel can.
func (s *server) confine(run halves) {
	// Landlock asks for it; it stands for itself where there is none. No program
	// that is started from here, whoever starts it, gets more than we have.
	if err := ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		s.log.Warn("the kernel does not take new privileges from this server", "cause", err)
	}
	if !s.config.Confine {
		s.log.Info("confine = false: the server may write wherever its user may")
		return
	}
	f := s.fence(run)
	if err := f.close(); err != nil {
		s.log.Warn("the server may write wherever its user may", "cause", err)
		return
	}
	s.confined.Store(true)
	s.log.Info("confined", "writes", f.write)
	if s.store != nil {
		s.store.setFence(&f)
	}
}

// fence returns what the halves that run may reach.
func (s *server) fence(run halves) fence {
	c := s.config
	f := fence{read: slices.Clone(system)}
	f.read = append(f.read, filepath.Dir(c.File))
	f.read = append(f.read, withTargets(c.Recipients)...)
	if run.mx {
		f.addMX(c)
	}
	if run.mda {
		f.addMDA(c, s.recipients.Current())
	}
	return f
}

func (f *fence) addMX(c *config.Config) {
	f.write = append(f.write, filepath.Join(c.State, halves{mx: true}.name()), c.MX.Spool)
	f.names = append(f.names, filepath.Dir(c.MX.Control))
	for _, e := range slices.Concat(c.MX.Listen, c.MX.ListenProxy) {
		f.addSocket(e)
	}
	if c.MX.Metrics != nil {
		f.addSocket(*c.MX.Metrics)
	}
	if c.Policy.Access != "" {
		f.read = append(f.read, withTargets(c.Policy.Access)...)
	}
	for _, tls := range c.MX.TLS { // files are replaced: it is the folders that are read
		for _, name := range []string{tls.Cert, tls.Key} {
			f.read = append(f.read, filepath.Dir(name), filepath.Dir(target(name)))
		}
	}
}

func (f *fence) addMDA(c *config.Config, r *config.Recipients) {
	spool := c.MDA.Spool
	if spool == "" {
		spool = os.TempDir()
	}
	f.write = append(f.write, filepath.Join(c.State, halves{mda: true}.name()), spool, above(c.MDA.Store))
	f.write = append(f.write, c.MDA.Homes...)
	f.names = append(f.names, filepath.Dir(c.MDA.Control))
	f.addSocket(c.MDA.Listen)
	if c.MDA.Metrics != nil {
		f.addSocket(*c.MDA.Metrics)
	}
	if c.MDA.QuotaMessage != "" {
		f.read = append(f.read, filepath.Dir(c.MDA.QuotaMessage))
	}
	for m := range r.All() {
		if m.Path != "" && m.Account == "" && !f.within(m.Path) {
			f.addMailbox(m)
		}
	}
}

// addMailbox adds one with a path of its own. A Maildir that is there needs
// nothing beside it to be written; an mbox has its lock there.
func (f *fence) addMailbox(m config.Member) {
	info, err := os.Stat(m.Path)
	if m.Format == config.Maildir && err == nil && info.IsDir() {
		f.write = append(f.write, m.Path)
		f.names = append(f.names, filepath.Dir(m.Path))
		return
	}
	f.write = append(f.write, existing(filepath.Dir(m.Path)))
}

func (f *fence) addSocket(e config.Endpoint) {
	if e.Network == "unix" {
		f.names = append(f.names, filepath.Dir(e.Address))
	}
}

// above returns the folder that the store is in: for the kernel what is mounted
// over a folder later is not below it, nor is one that was moved away and made
// anew, and mail must go on when the disk comes back. Where that would be all
// there is, it is the store.
func above(store string) string {
	if parent := existing(filepath.Dir(store)); parent != "/" {
		return parent
	}
	return existing(store)
}

// existing returns the nearest folder on the way to path that is there: what is
// not there yet will come to be in it, or be mounted.
func existing(path string) string {
	for ; path != "/"; path = filepath.Dir(path) {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			break
		}
	}
	return path
}

// withTargets returns the folder dir, and those that the links in it lead to.
func withTargets(dir string) []string {
	all := []string{dir, target(dir)}
	if all[1] != dir { // a link that may lead to its neighbour tomorrow
		all = append(all, filepath.Dir(all[1]))
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type()&os.ModeSymlink != 0 {
			all = append(all, filepath.Dir(target(filepath.Join(dir, e.Name()))))
		}
	}
	return all
}

// target returns the path that name leads to.
func target(name string) string {
	if t, err := filepath.EvalSymlinks(name); err == nil {
		return t
	}
	return name
}
