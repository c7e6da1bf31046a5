package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/control"
)

// maxAddresses bounds the changes of one domain that are told.
const maxAddresses = 10_000

func diffCommand(stdio stdio) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Say what a reload would change, and what waits for a restart",
		Long: `Compares the files with what serves: who would become a recipient, who would be none
any more, and what would change for whom; which access rules come and go; which
keys of postern.toml wait for a restart; what was taken back, since nobody confirmed
it, and waits for a reload; and what is broken and would not serve.
A running server is asked; if none runs, its last good generation is compared.

+ comes, - goes, ~ changes. The exit code is 1 if something would not serve.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return askingOf(cmd, stdio).diff(cmd.Context(), asJSON, all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one line for each server")
	cmd.Flags().BoolVar(&all, "all", false, fmt.Sprintf("print up to %d changes of each domain, not 20", maxAddresses))
	return withControl(cmd)
}

// A Diff is what tells the files from what serves.
type Diff struct {
	Server     string             `json:"server"`
	File       string             `json:"file,omitempty"`   // the postern.toml
	Folder     string             `json:"folder,omitempty"` // of recipients
	Generation string             `json:"generation"`
	Next       string             `json:"next"`
	Recipients config.Difference  `json:"recipients"`
	Rules      config.RuleChanges `json:"access_rules"`
	Restart    []config.KeyChange `json:"needs_restart,omitempty"`
	Mistakes   config.Mistakes    `json:"mistakes,omitempty"`
	Errors     []string           `json:"errors,omitempty"`
	Held       config.Mistakes    `json:"taken_back,omitempty"`   // what waits for a reload
	Old        []string           `json:"old_versions,omitempty"` // domains of which an old version goes on
}

func (s *asking) diff(ctx context.Context, asJSON, all bool) error {
	wrong := false
	var texts telling
	tell := func(name string, d Diff) error {
		d.Server = name
		wrong = wrong || len(d.Mistakes)+len(d.Errors) > 0
		if asJSON {
			return json.NewEncoder(s.out).Encode(d)
		}
		texts.add(name, d.text(all))
		return nil
	}
	err := s.eachDiff(ctx, tell)
	texts.print(s.out)
	if err == nil && wrong {
		err = errors.New("not all that is in the files would serve")
	}
	return err
}

// lastGood is who tells a Diff where no server runs.
const lastGood = "no server runs; the last good generation"

// eachDiff calls tell with what each server says that runs, or else with what is to
// be said of the last good generation.
func (s *asking) eachDiff(ctx context.Context, tell func(name string, d Diff) error) error {
	if _, err := s.addressees(); err != nil {
		return err
	}
	err := s.each(ctx, request{verb: "diff"}, func(name string, answer json.RawMessage) error {
		var d Diff
		if err := json.Unmarshal(answer, &d); err != nil {
			return err
		}
		return tell(name, d)
	})
	if !control.NotRunning(err) || len(s.sockets) > 0 {
		return err
	}
	d, err := diffOfKept(s.config)
	if err != nil {
		return err
	}
	return tell(lastGood, d)
}

// diffOfKept compares the files with what was kept by the server that ran last and
// does not run.
func diffOfKept(path string) (Diff, error) {
	c, err := config.Load(path)
	if err != nil {
		return Diff{}, err
	}
	var (
		last *parts
		errs []error
	)
	for _, half := range []halves{{mx: true}, {mda: true}} {
		p := &parts{config: c, state: filepath.Join(c.State, half.name()), log: slog.New(slog.DiscardHandler)}
		p.recipients, err = config.Recall(c.Recipients, p.recipientOptions())
		errs = append(errs, err)
		if err == nil && (last == nil || p.recipients.Current().Loaded().After(last.recipients.Current().Loaded())) {
			last = p
		}
	}
	if last == nil {
		return Diff{}, fmt.Errorf("no server runs, and nothing is kept to compare with: %w", errors.Join(errs...))
	}
	return last.diff(nil), nil
}

// diff compares the files with what serves.
func (p *parts) diff(access *config.Access) Diff {
	preview, err := p.recipients.Preview(config.Request{})
	d := Diff{File: p.config.File, Folder: p.config.Recipients, Held: preview.Held}
	d.Generation, d.Next, d.Recipients = preview.Now.ID(), preview.Next.ID(), config.Compare(preview.Now, preview.Next, maxAddresses)
	if f := preview.Failure; err == nil && f != nil {
		err, d.Old = f.Err, f.Old
	}
	errs := []error{err}
	if access != nil {
		d.Rules, err = access.Changes()
		errs = append(errs, err)
	}
	d.Restart, err = p.needsRestart()
	d.Mistakes, d.Errors = sortOut(errors.Join(append(errs, err)...))
	return d
}

// text returns what an administrator is to know.
func (d Diff) text(all bool) string {
	var b strings.Builder
	n := d.Recipients
	if d.Generation == d.Next {
		fmt.Fprintf(&b, "the recipients are those that serve, generation %s\n", d.Next)
	} else {
		fmt.Fprintf(&b, "addresses: %d would be added, %d removed, %d changed (generation %s, then %s)\n", n.Added, n.Removed, n.Changed, d.Generation, d.Next)
	}
	for _, domain := range n.Domains {
		printDomain(&b, domain, all)
	}
	if len(d.Rules.Added)+len(d.Rules.Removed) > 0 {
		b.WriteString("  access rules\n")
		printMarked(&b, "-", d.Rules.Removed)
		printMarked(&b, "+", d.Rules.Added)
	}
	if len(d.Restart) > 0 {
		b.WriteString("  postern.toml, after a restart\n")
		printChanges(&b, len(d.Restart), func(i int) (what, was, is string) {
			return d.Restart[i].Key, d.Restart[i].Was, d.Restart[i].Is
		})
	}
	if len(d.Held) > 0 {
		b.WriteString("  WAITS FOR A RELOAD:\n\n")
		printMistakes(&b, d.Held)
	}
	if len(d.Mistakes) > 0 {
		fmt.Fprintf(&b, "  WOULD NOT BE SERVED%s:\n\n", oldVersions(slices.Concat(d.Old, d.Rules.Old)))
		printMistakes(&b, d.Mistakes)
	}
	for _, e := range d.Errors {
		fmt.Fprintf(&b, "  WOULD NOT BE SERVED: %s\n", config.Visible(e))
	}
	return b.String()
}

func printDomain(w io.Writer, d config.DomainDifference, all bool) {
	what := ""
	switch {
	case d.New:
		what = ", which is new"
	case d.Gone:
		what = ", which goes"
	}
	fmt.Fprintf(w, "  %s%s: %d added, %d removed, %d changed (%s)\n", d.Domain, what, d.Added, d.Removed, d.Changed, config.Visible(d.File))
	n := len(d.Changes)
	if !all {
		n = min(n, 20)
	}
	printChanges(w, n, func(i int) (what, was, is string) {
		return d.Changes[i].Address, d.Changes[i].Was, d.Changes[i].Is
	})
	if more := d.Added + d.Removed + d.Changed - n; more > 0 {
		fmt.Fprintf(w, "    and %d more\n", more)
	}
}

func printChanges(w io.Writer, n int, change func(int) (what, was, is string)) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range n {
		switch what, was, is := change(i); {
		case was == "":
			fmt.Fprintf(tw, "    + %s\t%s\n", what, is)
		case is == "":
			fmt.Fprintf(tw, "    - %s\t%s\n", what, was)
		default:
			fmt.Fprintf(tw, "    ~ %s\t%s -> %s\n", what, was, is)
		}
	}
	_ = tw.Flush() // into memory
}

func printMarked(w io.Writer, mark string, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(w, "    %s %s\n", mark, line)
	}
}
