package mail

import (
	"bytes"
	"io"
)

// A Source holds the octets of a message as they were received. It does not
// change while a Message refers to it.
type Source interface {
	io.ReaderAt
	// Size returns the number of octets.
	Size() int64
	// WriteRange writes the octets of r to w.
	WriteRange(w io.Writer, r Range) error
}

// A Range is a half-open range of octets, counted from the start of a Source.
type Range struct{ Start, End int64 }

// A Message is a header and a body on its way: trace fields that we put on top,
// and what we keep of the octets that were received, whose lines end in CRLF.
// Nothing is parsed and written anew. A Message is immutable, and the ones made
// from it share its octets.
type Message struct {
	trace string
	src   Source
	keep  []Range // ascending, disjoint
}

// NewMessage returns the message that src holds.
func NewMessage(src Source) *Message {
	return &Message{src: src, keep: []Range{{0, src.Size()}}}
}

// Prepend returns m with field, one or more whole header fields, each line
// ending in CRLF, on top.
func (m *Message) Prepend(field string) *Message {
	n := *m
	n.trace = field + m.trace
	return &n
}

// Cut returns m without the octets in ranges, which count from the start of
// the Source. They are ascending and disjoint.
func (m *Message) Cut(ranges []Range) *Message {
	n := *m
	n.keep = make([]Range, 0, len(m.keep)+len(ranges))
	for _, k := range m.keep {
		for len(ranges) > 0 && ranges[0].End <= k.Start {
			ranges = ranges[1:]
		}
		for _, cut := range ranges {
			if cut.Start >= k.End {
				break
			}
			n.keepRange(Range{k.Start, cut.Start})
			k.Start = max(k.Start, cut.End)
		}
		n.keepRange(k)
	}
	return &n
}

// keepRange adds r to what is kept, unless it is empty.
func (m *Message) keepRange(r Range) {
	if r.Start < r.End {
		m.keep = append(m.keep, r)
	}
}

// Size returns the number of octets that WriteTo writes.
func (m *Message) Size() int64 {
	n := int64(len(m.trace))
	for _, k := range m.keep {
		n += k.End - k.Start
	}
	return n
}

// Source returns the octets as they were received, without what was put on top
// or cut since: what signatures are verified against.
func (m *Message) Source() Source { return m.src }

// Trace returns the fields that were put on top.
func (m *Message) Trace() string { return m.trace }

// WriteTo writes the whole message to w. It implements io.WriterTo, but for the
// count that comes with an error, which leaves out the range that failed.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	if n, err := io.WriteString(w, m.trace); err != nil {
		return int64(n), err
	}
	written := int64(len(m.trace))
	for _, k := range m.keep {
		if err := m.src.WriteRange(w, k); err != nil {
			return written, err
		}
		written += k.End - k.Start
	}
	return written, nil
}

// Octets is a Source in memory.
type Octets []byte

// Size implements Source.
func (o Octets) Size() int64 { return int64(len(o)) }

// ReadAt implements io.ReaderAt.
func (o Octets) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(o).ReadAt(p, off)
}

// WriteRange implements Source.
func (o Octets) WriteRange(w io.Writer, r Range) error {
	_, err := w.Write(o[r.Start:r.End])
	return err
}
