package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"postern/config"
	"postern/internal/fence"
	"postern/internal/launch"
	"postern/internal/writer"
	"postern/mailbox"
)

// writerVerb is the command that postern launch runs as a system user.
const writerVerb = "writer"

func writerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    writerVerb + " HOME",
		Short:  "Write the mailbox of one system user, for postern launch",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := net.FileConn(os.NewFile(3, "connection"))
			if err != nil {
				return errors.New("postern launch runs this, with a connection as file 3")
			}
			return writeMail(cmd.Context(), conn, args[0])
		},
	}
}

// writeMail writes what comes over conn into the mailbox of the user that we are.
func writeMail(ctx context.Context, conn net.Conn, home string) error {
	if err := harmless(); err != nil {
		_, _ = fmt.Fprintln(conn, err)
		return err
	}
	if _, err := io.WriteString(conn, launch.Ready); err != nil {
		return err
	}
	w := &accountWriter{home: home}
	srv := writer.Server{Open: w.open}
	return srv.Serve(ctx, conn)
}

// harmless gives up what a writer has no use for, and returns an error if it could
// become another user.
func harmless() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return fmt.Errorf("writer: capabilities: %w", err)
	}
	if os.Getuid() == 0 || os.Geteuid() != os.Getuid() || caps != [2]unix.CapUserData{} {
		return fmt.Errorf("writer: will not run as root, nor with a capability (user %d, %+v)", os.Geteuid(), caps)
	}
	// Nor is it for others of the same user to look into, who may be no friends.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("writer: dumpable: %w", err)
	}
	if err := fence.NoNewPrivileges(); err != nil {
		return fmt.Errorf("writer: no new privileges: %w", err)
	}
	return nil
}

// An accountWriter opens the one mailbox that a writer is for.
type accountWriter struct {
	home  string
	path  string // of the mailbox; empty: not yet known
	store *store
}

// open is the Open of a writer.Server.
func (w *accountWriter) open(s writer.Settings, warned func(int, mailbox.Usage)) (writer.Box, error) {
	m := w.member(s)
	if err := w.settle(s, m); err != nil {
		return nil, err
	}
	w.store.warnAt = s.Warn
	w.store.warned = func(_ config.Member, percent int, u mailbox.Usage) { warned(percent, u) }
	if s.Mbox {
		box, err := w.store.mbox(m)
		return roomyMbox{box}, err
	}
	var (
		box *mailbox.Limited
		err error
	)
	if s.Folder != "" {
		box, err = w.store.named(m, s.Folder)
	} else {
		box, err = w.store.limited(m)
	}
	if err == nil && s.Unrefused {
		box = box.Unrefused()
	}
	return box, err
}

// roomyMbox is an mbox, which has no quota.
type roomyMbox struct{ *mailbox.Mbox }

func (roomyMbox) Room(int64) error { return nil }

// member returns the mailbox that s means, as recipient maps would have it.
func (w *accountWriter) member(s writer.Settings) config.Member {
	m := config.Member{Path: s.Path, Detail: s.Detail, Storage: config.Storage{Format: config.Maildir, Quota: s.Quota, Folders: config.NoFolders}}
	if s.Mbox {
		m.Format = config.Mbox
	}
	if s.Detail != "" {
		m.Folders = config.DetailFolders
	}
	if m.Path == "" {
		m.Path = homePath(w.home, s.Mbox)
	}
	return m
}

// settle has the writer be for the mailbox m, and for no other from then on.
func (w *accountWriter) settle(s writer.Settings, m config.Member) error {
	switch {
	case !filepath.IsAbs(m.Path) || filepath.Clean(m.Path) != m.Path:
		return fmt.Errorf("writer: %q is not an absolute and clean path", m.Path)
	case w.path == m.Path:
		return nil
	case w.path != "":
		return fmt.Errorf("writer: this one is for %s, and not for %s", w.path, m.Path)
	}
	options, err := storeOptions(s)
	if err != nil {
		return err
	}
	if s.Confine {
		if err := writerFence(m).Close(); err != nil && !errors.Is(err, fence.ErrNoLandlock) {
			return fmt.Errorf("writer: confine: %w", err)
		}
	}
	w.path = m.Path
	w.store = &store{path: filepath.Dir(m.Path), options: options, log: slog.New(slog.DiscardHandler)}
	_ = w.store.cleanOne(m) // what hinders it will hinder the delivery
	return nil
}

// writerFence is what the writer of m reaches: a Maildir that is there, or else the
// folder that the mailbox is to be made in, with an mbox's lock.
func writerFence(m config.Member) fence.Fence {
	dir := filepath.Dir(m.Path)
	f := fence.Fence{Read: []string{"/proc", "/sys"}, Write: []string{dir}}
	if info, err := os.Stat(m.Path); err == nil && info.IsDir() && m.Format == config.Maildir {
		f.Write, f.List = []string{m.Path}, []string{dir}
	}
	return f
}
