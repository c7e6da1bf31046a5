package selftest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// A Summary counts results.
type Summary struct {
	Passed   int `json:"passed"`
	Failed   int `json:"failed"`
	Warnings int `json:"warnings"`
	Skipped  int `json:"skipped"`
	Unclear  int `json:"unclear"`
}

// Summarize counts results.
func Summarize(results []Result) Summary {
	var n Summary
	for _, r := range results {
		switch r.Status {
		case Passed:
			n.Passed++
		case Failed:
			n.Failed++
		case Warning:
			n.Warnings++
		case Skipped:
			n.Skipped++
		case Unclear:
			n.Unclear++
		}
	}
	return n
}

// columns is how wide a terminal is, at least.
const columns = 80

// marks stand in front of the rows.
var marks = map[Status]string{Passed: "ok", Failed: "FAIL", Warning: "warn", Skipped: "skip", Unclear: "?"}

// WriteRow writes a result as a row of a table, no wider than 80 columns. What was
// not passed follows in full, with its dialogue, and with all so does the rest.
func WriteRow(w io.Writer, r Result, all bool) error {
	title := r.Title
	if r.Status == Skipped {
		title = r.Detail
	}
	text := cut(fmt.Sprintf("%-4s %-24s %s", marks[r.Status], r.ID, title)) + "\n"
	if r.Status == Failed || r.Status == Warning || r.Status == Unclear || all && r.Status == Passed {
		text += explain(r)
	}
	_, err := io.WriteString(w, text)
	return err
}

// explain returns the rule, what is wrong and the dialogue, indented.
func explain(r Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "     %s %s: %s\n", r.Section, r.Level, r.Title)
	if r.Detail != "" {
		wrap(&b, r.Detail)
	}
	for _, line := range r.Dialogue {
		b.WriteString(cut("       "+line) + "\n")
	}
	return b.String()
}

// wrap writes text in lines that fit.
func wrap(b *strings.Builder, text string) {
	line := "    "
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > columns && strings.TrimSpace(line) != "" {
			b.WriteString(line + "\n")
			line = "    "
		}
		line += " " + word
	}
	b.WriteString(cut(line) + "\n")
}

// cut returns line as far as it fits.
func cut(line string) string {
	if len(line) <= columns {
		return line
	}
	return line[:columns-3] + "..."
}

// WriteSummary writes what it came to, and why checks were skipped.
func WriteSummary(w io.Writer, results []Result) error {
	n := Summarize(results)
	_, err := fmt.Fprintf(w, "\n%d checks: %d passed, %d failed, %d warnings, %d skipped, %d unclear\n",
		len(results), n.Passed, n.Failed, n.Warnings, n.Skipped, n.Unclear)
	reasons := make(map[string]int)
	for _, r := range results {
		if r.Status == Skipped {
			reasons[r.Detail]++
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		if err == nil {
			_, err = fmt.Fprintf(w, "  skipped %d: %s\n", reasons[reason], reason)
		}
	}
	return err
}
