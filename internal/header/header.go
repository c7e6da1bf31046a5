// Package header finds the header fields of a message in its octets.
//
// It looks at octets and changes none: a signature covers the field as it was
// sent, with its case, its folding and its mistakes, and what is taken out of a
// message is taken out by its range. Whatever the octets are, there is a result;
// a message that no standard foresees has fewer fields, and says why they ended.
//
// Lines end in CRLF. A CR or LF alone is an octet like others.
package header

import (
	"bytes"
	"io"
	"iter"
	"slices"
)

// Limits bound what is looked at. A zero limit is replaced by its default.
type Limits struct {
	Octets int // of the header, the line that ends it included
	Fields int
}

// What a header may hold where Limits does not say: several times what is seen
// in mail, and little enough to be held in memory.
const (
	DefaultOctets = 256 << 10
	DefaultFields = 2000
)

// A Stop says why a header ended where it did.
type Stop int

// The stops. After TooLong and TooMany, more fields may follow those found, and
// it is not known where the body begins.
const (
	EmptyLine    Stop = iota // the line that separates header and body (RFC 5322, section 2.1)
	EndOfMessage             // the message ended: no empty line, no body
	NotAField                // a line that is neither a field nor its continuation, and no empty line after it
	FromLine                 // the first line of the message is that of an mbox, and no empty line after it
	TooLong                  // Limits.Octets exceeded
	TooMany                  // Limits.Fields exceeded
)

// String implements fmt.Stringer.
func (s Stop) String() string {
	texts := [...]string{
		EmptyLine:    "empty line",
		EndOfMessage: "end of message",
		NotAField:    "line is no header field",
		FromLine:     "first line is an mbox separator",
		TooLong:      "header too long",
		TooMany:      "too many header fields",
	}
	return texts[s]
}

// A Header is the header section of a message. Its fields are adjacent: the
// first begins at offset 0, each next where the one before ends, and the last
// ends at End. A line among them that is no field, and that most readers skip, or a
// first one that begins with white space, is one without a name: whoever judges the
// message or takes something out of it must see what those readers see.
type Header struct {
	Fields []Field
	End    int // where the last field ends
	Body   int // where the body begins: after the empty line if there is one, else at End
	Stop   Stop
}

// Exceeded reports whether the header was larger than its Limits.
func (h Header) Exceeded() bool { return h.Stop == TooLong || h.Stop == TooMany }

// Separator returns what must stand between a field that is put on top of the
// message and the message, if it does not begin with a field: else its first
// line would become part of ours, or its text part of the header.
func (h Header) Separator() string {
	switch {
	case len(h.Fields) > 0 && isWSP(h.Fields[0].raw[0]):
		return "X-Header-Begins-With-White-Space:\r\n"
	case (h.Stop == NotAField || h.Stop == FromLine) && h.End == 0:
		return "\r\n"
	}
	return ""
}

// All yields the fields of that name, in whatever case, from the top.
func (h Header) All(name string) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, f := range h.Fields {
			if f.Is(name) && !yield(f) {
				return
			}
		}
	}
}

// Count returns the number of fields of that name: of Received, the hops that a
// message has come (RFC 5321, section 6.3).
func (h Header) Count(name string) int {
	n := 0
	for range h.All(name) {
		n++
	}
	return n
}

// A Source holds a message; a mail.Source is one.
type Source interface {
	io.ReaderAt
	Size() int64
}

// Read finds the header of the message in src. It reads little more than the
// header. The error is that of the Source.
func Read(src Source, lim Limits) (Header, error) {
	lim = lim.orDefault()
	size := src.Size()
	most := min(size, int64(lim.Octets)+1) // one more octet tells whether the limit is exceeded
	var buf []byte
	for want := min(most, 4<<10); ; want = min(most, 4*want) {
		at := len(buf)
		buf = append(buf, make([]byte, int(want)-at)...)
		if n, err := src.ReadAt(buf[at:], int64(at)); n < len(buf)-at {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Header{}, err
		}
		if want == most {
			return scan(buf, lim, int64(len(buf)) == size), nil
		}
		if h := scan(buf, lim, false); h.Stop != TooLong {
			return h, nil
		}
	}
}

// Scan finds the header at the beginning of the message b. The fields refer to
// b, and change with it.
func Scan(b []byte, lim Limits) Header {
	lim = lim.orDefault()
	if len(b) > lim.Octets+1 {
		return scan(b[:lim.Octets+1], lim, false)
	}
	return scan(b, lim, true)
}

