package selftest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	maxLine  = 64 << 10 // octets of a reply line that are read
	maxLines = 1000     // of one reply
	maxLog   = 1000     // lines of a dialogue that are kept
	maxSaid  = 20       // lines of what was sent in one go that are kept
)

// What can be heard instead of a reply.
var (
	errClosed    = errors.New("the connection was closed")
	errSilent    = errors.New("silence")
	errMalformed = errors.New("no reply at all")
)

// A wire is a connection to the server, with the dialogue so far.
type wire struct {
	nc      net.Conn
	r       *bufio.Reader
	reads   int // of the connection: a batch that was sent at once comes in one
	timeout time.Duration
	log     []string
	sending sync.WaitGroup
	stop    func() bool
}

func newWire(nc net.Conn, timeout time.Duration) *wire {
	w := &wire{timeout: timeout}
	w.use(nc)
	return w
}

func (w *wire) use(nc net.Conn) {
	w.nc = nc
	w.r = bufio.NewReaderSize(readerFunc(func(p []byte) (int, error) {
		w.reads++
		return w.nc.Read(p)
	}), maxLine)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// send sends octets, in one write. It does not wait for the server to take them:
// a server that answers before it has read all would never be heard. What cannot
// be sent shows when the reply is missing.
func (w *wire) send(octets string) {
	w.sending.Wait()
	w.note("C: ", octets)
	nc, timeout := w.nc, w.timeout
	w.sending.Go(func() {
		if err := nc.SetWriteDeadline(time.Now().Add(timeout)); err == nil {
			_, _ = io.WriteString(nc, octets)
		}
	})
}

// hear reads one reply, and waits no longer for it than limit.
func (w *wire) hear(limit time.Duration) Reply {
	// Of a connection that the server closed, what it said before still counts.
	if err := w.nc.SetReadDeadline(time.Now().Add(limit)); err != nil && w.r.Buffered() == 0 {
		return Reply{Err: errClosed}
	}
	var r Reply
	for len(r.raw) < maxLines {
		line, err := w.r.ReadSlice('\n')
		if len(line) > 0 {
			w.note("S: ", string(line))
		}
		if err != nil {
			r.Err = w.whyNot(err)
			return r
		}
		if last := r.add(string(line)); last || r.Err != nil {
			return r
		}
	}
	r.Err = errMalformed
	return r
}

// whyNot says in one of our words why nothing could be read.
func (w *wire) whyNot(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errSilent
	case errors.Is(err, bufio.ErrBufferFull):
		err = errMalformed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		err = errClosed
	}
	w.remark(err.Error())
	return err
}

// handshake continues under TLS, whoever the server is.
func (w *wire) handshake(config *tls.Config) error {
	if w.r.Buffered() > 0 {
		return errors.New("it spoke in the clear behind 220")
	}
	w.sending.Wait()
	if err := w.nc.SetDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	conn := tls.Client(w.nc, config)
	if err := conn.Handshake(); err != nil {
		w.remark("no TLS: " + err.Error())
		return err
	}
	w.use(conn)
	w.remark(tls.VersionName(conn.ConnectionState().Version))
	return nil
}

func (w *wire) close() {
	w.stop()
	_ = w.nc.Close()
	w.sending.Wait()
}

// note writes down what was said, line by line, but not the whole of a message.
func (w *wire) note(who, octets string) {
	n := 0
	for line := range strings.Lines(octets) {
		if n++; n <= maxSaid {
			w.keep(who + visible(line))
		}
	}
	if n > maxSaid {
		w.remark(fmt.Sprintf("and %d lines more, %d octets in all", n-maxSaid, len(octets)))
	}
}

// remark writes down what happened.
func (w *wire) remark(what string) { w.keep("-- " + what) }

func (w *wire) keep(line string) {
	switch {
	case len(w.log) < maxLog:
		w.log = append(w.log, line)
	case len(w.log) == maxLog:
		w.log = append(w.log, "-- and so on")
	}
}

// visible returns a line as it can be shown: without its CRLF, with a word for
// every octet that cannot be seen, and cut where it is long.
func visible(line string) string {
	const shown = 70
	octets := len(line)
	line, whole := strings.CutSuffix(line, "\r\n")
	var b strings.Builder
	for i := range len(line) {
		if b.Len() > shown {
			fmt.Fprintf(&b, "... (%d octets)", octets)
			return b.String()
		}
		switch c := line[i]; {
		case c == '\r':
			b.WriteString("<CR>")
		case c == '\n':
			b.WriteString("<LF>")
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "<%02X>", c)
		default:
			b.WriteByte(c)
		}
	}
	if !whole && !strings.HasSuffix(line, "\n") {
		b.WriteString(" (no line end)")
	}
	return b.String()
}
