package smtp

import (
	"bytes"
	"errors"
	"math/big"
	"strings"
	"testing"
)

// plainChunk is ParseChunk, done by the book (RFC 3030, section 2): up to twenty
// digits, and LAST.
func plainChunk(arg string) (size *big.Int, last, ok bool) {
	words := strings.FieldsFunc(arg, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(words) == 0 || len(words) > 2 || len(words[0]) > 20 || strings.Trim(words[0], "0123456789") != "" {
		return nil, false, false
	}
	size, _ = new(big.Int).SetString(words[0], 10)
	if !size.IsInt64() || len(words) == 2 && !bytes.EqualFold([]byte(words[1]), []byte("LAST")) || strings.Contains(arg, "\u017f") {
		return nil, false, false
	}
	return size, len(words) == 2, true
}

// A chunk takes just the octets that BDAT names, in whatever pieces they come,
// and whether there is room for them or not; a size that cannot be read is told.
func FuzzChunk(f *testing.F) {
	f.Add("5", "hello", int64(10), []byte{0})
	f.Add("5 LAST", "hello", int64(3), []byte{2})
	f.Add("0 last", "", int64(0), []byte{})
	f.Add("00000000000000000003", "\r\n.\r\n", int64(9), []byte{0, 1})
	f.Add("99999999999999999999 LAST", "x", int64(9), []byte{})
	f.Add("9223372036854775808", "x", int64(9), []byte{})
	f.Add("+1 LAST", "x", int64(9), []byte{})
	f.Fuzz(func(t *testing.T, arg, octets string, limit int64, sizes []byte) {
		size, last, err := ParseChunk(arg)
		want, wantLast, ok := plainChunk(arg)
		if ok != (err == nil) || ok && (size != want.Int64() || last != wantLast) {
			t.Fatalf("BDAT %q is %d, %v, %v; by the book %v, %v, %v", arg, size, last, err, want, wantLast, ok)
		}
		if size < 0 {
			return
		}
		size %= int64(len(octets)) + 1
		const next = "BDAT 0 LAST\r\n"
		w := newWire(octets[:size]+next, cutBy(octets[:size]+next, sizes)...)
		c := NewConn(w)
		limit = max(0, limit%int64(len(octets)+2))
		var got bytes.Buffer
		err = c.ReadChunk(&got, size, limit)
		switch tooBig := errors.Is(err, ErrTooBig); {
		case tooBig != (size > limit) || err != nil && !tooBig:
			t.Fatalf("%d octets within %d: %v", size, limit, err)
		case err == nil && got.String() != octets[:size] || int64(got.Len()) > limit || !strings.HasPrefix(octets, got.String()):
			t.Fatalf("%q came out as %q", octets[:size], got.String())
		case w.left(c) != next:
			t.Fatalf("behind the chunk %q is left", w.left(c))
		}
	})
}
