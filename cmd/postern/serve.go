package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"postern/config"
	"postern/internal/aio"
	"postern/internal/certificate"
	"postern/internal/control"
	"postern/mailbox"
	"postern/mx"
)

// halves says which of the two servers a process runs.
type halves struct{ mx, mda bool }

// name returns that of the half that speaks for the process.
func (h halves) name() string {
	if h.mx {
		return "mx"
	}
	return "mda"
}

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
	sockets  sockets
	started  time.Time
	runs     halves
	status   []func(*Status) // each tells what it knows
	release  control.Verb    // nil: no MX runs
	probes   []probe         // the listeners that must answer
	store    *store          // nil: no delivery agent runs here
	confined atomic.Bool     // it reads only where it did at start

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

// startHalves starts the delivery agent, and then the MX, which hands over to it.
func (s *server) startHalves(ctx, rear context.Context, front, back *errgroup.Group) error {
	if s.runs.mda {
		if err := s.startMDA(rear, back); err != nil {
			return fmt.Errorf("start the delivery agent: %w", err)
		}
	}
	if s.runs.mx {
		if err := s.startMX(ctx, front); err != nil {
			return fmt.Errorf("start the MX: %w", err)
		}
	}
	return nil
}

// startMDA starts the delivery agent and the server in front of it.
func (s *server) startMDA(ctx context.Context, group *errgroup.Group) (err error) {
	syncer, closeSyncer := s.syncer()
	defer func() {
		if err != nil {
			closeSyncer()
		}
	}()
	store, err := s.openStore(syncer)
	if err != nil {
		return err
	}
	s.store = store
	if s.config.MDA.Spool != "" {
		if err := makeFolder("mda.spool", s.config.MDA.Spool); err != nil {
			return err
		}
	}
	listener, err := s.sockets.listen("lmtp", s.config.MDA.Listen)
	if err != nil {
		return err
	}
	if c := s.config.MDA; c.Listen.Network == "tcp" && len(c.Allow) == 0 {
		s.log.Warn("mda.allow is empty: nobody may connect over TCP", "listen", c.Listen.String())
	}
	srv, ledger := s.lmtpServer(s.agent(store))
	s.status = append(s.status, mdaHalf{srv, ledger, store}.tell)
	s.probes = append(s.probes, probe{listener.Addr()})
	group.Go(func() error { store.cleanDaily(ctx, s.recipients.Current, s.log); return nil })
	group.Go(func() error {
		defer closeSyncer()
		defer store.Close()
		defer ledger.Close()
		return srv.Serve(ctx, listener)
	})
	return nil
}

// syncer returns what syncs the files of the mailboxes while many messages come,
// and what to call in the end. It takes 128 at once. Older kernels run up to 256 such
// jobs on a processor; half of them are left for the rest of the system while a disk
// hangs.
func (s *server) syncer() (mailbox.Syncer, func()) {
	queue, err := aio.Open(mailbox.DefaultSyncs / 2)
	if err != nil {
		s.log.Info("deliveries are slower than they could be: the kernel has no queue for syncs (if it is full, raise fs.aio-max-nr)", "cause", err)
		return nil, func() {}
	}
	return queue, func() { _ = queue.Close() } // nothing waits for it any more
}

// startMX starts the server that faces the world.
func (s *server) startMX(ctx context.Context, group *errgroup.Group) error {
	if err := makeFolder("mx.spool", s.config.MX.Spool); err != nil {
		return err
	}
	judge, err := s.judging()
	if err != nil {
		return err
	}
	certs, err := s.certificates()
	if err != nil {
		return err
	}
	listeners, err := s.sockets.listenMX(&s.config.MX)
	if err != nil {
		return err
	}
	if c := s.config.MX; len(c.ListenProxy) > 0 && len(c.TrustedProxies) == 0 {
		s.log.Warn("mx.trusted_proxies is empty: nobody may connect to mx.listen_proxy")
	}
	srv, next := s.mxServer(judge.Judge), s.nextHop()
	s.attach(srv, next)
	if certs != nil {
		srv.TLS = certs.Config()
	}
	s.keepRefused(ctx, group, srv, next)
	s.reloadWith(ctx, group, certs, judge)
	s.status = append(s.status, mxHalf{srv, certs, judge, next}.tell)
	for _, l := range listeners {
		if !l.Proxy {
			s.probes = append(s.probes, probe{l.Addr()})
		}
	}
	judge.run(ctx, group, s.config.Reload.Watch)
	group.Go(func() error {
		defer judge.close()
		defer next.close()
		return srv.Serve(ctx, listeners...)
	})
	return nil
}

// keepRefused has srv keep what it refused, if the configuration wants that.
func (s *server) keepRefused(ctx context.Context, group *errgroup.Group, srv *mx.Server, next *nextHop) {
	kept := s.refusedMail()
	if kept != nil {
		srv.Keep = kept.Keep
		group.Go(func() error { kept.Run(ctx); return nil })
	}
	s.release = (&releaser{parts: s.parts, refused: kept, next: next}).verb
}

// reloadWith has certificates and access rules read again with the recipients.
func (s *server) reloadWith(ctx context.Context, group *errgroup.Group, certs *certificate.Set, judge *judging) {
	if certs != nil {
		s.reloads = append(s.reloads, certs.Reload)
		if s.config.Reload.Watch {
			group.Go(func() error { return watchCertificates(ctx, certs, s.log) })
		}
	}
	if judge.access != nil {
		s.access = judge.access
		s.reloads = append(s.reloads, judge.access.Reload)
	}
}

// watchCertificates has certificates read again when their files change, until ctx ends.
func watchCertificates(ctx context.Context, certs *certificate.Set, log *slog.Logger) error {
	return config.WatchFiles(ctx, certs.Files(), log, func() { _ = certs.Reload() }) // it is logged
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
