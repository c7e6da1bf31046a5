package replay

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Print tells people what came of it.
func (r *Replay) Print(w io.Writer) error {
	r.printSum(w)
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
	r.printRest(w)
	return nil
}

// printSum tells in a sentence how much would be otherwise.
func (r *Replay) printSum(w io.Writer) {
	since := ""
	if !r.Since.IsZero() {
		since = " since " + stamp(r.Since) + " UTC"
	}
	if r.old != nil {
		fmt.Fprintf(w, "This edit alters %s of %s verdicts, in %s of %s transactions%s.\n  then: as %s has it\n  now:  as %s has it\n\n",
			number(r.Altered), number(r.Verdicts), number(r.Changed), number(r.Judged), since, r.old.Name, r.now.Name)
	} else {
		fmt.Fprintf(w, "With %s, %s of %s verdicts differ from what was answered, in %s of %s transactions%s.\n",
			r.now.Name, number(r.Altered), number(r.Verdicts), number(r.Changed), number(r.Judged), since)
	}
	if r.old == nil && r.Altered > 0 {
		fmt.Fprint(w, "What earlier edits changed is among them; to see one edit alone, name the old files with --against.\n\n")
	}
}

// printRest tells what the changes do not.
func (r *Replay) printRest(w io.Writer) {
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
}

// number writes n as 4,112.
func number(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// stamp writes a time in UTC, to the second.
func stamp(t time.Time) string { return t.UTC().Format(time.DateTime) }
