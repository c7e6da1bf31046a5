package mailbox

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzCheckMbox reads any text as an mbox: what is found is told of a line that
// begins so, in order, and however the text comes in pieces.
func FuzzCheckMbox(f *testing.F) {
	f.Add("From a Sun Nov 22 08:00:00 2026\nA: b\n\nx\n\nFrom here\n\r\nFrom b Sun Nov 22 08:00:00 2026\n")
	f.Add("x\nFrom y\n\nFrom ")
	f.Add("From a Sun Nov 22 08:00:00 2026\nContent-Length: 7\n\nFrom x\n\nFrom b Sun Nov 22 08:00:00 2026\nContent-Length:  2 \n\nFrom")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		read := func(r io.Reader) (found []string) {
			last := int64(0)
			err := checkMbox(r, strings.NewReader(text), func(line int64, what string) bool {
				if line <= last || line > 1 && !strings.HasPrefix(lines[line-1], "From ") {
					t.Errorf("%q: line %d %s", text, line, what)
				}
				last = line
				found = append(found, fmt.Sprint(line, what))
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		if whole, pieces := read(strings.NewReader(text)), read(iotest.OneByteReader(strings.NewReader(text))); !slices.Equal(whole, pieces) {
			t.Errorf("%q: %q, in pieces %q", text, whole, pieces)
		}
	})
}

// FuzzCheckMboxcl2 has messages of any text, each with its length: nothing is wrong
// with them, whatever lines they have, and however long an empty line is after them.
func FuzzCheckMboxcl2(f *testing.F) {
	f.Add("From here\n\nFrom a Sun Nov 22 08:00:00 2026\n", "From", "", false)
	f.Add("x\r\nFrom b\r\n", "\n\nFrom \n", "From \r", true)
	f.Fuzz(func(t *testing.T, one, two, three string, crlf bool) {
		lineEnd := "\n"
		if crlf {
			lineEnd = "\r\n"
		}
		var b strings.Builder
		for _, body := range []string{one, two, three} {
			fmt.Fprintf(&b, "From a Sun Nov 22 08:00:00 2026\nSubject: x\ncontent-length :%7d \n\n%s", len(body), body)
			if body != "" && !strings.HasSuffix(body, "\n") {
				b.WriteString(lineEnd)
			}
			b.WriteString(lineEnd)
		}
		text := strings.NewReader(b.String())
		if err := checkMbox(text, text, func(line int64, what string) bool {
			t.Errorf("%q: line %d %s", b.String(), line, what)
			return true
		}); err != nil {
			t.Error(err)
		}
	})
}

// FuzzRestated gives any name other sizes: a reader then finds these, the flags
// are as they were, and a name without sizes does not get any.
func FuzzRestated(f *testing.F) {
	f.Add("1.M2P3.host,S=4,W=5:2,S", int64(6), int64(7))
	f.Add("a,S=,S=1:2,,S=3", int64(6), int64(-1))
	f.Fuzz(func(t *testing.T, name string, size, wire int64) {
		if size < 0 {
			return
		}
		got := restated(name, size, wire)
		base, flags, _ := strings.Cut(name, ":")
		gotBase, gotFlags, _ := strings.Cut(got, ":")
		if gotFlags != flags || restated(got, size, wire) != got {
			t.Errorf("%q becomes %q", name, got)
		}
		if n, ok := statedSize(gotBase); strings.Contains(base, ",S=") && (!ok || n != size) || !strings.Contains(base, ",") && got != name {
			t.Errorf("%q becomes %q", name, got)
		}
	})
}
