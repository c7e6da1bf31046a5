package peer

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
)

// A Generator makes messages. The same seed and index always give the same
// message, so that what arrives is compared without keeping what was sent.
type Generator struct {
	Seed uint64

	// Min and Max bound the sizes in octets; small ones are more frequent, as
	// in life (every doubling is equally likely). The header alone has some
	// 300 octets, which no message goes below. Zero means 1 KiB and 64 KiB.
	Min, Max int

	// Plain leaves out what makes servers stumble: octets over 127, NUL, lines
	// longer than 998 octets, lines that begin with dots, and "From ".
	Plain bool
}

// A Message is a test message.
type Message struct {
	Index  int
	Octets []byte // header and body; every line ends with CRLF, and CR or LF are nowhere else
}

// idField carries the generator's seed and the index of a message.
const idField = "X-Peer-Message"

// Message makes message number i.
func (g Generator) Message(i int) Message {
	w := &writer{Rand: rand.New(rand.NewPCG(g.Seed, uint64(i)))}
	low, high := g.Min, g.Max
	if low == 0 {
		low = 1 << 10
	}
	if high == 0 {
		high = 64 << 10
	}
	size := int(float64(low) * math.Pow(float64(max(low, high))/float64(low), w.Float64()))
	w.Grow(size + 2)
	fmt.Fprintf(w, idField+": %d.%d\r\nFrom: Sender <sender@%s>\r\nTo: undisclosed-recipients:;\r\n"+
		"Subject: test message %d\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%d.%d@%s>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
		g.Seed, i, SenderDomain, i, g.Seed, i, SenderDomain)
	for w.Len() < size {
		w.line(size-w.Len()-2, g.Plain)
	}
	return Message{Index: i, Octets: w.Bytes()}
}

type writer struct {
	bytes.Buffer
	*rand.Rand
}

// line writes a line of at most limit octets beside its CRLF.
func (w *writer) line(limit int, plain bool) {
	limit = max(0, limit)
	kind := w.IntN(32)
	if plain {
		kind = 31
	}
	switch kind {
	case 0:
		w.text(dots, min(limit, 1+w.IntN(3))) // a dot alone, ".." and "..."
	case 1:
		w.text(dotted, min(limit, 1+w.IntN(200)))
	case 2:
		w.WriteString("From here"[:min(limit, 9)]) // what mbox quotes
	case 3:
		w.text(printable, min(limit, 900+w.IntN(5000))) // too long for RFC 5322
	case 4:
		w.text(low, min(limit, 1+w.IntN(200)))
	case 5, 6, 7:
		w.text(high, min(limit, 1+w.IntN(200)))
	case 8:
		w.text(white, min(limit, 1+w.IntN(20)))
	case 9, 10, 11:
	default:
		w.text(printable, min(limit, 1+w.IntN(78)))
	}
	w.WriteString("\r\n")
}

// text writes n octets from somewhere in the supply.
func (w *writer) text(supply func() []byte, n int) {
	s := supply()
	at := w.IntN(len(s) - n)
	w.Write(s[at : at+n])
}

// Supplies of random octets, of which lines are cut: to draw every octet of
// many megabytes takes long under the race detector. None has CR or LF.
var (
	dots      = supply(func(byte) byte { return '.' })
	dotted    = supply(func(b byte) byte { return "./"[b&1] })
	white     = supply(func(b byte) byte { return " \t"[b&1] })
	low       = supply(func(b byte) byte { return b & 0x83 }) // among them NUL
	high      = supply(func(b byte) byte { return b | 0x80 })
	printable = supply(func(b byte) byte { return '0' + b%('~'-'0'+1) }) // no dot among them
)

func supply(f func(byte) byte) func() []byte {
	return sync.OnceValue(func() []byte {
		s := make([]byte, 64<<10)
		_, _ = rand.NewChaCha8([32]byte{}).Read(s) // never fails
		for i, b := range s {
			s[i] = f(b)
		}
		return s
	})
}

// Identify tells which of the generator's messages was stored. It fails unless
// the message is there to the last octet, its line ends LF or CRLF, with
// nothing but header fields on top.
func (g Generator) Identify(stored []byte) (Message, error) {
	return g.identify(stored, func(sent []byte) []byte { return sent })
}

// IdentifyIMAP is Identify for what Dovecot's IMAP server hands out: IMAP
// cannot carry NUL, and Dovecot writes the octet 0x80 in its place.
func (g Generator) IdentifyIMAP(stored []byte) (Message, error) {
	return g.identify(stored, func(sent []byte) []byte {
		return bytes.ReplaceAll(sent, []byte{0}, []byte{0x80})
	})
}

func (g Generator) identify(stored []byte, carried func([]byte) []byte) (Message, error) {
	stored = toLF(stored)
	start := idStart(stored)
	var seed uint64
	var i int
	if start < 0 {
		return Message{}, fmt.Errorf("identify message of %d octets: it has no %s field", len(stored), idField)
	}
	if _, err := fmt.Sscanf(string(stored[start:min(len(stored), start+64)]), idField+": %d.%d\n", &seed, &i); err != nil {
		return Message{}, fmt.Errorf("identify message: %s: %w", idField, err)
	}
	if seed != g.Seed {
		return Message{}, fmt.Errorf("identify message %d: it is of seed %d", i, seed)
	}
	if err := checkFields(stored[:start]); err != nil {
		return Message{}, fmt.Errorf("identify message %d: %w", i, err)
	}
	msg := g.Message(i)
	if err := same(toLF(carried(msg.Octets)), stored[start:]); err != nil {
		return msg, fmt.Errorf("message %d is not as it was sent: %w", i, err)
	}
	return msg, nil
}

// idStart returns where in the header the idField begins, or -1.
func idStart(stored []byte) int {
	header := stored
	if end := bytes.Index(stored, []byte("\n\n")); end >= 0 {
		header = stored[:end+1]
	}
	if bytes.HasPrefix(header, []byte(idField+":")) {
		return 0
	}
	if i := bytes.Index(header, []byte("\n"+idField+":")); i >= 0 {
		return i + 1
	}
	return -1
}

// checkFields fails unless top is a list of header fields (RFC 5322, section
// 2.2).
func checkFields(top []byte) error {
	for line := range bytes.Lines(top) {
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("the line %q on top is no header field", line)
		}
	}
	return nil
}

// same fails at the first difference.
func same(want, got []byte) error {
	if bytes.Equal(want, got) {
		return nil
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Errorf("octet %d of %d differs: sent %q, got %q", i, len(want), around(want, i), around(got, i))
		}
	}
	if len(want) != len(got) {
		return fmt.Errorf("%d octets of %d", len(got), len(want))
	}
	return nil
}

func around(b []byte, i int) []byte { return b[max(0, i-20):min(len(b), i+20)] }

// toLF returns b with LF for each CRLF.
func toLF(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
