// Package launch starts writers: processes that write the mail of one system user
// each, as that user.
//
// Whoever may become any user should do little else. A Launcher takes one short
// line, the name of an account, from those alone that it is told to trust; looks
// the account up; starts a program as it, with the connection as file 3; and
// forgets the connection. What is then said on it is no business of this package,
// which never sees mail.
//
// The connection carries this, before it is the writer's:
//
//	agent:    bob\n
//	writer:   ready 1\n
//
// or, of the launcher, a line that says why not:
//
//	launcher: the account bob has the number 12, below 1000\n
package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/control"
)

const (
	// MaxWriters is how many may run at once: each has a few MiB of its own. The
	// delivery agent asks for fewer.
	MaxWriters = 128
	// maxAsking bounds those who have not said yet what they want.
	maxAsking = 128
	// maxName bounds the name of an account.
	maxName = 64
	// patience is how long one may take to say a line.
	patience = 5 * time.Second
)

// An Account is a system user.
type Account struct {
	Name   string
	UID    int
	GID    int
	Groups []int // the supplementary ones
	Home   string
}

// A Launcher starts writers. Its fields are set before Serve and not changed after.
type Launcher struct {
	Users  []int // beside root, who may ask
	MinUID int   // the least number of an account that a writer runs as; root never is one
	Log    *slog.Logger

	// Lookup returns the account of that name.
	Lookup func(name string) (Account, error)
	// Start starts the writer of an account, with conn as its file 3. What it
	// returns waits for its end.
	Start func(a Account, conn *os.File) (wait func() error, err error)

	asking  chan struct{}
	writers chan struct{}
}

// Serve starts writers for those who connect, until ctx ends. Those that run then
// go on: their end is the agent's, or the service manager's, to bring about.
func (l *Launcher) Serve(ctx context.Context, listener *net.UnixListener) error {
	l.asking, l.writers = make(chan struct{}, maxAsking), make(chan struct{}, MaxWriters)
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	var asked sync.WaitGroup
	defer asked.Wait()
	for {
		conn, err := listener.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many files: it passes
			l.Log.Warn("no connection can be accepted for a moment; if it goes on, raise LimitNOFILE", "cause", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		l.asking <- struct{}{}
		asked.Go(func() {
			defer func() { <-l.asking }()
			defer conn.Close()
			l.serve(conn)
		})
	}
}

// serve answers one who has connected.
func (l *Launcher) serve(conn *net.UnixConn) {
	uid, err := control.PeerUID(conn)
	switch {
	case err != nil:
		l.Log.Warn("the peer's user cannot be told; it is not served", "cause", err)
		return
	case uid != 0 && !slices.Contains(l.Users, uid):
		l.Log.Warn("a user who is not in mda.launch_users asked for a writer, and got none", "uid", uid)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	name, err := readLine(conn, maxName)
	if err != nil {
		return // it was only tried whether we are there
	}
	if err := l.launch(name, conn); err != nil {
		l.Log.Warn("no writer was started", "account", name, "cause", err)
		_, _ = io.WriteString(conn, err.Error()+"\n")
	}
}

// launch starts the writer of the account called name on conn.
func (l *Launcher) launch(name string, conn *net.UnixConn) error {
	a, err := l.account(name)
	if err != nil {
		return err
	}
	select {
	case l.writers <- struct{}{}:
	default:
		return fmt.Errorf("all %d writers are busy; mail is tried again", MaxWriters)
	}
	wait, err := l.start(a, conn)
	if err != nil {
		<-l.writers
		return fmt.Errorf("start a writer for the account %s: %w", name, err)
	}
	go func() { // nobody waits for it, as nobody waits for the writer
		defer func() { <-l.writers }()
		if err := wait(); err != nil {
			l.Log.Warn("a writer has not ended well", "account", name, "cause", err)
		}
	}()
	l.Log.Debug("a writer was started", "account", name, "uid", a.UID)
	return nil
}

// account returns the account called name, if a writer may run as it.
func (l *Launcher) account(name string) (Account, error) {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '/' }) {
		return Account{}, errors.New("that is not the name of an account")
	}
	a, err := l.Lookup(name)
	if err != nil {
		return a, fmt.Errorf("the account %s: %w", name, err)
	}
	return a, a.Allowed(l.MinUID)
}

// Allowed says why no writer runs as a, if none does.
func (a Account) Allowed(minUID int) error {
	switch {
	case a.UID <= 0 || a.GID <= 0 || slices.Contains(a.Groups, 0):
		return fmt.Errorf("the account %s is root's, or in its group", a.Name)
	case a.UID < minUID:
		return fmt.Errorf("the account %s has the number %d, below %d", a.Name, a.UID, minUID)
	case !strings.HasPrefix(a.Home, "/"):
		return fmt.Errorf("the account %s has no home", a.Name)
	}
	return nil
}

func (l *Launcher) start(a Account, conn *net.UnixConn) (wait func() error, err error) {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	file, err := conn.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return l.Start(a, file)
}

// readLine reads a line of at most most octets, and nothing beyond it: that is for
// whoever gets the connection.
func readLine(r io.Reader, most int) (string, error) {
	var line bytes.Buffer
	one := make([]byte, 1)
	for line.Len() <= most {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return line.String(), nil
		}
		line.WriteByte(one[0])
	}
	return "", errors.New("a line is too long")
}
