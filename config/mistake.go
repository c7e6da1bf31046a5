package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Mistake is something in the configuration that an administrator must
// change: where it is, what is wrong, and the way out.
type Mistake struct {
	File    string `json:"file,omitempty"`    // as it was named to this package, or below the folder that was
	Line    int    `json:"line,omitempty"`    // counted from one; 0: the mistake is the whole file's
	Column  int    `json:"column,omitempty"`  // counted from one, in characters
	Message string `json:"message"`           // what is wrong
	Hint    string `json:"hint,omitempty"`    // the way out; may be empty
	Text    string `json:"text,omitempty"`    // the line that is meant, or what is around the spot, as it can be shown
	Caret   int    `json:"caret,omitempty"`   // how many characters of Text stand before the spot
	Other   string `json:"other,omitempty"`   // file:line of what it is at odds with
	Passing bool   `json:"passing,omitempty"` // it goes away by itself, if nothing is changed

	err error
}

// Error implements error: all that is known, on one line, and nothing in it that a
// terminal would obey.
func (m Mistake) Error() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", m.Line, m.Column)
	}
	b.WriteString(": " + m.Message)
	if m.Hint != "" {
		b.WriteString("; " + m.Hint)
	}
	return Visible(b.String())
}

// Unwrap returns the error of the file system that made the mistake known, if
// one did.
func (m Mistake) Unwrap() error { return m.err }

// Place returns file:line, as in Other.
func (m Mistake) Place() string { return m.File + ":" + strconv.Itoa(m.Line) }

// Same reports whether n is m in other words: the same is wrong at the same place,
// or, where two places are at odds, one blames the one and one the other.
func (m Mistake) Same(n Mistake) bool {
	if m.Other != "" && n.Other != "" && m.Other == n.Place() && n.Other == m.Place() {
		return true
	}
	return m.File == n.File && m.Line == n.Line && m.Column == n.Column && m.Message == n.Message
}

// Excerpt returns the line that is meant, or what is around the spot, and below it
// a caret under the spot; or nothing if no line is.
func (m Mistake) Excerpt() string {
	if m.Line == 0 {
		return ""
	}
	var indent strings.Builder
	for _, r := range firstRunes(m.Text, m.Caret) {
		if r == '\t' {
			indent.WriteRune(r)
			continue
		}
		indent.WriteString(strings.Repeat(" ", columnsOf(r)))
	}
	return m.Text + "\n" + indent.String() + "^\n"
}

// Mistakes are all that were found at once, in the order of the files and
// lines.
type Mistakes []Mistake

// Error implements error, a line for each.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each Mistake as an error.
func (ms Mistakes) Unwrap() []error {
	errs := make([]error, len(ms))
	for i, m := range ms {
		errs[i] = m
	}
	return errs
}

// causes returns each Mistake that err is of, or else err alone.
func causes(err error) []error {
	var ms Mistakes
	if errors.As(err, &ms) {
		return ms.Unwrap()
	}
	return []error{err}
}

// sorted returns ms in order as an error, nil if there are none.
func (ms Mistakes) sorted() error {
	if len(ms) == 0 {
		return nil
	}
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		last := func(line int) uint { return uint(line) - 1 } // 0, the whole file, comes last
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(last(a.Line), last(b.Line)), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(ms)
}

// locate looks up where the flaws of documents are. Only now, for most documents
// have none.
func locate(all ...*findings) Mistakes {
	spots := make(map[*document]map[path]*spot)
	for _, fs := range all {
		for _, f := range fs.found {
			f.where.want(spots)
			f.other.want(spots)
		}
	}
	for d, wanted := range spots {
		scan(d.text, func(p []byte, s spot) {
			if first, ok := wanted[path(p)]; ok && first == nil {
				wanted[path(p)] = &s
			}
		})
	}
	var ms Mistakes
	for _, fs := range all {
		for _, f := range fs.found {
			ms = append(ms, f.mistake(spots))
		}
		if fs.more > 0 {
			ms = append(ms, Mistake{File: fs.doc.file, Message: moreMistakes(fs.more)})
		}
	}
	return ms
}

func moreMistakes(n int) string {
	if n == 1 {
		return "and one more mistake"
	}
	return fmt.Sprintf("and %d more mistakes", n)
}

func (p place) want(spots map[*document]map[path]*spot) {
	if p.path == "" {
		return
	}
	if spots[p.doc] == nil {
		spots[p.doc] = make(map[path]*spot)
	}
	spots[p.doc][p.path] = nil
}

// position returns where p is, and false if it is no particular line.
func (p place) position(spots map[*document]map[path]*spot) (octet int, ok bool) {
	s := spots[p.doc][p.path]
	switch {
	case p.octet > 0:
		return p.octet - 1, true
	case s == nil:
		return 0, false
	case p.atValue:
		return s.value, true
	}
	return s.key, true
}

func (f flaw) mistake(spots map[*document]map[path]*spot) Mistake {
	m := Mistake{File: f.where.doc.file, Message: f.message, Hint: f.hint, err: f.err}
	if octet, ok := f.where.position(spots); ok {
		m.Line, m.Column, m.Text, m.Caret = quote(f.where.doc.text, octet)
	}
	if octet, ok := f.other.position(spots); ok {
		line, _, _ := lineAndColumn(f.other.doc.text, octet)
		m.Other = fmt.Sprintf("%s:%d", f.other.doc.file, line)
		m.Message += fmt.Sprintf(" (%s)", m.Other)
	}
	return m
}
