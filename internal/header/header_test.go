package header

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestScan(t *testing.T) {
	tests := []struct {
		name   string
		in     string
		fields []string // "name|value"
		stop   Stop
		body   string
	}{
		{"ordinary", "From: a\r\nTo: b\r\n\r\nhi\r\n", []string{"From| a", "To| b"}, EmptyLine, "hi\r\n"},
		{"folded", "Subject: a\r\n b\r\n\tc\r\n\r\n", []string{"Subject| a\r\n b\r\n\tc"}, EmptyLine, ""},
		{"folded over a blank line", "A: b\r\n \r\n c\r\nD:\r\n\r\n", []string{"A| b\r\n \r\n c", "D|"}, EmptyLine, ""},
		{"white space before the colon", "A \t: b\r\n\r\n", []string{"A| b"}, EmptyLine, ""},
		{"no body", "A: b\r\n", []string{"A| b"}, EndOfMessage, ""},
		{"ends in a field", "A: b", []string{"A| b"}, EndOfMessage, ""},
		{"ends in a CR", "A: b\r", []string{"A| b\r"}, EndOfMessage, ""},
		{"lone LF is no line end", "A: b\nC: d\r\n\r\n", []string{"A| b\nC: d"}, EmptyLine, ""},
		{"lone CR is no line end", "A: b\rC: d\r\n\r\n", []string{"A| b\rC: d"}, EmptyLine, ""},
		{"empty", "", nil, EndOfMessage, ""},
		{"CR CR LF ends a header too", "A: b\r\r\nC: d\r\r\n\r\r\nhi\r\n", []string{"A| b\r", "C| d\r"}, EmptyLine, "hi\r\n"},
		{"and what stands behind is text", "A: b\r\n\r\r\nC: d\r\n\r\nhi\r\n", []string{"A| b"}, EmptyLine, "C: d\r\n\r\nhi\r\n"},
		{"garbage, and then CR CR LF", "A: b\r\nhello\r\nC: d\r\n\r\r\nhi\r\n", []string{"A| b", "|hello", "C| d"}, EmptyLine, "hi\r\n"},
		{"empty header", "\r\nA: b\r\n", nil, EmptyLine, "A: b\r\n"},
		{"first line a continuation", " x\r\n\ty\r\nA: b\r\n\r\nhi\r\n", []string{"| x\r\n\ty", "A| b"}, EmptyLine, "hi\r\n"},
		{"first line white space", " \r\nA: b\r\n", []string{"| ", "A| b"}, EndOfMessage, ""},
		{"white space, then text", " x\r\nhello\r\n", []string{"| x"}, NotAField, "hello\r\n"},
		{"mbox", "From ann@example.org\r\nA: b\r\n\r\n", []string{"|From ann@example.org", "A| b"}, EmptyLine, ""},
		{"mbox without a body", "From ann@example.org\r\nA: b\r\n", nil, FromLine, "From ann@example.org\r\nA: b\r\n"},
		{"From with a space is a field", "From : ann\r\n\r\n", []string{"From| ann"}, EmptyLine, ""},
		{"mbox separator below", "A: b\r\nFrom ann\r\n\r\n", []string{"A| b", "|From ann"}, EmptyLine, ""},
		{"lines that are no fields", "A: b\r\nx\r\n y\r\nC: d\r\n\r\nx\r\n", []string{"A| b", "|x", "| y", "C| d"}, EmptyLine, "x\r\n"},
		{"text instead of an empty line", "A: b\r\n" + strings.Repeat("x\r\n", 101) + "\r\n", []string{"A| b"}, NotAField, strings.Repeat("x\r\n", 101) + "\r\n"},
		{"body without an empty line", "A: b\r\nhello there\r\n", []string{"A| b"}, NotAField, "hello there\r\n"},
		{"no name", "A: b\r\n: c\r\n\r\n", []string{"A| b", "|: c"}, EmptyLine, ""},
		{"space in the name", "A B: c\r\n\r\n", nil, NotAField, "A B: c\r\n\r\n"},
		{"8 bit in the name", "A\xe9: c\r\n\r\n", nil, NotAField, "A\xe9: c\r\n\r\n"},
		{"NUL in the name", "A\x00: c\r\n\r\n", nil, NotAField, "A\x00: c\r\n\r\n"},
		{"colon in the next line", "A\r\n : c\r\n\r\n", nil, NotAField, "A\r\n : c\r\n\r\n"},
		{"strange but a name", "!#~: c\r\n\r\n", []string{"!#~| c"}, EmptyLine, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := Scan([]byte(tt.in), Limits{})
			var got []string
			for _, f := range h.Fields {
				got = append(got, string(f.Name())+"|"+string(f.Value()))
			}
			if strings.Join(got, "\n") != strings.Join(tt.fields, "\n") {
				t.Errorf("fields %q, want %q", got, tt.fields)
			}
			if h.Stop != tt.stop || tt.in[h.Body:] != tt.body {
				t.Errorf("stop %v, body %q; want %v, %q", h.Stop, tt.in[h.Body:], tt.stop, tt.body)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	const msg = "A: 1\r\nB: 2\r\nC: 3\r\n\r\nbody"
	tests := []struct {
		lim    Limits
		fields int
		stop   Stop
	}{
		{Limits{}, 3, EmptyLine},
		{Limits{Octets: 20, Fields: 3}, 3, EmptyLine},
		{Limits{Octets: 19}, 3, TooLong},
		{Limits{Octets: 17}, 2, TooLong},
		{Limits{Octets: 1}, 0, TooLong},
		{Limits{Fields: 2}, 2, TooMany},
	}
	for _, tt := range tests {
		for what, h := range map[string]Header{"scan": Scan([]byte(msg), tt.lim), "read": mustRead(t, msg, tt.lim)} {
			if len(h.Fields) != tt.fields || h.Stop != tt.stop {
				t.Errorf("%s %+v: %d fields, %v; want %d, %v", what, tt.lim, len(h.Fields), h.Stop, tt.fields, tt.stop)
			}
			if h.Exceeded() != (tt.stop == TooLong || tt.stop == TooMany) {
				t.Errorf("%s %+v: exceeded %v", what, tt.lim, h.Exceeded())
			}
		}
	}
}

func mustRead(t *testing.T, msg string, lim Limits) Header {
	t.Helper()
	h, err := Read(strings.NewReader(msg), lim)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A header that does not fit the first piece that Read takes is found in the
// next, wherever the piece ends: also within a CRLF, and before white space.
func TestReadInPieces(t *testing.T) {
	for size := 4000; size < 4200; size++ {
		msg := "A: " + strings.Repeat("x", size) + "\r\n folded\r\nB: c\r\n\r\nbody " + strings.Repeat("y", 1<<16)
		got, want := mustRead(t, msg, Limits{}), Scan([]byte(msg), Limits{})
		if got.Body != want.Body || got.Stop != EmptyLine || len(got.Fields) != 2 || got.Fields[0].End != want.Fields[0].End {
			t.Fatalf("size %d: %+v, want %+v", size, got, want)
		}
	}
}

type shortSource struct{ *strings.Reader }

func (s shortSource) Size() int64 { return s.Reader.Size() + 1 }

func TestReadError(t *testing.T) {
	if _, err := Read(shortSource{strings.NewReader("A: b\r\n")}, Limits{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short source: %v", err)
	}
}

func TestFind(t *testing.T) {
	h := Scan([]byte("Received: 1\r\nX: y\r\nRECEIVED:\r\n 2\r\nreceived-spf: no\r\n\r\n"), Limits{})
	var got []string
	for f := range h.All("received") {
		got = append(got, f.Text())
	}
	if strings.Join(got, ",") != "1,2" || h.Count("Received") != 2 || h.Count("Date") != 0 {
		t.Errorf("%q, %d, %d", got, h.Count("Received"), h.Count("Date"))
	}
}

func TestUnfold(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "",
		" a":                " a",
		" a\r\n b\r\n\tc":   " a b\tc",
		" a\n b\r c":        " a\n b\r c",
		" a\r\n \r\n b\r\n": " a  b",
	} {
		if got := Unfold([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Whatever the octets, the fields stand one after the other and cover the
// header exactly; and reading in pieces finds the same.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		"A: b\r\n\r\nbody", "A: b\r\n c\r\nD : e\r\n", " x", "From ann\r\n", "A:\r\n\r\n", "\r\n", "A: b\r\nnone", "A:\r", "A: b\n\r\n",
	} {
		f.Add([]byte(s), 100, 10)
	}
	f.Add([]byte("A: b\r\nC: d\r\n\r\n"), 5, 1)
	f.Fuzz(func(t *testing.T, msg []byte, octets, fields int) {
		lim := Limits{Octets: max(0, octets%(1<<16)), Fields: max(0, fields%1000)}
		h := Scan(msg, lim)
		at := 0
		for _, f := range h.Fields {
			if f.Start != at || f.End <= f.Start || !bytes.Equal(f.Raw(), msg[f.Start:f.End]) {
				t.Fatalf("field %+v at %d", f, at)
			}
			checkField(t, f)
			at = f.End
		}
		if at != h.End || h.Body < h.End || h.Body > len(msg) {
			t.Fatalf("header ends at %d: %+v", at, h)
		}
		if sep := msg[h.End:h.Body]; (h.Stop == EmptyLine) != (bytes.HasSuffix(sep, crlf) && isEmpty(sep[:len(sep)-2])) && !h.Exceeded() {
			t.Fatalf("%v, but %q stands between header and body", h.Stop, sep)
		}
		r, err := Read(bytes.NewReader(msg), lim)
		if err != nil || r.Stop != h.Stop || r.End != h.End || r.Body != h.Body || len(r.Fields) != len(h.Fields) {
			t.Fatalf("read %+v, %v; scanned %+v", r, err, h)
		}
	})
}

func checkField(t *testing.T, f Field) {
	t.Helper()
	name, value := f.Name(), f.Value()
	if len(name) == 0 && f.Start == 0 && isWSP(f.Raw()[0]) { // lines that begin with white space
		if n := fieldEnd(f.Raw(), true); n != len(f.Raw()) {
			t.Fatalf("%q ends at %d", f.Raw(), n)
		}
		return
	}
	if len(name) == 0 { // a line that is skipped
		if line, rest, _ := bytes.Cut(f.Raw(), crlf); len(rest) > 0 || nameEnd(line) >= 0 || !bytes.Equal(value, line) {
			t.Fatalf("skipped %q", f.Raw())
		}
		return
	}
	if len(name) == 0 || bytes.ContainsAny(name, ": \t\r\n") || !bytes.HasPrefix(f.Raw(), name) || !f.Is(strings.ToUpper(string(name))) {
		t.Fatalf("name %q of %q", name, f.Raw())
	}
	if colon := bytes.TrimSuffix(bytes.TrimSuffix(f.Raw(), crlf), value); colon[len(colon)-1] != ':' {
		t.Fatalf("value %q of %q", value, f.Raw())
	}
	for rest := value; ; { // a line end in a value is followed by white space
		_, after, found := bytes.Cut(rest, crlf)
		if !found {
			break
		}
		if len(after) == 0 || !isWSP(after[0]) {
			t.Fatalf("value %q is not folded", value)
		}
		rest = after
	}
}

func BenchmarkScan(b *testing.B) {
	msg := []byte(strings.Repeat("Received: from a by b;\r\n\tMon, 1 Jan 2001 00:00:00 +0000\r\n", 30) + "\r\nbody\r\n")
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if h := Scan(msg, Limits{}); len(h.Fields) != 30 {
			b.Fatal(len(h.Fields))
		}
	}
}
