package config

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

const (
	// maxExcerpt bounds what is quoted of a line, in columns: a map may be one line
	// of many megabytes.
	maxExcerpt = 80
	// maxMessage bounds a message and a hint, in octets, for they quote what is written.
	maxMessage = 500
)

// Visible returns s with all that a terminal or a log would not show as one
// printable character escaped: control characters, line ends, what turns the
// direction of writing, spaces that look like others, octets that are not UTF-8.
func Visible(s string) string {
	if !strings.ContainsFunc(s, isHidden) {
		return s
	}
	return strings.Join(cells(s), "")
}

func isHidden(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }

// cells returns the characters of s, each as it is to be shown.
func cells(s string) []string {
	var all []string
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch cell := s[:n]; {
		case r == utf8.RuneError && n == 1:
			all = append(all, `\x`+strconv.FormatUint(uint64(s[0]), 16))
		case strconv.IsPrint(r):
			all = append(all, cell)
		default:
			all = append(all, strings.Trim(strconv.QuoteRune(r), "'"))
		}
		s = s[n:]
	}
	return all
}

// excerpt returns what is quoted of a line around the octet at: at most so many
// columns, with … in the place of what is left out, and how many of its characters
// stand before that octet. Tabs stay, for the caret below to be indented alike.
func excerpt(line string, at int) (text string, caret int) {
	at = runeAt(line, min(at, len(line)))
	before, after := excerptCells(lastRunes(line[:at], maxExcerpt+1)), excerptCells(firstRunes(line[at:], maxExcerpt+1))
	half := max(maxExcerpt/2, maxExcerpt-columns(after...))
	slices.Reverse(before)
	before, cutBefore := fit(before, half)
	slices.Reverse(before)
	after, cutAfter := fit(after, maxExcerpt-columns(before...))
	text = cutBefore + strings.Join(before, "")
	return text + strings.Join(after, "") + cutAfter, utf8.RuneCountInString(text)
}

// runeAt returns where the character begins that the octet at a place of s is of.
func runeAt(s string, at int) int {
	for start := at; start >= 0 && at-start < utf8.UTFMax && at < len(s); start-- {
		if r, n := utf8.DecodeRuneInString(s[start:]); r != utf8.RuneError && start+n > at {
			return start
		}
	}
	return at
}

// excerptCells is cells but for tabs, which stay.
func excerptCells(s string) []string {
	all := cells(s)
	for i, cell := range all {
		if cell == `\t` { // a backslash is a cell of its own
			all[i] = "\t"
		}
	}
	return all
}

// fit returns the first of cells that take at most so many columns, and what stands
// for the others.
func fit(cells []string, most int) (first []string, rest string) {
	for i, cell := range cells {
		if most -= columns(cell); most < 0 {
			return cells[:i], "…"
		}
	}
	return cells, ""
}

// columns returns how many columns of a terminal cells take, a tab counting as one.
func columns(cells ...string) (n int) {
	for _, cell := range cells {
		for _, r := range cell {
			n += columnsOf(r)
		}
	}
	return n
}

func columnsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

func lastRunes(s string, n int) string {
	i := len(s)
	for ; i > 0 && n > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
	}
	return s[i:]
}

// brief returns s without its middle if it is longer than a message may be.
func brief(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage/2], "") + "…" + strings.ToValidUTF8(s[len(s)-maxMessage/2:], "")
}
