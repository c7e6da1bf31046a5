package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
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

// maxChanges is how many changes are listed; all are counted.
const maxChanges = 100

func replayCommand(stdio stdio) *cobra.Command {
	var (
		since, folder, against string
		asJSON                 bool
	)
	cmd := &cobra.Command{
		Use:   "replay [--since 7d] [--config NEW]",
		Short: "Say what an edit would have changed",
		Long: `Judges the recorded transactions again, by the files as they are now (or those of
another --config), and lists those that would end otherwise than they did: so you
see what an edit does to the mail of the last days before it serves. Nothing is
delivered, nobody is asked: what the DNS, the filters and the next hop said then is
in the record. What nobody asked then is said to be unknown, and left as it was.

With --config NEW the records are judged by the old configuration, too, and only
what this edit changes is listed: the old one is that of --against, or else
` + defaultConfig + `. Without NEW it is compared with what was answered then, so
that what an earlier edit has changed already is listed too; --since leaves out what
is older.`,
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
				e := json.NewEncoder(stdio.out)
				e.SetIndent("", "  ")
				e.SetEscapeHTML(false)
				return e.Encode(r.Replay)
			}
			return r.print(stdio.out)
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
	old, err := os.Stat(usual)
	if err != nil {
		return ""
	}
	if now, err := os.Stat(path); err == nil && os.SameFile(old, now) {
		return ""
	}
	return usual
}

// offerReplay says, to who is about to have a configuration serve, how to see what
// that would change.
func offerReplay(w io.Writer, c *config.Config) {
	if c.Records.Keep > 0 {
		fmt.Fprintf(w, "what it would change for the mail of the last week: postern replay --config %s\n", c.File)
	}
}

// A Replay is what came of it.
type Replay struct {
	Since    time.Time
	Against  string // the configuration that it is compared with; "": what was answered then
	Verdicts int    // about recipients and messages
	Altered  int    // of them
	Judged   int    // transactions
	Changed  int    // of them
	Changes  []Change
	More     int            // changes that are not among those
	Unknown  map[string]int // what nobody asked then, with the number of transactions that it is asked for now
	Damaged  int            // places in which records could not be read
}

// A Change is a transaction that would end otherwise.
type Change struct {
	ID         string
	Time       time.Time
	Generation string // of the recipients that it was judged by
	From       string
	Of         string // a recipient, or theMessage
	Then, Now  string // Then is what was answered, or what Against would say
	Why        string // what decides now
	Times      int    // that there was one like it; this is the first
}

const theMessage = "the message"

// A replay judges records by one configuration, and by another before it or not.
type replay struct {
	Replay
	now    *side
	old    *side // nil: it is compared with what was answered
	kinds  map[string]int
	listed map[Change]int // where those are that others are like
}

// newReplay reads the files of a configuration, and of the old one if it has a
// name. Mistakes in them are told as postern check tells them.
func newReplay(path, old string, since time.Time) (*replay, error) {
	r := &replay{Replay: Replay{Since: since, Against: old, Unknown: make(map[string]int)}, kinds: make(map[string]int), listed: make(map[Change]int)}
	var err error
	if r.now, err = newSide(path); err != nil {
		return nil, err
	}
	if old == "" {
		return r, nil
	}
	if r.old, err = newSide(old); err != nil {
		return nil, fmt.Errorf("%w\n%s is what it is compared with; --against \"\" compares with what was answered then", err, old)
	}
	return r, nil
}

// run judges what the MX recorded, or what is in a folder.
func (r *replay) run(ctx context.Context, folder string) error {
	a := archives(r.now.config)[0]
	if folder != "" {
		a = archive{half: "the folder", folder: folder}
	}
	// Rates of the first hour depend on what was before it.
	var err error
	q := record.Query{}
	if !r.Since.IsZero() {
		q.Since = r.Since.Add(-time.Hour)
	}
	r.Damaged, err = a.each(ctx, q, r.add)
	if err == nil && r.Judged == 0 {
		err = errors.New("nothing is recorded of that time")
	}
	return err
}

