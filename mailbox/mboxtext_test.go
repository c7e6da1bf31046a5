package mailbox

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

var arrival = Arrival{Sender: "ann@example.org", Time: time.Date(2026, 7, 1, 12, 30, 0, 0, time.FixedZone("", 7200))}

const fromAnn = "From ann@example.org Wed Jul  1 10:30:00 2026\n"

// asMbox returns what an mbox has of text, which comes in pieces of size.
func asMbox(t *testing.T, text string, format Format, size int) string {
	t.Helper()
	var b bytes.Buffer
	m := newMboxWriter(&b, format, arrival)
	for rest := text; rest != ""; {
		piece := rest[:min(size, len(rest))]
		rest = rest[len(piece):]
		if n, err := m.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	length, err := m.finish()
	if err != nil || m.size != int64(b.Len()) {
		t.Fatalf("finish: %v; %d octets counted, %d written", err, m.size, b.Len())
	}
	if m.field > 0 {
		copy(b.Bytes()[m.field:], length)
	}
	return b.String()
}

func TestMboxText(t *testing.T) {
	tests := []struct {
		name, text string
		rd, o, cl2 string // cl2 without the number of octets
	}{
		{
			name: "plain",
			text: "Subject: x\n\nhello\n",
			rd:   "Subject: x\n\nhello\n\n",
			cl2:  "Subject: x\nContent-Length: 6\n\nhello\n\n",
		},
		{
			name: "quoting",
			text: "Subject: x\n\nFrom me\n>From me\n>>From me\nFrom\nFromage\n >From me\n> From me\nfrom me\nFrom \n>>x",
			rd:   "Subject: x\n\n>From me\n>>From me\n>>>From me\nFrom\nFromage\n >From me\n> From me\nfrom me\n>From \n>>x\n\n",
			o:    "Subject: x\n\n>From me\n>From me\n>>From me\nFrom\nFromage\n >From me\n> From me\nfrom me\n>From \n>>x\n\n",
			cl2:  "Subject: x\nContent-Length: 78\n\nFrom me\n>From me\n>>From me\nFrom\nFromage\n >From me\n> From me\nfrom me\nFrom \n>>x\n\n",
		},
		{
			name: "forged fields",
			text: "Status: RO\nX-STATUS: A\nSubject: Status: x\nx-uid : 7\n\t8\n 9\nX-IMAP: 1\nContent-Length: 5\nX-IMAPbase: 1 2\nX-Keywords: a\nX-Statuses: b\nstatus:\n\nStatus: RO\n",
			rd:   "Subject: Status: x\nX-Statuses: b\n\nStatus: RO\n\n",
			cl2:  "Subject: Status: x\nX-Statuses: b\nContent-Length: 11\n\nStatus: RO\n\n",
		},
		{
			name: "a line that is no field goes not with the one before",
			text: "Status: RO\ngarbage\nX-UID: 1\n folded\nFrom me\n>From me\nTo: x\n\n",
			rd:   "garbage\n>From me\n>>From me\nTo: x\n\n\n",
			o:    "garbage\n>From me\n>From me\nTo: x\n\n\n",
			cl2:  "garbage\n>From me\n>>From me\nTo: x\nContent-Length: 0\n\n\n",
		},
		{name: "fields of readers that not all see", text: "X-Status" + strings.Repeat(" ", 40) + ": D\nStatus\x00x: RO\nX-Status\n D\nX-UID\r\nSubject: x\n\nb\n",
			rd: "Subject: x\n\nb\n\n", cl2: "Subject: x\nContent-Length: 2\n\nb\n\n"},
		{name: "a header that goes on", text: "a: b\n\r\r\nX-Status: D\n\nb\n", rd: "a: b\n\r\r\n\nb\n\n", cl2: "a: b\n\r\r\nContent-Length: 2\n\nb\n\n"},
		{name: "empty", text: "", rd: "\n", cl2: "Content-Length: 0\n\n\n"},
		{name: "only an empty line", text: "\n", rd: "\n\n", cl2: "Content-Length: 0\n\n\n"},
		{name: "header only", text: "Subject: x\n", rd: "Subject: x\n\n", cl2: "Subject: x\nContent-Length: 0\n\n\n"},
		{name: "half a line", text: "Subject: x", rd: "Subject: x\n\n", cl2: "Subject: x\nContent-Length: 0\n\n\n"},
		{name: "only a forged field", text: "Status: RO", rd: "\n", cl2: "Content-Length: 0\n\n\n"},
		{name: "half a From line", text: "a: b\n\n>From", rd: "a: b\n\n>From\n\n", cl2: "a: b\nContent-Length: 6\n\n>From\n\n"},
		{
			name: "long lines",
			text: "Status:" + strings.Repeat("x", 100) + "\n" + strings.Repeat("y", 100) + ": z\n\n" + strings.Repeat(">", 100) + "From x\n",
			rd:   strings.Repeat("y", 100) + ": z\n\n" + strings.Repeat(">", 101) + "From x\n\n",
			o:    strings.Repeat("y", 100) + ": z\n\n" + strings.Repeat(">", 100) + "From x\n\n",
			cl2:  strings.Repeat("y", 100) + ": z\nContent-Length: 107\n\n" + strings.Repeat(">", 100) + "From x\n\n",
		},
		{name: "NUL and 8-bit", text: "a: \x00\xff\n\n\x00\n", rd: "a: \x00\xff\n\n\x00\n\n", cl2: "a: \x00\xff\nContent-Length: 2\n\n\x00\n\n"},
	}
	spaces := regexp.MustCompile(`(Content-Length: \d+) +`)
	for _, tt := range tests {
		if tt.o == "" {
			tt.o = tt.rd
		}
		for size := 1; size < 150; size += 1 + size/4 {
			for format, want := range map[Format]string{Mboxrd: tt.rd, Mboxo: tt.o, Mboxcl2: tt.cl2} {
				got := spaces.ReplaceAllString(asMbox(t, tt.text, format, size), "$1")
				if got != fromAnn+want {
					t.Errorf("%s, %v, in pieces of %d:\n%q, want\n%q", tt.name, format, size, got, fromAnn+want)
				}
			}
		}
	}
}

func TestFromLine(t *testing.T) {
	tests := []struct{ sender, want string }{
		{"ann@example.org", "From ann@example.org Wed"},
		{"", "From MAILER-DAEMON Wed"},
		{"\"a b\"@example.org", "From \"a_b\"@example.org Wed"},
		{"a\nFrom b\t\r\x00\x7f", "From a_From_b____ Wed"},
		{"bøb@example.org", "From bøb@example.org Wed"},
		{"a\u2028\u00a0\x85\xff", "From a____ Wed"},
	}
	for _, tt := range tests {
		got := fromLine(Arrival{Sender: tt.sender, Time: arrival.Time})
		if want := tt.want + " Jul  1 10:30:00 2026\n"; got != want {
			t.Errorf("%q: got %q, want %q", tt.sender, got, want)
		}
	}
}

// unquote is what a reader of mboxrd does.
func unquote(text string) string {
	return regexp.MustCompile(`(?m)^>(>*From )`).ReplaceAllString(text, "$1")
}

// FuzzMbox: what is written as one message is read as one, with the same body.
func FuzzMbox(f *testing.F) {
	f.Add("Subject: x\n\nFrom me\n>From me\n", 3)
	f.Add("Status: x\n y\nFrom \n\n>>>From \n\n\nFrom", 1)
	f.Add("a\n\n\n\n", 100)
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = 1 + max(size, -size)&0xff
		_, body, found := strings.Cut("\n"+text, "\n\n")
		body = strings.TrimSuffix(body, "\n") // there or not, it is there then
		for _, format := range []Format{Mboxrd, Mboxo, Mboxcl2} {
			got := asMbox(t, text, format, size)
			if whole := asMbox(t, text, format, len(text)+1); got != whole {
				t.Fatalf("%v: in pieces of %d %q, in one %q", format, size, got, whole)
			}
			rest, ok := strings.CutPrefix(got, fromAnn)
			if !ok || !strings.HasSuffix(rest, "\n") {
				t.Fatalf("%v: %q", format, got)
			}
			rest = "\n" + strings.TrimSuffix(rest, "\n")
			gotHeader, gotBody, _ := strings.Cut(rest, "\n\n")
			if strings.Contains(gotHeader, "\nFrom ") || format != Mboxcl2 && strings.Contains(rest, "\nFrom ") {
				t.Fatalf("%v: %q is more than one message", format, got)
			}
			for _, name := range readersFields {
				forged := format != Mboxcl2 || name != "Content-Length"
				if forged && strings.Contains(strings.ToLower(gotHeader), "\n"+strings.ToLower(name)+":") {
					t.Fatalf("%v: %q has %s", format, got, name)
				}
			}
			if format == Mboxcl2 && !strings.Contains(gotHeader, fmt.Sprintf("\nContent-Length: %-19d", len(gotBody))) {
				t.Fatalf("%q does not state the length %d", got, len(gotBody))
			}
			if format == Mboxrd {
				gotBody = unquote(gotBody)
			}
			if found && format != Mboxo && strings.TrimSuffix(gotBody, "\n") != body {
				t.Fatalf("%v: the body %q came back as %q", format, body, gotBody)
			}
		}
	})
}
