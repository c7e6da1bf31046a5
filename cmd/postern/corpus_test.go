package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/peer"
)

// odd are messages as no standard has them and mailboxes do, with CRLF where a
// line ends on the wire.
var odd = []struct{ name, octets string }{
	{"a letter", "Subject: a\r\nFrom: a@b.example\r\n\r\nhello\r\n"},
	{"nothing", ""},
	{"an empty line", "\r\n"},
	{"empty lines", "\r\n\r\n\r\n"},
	{"an empty body", "Subject: a\r\n\r\n"},
	{"a header alone", "Subject: a\r\nFrom: a@b.example\r\n"},
	{"a body alone", "\r\nhello\r\n"},
	{"text alone", "hello world\r\nthis has no header\r\n"},
	{"a first line of white space", " hello\r\nSubject: a\r\n\r\nx\r\n"},
	{"a From line of an mbox", "From a@b.example  Sat Jan  1 00:00:00 2000\r\nSubject: a\r\n\r\nx\r\n"},
	{"a quoted From line on top", ">From a@b.example  Sat Jan  1 00:00:00 2000\r\nSubject: a\r\n\r\nx\r\n"},
	{"a From line in the header", "Subject: a\r\nFrom here\r\nTo: b\r\n\r\nx\r\n"},
	{"From lines in the body", "Subject: a\r\n\r\nFrom a@b Sat Jan  1 00:00:00 2000\r\nFrom \r\n>From x\r\n>>From y\r\n>x\r\n From z\r\nfrom q\r\nFromage\r\nFrom: w\r\n"},
	{"a From line after an empty one", "Subject: a\r\n\r\n\r\nFrom a@b.example Sat Jan  1 00:00:00 2000\r\nSubject: b\r\n\r\nforged\r\n"},
	{"what readers keep", "Status: RO\r\nX-Status: A\r\nX-Keywords: \r\n folded\r\nX-UID: 7\r\nSubject: a\r\nX-IMAPbase: 1 2\r\nX-IMAP: 1 2\r\nContent-Length: 3\r\n\r\nbody\r\nStatus: RO\r\nContent-Length: 1\r\n"},
	{"dots", "Subject: a\r\n\r\n.\r\n..\r\n...\r\n.x\r\n..x\r\n. \r\n"},
	{"a dot first", ".\r\n"},
	{"a dot in the header", "Subject: a\r\n.b: c\r\n\r\nx\r\n"},
	{"CR alone", "Subject: a\rb\r\n\r\nx\ry\r\n\rz\r\n"},
	{"CR CR LF", "Subject: a\r\n\r\nx\r\r\ny\r\r\r\n\r\r\nz\r\n"},
	{"CR CR LF after the header", "Subject: a\r\n\r\r\nx: y\r\n\r\nz\r\n"},
	{"CR CR LF everywhere", "Subject: a\r\r\nTo: b\r\r\n\r\r\nx\r\r\n"},
	{"NUL", "Subject: a\x00b\r\n\r\n\x00\x00x\r\n\x00\r\n"},
	{"a header of 8 bits", "Subject: \xe4\xf6\xfc \xc3\xa4\r\nX-\xff: y\r\n\r\n\xff\xfe\x80\r\n"},
	{"controls", "Subject: a\x01\x02\x7f\r\n\r\n\x0b\x0c\x1a\x04\x1b[0m\x7f\r\n"},
	{"odd folding", "Subject: a\r\n \r\n\t\r\n b\r\nTo:\r\n c\r\nX : y\r\n\r\nx\r\n"},
	{"a field without a value", "Subject:\r\nX:\r\n\r\nx\r\n"},
	{"a line that is no field", "Subject: a\r\nthis is none\r\nTo: b\r\n\r\nx\r\n"},
	{"a long line", "Subject: a\r\n\r\n" + strings.Repeat("0123456789", 100_000) + "\r\nx\r\n"},
	{"a long header line", "Subject: " + strings.Repeat("0123456789", 9_000) + "\r\n\r\nx\r\n"},
	{"many fields", strings.Repeat("X-A: b\r\n", 1000) + "\r\nx\r\n"},
	{"spaces at the ends of lines", "Subject: a \t\r\n\r\nx \r\n \r\n\t\r\n\r\n\r\n"},
	{"64 KiB and around", "Subject: a\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1024) + "From x\r\n"},
	{"256 KiB and around", "Subject: a\r\n\r\n" + strings.Repeat(strings.Repeat("y", 126)+"\r\n", 2048) + ".\r\n"},
	{"300 KiB of lines", "Subject: a\r\n\r\n" + strings.Repeat("\r\n", 150_000) + "x\r\n"},
}

// ourFields are what stands on top of a message. Where its first line would
// become a part of them, one of these stands between.
var ourFields = regexp.MustCompile(`^(?:(?:Return-Path|Received|Authentication-Results):[^\n]*\n(?:[ \t][^\n]*\n)*)+`)

var between = []string{"", "\n", "X-Header-Begins-With-White-Space:\n"}

// Whatever a message is, what is stored and what every reader shows is the trace
// fields and the message, to the last octet.
func TestOddMessages(t *testing.T) {
	s := newSite(t, "policy: enforce = false")
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u0', 'u1']\n[mailbox.m0]\nformat = 'mbox'\n[mailbox.m1]\nformat = 'mbox'\n")
	s.serveAsVmail()
	ways := []struct {
		name, network, addr, hello, box string
		chunks                          bool
	}{
		{"SMTP", "tcp", s.smtp, "EHLO", "u0", false},
		{"SMTP in chunks", "tcp", s.smtp, "EHLO", "u0", true},
		{"LMTP", "unix", s.lmtp, "LHLO", "u1", false},
		{"SMTP to an mbox", "tcp", s.smtp, "EHLO", "m0", false},
		{"LMTP to an mbox", "unix", s.lmtp, "LHLO", "m1", false},
	}
	sent := make(map[string][]string) // by mailbox, with LF
	for _, way := range ways {
		c := dialRaw(t, way.network, way.addr, way.hello+" client.example")
		for _, m := range odd {
			c.send(way.box+"@example.com", m.octets, way.chunks)
			sent[way.box] = append(sent[way.box], toLF(m.octets))
			if t.Failed() {
				t.Fatalf("%s, by %s", m.name, way.name)
			}
		}
		c.ask("QUIT\r\n", 221) // it has heard all, and what comes next is no retry
	}
	for _, box := range []string{"u0", "u1"} {
		files := s.mailbox(box)
		slices.SortFunc(files, func(a, b peer.File) int { return arrival(t, a) - arrival(t, b) })
		var stored []string
		for _, f := range files {
			stored = append(stored, string(f.Read(t)))
			checkSizes(t, f.Name, stored[len(stored)-1])
		}
		compare(t, "the files of "+box, stored, sent[box], nil)
		compare(t, "Python's Maildir of "+box, s.python("Maildir", box), sent[box], nil)
		s.compareMutt(box, sent[box])
	}
	for _, box := range []string{"m0", "m1"} {
		name := filepath.Join(s.store, "example.com", box+".mbox")
		compare(t, "Python's mbox of "+box, s.python("mbox", box+".mbox"), sent[box], withoutReaders)
		compare(t, "the file of "+box, splitMbox(t, name), sent[box], withoutReaders)
	}
	s.compareDovecot(sent)
}

// compareDovecot compares what Dovecot shows.
func (s *site) compareDovecot(sent map[string][]string) {
	t := s.t
	maildirs := peer.StartDovecot(t, peer.DovecotConfig{Store: s.store})
	mboxes := s.dovecotOfMboxes()
	for box, d := range map[string]*peer.Dovecot{"u0": maildirs, "u1": maildirs, "m0": mboxes, "m1": mboxes} {
		view := func(s string) string { return s }
		if d == mboxes {
			view = withoutReaders
		}
		user := box + "@example.com"
		isMbox := d == mboxes
		compare(t, "Dovecot's IMAP of "+box, octets(d.FetchIMAP(user), isMbox), sent[box], func(s string) string {
			return strings.ReplaceAll(view(toLF(s)), "\x00", "\x80")
		})
		compare(t, "Dovecot's POP3 of "+box, octets(d.FetchPOP3(user), isMbox), sent[box], func(s string) string { return view(toLF(s)) })
	}
	for _, d := range []*peer.Dovecot{maildirs, mboxes} {
		if complaints := d.Complaints(); len(complaints) > 0 {
			t.Errorf("Dovecot complains: %q", complaints)
		}
	}
}

// octets returns what messages hold, without the quoting of mboxrd, which Dovecot
// does not know.
func octets(all []peer.Stored, quoted bool) []string {
	texts := make([]string, len(all))
	for i, m := range all {
		if texts[i] = string(m.Octets); quoted {
			texts[i] = quotedFrom.ReplaceAllString(texts[i], "$1")
		}
	}
	return texts
}

func toLF(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

// readersField is a field that our mboxes do not hold, for it would tell a reader
// what it knows already.
var readersField = regexp.MustCompile(`(?mi)^(?:Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|Content-Length)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*`)

var quotedFrom = regexp.MustCompile(`(?m)^>(>*From )`)

// withoutReaders returns a message without the fields of readers.
func withoutReaders(s string) string {
	end := strings.Index(s, "\n\n") + 1
	if end == 0 {
		end = len(s)
	}
	return readersField.ReplaceAllString(s[:end], "") + s[end:]
}

// muttAlters has the messages that mutt parts into header and body in its own
// way, or reads as strings of C.
var muttAlters = []string{"a header alone", "a From line in the header", "a line that is no field", "odd folding", "NUL"}

// compareMutt looks for what was sent in what mutt shows, which has an order of
// its own and takes CRLF in a file for LF.
func (s *site) compareMutt(box string, sent []string) {
	s.t.Helper()
	shown := make(map[string]int)
	all := peer.NewMutt(s.t, 0).Messages(filepath.Join(s.store, "example.com", box), "~A")
	for _, m := range all {
		text := toLF(string(m))
		shown[strings.TrimSuffix(text[len(ourFields.FindString(text)):], "\n")]++
	}
	if len(all) != len(sent) {
		s.t.Errorf("mutt shows %d messages of %d in %s", len(all), len(sent), box)
	}
	for i, text := range sent {
		want, found := strings.TrimSuffix(toLF(text), "\n"), false
		for _, b := range between {
			if found = shown[b+want] > 0; found {
				shown[b+want]--
				break
			}
		}
		if name := odd[i%len(odd)].name; !found && !slices.Contains(muttAlters, name) {
			s.t.Errorf("mutt does not show %s in %s", name, box)
		}
	}
}

// compare holds messages as somebody shows them against those that were sent, in
// order; view is what becomes of them on that way.
func compare(t testing.TB, what string, shown, sent []string, view func(string) string) {
	t.Helper()
	if len(shown) != len(sent) {
		t.Errorf("%s: %d messages of %d", what, len(shown), len(sent))
		return
	}
	if view == nil {
		view = func(s string) string { return s }
	}
	for i, got := range shown {
		name, want := odd[i%len(odd)].name, view(sent[i])
		got = view(got)
		trace := ourFields.FindString(got)
		rest := strings.TrimSuffix(got[len(trace):], "\n")
		want = strings.TrimSuffix(want, "\n") // which every message gets by DATA
		if trace == "" || !slices.ContainsFunc(between, func(b string) bool { return rest == b+want }) {
			t.Errorf("%s: %s: the trace fields %q, then %s", what, name, shorten(trace), difference(rest, want))
		}
	}
}

func shorten(s string) string {
	if len(s) > 300 {
		return s[:300] + "..."
	}
	return s
}

func difference(got, want string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at octet %d %q, want %q", i, shorten(got[max(0, i-20):]), shorten(want[max(0, i-20):]))
		}
	}
	return fmt.Sprintf("%d octets of %d", len(got), len(want))
}

