package smtp

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"postern/mail"
)

// ParseChunk parses the argument of BDAT: chunk-size [ SP "LAST" ] (RFC 3030, section
// 2). If only the rest is wrong, it returns the size with the error. If there is no
// size, it returns 0, for nothing follows the command. If the size cannot be read, or is
// above every limit, it returns a negative one: then nobody knows where the next command
// begins, and the error is a reply that ends the session.
func ParseChunk(arg string) (size int64, last bool, err error) {
	words := strings.FieldsFunc(arg, isWSP)
	if len(words) == 0 {
		return 0, false, mail.BadArgument // no size, so nothing follows
	}
	size, err = Offer{}.parseSize(words[0])
	switch {
	case errors.Is(err, mail.TooBig):
		return -1, false, mail.FarTooBig
	case err != nil:
		return -1, false, mail.BadChunk
	case len(words) == 1:
		return size, false, nil
	case len(words) > 2 || upper(words[1]) != "LAST":
		return size, false, mail.BadArgument
	}
	return size, true, nil
}

// ReadChunk reads the n octets that follow a BDAT command and writes them to w,
// but no more than limit. If there are more, or if w fails, it reads them all the
// same, since they must not be taken for commands, and then returns ErrTooBig or
// the error of w. After any other error, of which ConnLost tells, the dialogue is
// over.
func (c *Conn) ReadChunk(w io.Writer, n, limit int64) error {
	sink := limitedSink{w: w, limit: limit}
	for n > 0 {
		if c.Buffered() == 0 {
			if err := c.fill(); err != nil {
				return &connError{err}
			}
		}
		octets := c.peek()
		octets = octets[:min(int64(len(octets)), n)]
		sink.write(octets)
		c.r += len(octets)
		n -= int64(len(octets))
	}
	return sink.err
}

// ChunkWriter returns a writer for the octets of a chunk, which follow the BDAT
// command. They are sent unchanged, together with what was gathered before.
func (c *Conn) ChunkWriter() io.Writer { return chunkWriter{c} }

type chunkWriter struct{ conn *Conn }

// Write implements io.Writer. Its errors are those of the connection.
func (w chunkWriter) Write(p []byte) (int, error) {
	if err := w.conn.gather(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// A LineEnder makes a CRLF of every LF without a CR before it, as ReadData does,
// in what is written through it.
type LineEnder struct {
	W    io.Writer
	Bare bool // there was one
	last byte
}

// Write implements io.Writer. It returns len(p) unless W fails.
func (l *LineEnder) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := l.span(rest)
		if n > 0 {
			if _, err := l.W.Write(rest[:n]); err != nil {
				return 0, err
			}
			l.last = rest[n-1]
		}
		if rest = rest[n:]; len(rest) > 0 { // a bare LF
			if _, err := l.W.Write(crlf); err != nil {
				return 0, err
			}
			l.Bare, l.last = true, '\n'
			rest = rest[1:]
		}
	}
	return len(p), nil
}

// span returns how many octets of p come before the first bare LF.
func (l *LineEnder) span(p []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			return len(p)
		}
		before := l.last
		if n+i > 0 {
			before = p[n+i-1]
		}
		if before != '\r' {
			return n + i
		}
		n += i + 1
	}
}
