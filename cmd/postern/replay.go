package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/record"
	"postern/mail"
	"postern/policy"
	"postern/policy/rate"
)

// maxChanges is how many changes are listed; all are counted.
const maxChanges = 100

func replayCommand(stdio stdio) *cobra.Command {
	var (
		since, folder string
		asJSON        bool
	)
	cmd := &cobra.Command{
		Use:   "replay [--since 7d] [--config NEW]",
		Short: "Say what an edit would have changed",
		Long: `Judges the recorded transactions again, by the files as they are now (or those of
another --config), and lists those that would end otherwise than they did: before
an edit serves, it is seen what it does to the mail of the last days. Nothing is
delivered, nobody is asked: what the DNS, the filters and the next hop said then is
in the record. What nobody asked then is said to be unknown, and left as it was.

What an earlier edit has changed already is listed too, for it is compared with
what was answered: --since leaves out what is older.`,
		Example: `  postern replay --since 7d
  postern replay --since 2026-01-31 --config /etc/postern/postern.toml.new`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return exitCode{exitUsage, err}
			}
			r, err := newReplay(configPath(cmd), from)
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
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
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
	Since   time.Time
	Judged  int // transactions
	Changed int // of them
	Changes []Change
	More    int            // changes that are not among those
	Unknown map[string]int // what nobody asked then, with the number of transactions that it is asked for now
	Damaged int            // places in which records could not be read
}

// A Change is a transaction that would end otherwise.
type Change struct {
	ID         string
	Time       time.Time
	Generation string // of the recipients that it was judged by
	From       string
	Of         string // a recipient, or theMessage
	Then, Now  string
	Why        string // what decides now
	Times      int    // that there was one like it; this is the first
}

const theMessage = "the message"

// A replay judges records by a configuration.
type replay struct {
	Replay
	config     *config.Config
	judge      *policy.Judge
	recipients *config.Recipients
	known      map[mail.Address]error // what the maps say of an address
	kinds      map[string]int
	listed     map[Change]int // where those are that others are like
}

// newReplay reads the files of a configuration. Mistakes in them are told as
// postern check tells them.
func newReplay(path string, since time.Time) (*replay, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	r := &replay{Replay: Replay{Since: since, Unknown: make(map[string]int)}, config: c, known: make(map[mail.Address]error), kinds: make(map[string]int), listed: make(map[Change]int)}
	if r.recipients, err = config.LoadRecipients(c.Recipients, c.Hostname); err != nil {
		return nil, err
	}
	lists, err := dnsLists(c.DNSBL.Lists)
	if err != nil {
		return nil, err
	}
	p := &parts{config: c}
	rules := p.policy(lists)
	if c.Policy.Access != "" {
		loaded, err := config.LoadAccess(c.Policy.Access, checkRule)
		if err != nil {
			return nil, err
		}
		if rules.Access, err = accessList(loaded); err != nil {
			return nil, err
		}
	}
	r.judge = &policy.Judge{
		Policy: func() *policy.Policy { return rules }, Filters: p.filters(),
		ByClient:    rate.New[netip.Prefix](c.Limits.MessagesPerClient, time.Hour, maxCounted),
		ByRecipient: rate.New[string](c.Limits.MessagesPerRecipient, time.Hour, maxCounted),
	}
	return r, nil
}

// run judges what the MX recorded, or what is in a folder.
func (r *replay) run(ctx context.Context, folder string) error {
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
	now := r.judge.Replay(&then, func(i int) bool { return r.find(then.Recipients[i].To) == nil })
	if then.Facts.Time.Before(r.Since) {
		return nil
	}
	r.Judged++
	for _, what := range compact(now.Unknown) {
		r.Unknown[what]++
	}
	changes := r.compare(&then, now)
	if len(changes) == 0 {
		return nil
	}
	r.Changed++
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

// find returns what the maps say of an address; nil: that they know it.
func (r *replay) find(addr mail.Address) error {
	err, asked := r.known[addr]
	if !asked {
		_, err = lookup(r.recipients, addr)
		if len(r.known) >= maxCounted {
			clear(r.known)
		}
		r.known[addr] = err
	}
	return err
}

// compare returns what would end otherwise.
func (r *replay) compare(then *policy.Record, now policy.Replayed) []Change {
	var changes []Change
	add := func(of, was, is, why string) {
		changes = append(changes, Change{
			ID: then.ID, Time: then.Facts.Time, Generation: then.Generation, From: then.Facts.From.Path(), Of: of, Then: was, Now: is, Why: why, Times: 1,
		})
	}
	for i, rcpt := range then.Recipients {
		reply, why := r.answer(rcpt, now.Recipients[i])
		if reply.Code != rcpt.Reply.Code || reply.Status != rcpt.Reply.Status {
			add(rcpt.To.Path(), rcpt.Reply.String(), reply.String(), why)
		}
	}
	if now.Message == nil || then.Verdict == nil {
		return changes
	}
	was, is := fateOf(then.Verdict.Decision), fateOf(*now.Message)
	if was != is {
		add(theMessage, was, is, note(*now.Message))
	}
	return changes
}

// answer returns what the client would hear of a recipient, and why. The session
// and the next hop say what they said.
func (r *replay) answer(rcpt policy.RecipientRecord, d policy.Decision) (mail.Reply, string) {
	if rcpt.By == policy.BySession || rcpt.By == policy.ByMemory {
		return rcpt.Reply, ""
	}
	if err := d.Refusal(); err != nil {
		return mail.ReplyTo(err), note(d)
	}
	if err := r.find(rcpt.To); err != nil {
		return mail.ReplyTo(err), "the recipient maps"
	}
	if rcpt.By == policy.ByNextHop {
		return rcpt.Reply, ""
	}
	return mail.RecipientOK, "nothing refuses it any more; what would become of the message is not known"
}

// fateOf says what becomes of a message, in words that are compared.
func fateOf(d policy.Decision) string {
	switch {
	case d.Refusal() != nil:
		return d.Reply.String()
	case d.Action == policy.Quarantine:
		return "set apart"
	}
	return "taken"
}

// note says what decided, or what would have but for a pardon.
func note(d policy.Decision) string {
	if d.Note() == "" {
		return "nothing refuses it any more"
	}
	return d.Note()
}

// print tells people what came of it.
func (r *replay) print(w io.Writer) error {
	since := ""
	if !r.Since.IsZero() {
		since = " since " + stamp(r.Since) + " UTC"
	}
	fmt.Fprintf(w, "With %s, %s of %s transactions%s end otherwise.\n", r.config.File, number(r.Changed), number(r.Judged), since)
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
		fmt.Fprintf(w, "\n%s  %s  from %s, %s%s\n  then: %s\n  now:  %s\n  why:  %s\n", stamp(c.Time), c.ID, c.From, c.Of, times, c.Then, c.Now, c.Why)
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
