package smtp

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"postern/mail"
)

// plainData is what ReadData does, said as plainly as can be: lines end in CRLF
// and in nothing else; a line "." is the end, a dot before anything else on a
// line was stuffed; and a LF that ends no line is made a line end at last.
func plainData(s string) (text, rest string, bare, ended bool) {
	for {
		line, after, found := strings.Cut(s, "\r\n")
		switch {
		case !found:
			return text, s, bare, false
		case line == ".":
			return text, after, bare, true
		}
		line = strings.TrimPrefix(line, ".")
		bare = bare || strings.Contains(line, "\n")
		text += strings.ReplaceAll(line, "\n", "\r\n") + "\r\n"
		s = after
	}
}

// readData gives s to ReadData in pieces that end at cuts.
func readData(s string, limit int64, cuts ...int) (text, rest string, d Data, err error) {
	w := newWire(s, cuts...)
	c := NewConn(w)
	defer c.Release()
	var b bytes.Buffer
	d, err = c.ReadData(&b, limit)
	return b.String(), w.left(c), d, err
}

func checkData(t *testing.T, s string, cuts ...int) {
	t.Helper()
	text, rest, bare, ended := plainData(s)
	gotText, gotRest, d, err := readData(s, 1<<20, cuts...)
	if !ended {
		if !ConnLost(err) || !errors.Is(err, io.EOF) {
			t.Fatalf("%.200q cut at %v: no end, but %v", s, cuts, err)
		}
		return
	}
	if err != nil || gotText != text || gotRest != rest || d != (Data{Size: int64(len(text)), BareNewlines: bare}) {
		t.Fatalf("%.200q cut at %v:\n got %.200q, rest %.200q, %+v, %v\nwant %.200q, rest %.200q, bare LF: %v",
			s, cuts, gotText, gotRest, d, err, text, rest, bare)
	}
}

// everyCut checks s whole, octet by octet, and cut at every single place and at
// every two places that are near to each other.
func everyCut(t *testing.T, s string) {
	t.Helper()
	checkData(t, s)
	checkData(t, s, cutEvery(s, 1)...)
	for i := range s {
		checkData(t, s, i)
		for j := i + 1; j < min(i+5, len(s)); j++ {
			checkData(t, s, i, j)
		}
	}
}

// Only CRLF "." CRLF is the end of the data: whatever else a peer, or somebody
// behind it, may have taken for it, is text.
func TestRFC5321_4_1_1_4_EndOfData(t *testing.T) {
	smuggled := []string{ // what stands where an end might be seen
		"\n.\n", "\n.\r\n", "\n.\r", "\r.\r", "\r.\n", "\r.\r\n", "\r\n.\n", "\r\n.\r",
		"\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n. \r\n", "\r\n\t.\r\n", "\n\r.\r\n", "\r\n.\n\r\n",
		"\n\n.\r\n", "\r\n\r.\r\n", "\n\r\n.\n", "\x85.\x85", "\r\n\xff.\r\n", "\u2028.\u2028", "\r\n..\r\n",
		"\r\n.\r \n", "\v.\v", "\f.\r\n", "\r\n\b.\r\n", "\r\n.\r\x00\n",
	}
	const behind = "MAIL FROM:<evil@example.org>\r\n"
	for _, seen := range smuggled {
		s := "Subject: a\r\n\r\ntext" + seen + behind + "\r\n.\r\nQUIT\r\n"
		text, rest, _, err := readData(s, 1<<20)
		if err != nil || rest != "QUIT\r\n" || !strings.Contains(text, behind) {
			t.Errorf("%q ends the data: rest %q, %v", seen, rest, err)
		}
		everyCut(t, s)
	}
}

func TestRFC5321_4_1_1_4_EndsThatAreOne(t *testing.T) {
	tests := []struct{ in, text string }{
		{".\r\n", ""},                                   // the CRLF before it is that of DATA
		{"\r\n.\r\n", "\r\n"},                           // an empty line
		{"a\r\n.\r\n", "a\r\n"},                         // the plain case
		{"a\r\r\n.\r\n", "a\r\r\n"},                     // CR CR LF holds a CRLF
		{"\r\r\n.\r\n", "\r\r\n"},                       // at the start, too
		{"\r\r\r\r\n.\r\n", "\r\r\r\r\n"},               // however many
		{"a\n\r\n.\r\n", "a\r\n\r\n"},                   // a bare LF before it
		{".\r\r\n.\r\n", "\r\r\n"},                      // a stuffed dot before CR CR LF
		{".\n\r\n.\r\n", "\r\n\r\n"},                    // and before a bare LF
		{"\x00\r\n.\r\n", "\x00\r\n"},                   // NUL is an octet like others
		{"a\xff\xfe\r\n.\r\n", "a\xff\xfe\r\n"},         // so are those above 127
		{"..\r\n.\r\n", ".\r\n"},                        // a stuffed line of one dot
		{"\n.\r\n\r\n.\r\n", "\r\n.\r\n\r\n"},           // a bare LF at the very start
		{"a\n.\n.\r\n\r\n.\r\n", "a\r\n.\r\n.\r\n\r\n"}, // several
	}
	for _, tt := range tests {
		text, rest, _, err := readData(tt.in+"NOOP\r\n", 1<<20)
		if text != tt.text || rest != "NOOP\r\n" || err != nil {
			t.Errorf("%q: got %q, rest %q, %v; want %q", tt.in, text, rest, err, tt.text)
		}
		everyCut(t, tt.in+"NOOP\r\n")
		everyCut(t, tt.in+".\r\n")
	}
}

