package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/fence"
	"postern/internal/launch"
	"postern/internal/logging"
)

func launchCommand(io stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "launch",
		Short: "Start writers for the mailboxes of system users",
		Long:  launchLong,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runLauncher(cmd.Context(), configPath(cmd), io.err) },
	}
}

func runLauncher(ctx context.Context, path string, w io.Writer) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("postern launch must be root, of which it needs CAP_SETUID and CAP_SETGID alone; postern-launch.service runs it so")
	}
	log := logging.New(w, c.Log.Format, c.Log.Level)
	listener, err := launchListener(c.MDA.Launcher)
	if err != nil {
		return err
	}
	l := launch.Launcher{
		MinUID: c.MDA.LaunchMinUID, Log: log, Lookup: launch.Lookup, Start: launch.Exec(writerVerb),
		Users: userIDs(c.MDA.LaunchUsers, config.MDAUser, func(name string, err error) {
			log.Warn("no writers are started for this user", "user", name, "cause", err)
		}),
	}
	if c.Confine && !fence.Possible() {
		log.Warn("writers may write wherever their users may", "cause", fence.ErrNoLandlock)
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // nobody may be listening
	log.Info("serving", "version", version(), "users", l.Users, "min_uid", l.MinUID)
	return l.Serve(ctx, listener)
}

// launchListener returns the socket from systemd, or else listens at path. Whoever
// may connect there is asked who he is.
func launchListener(path string) (*net.UnixListener, error) {
	given, err := systemdSockets()
	if err != nil {
		return nil, err
	}
	if len(given["launch"]) > 0 {
		l, ok := given["launch"][0].(*net.UnixListener)
		if !ok {
			return nil, errors.New("the socket from systemd is no UNIX socket")
		}
		return l, nil
	}
	return listenUnix(path, 0o666)
}

const launchLong = `Needed where recipient maps name system users, whose mail is written as them:

  [mailbox.bob]
  user = "bob"          # ~bob/Maildir

Starts, for the delivery agent, a process as the system user that it names, which
writes that user's mail and nothing else. This command itself never sees mail: it
reads one line, the name of the account, starts the process, and hands it the
connection. It serves root and mda.launch_users alone, and starts nothing as root,
nor as a user with a number below mda.launch_min_uid.

It must be root, and needs nothing of root but CAP_SETUID and CAP_SETGID: that is
how postern-launch.service runs it. The accounts are those of /etc/passwd, looked up
for each process; a program that was built with cgo asks other sources, too, and that
of the packages was not. This command is restarted for a change of postern.toml.`
