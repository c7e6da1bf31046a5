package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"postern/config"
)

func checkCommand(stdio stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration",
		Long: `Reads the configuration and all recipient maps as a server would, and lists every
mistake with its place and the way out. Nothing is changed. The exit code is 1
if there is a mistake.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := check(stdio.out, configPath(cmd))
			if err != nil {
				return exitCode{code: 1, err: err}
			}
			return nil
		},
	}
}

// check prints every mistake, with the line that it is in.
func check(w io.Writer, path string) error {
	c, err := config.Load(path)
	if err != nil {
		return explain(w, err)
	}
	r, err := config.LoadRecipients(c.Recipients, c.Hostname)
	if err != nil {
		return explain(w, err)
	}
	if err := checkJudging(c); err != nil {
		return explain(w, err)
	}
	if err := newCertificates(c.MX.TLS, c.Hostname, slog.New(slog.DiscardHandler)).reload(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s is right: %d mailboxes in %d domains, generation %s\n", c.File, r.Mailboxes(), len(r.Domains()), r.ID())
	return nil
}

// checkJudging checks what judging would find wrong only when it starts.
func checkJudging(c *config.Config) error {
	if _, err := dnsLists(c.DNSBL.Lists); err != nil {
		return err
	}
	if c.Policy.Access == "" {
		return nil
	}
	rules, err := config.LoadAccess(c.Policy.Access)
	if err == nil {
		_, err = accessList(rules)
	}
	return err
}

// explain prints mistakes one by one; any other error is returned as it is.
func explain(w io.Writer, err error) error {
	var mistakes config.Mistakes
	if !errors.As(err, &mistakes) {
		return err
	}
	for _, m := range mistakes {
		fmt.Fprintf(w, "%v\n%s\n", m, m.Excerpt())
	}
	if len(mistakes) == 1 {
		return errors.New("one mistake")
	}
	return fmt.Errorf("%d mistakes", len(mistakes))
}