func TestRFC5321_4_5_2_Transparency(t *testing.T) {
	tests := []struct{ in, text string }{
		{".a\r\n", "a\r\n"},           // one dot goes, on the first line
		{"a\r\n.b\r\n", "a\r\nb\r\n"}, // and on others
		{"...\r\n", "..\r\n"},         // just one
		{".\rx\r\n", "\rx\r\n"},       // a CR behind it stays
		{"a\r\n.\rx\r\n", "a\r\n\rx\r\n"},
		{".\r.\r\n", "\r.\r\n"},
		{". .\r\n", " .\r\n"},
		{"a.\r\n", "a.\r\n"},         // inside a line there is nothing stuffed
		{"a\r.b\r\n", "a\r.b\r\n"},   // nor behind a lone CR
		{"a\n.b\r\n", "a\r\n.b\r\n"}, // nor behind a lone LF
		{"a\n..b\r\n", "a\r\n..b\r\n"},
		{".\x00\r\n", "\x00\r\n"},
	}
	for _, tt := range tests {
		text, _, _, err := readData(tt.in+".\r\n", 1<<20)
		if text != tt.text || err != nil {
			t.Errorf("%q: got %q, %v; want %q", tt.in, text, err, tt.text)
		}
		everyCut(t, tt.in+".\r\n")
	}
}

// Lines of any length pass, also those that are longer than any buffer.
func TestRFC5321_4_5_3_1_6_LongLines(t *testing.T) {
	for _, n := range []int{997, 998, 999, bufferSize - 3, bufferSize - 2, bufferSize - 1, bufferSize, bufferSize + 1, 100 << 10} {
		for _, fill := range []string{"x", ".", "\r", "\x00"} {
			long := strings.Repeat(fill, n)
			for _, s := range []string{
				long + "\r\n.\r\n",
				"." + long + "\r\n.\r\n",
				long + "\n.\r\n\r\n.\r\nNOOP\r\n",
				long + "\r.\r\n\r\n.\r\nNOOP\r\n",
				"a\r\n" + long + "\r\r\n.\r\n",
			} {
				checkData(t, s)
				checkData(t, s, cutEvery(s, 4093)...)
				for _, end := range []int{1, 2, 3, 4, 5, 6} {
					checkData(t, s, len(s)-end)
				}
			}
		}
	}
}

func TestReadDataLimit(t *testing.T) {
	body := strings.Repeat("0123456\r\n", 100) // 900 octets
	tests := []struct {
		limit int64
		err   error
	}{
		{0, ErrTooBig}, {1, ErrTooBig}, {899, ErrTooBig},
		{900, nil}, {901, nil}, {math.MaxInt64, nil},
	}
	for _, tt := range tests {
		for _, cuts := range [][]int{nil, cutEvery(body, 1), cutEvery(body, 7), {450}} {
			text, rest, d, err := readData(body+".\r\nNOOP\r\n", tt.limit, cuts...)
			if err != tt.err || rest != "NOOP\r\n" || d.Size != 900 {
				t.Errorf("limit %d: %v, rest %q, %+v", tt.limit, err, rest, d)
			}
			if int64(len(text)) > tt.limit || !strings.HasPrefix(body, text) {
				t.Errorf("limit %d: wrote %d octets", tt.limit, len(text))
			}
			if ConnLost(err) {
				t.Errorf("limit %d: connection lost", tt.limit)
			}
		}
	}
}

// A limit that is none is not taken for a small one.
func TestReadDataWithoutLimit(t *testing.T) {
	body := strings.Repeat(strings.Repeat("x", 78)+"\r\n", 8*maxDiscard/80)
	for _, limit := range []int64{math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64/2 + 1} {
		if _, _, d, err := readData(body+".\r\n", limit); err != nil || d.Size != int64(len(body)) {
			t.Errorf("limit %d: %+v, %v", limit, d, err)
		}
	}
}

