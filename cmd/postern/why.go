package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/record"
	"postern/internal/story"
	"postern/policy"
)

// maxListed is how many of those that are found are listed, the newest.
const maxListed = 50

func whyCommand(stdio stdio) *cobra.Command {
	w := why{out: stdio.out}
	var since string
	cmd := &cobra.Command{
		Use:   "why ID|MESSAGE-ID|ADDRESS|IP",
		Short: "Tell what became of a message, and why",
		Long:  whyLong,
		Example: `  postern why bob@example.com --since 2d
  postern why 0sgk8j924hmawhsw
  postern why '<20261126.1234@client.example>'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			w.word = strings.ToLower(strings.Trim(strings.TrimSpace(args[0]), "<>"))
			if w.since, err = parseSince(since, time.Now()); err != nil {
				return exitCode{exitUsage, err}
			}
			return w.run(cmd.Context(), configPath(cmd))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "", "what is not older: a `span` as 36h or 7d, or a day as 2026-01-31; empty: all")
	flags.BoolVar(&w.all, "all", false, "tell the story of each, and not the newest alone")
	flags.BoolVar(&w.evidence, "evidence", false, "print all that was found, and what the DNS said")
	flags.BoolVar(&w.json, "json", false, "print JSON: the records, and what is told of them")
	return cmd
}

// parseSince reads how far to look back.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, s, now.Location()); err == nil {
		return day, nil
	}
	span, err := config.ParseSpan(s)
	if err != nil || span < 0 {
		return time.Time{}, fmt.Errorf("--since %q is neither a span, as 36h or 7d, nor a day, as 2026-01-31", s)
	}
	return now.Add(-span), nil
}

// A why is a question.
type why struct {
	out                 io.Writer
	word                string
	since               time.Time
	all, evidence, json bool

	found   []*policy.Record // the newest of them, in order
	more    int              // older ones
	damaged int
}

func (w *why) run(ctx context.Context, path string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	for _, a := range archives(c) {
		damaged, err := a.each(ctx, record.Query{Key: w.word, Since: w.since}, w.keep)
		w.damaged += damaged
		if err != nil {
			return err
		}
	}
	if len(w.found) == 0 {
		return w.nothing(c)
	}
	w.dropReleased(c)
	slices.SortStableFunc(w.found, func(a, b *policy.Record) int { return a.Facts.Time.Compare(b.Facts.Time) })
	if w.json {
		return w.printJSON()
	}
	return w.print()
}

// keep notes a record that was found.
func (w *why) keep(text []byte) error {
	r := new(policy.Record)
	if err := json.Unmarshal(text, r); err != nil {
		return fmt.Errorf("a record cannot be read: %w; is it of a newer version?", err)
	}
	if len(w.found) >= maxListed {
		w.found = slices.Delete(w.found, 0, 1)
		w.more++
	}
	w.found = append(w.found, r)
	return nil
}

// dropReleased takes from the records that a message is kept which is no longer.
func (w *why) dropReleased(c *config.Config) {
	gone := make(map[string]bool)
	for _, r := range w.found {
		gone[r.ID] = gone[r.ID] || r.Released && r.Reply.OK() || time.Since(r.Facts.Time) > c.Policy.KeepRefused && !r.Released
	}
	for _, r := range w.found {
		r.Kept = r.Kept && !gone[r.ID]
	}
}

// days writes a time of whole days as such: the longest unit that Go writes is the hour.
func days(d time.Duration) string {
	if day := 24 * time.Hour; d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// nothing says that nothing was found, and what that may mean.
func (w *why) nothing(c *config.Config) error {
	hint := "records are kept for " + days(c.Records.Keep) + " (records.keep)"
	if c.Records.Keep == 0 {
		hint = "no records are kept: records.keep is 0"
	}
	if w.damaged > 0 {
		hint += fmt.Sprintf("; %d of them cannot be read", w.damaged)
	}
	return fmt.Errorf("nothing is recorded of %s; %s. If it is in no log either, it never came here: whoever sent it has the answer", w.word, hint)
}

func (w *why) printJSON() error {
	type told struct {
		Record *policy.Record
		Story  story.Story
	}
	all := []told{}
	for _, r := range w.found {
		all = append(all, told{r, story.Tell(r)})
	}
	return printJSON(w.out, all)
}

// print lists what was found, if it is more than one, and tells the newest.
func (w *why) print() error {
	tw := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	if len(w.found) > 1 && !w.all {
		if w.more > 0 {
			fmt.Fprintf(tw, "%d older ones, and\n", w.more)
		}
		for _, r := range w.found {
			fmt.Fprintln(tw, story.Line(r))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		fmt.Fprint(w.out, "\nThe newest of them:\n\n")
	}
	told := w.found[len(w.found)-1:]
	if w.all {
		told = w.found
	}
	for i, r := range told {
		if i > 0 {
			fmt.Fprint(w.out, "\n", strings.Repeat("-", 72), "\n\n")
		}
		if err := story.Tell(r).Print(w.out); err != nil {
			return err
		}
		if w.evidence {
			fmt.Fprintln(tw, "\nAll that was found:")
			story.PrintEvidence(tw, r)
			fmt.Fprintln(tw, "\nThe DNS was asked:")
			story.PrintExchanges(tw, r.Asked)
			if err := tw.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

const whyLong = `Tells the story of a message, or of what was refused before there was one: who
came when, what was said, what was seen, what decided, what was answered, and the
way out for the sender and for you. In words that can be forwarded to a user.

It is looked for by the ID of the transaction (in the log, in Received, and in the
250), by the Message-ID, by an address (of the sender, in From, or of a recipient)
or by the client's. Several are listed, the newest last; --all tells each.

A server that runs is asked; else the records are read from the state folder.
They are kept for as long as records.keep says. Exit code 1: nothing is found.`
