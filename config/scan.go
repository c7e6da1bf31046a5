package config

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A path names a key or a value of a TOML document: the keys that lead to it
// from the top, and the indexes of the arrays on the way. It is encoded so that
// no two paths look alike whatever their keys hold, and serves as a map key.
type path string

func (p path) key(name string) path { return path(appendKey([]byte(p), name)) }
func (p path) index(i int) path     { return path(appendIndex([]byte(p), i)) }

func appendKey(p []byte, name string) []byte {
	p = binary.AppendUvarint(append(p, 'k'), uint64(len(name)))
	return append(p, name...)
}

func appendIndex(p []byte, i int) []byte {
	return binary.AppendUvarint(append(p, 'i'), uint64(i))
}

// A spot says where something stands in a document, in octets from its start.
type spot struct {
	key   int  // where the key begins, or the element of an array
	value int  // where the value begins, and
	end   int  // where it ends; both are the key's for a table that has no braces
	named bool // the document names this key itself, and not only something below it
}

// scan calls visit for every key of the document, for the tables that it only
// implies, and for every element of an array: each after what is inside it, but
// for those whose headers begin them.
// The library that decodes says what a document means, but not where; scan says
// where, and relies on the library for the rest: of a document that does not
// decode it finds a part, and never reads beyond the end.
func scan(text string, visit func(p []byte, s spot)) {
	s := scanner{text: text, visit: visit, arrays: make(map[string]int)}
	for s.blank(); s.pos < len(s.text); s.blank() {
		ok := false
		if s.text[s.pos] == '[' {
			ok = s.header()
		} else {
			ok = s.pair()
		}
		if !ok {
			return
		}
	}
}

type scanner struct {
	text   string
	pos    int
	visit  func(p []byte, s spot)
	path   []byte         // of the table or array that pos is in
	arrays map[string]int // how many elements each array of tables has so far
}

// header reads "[a.b]" or "[[a.b]]" and makes it the current table.
func (s *scanner) header() bool {
	array := s.accept("[[")
	if !array {
		s.pos++
	}
	s.path = s.path[:0]
	for {
		s.space()
		at := s.pos
		name, ok := s.name()
		if !ok {
			return false
		}
		last := !s.dot()
		s.path = appendKey(s.path, name)
		s.visit(s.path, spot{at, at, at, last})
		n, isArray := s.arrays[string(s.path)]
		switch {
		case last && array:
			s.arrays[string(s.path)] = n + 1
			s.path = appendIndex(s.path, n)
			s.visit(s.path, spot{at, at, at, false})
			return s.accept("]]")
		case last:
			return s.accept("]")
		case isArray: // a table below it belongs to its newest element
			s.path = appendIndex(s.path, n-1)
		}
	}
}

// pair reads "a.b = value".
func (s *scanner) pair() bool {
	outer := len(s.path)
	for {
		s.space()
		at := s.pos
		name, ok := s.name()
		if !ok {
			return false
		}
		s.path = appendKey(s.path, name)
		if s.dot() {
			s.visit(s.path, spot{at, at, at, false})
			continue
		}
		if !s.accept("=") {
			return false
		}
		s.space()
		value := s.pos
		if !s.value() {
			return false
		}
		s.visit(s.path, spot{at, value, s.pos, true})
		s.path = s.path[:outer]
		return true
	}
}

// name reads one part of a key.
func (s *scanner) name() (string, bool) {
	at := s.pos
	if at == len(s.text) {
		return "", false
	}
	switch s.text[at] {
	case '\'':
		ok := s.quoted()
		return strings.Trim(s.text[at:s.pos], "'"), ok
	case '"':
		if !s.quoted() {
			return "", false
		}
		return unescape(s.text[at+1 : s.pos-1]), true
	}
	for s.pos < len(s.text) && isBare(s.text[s.pos]) {
		s.pos++
	}
	return s.text[at:s.pos], s.pos > at
}

