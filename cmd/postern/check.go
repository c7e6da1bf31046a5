package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"postern/config"
)

func checkCommand(stdio stdio) *cobra.Command {
	var asJSON, files bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration and around it",
		Long:  checkLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := check(cmd.Context(), stdio.out, configPath(cmd), asJSON, files); err != nil {
				return exitCode{code: 1, err: err}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&files, "files", false, "look at nothing but the files")
	return cmd
}

// timeForDNS bounds what check asks the DNS, whatever is wrong with that.
const timeForDNS = 10 * time.Second

// check prints all that it finds.
func check(ctx context.Context, w io.Writer, path string, asJSON, filesAlone bool) error {
	l := &checklist{about: "files"}
	c, err := config.Load(path)
	if err != nil {
		l.fail(err)
		return l.report(w, nil, path, asJSON)
	}
	r, err := config.LoadRecipients(c.Recipients, c.Hostname)
	err = errors.Join(err, checkJudging(c))
	if !filesAlone {
		err = l.served(ctx, c, err)
	}
	l.fail(err)
	if filesAlone {
		return l.report(w, r, c.File, asJSON)
	}
	l.certificates(c)
	h := l.hosts(c)
	l.permissions(c, h)
	l.store(c)
	l.homes(c, r)
	l.accounts(c, r)
	l.sockets(ctx, c, h)
	if r != nil {
		resolver, err := briefResolver(texts(c.DNS.Servers))
		if l.fail(err); err == nil {
			ctx, cancel := context.WithTimeout(ctx, timeForDNS)
			l.dns(ctx, resolver, c, r)
			cancel()
			resolver.Close()
		}
	}
	err = l.report(w, r, c.File, asJSON)
	if err == nil && !asJSON {
		offerReplay(w, c)
	}
	return err
}

// checkJudging checks what judging would find wrong only when it starts.
func checkJudging(c *config.Config) error {
	if _, err := dnsLists(c.DNSBL.Lists); err != nil {
		return err
	}
	if c.Policy.Access == "" {
		return nil
	}
	_, err := config.LoadAccess(c.Policy.Access, checkRule)
	return err
}

// printMistakes prints mistakes, with the lines that they are in.
func printMistakes(w io.Writer, mistakes config.Mistakes) {
	for _, m := range mistakes {
		fmt.Fprintf(w, "%v\n%s\n", m, m.Excerpt())
	}
}

const checkLong = `Reads the configuration, the recipient maps and the access rules as a server would,
and lists every mistake with its place and the way out; and what a server here that
runs, or has run, would not take of them, since it looks like an accident or another
map has it already (postern diff says more). A server has ten seconds to answer, and
is not asked if it serves another folder.

Then it looks whether the users that the servers run as may read and write what they
have to; whether somebody answers where they connect, and nobody else listens where
they do; at certificates, their names and their end; at the store; and at what the
DNS says of this host and the domains: MX, SPF, DMARC, MTA-STS with its policy, TLSA
and PTR. What to mend first stands first.

Nothing is changed, and no server has to run. The DNS has ten seconds; where it
does not answer, that is said and is no mistake. The exit code is 1 if there is a
mistake; what is better mended, and what is to be known, is none.`
