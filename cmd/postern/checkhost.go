package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postern/config"
	"postern/internal/control"
	"postern/internal/fence"
	"postern/internal/publish"
	"postern/mailbox"
)

// An account is a user that a half runs as, or would.
type account struct {
	name    string
	uid     int
	gids    []int
	running bool // it is known, for the half runs
}

// halfAccounts are those of the two halves.
type halfAccounts struct{ mx, mda account }

// hosts finds out as whom the halves run: as whoever opened their control
// sockets; or else, for root, as the users of the units; or else as ourselves.
func (l *checklist) hosts(c *config.Config) halfAccounts {
	h := halfAccounts{mx: runsAs(c.MX.Control, config.MXUser), mda: runsAs(c.MDA.Control, config.MDAUser)}
	if h.mx.running && !h.mda.running { // it may be postern serve
		h.mda.uid, h.mda.gids, h.mda.name = h.mx.uid, h.mx.gids, h.mx.name
	}
	return h
}

func runsAs(socket, unit string) account {
	if uid, err := listener(socket); err == nil {
		if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			return accountOf(u, true)
		}
		return account{name: fmt.Sprint("user ", uid), uid: uid, running: true}
	}
	if u, err := user.Lookup(unit); err == nil && os.Getuid() == 0 {
		return accountOf(u, false)
	}
	if u, err := user.Current(); err == nil {
		return accountOf(u, false)
	}
	return account{name: "this user", uid: os.Getuid()}
}

// listener returns the user that listens on a socket.
func listener(socket string) (uid int, err error) {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	return control.PeerUID(conn.(*net.UnixConn))
}

func accountOf(u *user.User, running bool) account {
	a := account{name: u.Username, running: running}
	a.uid, _ = strconv.Atoi(u.Uid) // is a number on Linux
	groups, _ := u.GroupIds()
	for _, g := range append(groups, u.Gid) {
		if id, err := strconv.Atoi(g); err == nil {
			a.gids = append(a.gids, id)
		}
	}
	return a
}

// can reports whether a has all of the permissions want, 4 to read, 2 to write
// and 1 to enter, by the mode of the file. Access control lists are not looked at.
func (a account) can(info os.FileInfo, want os.FileMode) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case !ok || a.uid == 0:
		return true
	case int(st.Uid) == a.uid:
		mode >>= 6
	case slices.Contains(a.gids, int(st.Gid)):
		mode >>= 3
	}
	return mode&want == want
}

// reach notes if a may not do what it must with a path, or cannot get there.
func (l *checklist) reach(a account, path string, want os.FileMode, what string) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && !a.can(info, 1) {
			l.add(mustMend, fmt.Sprintf("chmod a+x %s, or give it to a group of that user", dir), "%s may not enter %s, and so not reach %s (%s)", a.name, dir, path, what)
			return
		}
		if dir == "/" || dir == "." {
			break
		}
	}
	info, err := os.Stat(path)
	if err != nil || a.can(info, want) {
		return // who is to make it, or to read it, tells if it is missing
	}
	verb, way := "read", "chgrp it to a group of that user and chmod g+r it"
	if want&2 != 0 {
		verb, way = "write", "chown "+a.name+" it"
	}
	l.add(mustMend, way, "%s may not %s %s (%s)", a.name, verb, path, what)
}

func (l *checklist) permissions(c *config.Config, h halfAccounts) {
	l.about = "permissions"
	maps, _ := filepath.Glob(filepath.Join(c.Recipients, "*.toml"))
	for _, a := range slices.CompactFunc([]account{h.mx, h.mda}, func(a, b account) bool { return a.uid == b.uid }) {
		l.reach(a, c.File, 4, "the configuration")
		l.reach(a, c.Recipients, 5, "recipients")
		before := len(l.found)
		for _, name := range maps {
			if len(l.found) < before+5 { // one is like the others
				l.reach(a, name, 4, "a recipient map")
			}
		}
	}
	for _, f := range c.MX.TLS {
		l.reach(h.mx, f.Cert, 4, "mx.tls")
		l.reach(h.mx, f.Key, 4, "mx.tls")
		if info, err := os.Stat(f.Key); err == nil && info.Mode().Perm()&0o004 != 0 {
			l.add(shouldMend, "chmod o-r it", "anybody on this host may read the private key %s", f.Key)
		}
	}
	l.reach(h.mx, c.MX.Spool, 7, "mx.spool")
	l.reach(h.mda, c.MDA.Store, 7, "mda.store")
	l.reach(h.mx, filepath.Join(c.State, "mx"), 7, "state")
	l.reach(h.mda, filepath.Join(c.State, "mda"), 7, "state")
	for _, name := range append([]string{c.File, c.Recipients}, maps...) {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o002 != 0 {
			l.add(shouldMend, "chmod o-w it", "anybody on this host may change %s, and so who gets mail", name)
		}
	}
}

// soon is how long before its end a certificate is worth a word.
const soon = 14 * 24 * time.Hour