// arrival returns the number that our names count by.
func arrival(t testing.TB, f peer.File) int {
	t.Helper()
	var sec, usec, pid, n int
	if _, err := fmt.Sscanf(f.Name, "%d.M%dP%dQ%dR", &sec, &usec, &pid, &n); err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
	return n
}

func checkSizes(t testing.TB, name, text string) {
	t.Helper()
	bare := strings.Count(text, "\n") - strings.Count(text, "\r\n")
	if want := fmt.Sprintf(",S=%d,W=%d", len(text), len(text)+bare); !strings.Contains(name, want) {
		t.Errorf("%s, want %s", name, want)
	}
}

// splitMbox parts an mbox at its From lines, and undoes mboxrd's quoting.
func splitMbox(t testing.TB, name string) []string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for i, part := range strings.Split("\n"+strings.TrimSuffix(string(b), "\n"), "\nFrom ") {
		if i > 0 {
			_, text, _ := strings.Cut(part, "\n")
			all = append(all, quotedFrom.ReplaceAllString(text, "$1"))
		}
	}
	return all
}

// python returns the messages of a mailbox as Python's module mailbox has them,
// in the order of their names.
func (s *site) python(class, box string) []string {
	s.t.Helper()
	const script = `
import mailbox, sys
box = getattr(mailbox, sys.argv[1])(sys.argv[2], create=False, factory=None)
keys = sorted(box.keys(), key=lambda k: int(k.split("Q")[1].split("R")[0]) if isinstance(k, str) else k)
for key in keys:
    text = box.get_bytes(key)
    sys.stdout.buffer.write(b"%d\n" % len(text) + text)
`
	cmd := exec.Command(peer.Need(s.t, "/usr/bin/python3")[0], "-c", script, class, filepath.Join(s.store, "example.com", box))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for len(out) > 0 {
		line, rest, _ := bytes.Cut(out, []byte("\n"))
		var n int
		if _, err := fmt.Sscan(string(line), &n); err != nil {
			s.t.Fatal(err)
		}
		text := string(rest[:n])
		if class == "mbox" {
			text = quotedFrom.ReplaceAllString(text, "$1")
		}
		all, out = append(all, text), rest[n:]
	}
	return all
}

