package smtp

import (
	"bytes"
	"errors"
	"io"
)

// ErrTooBig says that more octets came than were allowed. The data was read to
// its end nevertheless, and the connection is in step.
var ErrTooBig = errors.New("smtp: more data than allowed")

// Data tells what ReadData read.
type Data struct {
	Size         int64 // octets after dot-unstuffing, also those not written
	BareNewlines bool  // there were LF without CR
}

// ReadData reads message data up to CRLF "." CRLF (RFC 5321, section 4.1.1.4) and
// writes it to w, without the stuffed dots (section 4.5.2). A LF without a CR before it
// becomes CRLF; all else is written as it came. On the wire such a LF ends neither a
// line nor the data. But readers downstream may take it for a line end: so it is made
// one here, before anything is judged, signed or stored.
//
// It writes at most limit octets. If more come, or if w fails, it reads on to the end,
// so that the dialogue stays in step, and then returns ErrTooBig or the error of w. If
// the data is endless (IsEndless) or the connection fails, the dialogue is over, as
// ConnLost reports.
func (c *Conn) ReadData(w io.Writer, limit int64) (Data, error) {
	d := dataReader{conn: c, sink: limitedSink{w: w, limit: limit}, lineStart: true}
	for {
		end, err := d.step()
		switch {
		case err != nil:
			return d.data(), &connError{err}
		case end:
			return d.data(), d.sink.err
		case IsEndless(d.sink.n, limit):
			return d.data(), &connError{ErrEndless}
		}
		if err := c.fill(); err != nil {
			return d.data(), &connError{err}
		}
	}
}

// leastEndless is how many octets of a message are always read, however low the limit,
// so that the client is in step and hears why its message is not taken.
const leastEndless = 32 << 20

// IsEndless reports whether a message of size octets is so far above limit that it is
// not read to its end.
func IsEndless(size, limit int64) bool { return size > leastEndless && size/2 > limit }

// ConnLost reports whether err, from ReadData or ReadChunk, says that the end of the
// data was never seen: no further command can be read from the connection.
func ConnLost(err error) bool {
	var lost *connError
	return errors.As(err, &lost)
}

// A connError is an error of the connection, not of what is done with its data.
type connError struct{ err error }

func (e *connError) Error() string { return e.err.Error() }
func (e *connError) Unwrap() error { return e.err }

// A dataReader takes dot-stuffed lines out of the buffer of a Conn.
type dataReader struct {
	conn      *Conn
	sink      limitedSink
	lineStart bool // the last octets used were a CRLF, or none were used yet
	bare      bool
}

func (d *dataReader) data() Data { return Data{Size: d.sink.n, BareNewlines: d.bare} }

// step uses as much of the buffer as can be understood without more input, and reports
// whether the data has ended. It leaves what is not clear yet: "." or "." CR at the
// start of a line, or a CR.
func (d *dataReader) step() (end bool, err error) {
	c := d.conn
	if c.buf == nil {
		return false, nil
	}
	for c.r < c.w {
		b := c.buf[c.r:c.w]
		if d.lineStart && b[0] == '.' {
			switch {
			case len(b) == 1, len(b) == 2 && b[1] == '\r':
				return false, nil
			case len(b) > 2 && b[1] == '\r' && b[2] == '\n':
				c.r += 3
				return true, nil
			}
			c.r++ // the stuffed dot
			d.lineStart = false
			continue
		}
		n := d.lines(b)
		if n == 0 {
			return false, nil
		}
		c.r += n
	}
	return false, nil
}

// lines passes on whole lines from b, up to one that starts with a dot or ends
// in a bare LF, or to the end of b, and returns how many octets it used.
func (d *dataReader) lines(b []byte) int {
	used := 0
	for used < len(b) {
		i := bytes.IndexByte(b[used:], '\n')
		if i < 0 {
			rest := len(b)
			if b[rest-1] == '\r' {
				rest--
			}
			if rest > used {
				d.lineStart = false
			}
			used = rest
			break
		}
		lf := used + i
		if lf == 0 || b[lf-1] != '\r' {
			d.bare, d.lineStart = true, false
			d.sink.write(b[:lf])
			d.sink.write(crlf)
			return lf + 1
		}
		used = lf + 1
		d.lineStart = true
		if used < len(b) && b[used] == '.' {
			break
		}
	}
	d.sink.write(b[:used])
	return used
}

var crlf = []byte("\r\n")

// A limitedSink passes on at most limit octets, and counts them all.
type limitedSink struct {
	w     io.Writer
	limit int64
	n     int64
	err   error
}

func (s *limitedSink) write(p []byte) {
	s.n += int64(len(p))
	if s.err != nil || len(p) == 0 {
		return
	}
	if s.n > s.limit {
		s.err = ErrTooBig
		return
	}
	if _, err := s.w.Write(p); err != nil {
		s.err = err
	}
}

// A DataWriter writes message data to a peer: dots stuffed (RFC 5321, section
// 4.5.2), and every LF with a CR before it, since a peer that took a bare LF for
// a line end would see other lines, and another end, than we do.
type DataWriter struct {
	conn *Conn
	last byte // the last octet written; '\n' at the start
}

// DataWriter returns a writer for the data of one message.
func (c *Conn) DataWriter() *DataWriter { return &DataWriter{conn: c, last: '\n'} }

// Write implements io.Writer. Its errors are those of the connection.
func (d *DataWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if d.last == '\n' && rest[0] == '.' {
			d.conn.out = append(d.conn.out, '.')
		}
		n, bare := d.span(rest)
		if err := d.conn.gather(rest[:n]); err != nil {
			return len(p) - len(rest), err
		}
		if n > 0 {
			d.last = rest[n-1]
		}
		if rest = rest[n:]; bare {
			d.conn.out = append(d.conn.out, crlf...)
			d.last = '\n'
			rest = rest[1:]
		}
	}
	return len(p), nil
}

// span returns how many octets of p can be sent as they are: up to a bare LF, up to a
// dot that begins a line other than the first, or all. Bare says that a bare LF follows.
func (d *DataWriter) span(p []byte) (n int, bare bool) {
	for n < len(p) {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			return len(p), false
		}
		before := d.last
		if n+i > 0 {
			before = p[n+i-1]
		}
		if before != '\r' {
			return n + i, true
		}
		n += i + 1
		if n < len(p) && p[n] == '.' {
			return n, false
		}
	}
	return n, false
}

// End ends the data. A last line without an end gets one. The data is sent when
// the reply is waited for.
func (d *DataWriter) End() error {
	if d.last != '\n' {
		d.conn.out = append(d.conn.out, crlf...)
	}
	return d.conn.WriteLine(".")
}

// gather adds p to what was gathered. A long p is not copied, but sent at once.
func (c *Conn) gather(p []byte) error {
	if len(p) < flushSize/4 {
		c.out = append(c.out, p...)
		return c.flushIfFull()
	}
	return c.send(p)
}