func (l *checklist) certificates(c *config.Config) {
	l.about = "certificates"
	if len(c.MX.TLS) == 0 {
		l.add(shouldMend, `write tls = { cert = "fullchain.pem", key = "privkey.pem" } below [mx]`, "there is none: all mail comes in the clear")
		return
	}
	ours := false
	for _, f := range c.MX.TLS {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			l.add(mustMend, "the certificate must be in PEM, the leaf first, and the key belong to it", "%s with key %s: %v", f.Cert, f.Key, err)
			continue
		}
		ours = l.certificate(c, f.Cert, &pair) || ours
	}
	if !ours && len(l.found) == 0 || !ours && !slices.ContainsFunc(l.found, func(f Found) bool { return f.About == l.about && f.Level == mustMend }) {
		l.add(shouldMend, "have one issued for it", "none is for %s: who insists on MTA-STS or DANE does not deliver", c.Hostname)
	}
}

// certificate looks at one, and reports whether it is for our name.
func (l *checklist) certificate(c *config.Config, file string, pair *tls.Certificate) bool {
	leaf, now := pair.Leaf, time.Now()
	switch left := leaf.NotAfter.Sub(now); {
	case left < 0:
		l.add(mustMend, "renew it", "%s ended on %s", file, leaf.NotAfter.Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		l.add(mustMend, "is the clock right?", "%s begins on %s", file, leaf.NotBefore.Format(time.DateOnly))
	case left < soon:
		l.add(shouldMend, "does its renewal work?", "%s ends on %s", file, leaf.NotAfter.Format(time.DateOnly))
	}
	if leaf.VerifyHostname(c.Hostname) != nil {
		return false
	}
	if err := publish.Trusted(pair, c.Hostname); err != nil {
		l.add(toKnow, "for MTA-STS it must be issued by a public authority, and the file hold the whole chain", "%s is not to be trusted by others: %v", file, err)
	}
	return true
}

func (l *checklist) store(c *config.Config) {
	l.about = "store"
	found, err := mailbox.Probe(c.MDA.Store)
	if err != nil {
		l.add(mustMend, "make it, or mount it; it must belong to the user of the delivery agent", "%v", err)
		return
	}
	for _, danger := range found.Dangers {
		l.add(shouldMend, "", "the file system of %s (%s) may lose messages: %s", c.MDA.Store, found.Type, danger)
	}
	for what, path := range map[string]string{"mda.store": c.MDA.Store, "mx.spool": c.MX.Spool, "state": c.State} {
		var fs unix.Statfs_t
		if err := unix.Statfs(path, &fs); err != nil {
			continue // it is made at start, or missing, which is told
		}
		free := int64(fs.Bavail) * fs.Bsize
		if free < spareSpace {
			l.add(mustMend, "make room", "%s (%s) has %d MiB left: mail is put off below %d", path, what, free>>20, spareSpace>>20)
		} else if free < 16*spareSpace {
			l.add(shouldMend, "make room", "%s (%s) has %d MiB left", path, what, free>>20)
		}
	}
}

// homes tells of mailboxes that a delivery agent cannot write which was started
// before they were in the maps.
func (l *checklist) homes(c *config.Config, r *config.Recipients) {
	var f fence.Fence
	f.Write = append(slices.Clone(c.MDA.Homes), above(c.MDA.Store))
	if !c.Confine || r == nil {
		return
	}
	for _, m := range r.PathsNot(f.Within, "%s is below none of mda.homes: a delivery agent that was started before this was written puts off its mail",
		"restart it once, and name a folder above in mda.homes if more of them will come") {
		l.found = append(l.found, Found{toKnow, l.about, m})
	}
}

// patienceWithSockets is how long somebody may take to accept, and to say who he is.
const patienceWithSockets = 2 * time.Second

func (l *checklist) sockets(ctx context.Context, c *config.Config, h halfAccounts) {
	l.about = "sockets"
	if !h.mx.running {
		for _, e := range c.MX.Listen {
			if said, answers := greeting(ctx, e); answers && !strings.HasPrefix(said, "220 "+c.Hostname) {
				if said == "" {
					said = "nothing"
				}
				l.add(mustMend, "stop it, or write another address into mx.listen", "somebody else listens on %v, who says %q", e, said)
			}
		}
	}
	next := c.MX.DeliverTo
	if _, answers := greeting(ctx, next); !answers && (h.mx.running || next != c.MDA.Listen) {
		l.add(mustMend, "does postern mda run? Until then mail is put off with 451", "nobody listens on %v, where mx.deliver_to points", next)
	}
	for _, f := range c.Filters {
		conn, err := (&net.Dialer{Timeout: patienceWithSockets}).DialContext(ctx, f.Connect.Network, f.Connect.Address)
		if err != nil {
			l.add(shouldMend, fmt.Sprintf("until it does, the filter's on_failure holds: %q", f.OnFailure), "filter %s: nobody listens on %v", f.Name, f.Connect)
			continue
		}
		_ = conn.Close()
	}
}

// greeting returns what somebody says who is connected to, if anybody answers.
func greeting(ctx context.Context, e config.Endpoint) (said string, answers bool) {
	conn, err := (&net.Dialer{Timeout: patienceWithSockets}).DialContext(ctx, e.Network, e.Address)
	if err != nil {
		return "", false
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patienceWithSockets)) // then it says nothing
	buf := make([]byte, 512)
	n, _ := conn.Read(buf)
	line, _, _ := strings.Cut(string(buf[:n]), "\r\n")
	return line, true
}
