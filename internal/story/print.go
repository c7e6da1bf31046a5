package story

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"postern/policy"
)

// Line tells a record in a line, whose columns end in tabs.
func Line(r *policy.Record) string {
	to := ""
	for i, rcpt := range r.Recipients {
		if i == 0 {
			to = rcpt.To.Path()
		}
		if i == 1 {
			to += fmt.Sprintf(" and %d more", len(r.Recipients)-1)
		}
	}
	s := Tell(r)
	reply := cmp.Or(r.Reply.Text, "-")
	if len(s.Reasons) > 0 {
		reply = s.Reasons[0].Cause
	}
	return strings.Join([]string{stamp(r.Facts.Time), r.ID, r.Facts.From.Path(), "-> " + to, s.End, reply}, "\t")
}

func stamp(t time.Time) string { return t.UTC().Format(time.DateTime) }

// Print tells the story, in words that can be forwarded to a user.
func (s Story) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what, text string) {
		if text != "" {
			fmt.Fprintf(tw, "  %s\t%s\n", what, text)
		}
	}
	fmt.Fprintf(tw, "%s: %s\n\n", s.ID, strings.ToUpper(s.End))
	row("when", stamp(s.Time)+" UTC")
	row("client", s.Client)
	row("sender", s.Sender)
	row("From", s.Author)
	row("message", s.Message)
	row("said", s.Said)
	for _, a := range s.Answers {
		row(a.To, a.Reply)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, r := range s.Reasons {
		if err := r.print(w); err != nil {
			return err
		}
	}
	if s.Shortened {
		fmt.Fprint(w, "\nThere was more than a record holds; the log has the rest.\n")
	}
	if s.Release != "" {
		fmt.Fprintf(w, "\nThe message is kept. It is delivered all the same by: %s\n", s.Release)
	}
	return nil
}

func (r Reason) print(w io.Writer) error {
	fmt.Fprintf(w, "\nWhy (%s):\n%s", r.Cause, wrap(r.What))
	if len(r.Evidence) > 0 {
		fmt.Fprint(w, "\nWhat was seen:\n")
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, e := range r.Evidence {
			fmt.Fprintf(tw, "  %s\n", e)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\nWhat the sender can do:\n%s\nWhat can be done here:\n%s", wrap(r.Sender), wrap(r.Here))
	return err
}

// wrap breaks text into lines, indented, that a mail may quote.
func wrap(text string) string {
	const width = 74
	var b strings.Builder
	n := 0
	for _, word := range strings.Fields(text) {
		switch {
		case n == 0:
			b.WriteString("  ")
		case n+1+len(word) > width:
			b.WriteString("\n  ")
			n = 0
		default:
			b.WriteString(" ")
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String() + "\n"
}
