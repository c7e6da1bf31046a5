package main

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"postern/config"
	"postern/internal/aio"
	"postern/internal/certificate"
	"postern/mailbox"
	"postern/mx"
)

// halves says which of the two servers a process runs.
type halves struct{ mx, mda bool }

// name returns the name of the half that speaks for the process: the MX, if it runs.
func (h halves) name() string {
	if h.mx {
		return "mx"
	}
	return "mda"
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

// syncer returns what syncs the files of the mailboxes (nil: system calls), and a
// function to call in the end. It takes 128 syncs at once: older kernels run up to 256
// such jobs on a processor, and while a disk hangs, half of them are left for the rest
// of the system.
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

// keepRefused makes srv keep the messages that it refuses, if the configuration says
// so, and sets the verb that releases them.
func (s *server) keepRefused(ctx context.Context, group *errgroup.Group, srv *mx.Server, next *nextHop) {
	kept := s.refusedMail()
	if kept != nil {
		srv.Keep = kept.Keep
		group.Go(func() error { kept.Run(ctx); return nil })
	}
	s.release = (&releaser{parts: s.parts, refused: kept, next: next}).verb
}

// reloadWith makes a reload of the recipients read certificates and access rules again,
// too, and watches the certificates if the configuration says so.
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
