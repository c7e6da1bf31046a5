package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"postern/config"
)

func reloadCommand(stdio stdio) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a running server read recipients and certificate again",
		Long: `Has a running server read the recipient maps and the certificate again, and says
what came of it. A server notices edits of the maps by itself; this is for those
who want to hear the answer. What is broken is not served: all stays as it was.
So it does where a domain is gone, or more than half of its recipients are, which
looks like an accident; --force says that it is none.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return eachServer(cmd.Context(), configPath(cmd), request{"reload", force}, func(name string, answer json.RawMessage) error {
				var st Status
				if err := json.Unmarshal(answer, &st); err != nil {
					return err
				}
				_, err := fmt.Fprintf(stdio.out, "%s: serving generation %s, %d mailboxes in %d domains\n", name, st.Generation, st.Mailboxes, st.Domains)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "serve the new recipients although many are gone")
	return cmd
}

// reload reads again whatever can be read again. What fails stays as it was, and
// so do recipients that look like an accident, unless force says that they are
// none.
func (s *server) reload(force bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading)
	defer daemon.SdNotify(false, daemon.SdNotifyReady)
	errs := []error{s.recipients.Reload(config.Request{Force: force})}
	for _, reload := range s.reloads {
		errs = append(errs, reload())
	}
	err := errors.Join(errs...)
	if err != nil {
		s.log.Error("reload: all that is broken stays as it was", "cause", err)
	}
	return err
}

// watch reloads the recipients whenever their files change, until ctx ends.
func (p *parts) watch(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { p.recipients.Run(ctx); return nil })
	if p.config.Reload.Watch {
		group.Go(func() error { return p.recipients.Watch(ctx) })
	}
}
