package mail

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// text returns all of m, and checks that Size is right.
func text(t *testing.T, m *Message) string {
	t.Helper()
	var b bytes.Buffer
	n, err := m.WriteTo(&b)
	if err != nil || n != int64(b.Len()) || m.Size() != n {
		t.Fatalf("WriteTo wrote %d of %d octets, said %d, %v", b.Len(), m.Size(), n, err)
	}
	return b.String()
}

func TestMessageCut(t *testing.T) {
	const source = "0123456789"
	tests := []struct {
		cuts [][]Range // one Cut each
		want string
	}{
		{nil, source},
		{[][]Range{nil}, source},
		{[][]Range{{{0, 10}}}, ""},
		{[][]Range{{{0, 1}}}, "123456789"},
		{[][]Range{{{9, 10}}}, "012345678"},
		{[][]Range{{{2, 4}, {6, 8}}}, "014589"},
		{[][]Range{{{2, 4}, {4, 6}}}, "016789"},
		{[][]Range{{{2, 4}}, {{6, 8}}}, "014589"},
		{[][]Range{{{6, 8}}, {{2, 4}}}, "014589"},
		{[][]Range{{{2, 4}}, {{3, 7}}}, "01789"}, // overlaps what is gone
		{[][]Range{{{2, 4}}, {{2, 4}}}, "01456789"},
		{[][]Range{{{4, 6}}, {{0, 10}}}, ""},
		{[][]Range{{{3, 3}}}, source}, // empty
		{[][]Range{{{8, 20}}}, "01234567"},
		{[][]Range{{{20, 30}}}, source},
		{[][]Range{{{-5, 2}}}, "23456789"},
	}
	for _, tt := range tests {
		m := NewMessage(Octets(source)).Prepend("A: b\r\n")
		for _, cut := range tt.cuts {
			m = m.Cut(cut)
		}
		if got := text(t, m); got != "A: b\r\n"+tt.want {
			t.Errorf("%v: got %q, want %q", tt.cuts, got, tt.want)
		}
		if m.Source().Size() != 10 || m.Trace() != "A: b\r\n" {
			t.Errorf("%v: source or trace changed", tt.cuts)
		}
	}
}

