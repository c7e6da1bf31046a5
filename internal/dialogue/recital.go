package dialogue

import (
	"io"
	"net"
	"strings"
	"time"
)

// A Recital is a connection on which the other side says all that it has to say
// without listening, and then ends. It is for tests whose octets come from a
// fuzzer: whoever serves it reads in the pieces that the test wants, and nothing
// waits for anybody. It has no deadlines.
type Recital struct {
	net.Conn // nil: what else is called is a mistake of the test

	Says   string          // what has not been read yet
	Pieces []byte          // a Read returns at most so many octets and one more, each in its turn; none: any number
	Peer   net.Addr        // the other side's address
	Heard  strings.Builder // all that was written

	reads int
}

// Read returns the next piece, or io.EOF after the last.
func (r *Recital) Read(p []byte) (int, error) {
	if r.Says == "" {
		return 0, io.EOF
	}
	n := len(r.Says)
	if len(r.Pieces) > 0 {
		n = min(n, 1+int(r.Pieces[r.reads%len(r.Pieces)]))
	}
	n = copy(p, r.Says[:n])
	r.Says = r.Says[n:]
	r.reads++
	return n, nil
}

// Write appends to what was Heard.
func (r *Recital) Write(p []byte) (int, error) { return r.Heard.Write(p) }

// RemoteAddr returns Peer.
func (r *Recital) RemoteAddr() net.Addr { return r.Peer }

// LocalAddr returns Peer, too: both sides are on one host.
func (r *Recital) LocalAddr() net.Addr { return r.Peer }

// Close does nothing.
func (r *Recital) Close() error { return nil }

// SetDeadline does nothing.
func (r *Recital) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (r *Recital) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (r *Recital) SetWriteDeadline(time.Time) error { return nil }
