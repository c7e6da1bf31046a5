package dkim

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"slices"
)

// A bodyHash hashes a body in canonical form, as it is written to it piece by
// piece, and says what the hash was after each of some lengths: signatures that
// differ in l= alone share it. It needs a fixed amount of memory, and time in
// proportion to what is written, whatever that is.
type bodyHash struct {
	canon  Canon
	buf    []byte // canonical octets on their way to hash
	hash   hash.Hash
	hashed int64   // canonical octets that hash has seen
	marks  []int64 // lengths to come, ascending
	sums   map[int64]sum

	// What was read and waits for what follows: only then is it known whether
	// it is the end of a line, or of the body.
	lines int64 // CRLFs; those at the end of the body are left out
	space bool  // white space, if relaxed; left out at the end of a line
	cr    bool  // a CR, which an LF may follow
}

// newBodyHash returns a bodyHash that notes the hashes after each of marks, which
// it keeps and sorts.
func newBodyHash(c Canon, marks []int64) *bodyHash {
	slices.Sort(marks)
	return &bodyHash{
		canon: c,
		hash:  sha256.New(),
		buf:   make([]byte, 0, 4<<10),
		marks: slices.Compact(marks),
		sums:  make(map[int64]sum),
	}
}

// A sum is a SHA-256.
type sum [sha256.Size]byte

func (h *bodyHash) write(b []byte) {
	if h.canon == Relaxed {
		h.writeRelaxed(b)
	} else {
		h.writeSimple(b)
	}
}

// writeSimple passes on all but the line ends at the end of b (RFC 6376,
// section 3.4.3).
func (h *bodyHash) writeSimple(b []byte) {
	if h.cr && len(b) > 0 {
		if h.cr = false; b[0] == '\n' {
			h.lines++
			b = b[1:]
		} else {
			h.content(loneCR)
		}
	}
	end := len(b)
	endsInCR := end > 0 && b[end-1] == '\r'
	if endsInCR {
		end--
	}
	lines := int64(0)
	for ; end >= 2 && b[end-2] == '\r' && b[end-1] == '\n'; end -= 2 {
		lines++
	}
	if end > 0 {
		h.content(b[:end])
	}
	h.lines += lines
	h.cr = h.cr || endsInCR
}

var (
	loneCR = []byte("\r")
	loneLF = []byte("\n")
	space  = []byte(" ")

	manyLines = bytes.Repeat(crlf, 1<<10)
)

// writeRelaxed reduces each run of white space to a space, or at the end of a
// line to nothing (RFC 6376, section 3.4.4).
func (h *bodyHash) writeRelaxed(b []byte) {
	if !h.space && bytes.IndexByte(b, ' ') < 0 && bytes.IndexByte(b, '\t') < 0 {
		h.writeSimple(b) // as in attachments, which most of the mail consists of
		return
	}
	for i := 0; i < len(b); {
		if n := unchanged(b[i:]); n > 0 {
			if h.cr {
				h.cr = false
				h.content(loneCR)
			}
			h.content(b[i : i+n])
			i += n
			continue
		}
		h.step(b[i])
		i++
	}
}

// unchanged returns how many octets at the beginning of b the relaxed form
// takes as they are, whatever follows them: words, with one space or one line
// end between two of them. This is what most mail is made of.
func unchanged(b []byte) int {
	i := 0
	for i < len(b) {
		switch c := b[i]; {
		case c > ' ', c != ' ' && c != '\t' && c != '\r' && c != '\n':
			i++
		case i == 0:
			return 0
		case c == ' ' && i+1 < len(b) && b[i+1] > ' ':
			i += 2
		case c == '\r' && i+2 < len(b) && b[i+1] == '\n' && b[i+2] > ' ':
			i += 3
		default:
			return i
		}
	}
	return i
}

// step takes one octet that is white space or may be part of a line end.
func (h *bodyHash) step(c byte) {
	if h.cr && c == '\n' {
		h.cr, h.space = false, false
		h.lines++
		return
	}
	if h.cr {
		h.content(loneCR)
		h.cr = false
	}
	switch c {
	case ' ', '\t':
		h.space = true
	case '\r':
		h.cr = true
	default:
		h.content(loneLF)
	}
}

// content adds octets that are not at the end of the body, after those that
// waited for them.
func (h *bodyHash) content(b []byte) {
	for h.lines > 0 {
		n := min(h.lines, int64(len(manyLines)/len(crlf)))
		h.emit(manyLines[:n*int64(len(crlf))])
		h.lines -= n
	}
	if h.space {
		h.space = false
		h.emit(space)
	}
	h.emit(b)
}

// emit gathers small pieces, and hashes large ones where they are.
func (h *bodyHash) emit(b []byte) {
	if len(h.buf)+len(b) > cap(h.buf) {
		h.flush()
	}
	if len(b) > cap(h.buf)/4 {
		h.flush()
		h.take(b)
		return
	}
	h.buf = append(h.buf, b...)
}

func (h *bodyHash) flush() {
	h.take(h.buf)
	h.buf = h.buf[:0]
}

// take hashes b, and stops at each mark in it to note the sum.
func (h *bodyHash) take(b []byte) {
	for {
		n := len(b)
		if len(h.marks) > 0 {
			n = int(min(int64(n), h.marks[0]-h.hashed))
		}
		h.hash.Write(b[:n]) // never fails (hash.Hash)
		h.hashed += int64(n)
		b = b[n:]
		if len(h.marks) == 0 || h.marks[0] > h.hashed {
			return
		}
		h.sums[h.hashed] = sum(h.hash.Sum(nil))
		h.marks = h.marks[1:]
	}
}

// finish ends the body: its last line ends in CRLF, whether or not it did, and
// a body without any is one empty line if simple, and nothing if relaxed. It
// returns how long the canonical body is, and its hash; after it the sums at the
// marks up to there are known.
func (h *bodyHash) finish() (size int64, whole sum) {
	if h.cr {
		h.content(loneCR)
	}
	if h.hashed > 0 || len(h.buf) > 0 || h.canon == Simple {
		h.emit(crlf)
	}
	h.flush()
	return h.hashed, sum(h.hash.Sum(nil))
}
