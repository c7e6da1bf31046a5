package dkim

import (
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"postern/internal/header"
	"postern/mail"
)

// A tape is a hash that keeps what it hashes.
type tape struct {
	hash.Hash
	text strings.Builder
}

func (t *tape) Write(p []byte) (int, error) {
	t.text.Write(p)
	return t.Hash.Write(p)
}

// canonicalBody returns what is hashed of a body that is written in pieces.
func canonicalBody(c Canon, body string, piece int, marks ...int64) (string, *bodyHash) {
	h := newBodyHash(c, marks)
	tape := &tape{Hash: sha256.New()}
	h.hash = tape
	for at := 0; at < len(body); at += piece {
		h.write([]byte(body[at:min(len(body), at+piece)]))
		h.write(nil) // a piece may be empty
	}
	h.finish()
	return tape.text.String(), h
}

func TestCanonicalBody(t *testing.T) {
	tests := []struct{ in, simple, relaxed string }{
		{"", "\r\n", ""},
		{"\r\n", "\r\n", ""},
		{"\r\n\r\n\r\n", "\r\n", ""},
		{"a", "a\r\n", "a\r\n"},
		{"a\r\n", "a\r\n", "a\r\n"},
		{"a\r\n\r\n\r\n", "a\r\n", "a\r\n"},
		{"\r\n\r\na\r\n", "\r\n\r\na\r\n", "\r\n\r\na\r\n"},
		{"a \t\r\n", "a \t\r\n", "a\r\n"},
		{"a \t b\r\n", "a \t b\r\n", "a b\r\n"},
		{"\t a", "\t a\r\n", " a\r\n"},
		{" ", " \r\n", ""},
		{" \r\n", " \r\n", ""},
		{"a\r\n \r\n\t\r\n", "a\r\n \r\n\t\r\n", "a\r\n"},
		{"a\r\n \r\nb", "a\r\n \r\nb\r\n", "a\r\n\r\nb\r\n"},
		{"a\tb", "a\tb\r\n", "a b\r\n"},
		{"a\rb\nc\r\n", "a\rb\nc\r\n", "a\rb\nc\r\n"},
		{"a\r", "a\r\r\n", "a\r\r\n"},
		{"a\n", "a\n\r\n", "a\n\r\n"},
		{"\r", "\r\r\n", "\r\r\n"},
		{"a\r\r\n", "a\r\r\n", "a\r\r\n"},
		{"a\r\n\r", "a\r\n\r\r\n", "a\r\n\r\r\n"},
		{"a \r b", "a \r b\r\n", "a \r b\r\n"},
		{"a \r", "a \r\r\n", "a \r\r\n"},
		{"a \n b", "a \n b\r\n", "a \n b\r\n"},
		{"a\t\nb\r\n", "a\t\nb\r\n", "a \nb\r\n"},
		{"a\r\tb\r\n", "a\r\tb\r\n", "a\r b\r\n"},
		{"a\x00 \x0b\r\n", "a\x00 \x0b\r\n", "a\x00 \x0b\r\n"},
	}
	for _, tt := range tests {
		for piece := 1; piece < 5; piece++ {
			if got, _ := canonicalBody(Simple, tt.in, piece); got != tt.simple {
				t.Errorf("%q in pieces of %d: simple %q, want %q", tt.in, piece, got, tt.simple)
			}
			if got, _ := canonicalBody(Relaxed, tt.in, piece); got != tt.relaxed {
				t.Errorf("%q in pieces of %d: relaxed %q, want %q", tt.in, piece, got, tt.relaxed)
			}
		}
	}
}

// A long body of long and short lines takes no more memory than a short one, and
// is hashed in order.
func TestCanonicalLongBody(t *testing.T) {
	words := []string{"word", " ", "  ", "\t", "\r\n", " \r\n", "\r\n\r\n", "\r", "\n", strings.Repeat("x", 3000), strings.Repeat("y z ", 500)}
	random := rand.New(rand.NewPCG(1, 2))
	var body strings.Builder
	for body.Len() < 1<<18 {
		body.WriteString(words[random.IntN(len(words))])
	}
	for _, c := range []Canon{Simple, Relaxed} {
		want := modelBody(c, body.String())
		for _, piece := range []int{7, 1000, 1 << 15, 1 << 20} {
			got, h := canonicalBody(c, body.String(), piece)
			if got != want || cap(h.buf) != 4<<10 {
				t.Errorf("%s, in pieces of %d: wrong: %v; buffer of %d octets", c, piece, got != want, cap(h.buf))
			}
		}
	}
}

// Whatever the body and the pieces, the canonical forms are those of the model,
// and the hash at a length is that of so much of it.
func FuzzCanonicalBody(f *testing.F) {
	f.Add("a  b\r\n\r\n \t\r\nc\r\n\r\n", uint(3), uint(4))
	f.Add("\r\r\n\n \r\n", uint(1), uint(0))
	f.Add(strings.Repeat("long line ", 500)+" \r\n"+strings.Repeat("\r\n", 300)+"x", uint(4096), uint(5001))
	f.Fuzz(func(t *testing.T, body string, piece, mark uint) {
		for _, c := range []Canon{Simple, Relaxed} {
			want := modelBody(c, body)
			n := int64(mark % uint(len(body)+10))
			got, h := canonicalBody(c, body, int(piece%uint(len(body)+1))+1, n, n, 1<<62)
			if got != want {
				t.Fatalf("%q in pieces of %d: %s %q, want %q", body, piece, c, got, want)
			}
			s, ok := h.sums[n]
			if ok != (n <= int64(len(want))) || ok && s != sha256.Sum256([]byte(want[:n])) {
				t.Fatalf("%q: %s hash of %d octets: %v", body, c, n, ok)
			}
		}
	})
}

// Hashes that were asked for are known, also when others were known before, and
// a length beyond the body is known not to exist.
func TestHashBody(t *testing.T) {
	const body = "a  b\r\n\r\n"
	src := &countingSource{Octets: mail.Octets("A: b\r\n\r\n" + body)}
	m := NewMessage(src, header.Scan(src.Octets, header.Limits{}))
	ask := func(passes int, parts ...part) {
		t.Helper()
		if err := m.hashBody(parts...); err != nil {
			t.Fatal(err)
		}
		if src.passes != passes {
			t.Errorf("%v: %d passes, want %d", parts, src.passes, passes)
		}
		for _, p := range parts {
			canonical := modelBody(p.canon, body)
			length := p.length
			if length == allOfIt {
				length = int64(len(canonical))
			}
			got, left := m.bodySum(p)
			if left != int64(len(canonical))-length || left >= 0 && got != sha256.Sum256([]byte(canonical[:length])) {
				t.Errorf("%v: wrong hash, or %d octets left", p, left)
			}
		}
	}
	ask(0)
	ask(1, part{Relaxed, allOfIt}, part{Relaxed, 3}, part{Relaxed, 0}, part{Relaxed, 100})
	ask(1, part{Relaxed, 3}, part{Relaxed, 101})
	ask(2, part{Simple, 2}, part{Relaxed, 3})
	ask(3, part{Simple, 3}, part{Relaxed, 4})
	ask(3, part{Simple, allOfIt}, part{Simple, 2}, part{Relaxed, 0}, part{Relaxed, allOfIt})
}

type countingSource struct {
	mail.Octets
	passes int
}

func (s *countingSource) WriteRange(w io.Writer, r mail.Range) error {
	s.passes++
	return s.Octets.WriteRange(w, r)
}
