package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/record"
	"postern/internal/replay"
	"postern/mail"
	"postern/policy"
	"postern/policy/rate"
)

func replayCommand(stdio stdio) *cobra.Command {
	var (
		since, folder, against string
		asJSON                 bool
	)
	cmd := &cobra.Command{
		Use:   "replay [--since 7d] [--config NEW]",
		Short: "Say what an edit would have changed",
		Long:  replayLong,
		Example: `  postern replay --since 7d                      # what edits of the last week changed
  postern replay --config /root/new/postern.toml # what this one would change`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return exitCode{exitUsage, err}
			}
			if !cmd.Flags().Changed("against") {
				against = oldConfig(configPath(cmd), defaultConfig)
			}
			r, err := newReplay(configPath(cmd), against, from)
			if err != nil {
				return err
			}
			if err := r.run(cmd.Context(), folder); err != nil {
				return err
			}
			if asJSON {
				return printJSON(stdio.out, r.Replay)
			}
			return r.Print(stdio.out)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "7d", "what is not older: a `span` as 36h or 7d, or a day as 2026-01-31; empty: all")
	flags.StringVar(&folder, "records", "", "read the records in this `folder`, and not those of the server")
	flags.StringVar(&against, "against", "", "compare with this configuration `file`; empty: with what was answered then")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// oldConfig returns the configuration that path is an edit of: the usual one, if
// there is one and it is another.
func oldConfig(path, usual string) string {
	if _, err := os.Stat(usual); err != nil || sameFile(usual, path) {
		return ""
	}
	return usual
}

// offerReplay tells whoever is about to put a configuration into service how to see
// what it would change.
func offerReplay(w io.Writer, c *config.Config) {
	if c.Records.Keep > 0 {
		fmt.Fprintf(w, "what it would change for the mail of the last week: postern replay --config %s\n", c.File)
	}
}

// A replaying judges what was recorded by the configuration as it is now.
type replaying struct {
	*replay.Replay
	config *config.Config
}

// newReplay reads the files of a configuration, and of the old one if it has a
// name. Mistakes in them are told as postern check tells them.
func newReplay(path, old string, since time.Time) (*replaying, error) {
	now, c, err := replaySide(path)
	if err != nil {
		return nil, err
	}
	if old == "" {
		return &replaying{replay.New(since, now, nil), c}, nil
	}
	was, _, err := replaySide(old)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s is what it is compared with; --against \"\" compares with what was answered then", err, old)
	}
	return &replaying{replay.New(since, now, was), c}, nil
}

// run judges what the MX recorded, or what is in a folder.
func (r *replaying) run(ctx context.Context, folder string) error {
	a := archives(r.config)[0]
	if folder != "" {
		a = archive{half: "the folder", folder: folder}
	}
	// Rates of the first hour depend on what was before it.
	var err error
	q := record.Query{}
	if !r.Since.IsZero() {
		q.Since = r.Since.Add(-time.Hour)
	}
	r.Damaged, err = a.each(ctx, q, r.Add)
	if err == nil && r.Judged == 0 {
		err = errors.New("nothing is recorded of that time")
	}
	return err
}

// replaySide reads the files of a configuration, and returns what judges by it.
func replaySide(path string) (*replay.Side, *config.Config, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, nil, err
	}
	recipients, err := config.LoadRecipients(c.Recipients, c.Hostname)
	if err != nil {
		return nil, nil, err
	}
	lists, err := dnsLists(c.DNSBL.Lists)
	if err != nil {
		return nil, nil, err
	}
	p := &parts{config: c}
	rules := p.policy(lists)
	if c.Policy.Access != "" {
		loaded, err := config.LoadAccess(c.Policy.Access, checkRule)
		if err != nil {
			return nil, nil, err
		}
		if rules.Access, err = accessList(loaded); err != nil {
			return nil, nil, err
		}
	}
	judge := &policy.Judge{
		Policy: func() *policy.Policy { return rules }, Filters: p.filters(),
		ByClient:    rate.New[netip.Prefix](c.Limits.MessagesPerClient, time.Hour, maxCounted),
		ByRecipient: rate.New[string](c.Limits.MessagesPerRecipient, time.Hour, maxCounted),
	}
	find := func(addr mail.Address) error {
		_, err := lookup(recipients, addr)
		return err
	}
	return &replay.Side{Name: c.File, Judge: judge, Find: find}, c, nil
}

const replayLong = `Judges the recorded transactions again, by the files as they are now (or those of
another --config), and lists those that would end otherwise than they did: so you
see what an edit does to the mail of the last days before it serves. Nothing is
delivered, nobody is asked: what the DNS, the filters and the next hop said then is
in the record. What nobody asked then is listed as unknown, and judged as if there had
been no answer.

With --config NEW the records are judged by the old configuration, too, and only
what this edit changes is listed: the old one is that of --against, or else
` + defaultConfig + `. Without NEW it is compared with what was answered then, so
that what an earlier edit has changed already is listed too; --since leaves out what
is older.`