// The data of a client that never ends is not read for ever.
func TestReadDataEndless(t *testing.T) {
	for _, limit := range []int64{0, 1000, 1 << 20} {
		for _, s := range []string{"x", ".\r", "\n", "..\r\n", "\r"} {
			e := &endless{text: []byte(strings.Repeat(s, 5000))}
			c := NewConn(e)
			_, err := c.ReadData(io.Discard, limit)
			if !errors.Is(err, ErrEndless) || !ConnLost(err) {
				t.Errorf("%q, limit %d: %v", s, limit, err)
			}
			if most := 2*max(2*limit, leastEndless) + maxDiscard; e.read > most { // each octet of a "." or CR may take two
				t.Errorf("%q, limit %d: %d octets read", s, limit, e.read)
			}
		}
	}
}

// An endless wire says the same thing for ever.
type endless struct {
	wire
	text []byte
	read int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text)
	e.read += int64(n)
	return n, nil
}

// A writer that fails does not bring the dialogue out of step.
func TestReadDataWriterFails(t *testing.T) {
	full := errors.New("no space left on device")
	for after := range 20 {
		w := newWire("some text\r\n..more\r\nx\ny\r\n.\r\nNOOP\r\n")
		c := NewConn(w)
		_, err := c.ReadData(&failing{after: after, err: full}, 1000)
		if got := w.left(c); got != "NOOP\r\n" {
			t.Fatalf("after %d octets: rest %q", after, got)
		}
		if !errors.Is(err, full) || ConnLost(err) {
			t.Fatalf("after %d octets: %v", after, err)
		}
	}
}

type failing struct {
	after int
	err   error
	calls int
}