// A rawClient is a session in which every octet is the test's.
type rawClient struct {
	t  *testing.T
	nc net.Conn
	r  *textproto.Reader
}

func dialRaw(t *testing.T, network, addr, hello string) *rawClient {
	t.Helper()
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{t, nc, textproto.NewReader(bufio.NewReader(nc))}
	c.expect(220)
	c.ask(hello+"\r\n", 250)
	return c
}

func (c *rawClient) expect(code int) {
	c.t.Helper()
	if got, text, err := c.r.ReadResponse(code); err != nil {
		c.t.Errorf("%d %s (%v), want %d", got, text, err, code)
	}
}

func (c *rawClient) ask(octets string, code int) {
	c.t.Helper()
	if _, err := c.nc.Write([]byte(octets)); err != nil {
		c.t.Fatal(err)
	}
	c.expect(code)
}

// send sends a message to one recipient.
func (c *rawClient) send(to, octets string, inChunks bool) {
	c.t.Helper()
	c.ask("MAIL FROM:<someone@client.example>\r\n", 250)
	c.ask("RCPT TO:<"+to+">\r\n", 250)
	if inChunks {
		half := len(octets) / 2 // be it between CR and LF
		c.ask(fmt.Sprintf("BDAT %d\r\n%s", half, octets[:half]), 250)
		c.ask(fmt.Sprintf("BDAT %d LAST\r\n%s", len(octets)-half, octets[half:]), 250)
		return
	}
	c.ask("DATA\r\n", 354)
	c.ask(strings.TrimPrefix(strings.ReplaceAll("\r\n"+octets, "\r\n.", "\r\n.."), "\r\n")+".\r\n", 250)
}