func isBare(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// value moves behind the value that begins here.
func (s *scanner) value() bool {
	rest := s.text[s.pos:]
	switch {
	case strings.HasPrefix(rest, `"""`), strings.HasPrefix(rest, `'''`):
		return s.multiLine()
	case strings.HasPrefix(rest, `"`), strings.HasPrefix(rest, `'`):
		return s.quoted()
	case strings.HasPrefix(rest, "["):
		return s.array()
	case strings.HasPrefix(rest, "{"):
		return s.inlineTable()
	}
	n := strings.IndexAny(rest, ",]}#\r\n") // a number, a date, a truth value
	if n < 0 {
		n = len(rest)
	}
	n = len(strings.TrimRight(rest[:n], " \t"))
	s.pos += n
	return n > 0
}

func (s *scanner) array() bool {
	s.pos++
	outer := len(s.path)
	for i := 0; ; i++ {
		if s.blank(); s.accept("]") {
			return true
		}
		s.path = appendIndex(s.path, i)
		at := s.pos
		if !s.value() {
			return false
		}
		s.visit(s.path, spot{at, at, s.pos, false})
		s.path = s.path[:outer]
		s.blank()
		s.accept(",")
	}
}

func (s *scanner) inlineTable() bool {
	s.pos++
	for {
		if s.blank(); s.accept("}") {
			return true
		}
		if !s.pair() {
			return false
		}
		s.blank()
		s.accept(",")
	}
}

// quoted moves behind a string that stays on its line.
func (s *scanner) quoted() bool {
	quote := s.text[s.pos]
	for i := s.pos + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == quote:
			s.pos = i + 1
			return true
		case c == '\n':
			return false
		case c == '\\' && quote == '"':
			i++
		}
	}
	return false
}

// multiLine moves behind a string that began with three quotes. It ends with
// three; one or two more before them belong to the text.
func (s *scanner) multiLine() bool {
	quote := s.text[s.pos]
	for i := s.pos + 3; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '\\' && quote == '"':
			i++
		case c == quote:
			run := 1
			for run < 5 && i+run < len(s.text) && s.text[i+run] == quote {
				run++
			}
			if run >= 3 {
				s.pos = i + run
				return true
			}
			i += run - 1
		}
	}
	return false
}

// blank skips white space, line ends and comments.
func (s *scanner) blank() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		case '#':
			n := strings.IndexByte(s.text[s.pos:], '\n')
			if n < 0 {
				n = len(s.text) - s.pos
			}
			s.pos += n
		default:
			return
		}
	}
}

// space skips white space within a line.
func (s *scanner) space() {
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
}

// dot reports whether another part of the key follows.
func (s *scanner) dot() bool {
	s.space()
	return s.accept(".")
}

func (s *scanner) accept(what string) bool {
	if !strings.HasPrefix(s.text[s.pos:], what) {
		return false
	}
	s.pos += len(what)
	return true
}

// unescape returns the meaning of the inside of a basic string.
func unescape(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			return b.String() + s
		}
		b.WriteString(s[:i])
		c := s[i+1]
		s = s[i+2:]
		if digits := min(digitsAfter(c), len(s)); digits > 0 {
			r, _ := strconv.ParseUint(s[:digits], 16, 32)
			b.WriteRune(rune(r))
			s = s[digits:]
			continue
		}
		if n := strings.IndexByte("btnfre", c); n >= 0 {
			c = "\b\t\n\f\r\x1b"[n]
		}
		b.WriteByte(c)
	}
}

// digitsAfter returns how many hexadecimal digits follow a backslash and c.
func digitsAfter(c byte) int {
	switch c {
	case 'x':
		return 2
	case 'u':
		return 4
	case 'U':
		return 8
	}
	return 0
}

// lineAndColumn returns where the octet at offset i stands, both counted from
// one, columns in characters; and where its line begins.
func lineAndColumn(text string, i int) (line, column, start int) {
	i = min(i, len(text))
	start = strings.LastIndexByte(text[:i], '\n') + 1
	return strings.Count(text[:start], "\n") + 1, utf8.RuneCountInString(text[start:i]) + 1, start
}

// quote returns where the octet at offset i stands, and the excerpt of its line.
func quote(text string, i int) (line, column int, around string, caret int) {
	line, column, start := lineAndColumn(text, i)
	whole, _, _ := strings.Cut(text[start:], "\n")
	around, caret = excerpt(strings.TrimSuffix(whole, "\r"), i-start)
	return line, column, around, caret
}