func TestMessagePrepend(t *testing.T) {
	m := NewMessage(Octets("C: d\r\n\r\nhi\r\n"))
	b := m.Prepend("B: b\r\n")
	a := b.Prepend("A: a\r\n")
	other := b.Prepend("X: x\r\n")
	for _, tt := range []struct {
		m    *Message
		want string
	}{
		{m, "C: d\r\n\r\nhi\r\n"},
		{b, "B: b\r\nC: d\r\n\r\nhi\r\n"},
		{a, "A: a\r\nB: b\r\nC: d\r\n\r\nhi\r\n"},
		{other, "X: x\r\nB: b\r\nC: d\r\n\r\nhi\r\n"},
		{NewMessage(Octets("")), ""},
	} {
		if got := text(t, tt.m); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestMessageInsert(t *testing.T) {
	const source = "0123456789"
	tests := []struct {
		cut  []Range // before it
		at   int64
		then []Range // cut after it
		want string
	}{
		{nil, 0, nil, "|0123456789"},
		{nil, 5, nil, "01234|56789"},
		{nil, 10, nil, "0123456789|"},
		{nil, 12, nil, "0123456789|"},
		{[]Range{{0, 5}}, 5, nil, "|56789"},
		{[]Range{{0, 5}}, 3, nil, "|56789"}, // where it was
		{[]Range{{3, 7}}, 5, nil, "012|789"},
		{[]Range{{3, 7}}, 3, nil, "012|789"},
		{[]Range{{3, 7}}, 7, nil, "012|789"},
		{[]Range{{3, 7}}, 2, nil, "01|2789"},
		{[]Range{{3, 7}}, 8, nil, "0127|89"},
		{[]Range{{0, 10}}, 5, nil, "|"},
		{nil, 5, []Range{{0, 5}}, "|56789"},
		{nil, 5, []Range{{5, 10}}, "01234|"},
		{nil, 5, []Range{{3, 7}}, "012|789"},
		{nil, 5, []Range{{0, 10}}, "|"},
		{nil, 5, []Range{{4, 5}, {5, 6}}, "0123|6789"},
		{nil, 5, []Range{{5, 6}, {8, 9}}, "01234|679"},
	}
	for _, tt := range tests {
		m := NewMessage(Octets(source)).Cut(tt.cut).Insert(tt.at, "|").Cut(tt.then)
		if got := text(t, m); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
	m := NewMessage(Octets(source))
	if a, b := m.Insert(5, "a"), m.Insert(5, "b"); text(t, a) != "01234a56789" || text(t, b) != "01234b56789" || text(t, m) != source {
		t.Error("messages share what they must not")
	}
	if got := text(t, m.Insert(5, "a").Insert(5, "b").Insert(2, "c")); got != "01c234ba56789" && got != "01c234ab56789" {
		t.Errorf("twice: %q", got)
	}
}

func TestMessageReplaceBody(t *testing.T) {
	const source = "A: b\r\n\r\nold\r\n"
	m := NewMessage(Octets(source)).Prepend("T: u\r\n")
	n := m.ReplaceBody(8, Octets("new body\r\n"))
	for _, tt := range []struct {
		m    *Message
		want string
	}{
		{m, "T: u\r\n" + source},
		{n, "T: u\r\nA: b\r\n\r\nnew body\r\n"},
		{n.Prepend("S: t\r\n").Cut([]Range{{0, 6}}), "S: t\r\nT: u\r\n\r\nnew body\r\n"},
		{n.ReplaceBody(8, Octets("")), "T: u\r\nA: b\r\n\r\n"},
	} {
		if got := text(t, tt.m); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// Cut is what it would be if every octet were looked at alone, and the messages
// that others were made from stay what they were.
func FuzzMessageCut(f *testing.F) {
	f.Add("0123456789", []byte{2, 2, 1, 3}, []byte{0, 1}, uint8(3))
	f.Add("", []byte{0, 5}, []byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, source string, first, second []byte, at uint8) {
		m := NewMessage(Octets(source))
		gone := make([]bool, len(source))
		for i, gaps := range [][]byte{first, second} {
			before := text(t, m)
			cut := m.Cut(ranges(gaps))
			if i == 0 {
				cut = cut.Insert(int64(at), "\r\n")
			}
			for _, r := range ranges(gaps) {
				for i := r.Start; i < min(r.End, int64(len(source))); i++ {
					gone[i] = true
				}
			}
			if text(t, m) != before {
				t.Fatal("Cut or Insert changed the message")
			}
			m = cut
		}
		var want []byte
		for i := range len(source) + 1 {
			if i == min(int(at), len(source)) {
				want = append(want, "\r\n"...)
			}
			if i < len(source) && !gone[i] {
				want = append(want, source[i])
			}
		}
		if got := text(t, m.Prepend("X: y\r\n")); got != "X: y\r\n"+string(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// ranges makes ascending, disjoint ranges: gaps and lengths take turns.
func ranges(gaps []byte) (rs []Range) {
	at := int64(0)
	for pair := range slices.Chunk(gaps, 2) {
		if len(pair) < 2 {
			break
		}
		start := at + int64(pair[0])
		at = start + int64(pair[1])
		rs = append(rs, Range{start, at})
	}
	return rs
}

func TestMessageWriteToFails(t *testing.T) {
	m := NewMessage(Octets("0123456789")).Prepend("A: b\r\n").Cut([]Range{{4, 6}}).Insert(7, "xy")
	for room := range int(m.Size()) {
		n, err := m.WriteTo(&small{room: room})
		if !errors.Is(err, io.ErrShortWrite) || n > int64(room) {
			t.Errorf("room for %d: %d, %v", room, n, err)
		}
	}
}

// A small writer has room for so many octets.
type small struct{ room int }

func (s *small) Write(p []byte) (int, error) {
	n := min(len(p), s.room)
	s.room -= n
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestOctets(t *testing.T) {
	o := Octets("0123456789")
	p := make([]byte, 4)
	if n, err := o.ReadAt(p, 3); n != 4 || err != nil || string(p) != "3456" {
		t.Errorf("%d, %v, %q", n, err, p)
	}
	if n, err := o.ReadAt(p, 8); n != 2 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := o.ReadAt(p, 10); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	if _, err := o.ReadAt(p, -1); err == nil {
		t.Error("before the start: no error")
	}
}

// Many forged fields are cut as fast as few.
func BenchmarkMessageCut(b *testing.B) {
	const n = 20000
	rs := make([]Range, n)
	for i := range rs {
		rs[i] = Range{int64(50 * i), int64(50*i + 40)}
	}
	m := NewMessage(make(Octets, 50*n))
	for b.Loop() {
		m.Cut(rs)
	}
}
