package header

import (
	"bytes"
	"strings"
)

// A Field is one header field: its name, its value, and where they stand. It
// refers to the octets that were scanned.
type Field struct {
	Start, End int // the whole field, its last CRLF included, counted from the start of the message

	raw   []byte
	name  int // raw[:name] is the name
	value int // raw[value:] is what follows the colon
}

// Raw returns the field as it was sent, its last CRLF included. Where the
// message ended inside the field there is none.
func (f Field) Raw() []byte { return f.raw }

// Name returns the name of the field, as it was sent, without the white space
// that may stand before the colon (RFC 5322, section 4.5.8).
func (f Field) Name() []byte { return f.raw[:f.name] }

// Is reports whether name is the name of the field; case does not matter.
func (f Field) Is(name string) bool { return len(name) == f.name && equalFold(f.Name(), name) }

// Value returns what follows the colon, folded as it was sent, without the CRLF
// that ends the field.
func (f Field) Value() []byte { return bytes.TrimSuffix(f.raw[f.value:], crlf) }

// Text returns the value on one line, without white space around it.
func (f Field) Text() string { return strings.Trim(Unfold(f.Value()), " \t") }

// Unfold returns value without the line ends in it; the white space that
// follows each stays (RFC 5322, section 2.2.3).
func Unfold(value []byte) string {
	if !bytes.Contains(value, crlf) {
		return string(value)
	}
	return strings.ReplaceAll(string(value), "\r\n", "")
}

// cutField returns the field that b begins with, and its length in octets: the
// line, which nameEnd has approved, and those that begin with white space after
// it. The length is 0 if b is not the whole message and the field may go on. A first
// line that begins with white space itself is a field without a name.
func cutField(b []byte, whole bool) (Field, int) {
	n := fieldEnd(b, whole)
	if n == 0 || isWSP(b[0]) {
		return Field{raw: b[:n:n]}, n
	}
	name := nameEnd(b[:n])
	return Field{raw: b[:n:n], name: name, value: name + bytes.IndexByte(b[name:n], ':') + 1}, n
}

// fieldEnd returns the length of the field that b begins with; 0 if it may go on
// behind b.
func fieldEnd(b []byte, whole bool) int {
	for n := 0; ; {
		i := bytes.Index(b[n:], crlf)
		if i < 0 && !whole {
			return 0
		}
		if i < 0 {
			return len(b)
		}
		n += i + len(crlf)
		if n == len(b) && !whole {
			return 0
		}
		if n == len(b) || !isWSP(b[n]) {
			return n
		}
	}
}

// nameEnd returns the length of the field name that line begins with, or -1 if
// it does not begin with a name and a colon. The white space between the two is
// obsolete, and has to be understood (RFC 5322, section 4.5).
func nameEnd(line []byte) int {
	n := 0
	for n < len(line) && isFtext(line[n]) {
		n++
	}
	after := n
	for after < len(line) && isWSP(line[after]) {
		after++
	}
	if n == 0 || after == len(line) || line[after] != ':' {
		return -1
	}
	return n
}

// isFtext reports whether c may stand in a field name (RFC 5322, section 3.6.8).
func isFtext(c byte) bool { return '!' <= c && c <= '~' && c != ':' }

// equalFold reports whether a and b are equal but for the case of ASCII
// letters. Their lengths are equal.
func equalFold(a []byte, b string) bool {
	for i, c := range a {
		if lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
