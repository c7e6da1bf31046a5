package main

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/dns"
	"postern/policy/report"
)

func dmarcCommand(stdio stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dmarc",
		Short: "Write the aggregate reports that domains ask for",
		Long: `With reports.dmarc = true the MX counts what it finds about messages whose
author's domain asks for aggregate reports (RFC 9990). These commands write the
reports. They send nothing.`,
	}
	cmd.AddCommand(dmarcDomains(stdio), dmarcReport(stdio))
	return cmd
}

// A counted is what was counted on a day.
type counted struct {
	config *config.Config
	day    time.Time
	rows   []report.Row
}

// loadCounted reads what was counted on a day; empty: yesterday.
func loadCounted(cmd *cobra.Command, day string) (counted, error) {
	c := counted{day: time.Now().UTC().AddDate(0, 0, -1)}
	var err error
	if c.config, err = config.Load(configPath(cmd)); err != nil {
		return c, err
	}
	if day != "" {
		if c.day, err = time.Parse(time.DateOnly, day); err != nil {
			return c, usage("--day %q is not written as 2026-01-31", day)
		}
	}
	dir := filepath.Join(c.config.State, halves{mx: true}.name(), reportFolder)
	c.rows, err = report.Read(dir, c.day.Format(time.DateOnly))
	if errors.Is(err, fs.ErrNotExist) && !c.config.Reports.DMARC {
		err = fmt.Errorf("%w; reports.dmarc is false", err)
	}
	return c, err
}

// A sum is what was counted for one domain.
type sum struct {
	domain   string
	messages int
	newest   report.Row
}

// sums returns what was counted for each domain, in alphabetical order.
func (c counted) sums() []sum {
	var sums []sum
	for _, r := range c.rows {
		i := slices.IndexFunc(sums, func(s sum) bool { return s.domain == r.Policy })
		if i < 0 {
			i, sums = len(sums), append(sums, sum{domain: r.Policy})
		}
		sums[i].messages += r.Count
		if !r.Last.Before(sums[i].newest.Last) {
			sums[i].newest = r
		}
	}
	slices.SortFunc(sums, func(a, b sum) int { return cmp.Compare(a.domain, b.domain) })
	return sums
}

const dayFlag = "a `day` of UTC, as 2026-01-31; empty: yesterday"

func dmarcDomains(stdio stdio) *cobra.Command {
	var day string
	cmd := &cobra.Command{
		Use:   "domains [--day DAY]",
		Short: "List the domains that there is something to report to",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadCounted(cmd, day)
			if err != nil {
				return err
			}
			tw := tabwriter.NewWriter(stdio.out, 0, 0, 2, ' ', 0)
			for _, s := range c.sums() {
				fmt.Fprintf(tw, "%s\t%d messages\t%s\n", s.domain, s.messages, report.Tags(s.newest.Record)["rua"])
			}
			return tw.Flush()
		},
	}
	cmd.Flags().StringVar(&day, "day", "", dayFlag)
	return cmd
}

func dmarcReport(stdio stdio) *cobra.Command {
	var domain, day, dir string
	cmd := &cobra.Command{
		Use:   "report --domain DOMAIN [--day DAY] [--out FOLDER]",
		Short: "Write the report for one domain and day",
		Long: `Prints the report for one domain and day, or writes it into a folder as the
file that would be sent: compressed, and under the name that RFC 9990 gives it.
Where it would be sent is said on standard error, with those addresses left out
that do not want it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadCounted(cmd, day)
			if err != nil {
				return err
			}
			return c.write(cmd.Context(), stdio, domain, dir)
		},
	}
	cmd.Flags().StringVar(&domain, "domain", "", "the `domain` whose record the messages fell under")
	cmd.Flags().StringVar(&day, "day", "", dayFlag)
	cmd.Flags().StringVar(&dir, "out", "", "write a file into this `folder`, and do not print it")
	_ = cmd.MarkFlagRequired("domain") // fails for an unknown flag alone
	return cmd
}

// write prints the report for a domain, or writes it into dir if that is given.
func (c counted) write(ctx context.Context, stdio stdio, domain, dir string) error {
	r := report.Report{
		Reporter: c.config.Hostname, Contact: "postmaster@" + c.config.Hostname,
		Domain: domain, Day: c.day, Rows: c.rows,
	}
	text, err := r.XML()
	if err != nil {
		return err
	}
	if dir == "" {
		if _, err := stdio.out.Write(text); err != nil {
			return err
		}
	} else if err := writeGzip(filepath.Join(dir, r.Name()+".gz"), text); err != nil {
		return err
	}
	return c.tellDestinations(ctx, stdio, r)
}

// writeGzip writes a file that must not be there yet.
func writeGzip(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(f)
	_, err = z.Write(text)
	return errors.Join(err, z.Close(), f.Close())
}

// tellDestinations says where the report would go.
func (c counted) tellDestinations(ctx context.Context, stdio stdio, r report.Report) error {
	resolver, err := dns.NewClient(dns.Config{Servers: texts(c.config.DNS.Servers)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, d := range report.Destinations(ctx, resolver, r.Domain, r.Record()) {
		if d.Problem == "" {
			fmt.Fprintf(stdio.err, "would be sent to %s\n", d.URI)
		} else {
			fmt.Fprintf(stdio.err, "would not be sent to %s: %s\n", d.URI, d.Problem)
		}
	}
	return nil
}
