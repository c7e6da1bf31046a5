package dkim

import (
	"fmt"
	"slices"

	"postern/internal/header"
	"postern/mail"
)

// A Message is a message under examination: its header, the hashes of its body,
// and the keys of those who signed it. Each hash is computed once and each key
// asked for once, however many signatures need it. It is not safe for use by
// several goroutines.
type Message struct {
	src    mail.Source
	header header.Header
	byName map[string][]int // indexes of the fields, from the top; built when first needed
	bodies map[Canon]*body
	keys   map[string]KeySet // what the DNS said, by name
}

// A body is what is known of the body in one canonical form.
type body struct {
	size  int64 // octets
	whole sum
	sums  map[int64]sum // of its beginnings, by their lengths
}

// NewMessage returns the message in src, whose header is h.
func NewMessage(src mail.Source, h header.Header) *Message {
	return &Message{src: src, header: h, bodies: make(map[Canon]*body), keys: make(map[string]KeySet)}
}

// Header returns the header of m.
func (m *Message) Header() header.Header { return m.header }

// A part is what a signature covers of a body: all of it in canonical form
// where length is allOfIt, or else so many octets from its beginning.
type part struct {
	canon  Canon
	length int64
}

// allOfIt is the length of a whole body.
const allOfIt = -1

// hashBody sees to it that the hashes of parts are known. Those that were not
// known before are computed in one pass over the body. The error is that of the
// Source.
func (m *Message) hashBody(parts ...part) error {
	marks := make(map[Canon][]int64)
	for _, p := range parts {
		if !m.knows(p) {
			marks[p.canon] = append(marks[p.canon], max(0, p.length))
		}
	}
	if len(marks) == 0 {
		return nil
	}
	var w bodyWriter
	for canon, marks := range marks {
		w = append(w, newBodyHash(canon, marks))
	}
	if err := m.src.WriteRange(w, mail.Range{Start: int64(m.header.Body), End: m.src.Size()}); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	for _, h := range w {
		b := m.bodies[h.canon]
		if b == nil {
			b = &body{sums: h.sums}
			m.bodies[h.canon] = b
		}
		b.size, b.whole = h.finish()
		for length, sum := range h.sums {
			b.sums[length] = sum
		}
	}
	return nil
}

// knows reports whether the hash of p is known, or known not to exist.
func (m *Message) knows(p part) bool {
	b := m.bodies[p.canon]
	if b == nil {
		return false
	}
	_, ok := b.sums[p.length]
	return ok || p.length == allOfIt || p.length > b.size
}

// bodySum returns the hash of p, which hashBody computed, and how many octets
// of the body p leaves out: less than none if p is longer than the body.
func (m *Message) bodySum(p part) (hash sum, left int64) {
	b := m.bodies[p.canon]
	if p.length == allOfIt {
		return b.whole, 0
	}
	return b.sums[p.length], b.size - p.length
}

// A bodyWriter hands a body to several hashes, in pieces that stay in the
// processor's cache from the first to the last of them.
type bodyWriter []*bodyHash

func (w bodyWriter) Write(p []byte) (int, error) {
	const piece = 32 << 10
	for at := 0; at < len(p); at += piece {
		for _, h := range w {
			h.write(p[at:min(len(p), at+piece)])
		}
	}
	return len(p), nil
}

// signed returns the fields that names, the h= of the signature in field self,
// stand for: of several fields of one name the last for the first mention, the
// one above it for the next, and so on; none where there are no more (RFC 6376,
// section 5.4.2). A signature does not cover itself. The names are in lower case.
func (m *Message) signed(names []string, self header.Field) []header.Field {
	m.index()
	used := make(map[string]int, len(names))
	fields := make([]header.Field, 0, len(names))
	for _, name := range names {
		indexes := m.byName[name]
		for used[name] < len(indexes) {
			used[name]++
			f := m.header.Fields[indexes[len(indexes)-used[name]]]
			if f.Start != self.Start {
				fields = append(fields, f)
				break
			}
		}
	}
	return fields
}

// followed returns a field that sig covers and that a line follows which is no field:
// there are readers that take such a line, which nobody has signed, for the rest of
// the field.
func (m *Message) followed(sig signature) (f header.Field, ok bool) {
	all := m.header.Fields
	nameless := slices.IndexFunc(all, func(f header.Field) bool { return len(f.Name()) == 0 })
	if nameless < 0 {
		return f, false
	}
	signed := m.signed(sig.names, sig.field)
	for i := max(nameless, 1); i < len(all); i++ {
		if before := all[i-1]; len(all[i].Name()) == 0 && slices.ContainsFunc(signed, func(f header.Field) bool { return f.Start == before.Start }) {
			return before, true
		}
	}
	return f, false
}

func (m *Message) index() {
	if m.byName != nil {
		return
	}
	m.byName = make(map[string][]int, len(m.header.Fields))
	var name []byte
	for i, f := range m.header.Fields {
		if len(f.Name()) == 0 {
			continue // a line that is no field, which an empty name in h= does not sign
		}
		name = appendRelaxed(name[:0], f.Name(), nil)
		key := name[:len(name)-1]
		m.byName[string(key)] = append(m.byName[string(key)], i)
	}
}