func (l Limits) orDefault() Limits {
	if l.Octets == 0 {
		l.Octets = DefaultOctets
	}
	if l.Fields == 0 {
		l.Fields = DefaultFields
	}
	return l
}

// scan finds the fields in b, which is the whole message if whole, and else
// its beginning: then what b ends in the middle of is TooLong.
func scan(b []byte, lim Limits, whole bool) Header {
	strict := scanFrom(b, Header{Fields: make([]Field, 0, min(lim.Fields, 32))}, lim, whole)
	if !strict.skippable() {
		return strict
	}
	// A line that is no field: the header is over for a strict reader. If an
	// empty line follows, most readers skip the line and go on to that one.
	if !hasEmptyLine(b[strict.End:]) {
		if !whole && len(b) <= lim.Octets {
			strict.Stop = TooLong // it may follow in what b lacks
		}
		return strict
	}
	if h := skipping(b, strict, lim, whole); h.Stop == EmptyLine {
		return h
	}
	return strict
}

// hasEmptyLine reports whether a line of b after its first is empty.
func hasEmptyLine(b []byte) bool {
	for {
		i := bytes.Index(b, crlf)
		if i < 0 {
			return false
		}
		b = b[i+len(crlf):]
		if line, _, complete := bytes.Cut(b, crlf); complete && isEmpty(line) {
			return true
		}
	}
}

// isEmpty reports whether a line, without its CRLF, is empty for readers. They
// take CRLF, or the LF that a file has for it, for the end of a line: of CR CR LF,
// which some software makes of CRLF, they see a CR too many at most.
func isEmpty(line []byte) bool { return len(bytes.Trim(line, "\r")) == 0 }

// maxSkipped is how many lines that are no fields are skipped. What has more of
// them is text.
const maxSkipped = 100

// skippable reports whether what ended h may be a line that somebody put among
// the fields, and not the text of a message without a header.
func (h Header) skippable() bool {
	return h.Stop == FromLine || h.Stop == NotAField && len(h.Fields) > 0
}

// skipping goes on behind the line that ended h. The lines that it skips are
// among the fields, without a name.
func skipping(b []byte, h Header, lim Limits, whole bool) Header {
	h.Fields = slices.Clip(h.Fields)
	for range maxSkipped {
		n := bytes.Index(b[h.End:], crlf) + len(crlf)
		h.Fields = append(h.Fields, Field{Start: h.End, End: h.End + n, raw: b[h.End : h.End+n]})
		h.End += n
		if h = scanFrom(b, h, lim, whole); h.Stop != NotAField {
			break
		}
	}
	return h
}

// scanFrom goes on where h ends, up to the first line that is no field.
func scanFrom(b []byte, h Header, lim Limits, whole bool) Header {
	for {
		rest := b[h.End:]
		if stop, separator, ended := ends(rest, h.End == 0, whole); ended {
			h.Stop, h.Body = stop, h.End+separator
			break
		}
		f, n := cutField(rest, whole)
		switch {
		case n == 0:
			h.Stop, h.Body = TooLong, h.End
		case len(h.Fields) >= lim.Fields:
			h.Stop, h.Body = TooMany, h.End
		default:
			f.Start, f.End = h.End, h.End+n
			h.Fields = append(h.Fields, f)
			h.End = f.End
			continue
		}
		break
	}
	if h.Body > lim.Octets {
		h.Stop = TooLong
	}
	return h
}

// ends reports whether the header ends before rest, why, and how many octets
// stand between header and body.
func ends(rest []byte, first, whole bool) (stop Stop, separator int, ended bool) {
	line, _, complete := bytes.Cut(rest, crlf)
	switch {
	case len(rest) == 0 && whole:
		return EndOfMessage, 0, true
	case !complete && !whole:
		return TooLong, 0, true
	case complete && isEmpty(line):
		return EmptyLine, len(line) + len(crlf), true
	case first && isWSP(rest[0]):
		return 0, 0, false // it continues nothing, and most readers go on behind it
	case first && bytes.HasPrefix(bytes.TrimLeft(rest, ">"), []byte("From ")) && nameEnd(line) < 0:
		return FromLine, 0, true
	case nameEnd(line) < 0:
		return NotAField, 0, true
	}
	return 0, 0, false
}

var crlf = []byte("\r\n")

func isWSP(c byte) bool { return c == ' ' || c == '\t' }
