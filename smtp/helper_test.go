package smtp

import (
	"bytes"
	"io"
	"net"
	"time"
)

// A wire is a net.Conn whose peer said everything beforehand: each Read returns
// the next of in, or as much of it as there is room for. It keeps what was
// written, each Write apart.
type wire struct {
	in     [][]byte
	writes [][]byte
}

// newWire returns a wire that delivers s in pieces that end at cuts.
func newWire(s string, cuts ...int) *wire {
	w := new(wire)
	start := 0
	for _, cut := range append(cuts, len(s)) {
		if cut > start && cut <= len(s) {
			w.in = append(w.in, []byte(s[start:cut]))
			start = cut
		}
	}
	return w
}

// cutEvery returns the cuts that leave pieces of n octets of s.
func cutEvery(s string, n int) (cuts []int) {
	for i := n; i < len(s); i += n {
		cuts = append(cuts, i)
	}
	return cuts
}

// cutBy returns cuts of s whose distances are the octets of sizes, over and
// over; a long s is not cut into more pieces than a test has time for.
func cutBy(s string, sizes []byte) (cuts []int) {
	at := 0
	for i := 0; at < len(s); i++ {
		at += 1 + len(s)/300
		if len(sizes) > 0 {
			at += int(sizes[i%len(sizes)])
		}
		cuts = append(cuts, at)
	}
	return cuts
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, w.in[0])
	if w.in[0] = w.in[0][n:]; len(w.in[0]) == 0 {
		w.in = w.in[1:]
	}
	return n, nil
}

func (w *wire) Write(p []byte) (int, error) {
	w.writes = append(w.writes, bytes.Clone(p))
	return len(p), nil
}

// sent returns everything that was written.
func (w *wire) sent() string { return string(bytes.Join(w.writes, nil)) }

// left returns what c has not used yet of what its peer said.
func (w *wire) left(c *Conn) string {
	var b []byte
	if c.buf != nil {
		b = append(b, c.buf[c.r:c.w]...)
	}
	return string(append(b, bytes.Join(w.in, nil)...))
}

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