func (f *failing) Write(p []byte) (int, error) {
	f.calls++
	if f.after -= len(p); f.after < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// After a writer failed it is left alone, and it is its error that counts, also
// where there was too much in the end.
func TestReadDataWriterFailsOnce(t *testing.T) {
	full := errors.New("no space left on device")
	w := &failing{after: 5, err: full}
	line := strings.Repeat("x", 10) + "\r\n"
	c := NewConn(newWire(line+"\n"+line+".\r\n", 14, 20))
	if _, err := c.ReadData(w, 15); err != full {
		t.Errorf("got %v", err)
	}
	if w.calls != 1 {
		t.Errorf("%d writes", w.calls)
	}
}

// alphabet is what the fuzzer's octets are mapped to where arbitrary text would
// seldom find a seam.
const alphabet = "\r\n.a\r\n.\x00"

func spell(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// ReadData is plainData, however the octets arrive.
func FuzzReadData(f *testing.F) {
	for _, s := range []string{
		"a\r\n.\r\nNOOP\r\n", ".\r\n", "a\n.\r\n.\r\n", ".\rx\r\r\n.\r\n", "\r\n.\r\r\n\r\n.\r\n", "..\r\n.", "",
	} {
		f.Add(s, []byte{})
		f.Add(s, []byte{1, 0, 4})
	}
	f.Fuzz(func(t *testing.T, s string, sizes []byte) {
		for _, s := range []string{s, spell(s), spell(s) + "\r\n.\r\n" + s} {
			checkData(t, s)
			checkData(t, s, cutEvery(s, 1)...)
			checkData(t, s, cutBy(s, sizes)...)
			if text, _, _, ended := plainData(s); ended && strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") {
				t.Fatalf("a bare LF is left in %q", text)
			}
		}
	})
}

// writeData writes text with a DataWriter, in pieces that end at cuts, and
// returns what came out of it.
func writeData(t *testing.T, text string, cuts ...int) string {
	t.Helper()
	w := new(wire)
	c := NewConn(w)
	d := c.DataWriter()
	for _, p := range newWire(text, cuts...).in {
		if n, err := d.Write(p); n != len(p) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := errors.Join(d.End(), c.Flush()); err != nil {
		t.Fatal(err)
	}
	return w.sent()
}

func TestDataWriter(t *testing.T) {
	tests := []struct{ text, sent string }{
		{"", ".\r\n"},
		{"a", "a\r\n.\r\n"},
		{"a\r\n", "a\r\n.\r\n"},
		{"\r\n", "\r\n.\r\n"},
		{".", "..\r\n.\r\n"},
		{".\r\n", "..\r\n.\r\n"},
		{"..a\r\n.b", "...a\r\n..b\r\n.\r\n"},
		{"a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"}, // bare LF: a line end for both sides
		{"\n", "\r\n.\r\n"},
		{"\n\n.\r\n", "\r\n\r\n..\r\n.\r\n"},
		{"a\r", "a\r\r\n.\r\n"},
		{"a\r.\r\n", "a\r.\r\n.\r\n"}, // a lone CR ends nothing
		{"a\r\r\n.b\r\n", "a\r\r\n..b\r\n.\r\n"},
		{"\x00\xff\r\n", "\x00\xff\r\n.\r\n"},
	}
	for _, tt := range tests {
		if got := writeData(t, tt.text); got != tt.sent {
			t.Errorf("%q: sent %q, want %q", tt.text, got, tt.sent)
		}
		for i := range tt.text {
			for j := range tt.text[i:] {
				if got := writeData(t, tt.text, i, i+j); got != tt.sent {
					t.Errorf("%q cut at %d, %d: sent %q, want %q", tt.text, i, i+j, got, tt.sent)
				}
			}
		}
	}
}

// canonical is text as it comes out on the other side: every line ends in CRLF.
func canonical(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	if text != "" && !strings.HasSuffix(text, "\r\n") {
		text += "\r\n"
	}
	return text
}

// What we write, we read back, and not one octet more; and there is no LF on the
// wire without a CR before it.
func FuzzDataRoundTrip(f *testing.F) {
	f.Add("", []byte{})
	f.Add("Subject: a\r\n\r\n.\r\n..\r\n.", []byte{3, 0})
	f.Add("a\n.\nb\r", []byte{0, 1})
	f.Fuzz(func(t *testing.T, text string, sizes []byte) {
		for _, text := range []string{text, spell(text), strings.Repeat(spell(text), 1+flushSize/(len(text)+1))} {
			sent := writeData(t, text, cutBy(text, sizes)...)
			if strings.Contains(strings.ReplaceAll(sent, "\r\n", ""), "\n") {
				t.Fatalf("%.200q: a bare LF in %.200q", text, sent)
			}
			got, rest, d, err := readData(sent+"NOOP\r\n", math.MaxInt64, cutBy(sent, sizes)...)
			if want := canonical(text); got != want || rest != "NOOP\r\n" || err != nil || d.BareNewlines {
				t.Fatalf("%.200q came back as %.200q, rest %.200q, %v", text, got, rest, err)
			}
		}
	})
}

// A write that failed must never be followed by the dot: the peer would take
// half a message for a whole one.
func TestDataWriterNoEndAfterError(t *testing.T) {
	w := &flaky{failAt: 1}
	c := NewConn(w)
	d := c.DataWriter()
	if _, err := d.Write(make([]byte, 100<<10)); err == nil {
		t.Fatal("the first write did not fail")
	}
	_ = d.End()
	if err := c.Flush(); err == nil {
		t.Error("sending goes on after a write that failed")
	}
	_ = c.WriteReply(mail.Accepted)
	_, _ = c.ReadReply()
	if got := w.sent(); strings.Contains(got, ".\r\n") || strings.Contains(got, "250") {
		t.Errorf("sent after the failure: %q", got)
	}
}

// A flaky wire fails one Write.
type flaky struct {
	wire
	failAt int
}

func (f *flaky) Write(p []byte) (int, error) {
	if f.failAt--; f.failAt == 0 {
		return 0, errors.New("write timed out")
	}
	return f.wire.Write(p)
}

func benchmarkBodies() map[string]string {
	line := strings.Repeat("x", 74) + "\r\n"
	return map[string]string{
		"4KiB":     strings.Repeat(line, (4<<10)/76),
		"100KiB":   strings.Repeat(line, (100<<10)/76),
		"10MiB":    strings.Repeat(line, (10<<20)/76),
		"one-line": strings.Repeat("x", 10<<20) + "\r\n",
	}
}

// A replay wire says the same text again each time that it was heard.
type replay struct {
	wire
	text string
	at   int
}

func (r *replay) Read(p []byte) (int, error) {
	if r.at == len(r.text) {
		r.at = 0
	}
	n := copy(p, r.text[r.at:])
	r.at += n
	return n, nil
}

func BenchmarkReadData(b *testing.B) {
	for name, body := range benchmarkBodies() {
		b.Run(name, func(b *testing.B) {
			c := NewConn(&replay{text: body + ".\r\n"})
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.ReadData(io.Discard, math.MaxInt64); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type sinkConn struct{ wire }

func (sinkConn) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkDataWriter(b *testing.B) {
	for name, body := range benchmarkBodies() {
		b.Run(name, func(b *testing.B) {
			c := NewConn(&sinkConn{})
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			p := []byte(body)
			for b.Loop() {
				d := c.DataWriter()
				if _, err := d.Write(p); err != nil {
					b.Fatal(err)
				}
				if err := d.End(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
