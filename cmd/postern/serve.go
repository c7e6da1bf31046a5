package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"postern/config"
	"postern/internal/control"
)

func serveCommand(io stdio) *cobra.Command {
	return serverCommand(io, halves{mx: true, mda: true}, &cobra.Command{
		Use:   "serve",
		Short: "Run the MX and the delivery agent in one process",
		Long: `Runs the MX and the delivery agent in one process; they speak LMTP with each
other all the same. For small places: where the two run as users of their own,
the one that faces the network cannot open a mailbox (postern mx, postern mda).

SIGHUP reloads recipients, access rules and certificates, SIGTERM ends it:
transactions under way get the time of grace that the configuration names.`,
	})
}

func mxCommand(io stdio) *cobra.Command {
	return serverCommand(io, halves{mx: true}, &cobra.Command{
		Use:   "mx",
		Short: "Run the MX: from port 25 to any LMTP server",
		Long: `Runs the SMTP server that faces the world. It hands messages to the LMTP server
that mx.deliver_to names: postern mda, Dovecot's, or any other.

SIGHUP reloads recipients, access rules and certificates, SIGTERM ends it:
transactions under way get the time of grace that the configuration names.`,
	})
}

func mdaCommand(io stdio) *cobra.Command {
	return serverCommand(io, halves{mda: true}, &cobra.Command{
		Use:   "mda",
		Short: "Run the delivery agent: from LMTP to the mailboxes",
		Long: `Runs the LMTP server that writes the mailboxes, for postern mx or any other mail
transfer agent. It listens where mda.listen says.

SIGHUP reloads recipients, SIGTERM ends it: transactions under way get the time of
grace that the configuration names.`,
	})
}

func serverCommand(io stdio, runs halves, cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return serve(cmd.Context(), configPath(cmd), runs, io.err, func(s *server) {
			s.confine()
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // nobody may be listening
		})
	}
	return cmd
}

// A server is one process: what runs in it and what it can be asked for.
type server struct {
	*parts
	sockets sockets
	started time.Time
	runs    halves
	status  []func(*Status) // each tells what it knows
	release control.Verb    // nil: no MX runs
	probes  []probe         // the listeners that must answer
	store   *store          // nil: no delivery agent runs here

	access  *config.Access // nil: there are no access rules
	mu      sync.Mutex     // one reload at a time
	reloads []func() error // beside that of the recipients
}

// serve runs the servers until ctx ends. It calls ready when all sockets are open,
// before it says so.
func serve(ctx context.Context, path string, runs halves, log io.Writer, ready func(*server)) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // for good: neither at the start nor in the time of grace it may end us
	p, err := load(path, log, runs.name())
	if err != nil {
		return err
	}
	sockets, err := systemdSockets()
	if err != nil {
		return err
	}
	p.decisions = p.startDecisions()
	defer p.decisions.close()
	s := &server{parts: p, sockets: sockets, started: time.Now(), runs: runs}
	return s.run(ctx, hup, ready)
}

// run starts what is to run, and ends it after ctx, or when something fails. The MX
// is in front, and ends first: what it has under way needs the delivery agent, which
// is at the back with whatever else is of use until the end.
func (s *server) run(ctx context.Context, hup <-chan os.Signal, ready func(*server)) error {
	rear, stopRear := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRear()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	front, ctx := errgroup.WithContext(ctx)
	back, failed := errgroup.WithContext(rear)
	defer context.AfterFunc(failed, stop)()
	if err := s.startHalves(ctx, rear, front, back); err != nil {
		stopRear()
		return errors.Join(err, back.Wait())
	}
	if err := s.startControl(rear, back); err != nil {
		s.log.Error("no control socket: status, reload, why and release cannot reach this server", "cause", err) // mail flows without it
	}
	s.startMetrics(rear, back)
	s.watch(ctx, front)
	front.Go(func() error { s.reloadOnSignal(ctx, hup); return nil })
	ready(s)
	s.log.Info("serving", "version", version(), "generation", s.recipients.Current().ID())
	back.Go(func() error { s.keepWatch(rear); return nil })
	<-ctx.Done()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	s.log.Info("stopping", "grace", s.config.Grace)
	err := front.Wait()
	stopRear()
	if rearErr := back.Wait(); err == nil {
		err = rearErr
	}
	return err
}

// startControl opens the control socket of the half that runs, that of the MX
// where both do.
func (s *server) startControl(ctx context.Context, group *errgroup.Group) error {
	path := s.config.MX.Control
	if !s.runs.mx {
		path = s.config.MDA.Control
	}
	l, err := listenUnix(path, 0o600)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	group.Go(func() error { return control.Serve(ctx, l, s.verbs()) })
	return nil
}

// reloadOnSignal reloads at each signal that hup gets until ctx ends.
func (s *server) reloadOnSignal(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-hup:
			_ = s.reload(config.Request{Patient: true}) // what came of it is in the log
		case <-ctx.Done():
			return
		}
	}
}
