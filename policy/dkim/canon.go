package dkim

import (
	"bytes"

	"postern/internal/header"
)

// A Canon is a canonicalization algorithm (RFC 6376, section 3.4).
type Canon string

// The algorithms.
const (
	Simple  Canon = "simple"
	Relaxed Canon = "relaxed"
)

func (c Canon) valid() bool { return c == Simple || c == Relaxed }

var crlf = []byte("\r\n")

// AppendField appends a header field to dst in canonical form, with CRLF at its
// end (RFC 6376, sections 3.4.1 and 3.4.2).
func (c Canon) AppendField(dst []byte, f header.Field) []byte {
	if c == Relaxed {
		return append(appendRelaxed(dst, f.Name(), f.Value()), crlf...)
	}
	return append(append(dst, bytes.TrimSuffix(f.Raw(), crlf)...), crlf...)
}

// AppendUnsigned appends to dst what the signature in f was made over last: f
// itself in canonical form, with the value of its tag b= taken out, and without
// the CRLF at its end (section 3.7). The tags are those of f.
func (c Canon) AppendUnsigned(dst []byte, f header.Field, tags Tags) []byte {
	value := tags.Without("b")
	if c == Relaxed {
		return appendRelaxed(dst, f.Name(), []byte(value))
	}
	before := bytes.TrimSuffix(f.Raw(), crlf)
	before = before[:len(before)-len(f.Value())]
	return append(append(dst, before...), value...)
}

// appendRelaxed appends a field without CRLF: the name in lower case, the value
// unfolded, each run of white space in it one space, none around it.
func appendRelaxed(dst, name, value []byte) []byte {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	dst = append(dst, ':')
	space, start := false, len(dst)
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == ' ' || c == '\t':
			space = len(dst) > start
		case c == '\r' && i+1 < len(value) && value[i+1] == '\n':
			i++ // unfolded; the white space that follows counts
		default:
			if space {
				dst = append(dst, ' ')
			}
			space = false
			dst = append(dst, c)
		}
	}
	return dst
}