// add judges one record again.
func (r *replay) add(text []byte) error {
	var then policy.Record
	if err := json.Unmarshal(text, &then); err != nil {
		return fmt.Errorf("a record cannot be read: %w; is it of a newer version?", err)
	}
	if then.Refused != "" {
		return nil // no policy did that
	}
	now, was := r.now.judges(&then), answered(&then)
	if r.old != nil {
		was = r.old.judges(&then)
	}
	if then.Facts.Time.Before(r.Since) {
		return nil
	}
	r.Judged++
	r.Verdicts += len(now.recipients)
	if then.Verdict != nil {
		r.Verdicts++
	}
	for _, what := range now.unknown {
		if !slices.Contains(was.unknown, what) {
			r.Unknown[what]++
		}
	}
	changes := differences(&then, was, now)
	if len(changes) == 0 {
		return nil
	}
	r.Changed++
	r.Altered += len(changes)
	for _, c := range changes {
		r.kinds[kindOf(c.Then)+" then, "+kindOf(c.Now)+" now"]++
		r.list(c)
	}
	return nil
}

// list lists a change, or counts it with one that is like it.
func (r *replay) list(c Change) {
	key := Change{From: c.From, Of: c.Of, Then: c.Then, Now: c.Now, Why: c.Why}
	if key.Of != theMessage {
		key.From = ""
	}
	i, listed := r.listed[key]
	switch {
	case listed:
		r.Changes[i].Times++
	case len(r.Changes) < maxChanges:
		r.listed[key] = len(r.Changes)
		r.Changes = append(r.Changes, c)
	default:
		r.More++
	}
}

// kindOf returns in a word what an answer is.
func kindOf(answer string) string {
	switch answer[0] {
	case '4':
		return "put off"
	case '5':
		return "refused"
	case '2':
		return "taken"
	}
	return answer
}

// compact returns the kinds of what is unknown: a list is one, whoever was looked
// for on it.
func compact(unknown []string) []string {
	var kinds []string
	for _, u := range unknown {
		if typ, name, isDNS := strings.Cut(u, " "); isDNS && typ == strings.ToUpper(typ) {
			u = "the DNS, about " + zoneOf(name)
		}
		if !slices.Contains(kinds, u) {
			kinds = append(kinds, u)
		}
	}
	return kinds
}

// zoneOf returns a name without the address that stands before the zone of a list:
// four numbers, or 32 digits of IPv6.
func zoneOf(name string) string {
	labels := strings.Split(name, ".")
	for _, n := range []int{32, 4} {
		if len(labels) <= n {
			continue
		}
		address := strings.Join(labels[:n], "")
		if strings.Trim(address, "0123456789abcdef") == "" && (n == 32 && len(address) == n || strings.Trim(address, "0123456789") == "") {
			return strings.Join(labels[n:], ".")
		}
	}
	return name
}

// print tells people what came of it.
func (r *replay) print(w io.Writer) error {
	since := ""
	if !r.Since.IsZero() {
		since = " since " + story.Stamp(r.Since) + " UTC"
	}
	if r.old != nil {
		fmt.Fprintf(w, "This edit alters %s of %s verdicts, in %s of %s transactions%s.\n  then: as %s has it\n  now:  as %s has it\n\n",
			number(r.Altered), number(r.Verdicts), number(r.Changed), number(r.Judged), since, r.old.config.File, r.now.config.File)
	} else {
		fmt.Fprintf(w, "With %s, %s of %s verdicts differ from what was answered, in %s of %s transactions%s.\n",
			r.now.config.File, number(r.Altered), number(r.Verdicts), number(r.Changed), number(r.Judged), since)
	}
	if r.old == nil && r.Altered > 0 {
		fmt.Fprint(w, "What earlier edits changed is among them; to see one edit alone, name the old files with --against.\n\n")
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, kind := range slices.Sorted(maps.Keys(r.kinds)) {
		fmt.Fprintf(tw, "  %s\t%s\n", kind, number(r.kinds[kind]))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, c := range r.Changes {
		times := ""
		if c.Times > 1 {
			times = fmt.Sprintf(", and %s more like it", number(c.Times-1))
		}
		fmt.Fprintf(w, "\n%s  %s  from %s, %s%s\n  then: %s\n  now:  %s\n  why:  %s\n", story.Stamp(c.Time), c.ID, c.From, c.Of, times, c.Then, c.Now, c.Why)
	}
	if r.More > 0 {
		fmt.Fprintf(w, "\nand %s more that are like none of these\n", number(r.More))
	}
	if len(r.Unknown) > 0 {
		fmt.Fprint(w, "\nNot known, for nobody asked then; taken as if there had been no answer:\n")
		for _, what := range slices.Sorted(maps.Keys(r.Unknown)) {
			fmt.Fprintf(w, "  %s: in %s transactions\n", what, number(r.Unknown[what]))
		}
	}
	if r.Damaged > 0 {
		fmt.Fprintf(w, "\n%d places in the records are damaged, and what was there is left out.\n", r.Damaged)
	}
	return nil
}

// number writes n as 4,112.
func number(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
