package smtp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"postern/mail"
)

func TestRFC3030_2_ChunkSize(t *testing.T) {
	tests := []struct {
		arg  string
		size int64
		last bool
		err  error
	}{
		{"0", 0, false, nil},
		{"0 LAST", 0, true, nil},
		{"1000", 1000, false, nil},
		{"1000 last", 1000, true, nil},
		{"1000  LAST", 1000, true, nil},
		{"00000000000000001000", 1000, false, nil},
		{"9223372036854775807", 1<<63 - 1, false, nil},
		{"9223372036854775808", -1, false, mail.FarTooBig},
		{"99999999999999999999", -1, false, mail.FarTooBig},
		{"", 0, false, mail.BadArgument},
		{"-1", -1, false, mail.BadChunk},
		{"+1", -1, false, mail.BadChunk},
		{"0x10", -1, false, mail.BadChunk},
		{"1k", -1, false, mail.BadChunk},
		{"1.5", -1, false, mail.BadChunk},
		{"LAST", -1, false, mail.BadChunk},
		{"1LAST", -1, false, mail.BadChunk},
		// The size can be read, so the dialogue can stay in step.
		{"10 FIRST", 10, false, mail.BadArgument},
		{"10 LAST LAST", 10, false, mail.BadArgument},
		{"10 LA\u017fT", 10, false, mail.BadArgument},
		{"10\rLAST", -1, false, mail.BadChunk},
		{"10\u00a0LAST", -1, false, mail.BadChunk},
	}
	for _, tt := range tests {
		size, last, err := ParseChunk(tt.arg)
		if size != tt.size || last != tt.last || err != tt.err {
			t.Errorf("%q: %d, %v, %v", tt.arg, size, last, err)
		}
	}
}

// A chunk is its octets, whatever they look like, and not one more.
func TestRFC3030_2_Chunk(t *testing.T) {
	for _, text := range []string{"", "a", "a\r\n.\r\nQUIT\r\n", ".\r\n", "\x00\xff\r", strings.Repeat("x", 3*bufferSize)} {
		in := text + "BDAT 0 LAST\r\n"
		for _, cuts := range [][]int{nil, cutEvery(in, 1+len(in)/500), {len(text)}, {len(text) - 1}, {len(text) + 1}} {
			w := newWire(in, cuts...)
			c := NewConn(w)
			var b bytes.Buffer
			if err := c.ReadChunk(&b, int64(len(text)), 1<<20); err != nil || b.String() != text || w.left(c) != "BDAT 0 LAST\r\n" {
				t.Errorf("%.40q cut at %.20v: %.40q, rest %q, %v", text, cuts, b.String(), w.left(c), err)
			}
		}
	}
}

// RFC 3030, section 2: the octets of a chunk that is refused are no commands.
func TestRFC3030_2_RefusedChunkIsConsumed(t *testing.T) {
	full := errors.New("no space left on device")
	tests := []struct {
		name  string
		w     io.Writer
		limit int64
		err   error
	}{
		{"too large", io.Discard, 3, ErrTooBig},
		{"nothing allowed", io.Discard, 0, ErrTooBig},
		{"more than allowed before", io.Discard, -5, ErrTooBig},
		{"writer fails", &failing{after: 2, err: full}, 100, full},
	}
	for _, tt := range tests {
		w := newWire("QUIT\r\nNOOP\r\n", 1, 2, 3)
		c := NewConn(w)
		err := c.ReadChunk(tt.w, 6, tt.limit)
		if !errors.Is(err, tt.err) || ConnLost(err) || w.left(c) != "NOOP\r\n" {
			t.Errorf("%s: rest %q, %v", tt.name, w.left(c), err)
		}
	}
	if err := NewConn(newWire("abc")).ReadChunk(io.Discard, 4, 100); !ConnLost(err) || !errors.Is(err, io.EOF) {
		t.Errorf("cut off: %v", err)
	}
}

// A LineEnder does what ReadData does to bare LF, wherever the writes part.
func FuzzLineEnder(f *testing.F) {
	f.Add("a\nb\r\n\n\r", []byte{0, 1})
	f.Fuzz(func(t *testing.T, s string, sizes []byte) {
		for _, s := range []string{s, spell(s)} {
			crlf := strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
			var b bytes.Buffer
			l := LineEnder{W: &b}
			for _, p := range newWire(s, cutBy(s, sizes)...).in {
				if n, err := l.Write(p); n != len(p) || err != nil {
					t.Fatalf("%d, %v", n, err)
				}
			}
			if b.String() != crlf || l.Bare != (crlf != s) {
				t.Fatalf("%q became %q, bare: %v", s, b.String(), l.Bare)
			}
		}
	})
}

func TestLineEnderFails(t *testing.T) {
	full := errors.New("no space left on device")
	for after := range 6 {
		l := LineEnder{W: &failing{after: after, err: full}}
		if _, err := l.Write([]byte("a\nb\r\nc")); !errors.Is(err, full) {
			t.Errorf("after %d: %v", after, err)
		}
	}
}
