package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"

	"golang.org/x/sys/unix"

	"postern/config"
	"postern/internal/control"
	"postern/internal/launch"
)

// accounts looks at the system users that mailboxes belong to, and at who is to
// start their writers.
func (l *checklist) accounts(c *config.Config, r *config.Recipients) {
	if r == nil {
		return
	}
	l.about = "accounts"
	found, any := map[string][2]string{}, false
	mistakes := r.AccountsNot(func(name string) (message, hint string) {
		any = true
		if _, known := found[name]; !known {
			message, hint := wrongAccount(name, c.MDA.LaunchMinUID)
			found[name] = [2]string{message, hint}
		}
		return found[name][0], found[name][1]
	})
	if !any {
		return
	}
	if len(mistakes) > 0 {
		l.fail(mistakes)
	}
	l.launcher(c.MDA.Launcher)
}

// wrongAccount says why no mail can be written as the system user called name.
func wrongAccount(name string, minUID int) (message, hint string) {
	a, err := launch.Lookup(name)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("there is no system user %q", name), `make one, or write the right name after user = , or "" for the delivery agent's own`
	case err != nil:
		return fmt.Sprintf("the system user %q: %v", name, err), ""
	}
	if err := a.Allowed(minUID); err != nil {
		return err.Error(), `write another after user = , or "" for the delivery agent's own; mda.launch_min_uid has the least number`
	}
	info, err := os.Stat(a.Home)
	switch {
	case errors.Is(err, os.ErrPermission):
	case err != nil:
		return fmt.Sprintf("the home of the system user %q: %v", name, err), "make it, and chown it to that user"
	case !info.IsDir():
		return fmt.Sprintf("the home of the system user %q, %s, is no folder", name, a.Home), ""
	}
	return "", ""
}

// launcher notes if nobody starts writers.
func (l *checklist) launcher(path string) {
	conn, err := net.DialTimeout("unix", path, patienceWithSockets)
	switch {
	case err == nil:
		_ = conn.Close()
	case control.NotRunning(err):
		l.add(mustMend, "systemctl enable --now postern-launch.socket; until then their mail is put off with 451",
			"mailboxes are system users', and nobody listens on %s (mda.launcher) to start their writers", path)
	case !errors.Is(err, unix.EACCES): // which is right for us
		l.add(mustMend, "", "the launcher of writers: %v", err)
	}
}
