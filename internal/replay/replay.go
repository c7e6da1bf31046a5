// Package replay has the transactions that were recorded judged again, by another
// configuration than the one that held then, and tells which would end otherwise.
// Nothing is delivered, and nobody is asked.
package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/policy"
)

// maxChanges is how many changes are listed; all are counted.
const maxChanges = 100

// A Replay judges records by the configuration now and, if there is an old one, by
// that too: Add takes the records, and the fields say what came of them.
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

	now    *Side
	old    *Side          // nil: it is compared with what was answered
	kinds  map[string]int // of changes, with their number
	listed map[Change]int // where those are that others are like
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

// New returns a Replay of what was recorded since then, by now, which it compares with
// old, or with what was answered where that is nil.
func New(since time.Time, now, old *Side) *Replay {
	r := &Replay{
		Since: since, Unknown: make(map[string]int),
		now: now, old: old, kinds: make(map[string]int), listed: make(map[Change]int),
	}
	if old != nil {
		r.Against = old.Name
	}
	return r
}

// Add judges one record again, the JSON of a policy.Record. Records are added in the
// order of their time. Those before Since count for the rates alone.
func (r *Replay) Add(text []byte) error {
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
	r.compare(&then, was, now)
	return nil
}

// compare counts a transaction, and lists what ends otherwise.
func (r *Replay) compare(then *policy.Record, was, now ending) {
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
	changes := differences(then, was, now)
	if len(changes) > 0 {
		r.Changed++
	}
	r.Altered += len(changes)
	for _, c := range changes {
		r.kinds[kindOf(c.Then)+" then, "+kindOf(c.Now)+" now"]++
		r.list(c)
	}
}

// list lists a change, or counts it with one that is like it.
func (r *Replay) list(c Change) {
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
