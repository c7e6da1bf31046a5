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
// Nothing is parsed and written anew. At most one other body stands in the place
// of what was received. A Message is immutable, and the ones made from it share
// its octets.
type Message struct {
	trace string
	src   Source
	keep  []piece // ascending, disjoint
	body  Source  // nil, or what follows them
}

// A piece of a message is a range of its Source, which may be empty, and text
// that stands before it.
type piece struct {
	text string
	Range
}

// NewMessage returns the message that src holds.
func NewMessage(src Source) *Message {
	return &Message{src: src, keep: []piece{{Range: Range{0, src.Size()}}}}
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
	if len(ranges) == 0 {
		return m
	}
	n := *m
	n.keep = make([]piece, 0, len(m.keep)+len(ranges))
	for _, k := range m.keep {
		for len(ranges) > 0 && ranges[0].End <= k.Start {
			ranges = ranges[1:]
		}
		for _, cut := range ranges {
			if cut.Start >= k.End {
				break
			}
			n.add(piece{k.text, Range{k.Start, max(k.Start, cut.Start)}})
			k = piece{"", Range{min(k.End, max(k.Start, cut.End)), k.End}}
		}
		n.add(k)
	}
	return &n
}

// Insert returns m with text before the octet at offset at of the Source, or
// where that octet was.
func (m *Message) Insert(at int64, text string) *Message {
	n := *m
	n.keep = make([]piece, 0, len(m.keep)+2)
	for i, k := range m.keep {
		if k.Start < at && at < k.End {
			n.add(piece{k.text, Range{k.Start, at}})
			k = piece{"", Range{at, k.End}}
		}
		if k.Start >= at {
			n.add(piece{text, Range{at, at}})
			n.keep = append(n.keep, k)
			n.keep = append(n.keep, m.keep[i+1:]...)
			return &n
		}
		n.add(k)
	}
	n.add(piece{text, Range{at, at}})
	return &n
}

// ReplaceBody returns m with body in the place of the octets of the Source from
// start on, which are the body that was received.
func (m *Message) ReplaceBody(start int64, body Source) *Message {
	n := m.Cut([]Range{{start, m.src.Size()}})
	n.body = body
	return n
}

// add adds a piece, unless there is nothing to it.
func (m *Message) add(p piece) {
	if p.text != "" || p.Start < p.End {
		m.keep = append(m.keep, p)
	}
}

// Size returns the number of octets that WriteTo writes.
func (m *Message) Size() int64 {
	n := int64(len(m.trace))
	for _, k := range m.keep {
		n += int64(len(k.text)) + k.End - k.Start
	}
	if m.body != nil {
		n += m.body.Size()
	}
	return n
}

// Source returns the octets as they were received, without what was put on top
// or cut since: what signatures are verified against.
func (m *Message) Source() Source { return m.src }

// Trace returns the fields that were put on top.
func (m *Message) Trace() string { return m.trace }

// WriteTo writes the whole message to w. It implements io.WriterTo, but for the
// count that comes with an error, which leaves out the piece that failed.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	var written int64
	write := func(text string) error {
		if text == "" {
			return nil
		}
		n, err := io.WriteString(w, text)
		written += int64(n)
		return err
	}
	if err := write(m.trace); err != nil {
		return written, err
	}
	for _, k := range m.keep {
		if err := write(k.text); err != nil {
			return written, err
		}
		if k.Start == k.End {
			continue
		}
		if err := m.src.WriteRange(w, k.Range); err != nil {
			return written, err
		}
		written += k.End - k.Start
	}
	if m.body == nil {
		return written, nil
	}
	if err := m.body.WriteRange(w, Range{End: m.body.Size()}); err != nil {
		return written, err
	}
	return written + m.body.Size(), nil
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
