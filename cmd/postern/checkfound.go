package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"postern/config"
)

// A level says how bad it is what was found.
type level int

// The levels, in the order in which they are to be mended.
const (
	mustMend   level = iota // mail is lost to somebody, or put off
	shouldMend              // it works, but not as it should
	toKnow
)

// MarshalText implements encoding.TextMarshaler.
func (l level) MarshalText() ([]byte, error) {
	return []byte([...]string{"mistake", "warning", "note"}[l]), nil
}

// A Found is something that is not as it should be.
type Found struct {
	Level level  `json:"level"`
	About string `json:"about"` // "files", "permissions", "sockets", "certificates", "store", "DNS"
	config.Mistake
}

// A checklist collects what is found.
type checklist struct {
	about string
	found []Found
}

// add notes what the file system, the DNS or a socket showed.
func (l *checklist) add(level level, hint, format string, args ...any) {
	l.found = append(l.found, Found{level, l.about, config.Mistake{Message: fmt.Sprintf(format, args...), Hint: hint}})
}

// fail notes an error, each of its mistakes by itself.
func (l *checklist) fail(err error) {
	ms, others := sortOut(err)
	for _, m := range ms {
		l.found = append(l.found, Found{mustMend, l.about, m})
	}
	for _, other := range others {
		l.add(mustMend, "", "%s", other)
	}
}

// mistakes counts what has to be mended.
func (l *checklist) mistakes() (n int) {
	for _, f := range l.found {
		if f.Level == mustMend {
			n++
		}
	}
	return n
}

// print prints what to mend first, first.
func (l *checklist) print(w io.Writer) {
	slices.SortStableFunc(l.found, func(a, b Found) int { return cmp.Compare(a.Level, b.Level) })
	headings := [...]string{"TO BE MENDED, in this order", "BETTER MENDED", "TO BE KNOWN"}
	last := level(-1)
	for _, f := range l.found {
		if f.Level != last {
			fmt.Fprintf(w, "%s\n\n", headings[f.Level])
			last = f.Level
		}
		if f.File != "" {
			fmt.Fprintf(w, "%v\n%s\n", f.Mistake, f.Excerpt())
			continue
		}
		fmt.Fprintf(w, "%s: %s\n", f.About, config.Visible(f.Message))
		if f.Hint != "" {
			fmt.Fprintf(w, "    %s\n", config.Visible(f.Hint))
		}
		fmt.Fprintln(w)
	}
}

// A Checked is what check prints as JSON.
type Checked struct {
	Found      []Found `json:"found"`
	Generation string  `json:"generation,omitempty"` // of the maps, if they are right
	Domains    int     `json:"domains"`
	Mailboxes  int     `json:"mailboxes"`
}

// report prints all that was found, and returns an error if something has to be
// mended.
func (l *checklist) report(w io.Writer, r *config.Recipients, file string, asJSON bool) error {
	wrong := l.mistakes()
	switch {
	case asJSON:
		c := Checked{Found: l.found}
		if r != nil {
			c.Generation, c.Domains, c.Mailboxes = r.ID(), len(r.Domains()), r.Mailboxes()
		}
		if err := printJSON(w, c); err != nil {
			return err
		}
	default:
		l.print(w)
		if wrong == 0 && r != nil {
			fmt.Fprintf(w, "%s is right: %s in %s, generation %s\n", file, quantity(r.Mailboxes(), "mailbox"), quantity(len(r.Domains()), "domain"), r.ID())
		}
	}
	switch wrong {
	case 0:
		return nil
	case 1:
		return errors.New("one mistake")
	}
	return fmt.Errorf("%d mistakes", wrong)
}
