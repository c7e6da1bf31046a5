package mailbox

import (
	"bytes"
	"io"
	"sync"
)

// A message up to maxBuffer octets is written by one write(2), a longer one in
// pieces of that size.
const (
	minBuffer = 16 << 10
	maxBuffer = 256 << 10
)

// A lineWriter stores the lines of a message, which end in CRLF on the wire,
// with the LF that files have. Each CRLF becomes LF and nothing else changes: of
// CR CR LF one CR stays, and a lone CR or LF stays as it is.
type lineWriter struct {
	w    io.Writer
	pool *sync.Pool // of *[]byte, grown to whatever they held
	buf  *[]byte    // nil after release
	held bool       // a CR at the end of the last Write, whose LF may come next
	last byte       // what buf followed when it was last emptied
	size int64      // octets stored, without those in buf
	bare int64      // LFs stored that follow no CR, which a reader counts as two octets
}

func newLineWriter(w io.Writer, pool *sync.Pool) lineWriter {
	buf, ok := pool.Get().(*[]byte)
	if !ok {
		b := make([]byte, 0, minBuffer)
		buf = &b
	}
	return lineWriter{w: w, pool: pool, buf: buf}
}

// Write takes a piece of a message. It may keep some of it until flush.
func (l *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	if n == 0 {
		return 0, nil
	}
	if l.held && p[0] != '\n' {
		if err := l.store([]byte{'\r'}); err != nil {
			return 0, err
		}
	}
	if l.held = p[n-1] == '\r'; l.held {
		p = p[:n-1]
	}
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		line := p[:i]
		p = p[i+1:]
		if i > 0 && line[i-1] == '\r' {
			line = line[:i-1]
		}
		if err := l.storeLine(line); err != nil {
			return 0, err
		}
	}
	if err := l.store(p); err != nil {
		return 0, err
	}
	return n, nil
}

// storeLine stores line and an LF.
func (l *lineWriter) storeLine(line []byte) error {
	if b := *l.buf; len(line) > 0 && len(b)+len(line) < cap(b) {
		// The short way, for nearly all lines.
		if line[len(line)-1] != '\r' {
			l.bare++
		}
		*l.buf = append(append(b, line...), '\n')
		return nil
	}
	if err := l.store(line); err != nil {
		return err
	}
	if l.lastByte() != '\r' {
		l.bare++
	}
	return l.store([]byte{'\n'})
}

func (l *lineWriter) lastByte() byte {
	if b := *l.buf; len(b) > 0 {
		return b[len(b)-1]
	}
	return l.last
}

// store puts p into the buffer, which grows up to maxBuffer and is then written.
func (l *lineWriter) store(p []byte) error {
	for len(p) > 0 {
		if len(*l.buf) == maxBuffer {
			if err := l.empty(); err != nil {
				return err
			}
		}
		b := *l.buf
		if len(b)+len(p) > cap(b) && cap(b) < maxBuffer {
			size := min(maxBuffer, max(2*cap(b), len(b)+len(p)))
			b = append(make([]byte, 0, size), b...)
		}
		n := min(len(p), cap(b)-len(b))
		*l.buf = append(b, p[:n]...)
		p = p[n:]
	}
	return nil
}

// empty writes the buffer.
func (l *lineWriter) empty() error {
	b := *l.buf
	if len(b) == 0 {
		return nil
	}
	if _, err := l.w.Write(b); err != nil {
		return err
	}
	l.last = b[len(b)-1]
	l.size += int64(len(b))
	*l.buf = b[:0]
	return nil
}

// flush writes what is left, after the last Write.
func (l *lineWriter) flush() error {
	if l.held {
		l.held = false
		if err := l.store([]byte{'\r'}); err != nil {
			return err
		}
	}
	return l.empty()
}

// release gives the buffer back. The lineWriter cannot be used any more.
func (l *lineWriter) release() {
	if l.buf == nil {
		return
	}
	*l.buf = (*l.buf)[:0]
	l.pool.Put(l.buf)
	l.buf = nil
}
