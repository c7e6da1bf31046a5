package mailbox

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// A Format says how messages in an mbox are told apart. In all of them a line that begins with "From " begins a message.
type Format int

// The formats.
const (
	// Mboxrd puts ">" before each line that is "From " after any number of ">":
	// a reader can take it away again.
	Mboxrd Format = iota

	// Mboxo puts it before lines that begin with "From " only.
	Mboxo

	// Mboxcl2 changes no line of the body, and states its length in the field
	// Content-Length.
	Mboxcl2
)

// ParseFormat returns the format whose String is s.
func ParseFormat(s string) (Format, error) {
	for f := Mboxrd; f <= Mboxcl2; f++ {
		if f.String() == s {
			return f, nil
		}
	}
	return 0, fmt.Errorf("mailbox: no format of mboxes is called %q", s)
}

// String returns the name of f.
func (f Format) String() string {
	switch f {
	case Mboxrd:
		return "mboxrd"
	case Mboxo:
		return "mboxo"
	case Mboxcl2:
		return "mboxcl2"
	}
	return fmt.Sprintf("format %d", int(f))
}

// fromLine returns the line that begins a message (RFC 4155, appendix A). Its time is
// the local one, and not UTC as there: it has no zone, and what Dovecot, mutt and all
// that write mboxes take it for is local.
func fromLine(a Arrival) string {
	sender := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '_'
		}
		return r
	}, a.Sender)
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	return "From " + sender + " " + a.Time.Local().Format(time.ANSIC) + "\n"
}

// readersFields are the fields in which readers of an mbox keep what they know
// of a message. A sender could make a message look read, or move its end.
var readersFields = []string{
	"Status", "X-Status", "X-Keywords", "X-UID", "X-IMAP", "X-IMAPbase", "Content-Length",
}

// maxHead is how much of a line of the header is looked at: more than any of
// readersFields needs.
const maxHead = 32

// An mboxWriter takes a message with LF line ends, in any pieces, and writes it
// as an mbox has it, from the From line to the empty line at the end.
type mboxWriter struct {
	out    *bufio.Writer
	format Format
	size   int64 // octets written to out

	inHeader bool
	head     []byte // the beginning of a line of the header
	decided  bool   // what becomes of that line
	dropping bool   // it is left out, with its continuations

	from  fromQuoter
	last  byte  // the last octet written to out
	field int64 // where the value of Content-Length goes; 0: nowhere
	body  int64 // where the body begins
}

func newMboxWriter(w io.Writer, format Format, a Arrival) *mboxWriter {
	m := &mboxWriter{out: bufio.NewWriterSize(w, 64<<10), format: format, inHeader: true}
	m.put([]byte(fromLine(a)))
	return m
}

// put writes p as it is. The first error is kept by out, until the end.
func (m *mboxWriter) put(p []byte) {
	if len(p) == 0 {
		return
	}
	_, _ = m.out.Write(p)
	m.size += int64(len(p))
	m.last = p[len(p)-1]
}

// Write implements io.Writer.
func (m *mboxWriter) Write(p []byte) (int, error) {
	rest := p
	for m.inHeader && len(rest) > 0 {
		rest = m.header(rest)
	}
	m.text(rest)
	if _, err := m.out.Write(nil); err != nil { // which put met
		return 0, err
	}
	return len(p), nil
}

// text writes a piece of the message, with its From lines quoted. Mboxcl2 needs
// that in the header only.
func (m *mboxWriter) text(p []byte) {
	if m.format == Mboxcl2 && !m.inHeader {
		m.put(p)
		return
	}
	m.from.quote(p, m.format != Mboxo, m.put)
}

// header takes the piece of p that belongs to one line of the header, and
// returns the rest.
func (m *mboxWriter) header(p []byte) []byte {
	n := bytes.IndexByte(p, '\n') + 1
	ends := n > 0
	if !ends {
		n = len(p)
	}
	line, rest := p[:n], p[n:]
	if !m.decided {
		take := min(maxHead-len(m.head), len(line))
		m.head = append(m.head, line[:take]...)
		line = line[take:]
		if !ends && len(m.head) < maxHead {
			return rest
		}
		m.decide()
	}
	if !m.dropping {
		m.text(line)
	}
	if ends {
		m.decided = false
		m.head = m.head[:0]
	}
	return rest
}

// decide decides what becomes of a line that begins with head, and writes that.
func (m *mboxWriter) decide() {
	m.decided = true
	switch line := string(m.head); {
	case line == "\n" || line == "\r\n": // the latter is left of CR CR LF
		m.endHeader(m.head)
		return
	case m.head[0] == ' ' || m.head[0] == '\t': // it belongs to the line before
	default:
		m.dropping = isReadersField(readersName(m.head))
	}
	if !m.dropping {
		m.text(m.head)
	}
}

// readersName returns the name that a reader may see in a line that begins with head:
// there are those that let it end with NUL, or take it without a colon.
func readersName(head []byte) string {
	if i := bytes.IndexAny(head, ":\x00\r\n"); i >= 0 {
		head = head[:i]
	}
	return string(bytes.TrimRight(head, " \t"))
}

func isReadersField(name string) bool {
	for _, f := range readersFields {
		if strings.EqualFold(f, name) {
			return true
		}
	}
	return false
}

// endHeader writes the end of the header and line, the empty one after it.
func (m *mboxWriter) endHeader(line []byte) {
	if m.format == Mboxcl2 {
		m.put([]byte("Content-Length: "))
		m.field = m.size
		m.put([]byte(contentLength(0) + "\n"))
	}
	m.put(line)
	m.inHeader, m.dropping = false, false
	m.body = m.size
}

// contentLength returns the value of Content-Length, which always has the same length.
// The padding stands behind the number: Dovecot takes no more than one space before it.
func contentLength(n int64) string { return fmt.Sprintf("%-19d", n) }

// finish writes what is left, and the empty line after the message. It returns
// the value that Content-Length must get.
func (m *mboxWriter) finish() (length string, err error) {
	if len(m.head) > 0 && !m.decided {
		m.decide()
	}
	m.from.flush(m.put)
	if m.last != '\n' {
		m.put([]byte("\n"))
	}
	if m.inHeader && m.format == Mboxcl2 {
		m.endHeader([]byte("\n"))
	}
	length = contentLength(m.size - m.body)
	m.put([]byte("\n"))
	return length, m.out.Flush()
}

// A fromQuoter puts a ">" before lines that would begin a message. It does so
// between the ones that are there and the "From ", which comes to the same.
type fromQuoter struct {
	within bool // the line has begun in another way
	quoted bool // it began with ">"
	held   int  // how many octets of from have come, and were not put yet
}

const from = "From "

// quote puts p. Lines that have a ">" already are quoted only if again is set.
func (q *fromQuoter) quote(p []byte, again bool, put func([]byte)) {
	for len(p) > 0 {
		switch {
		case q.within:
			n := bytes.IndexByte(p, '\n') + 1
			if n == 0 {
				put(p)
				return
			}
			put(p[:n])
			p = p[n:]
			*q = fromQuoter{}
		case p[0] == '>' && q.held == 0:
			q.quoted = true
			put(p[:1])
			p = p[1:]
		case p[0] != from[q.held]:
			q.flush(put)
		default:
			p = p[1:]
			if q.held++; q.held < len(from) {
				continue
			}
			if again || !q.quoted {
				put([]byte(">"))
			}
			q.flush(put)
		}
	}
}

// flush puts what is held of a line that is no From line, or is quoted.
func (q *fromQuoter) flush(put func([]byte)) {
	put([]byte(from[:q.held]))
	q.held, q.within = 0, true
}
