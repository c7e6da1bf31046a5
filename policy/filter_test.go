package policy

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/internal/spool"
	"postern/mail"
	"postern/policy/milter"
)

// What a filter changes is taken out or put on top; of the rest not an octet is
// different.
func TestDraft(t *testing.T) {
	const message = "From: ann@signer.example\r\nX-Spam-Flag: YES\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\nSubject:  hi\r\n\r\nbody\r\n"
	change := func(op milter.Op, i int, name, value string) milter.Change {
		return milter.Change{Op: op, Index: i, Field: milter.Field{Name: name, Value: value}}
	}
	tests := []struct {
		name    string
		changes []milter.Change
		want    string // with our own field left out
	}{
		{"nothing", nil, "From: ann@signer.example\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\nSubject:  hi\r\n\r\nbody\r\n"},
		{"added", []milter.Change{change(milter.Add, 0, "X-A", " 1"), change(milter.Add, 0, "X-B", " 2\r\n\t3")}, "X-A: 1\r\nX-B: 2\r\n\t3\r\nFrom: ann@signer.example\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\nSubject:  hi\r\n\r\nbody\r\n"},
		{"inserted", []milter.Change{change(milter.Add, 0, "X-A", " 1"), change(milter.Insert, 0, "X-B", " 2"), change(milter.Insert, 99, "X-C", " 3"), change(milter.Insert, 2, "X-D", " 4")}, "X-B: 2\r\nX-D: 4\r\nX-A: 1\r\nX-C: 3\r\nFrom: ann@signer.example\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\nSubject:  hi\r\n\r\nbody\r\n"},
		{"changed", []milter.Change{change(milter.Alter, 1, "subject", " [spam] hi")}, "subject: [spam] hi\r\nFrom: ann@signer.example\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\n\r\nbody\r\n"},
		{"changed, where there is none", []milter.Change{change(milter.Alter, 1, "X-Spam", " Yes")}, "X-Spam: Yes\r\nFrom: ann@signer.example\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\nSubject:  hi\r\n\r\nbody\r\n"},
		{"taken out", []milter.Change{change(milter.Alter, 2, "RECEIVED", ""), change(milter.Alter, 1, "Received", ""), change(milter.Alter, 1, "Received", "")}, "From: ann@signer.example\r\nSubject:  hi\r\n\r\nbody\r\n"},
		{"its own", []milter.Change{change(milter.Add, 0, "X-A", " 1"), change(milter.Alter, 1, "x-a", " 2"), change(milter.Alter, 1, "X-A", "")}, "From: ann@signer.example\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\nSubject:  hi\r\n\r\nbody\r\n"},
		{"ours", []milter.Change{change(milter.Alter, 1, "Authentication-Results", " x; none"), change(milter.Alter, 1, "authentication-results", "")}, "From: ann@signer.example\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\nSubject:  hi\r\n\r\nbody\r\n"},
		{"what is not there", []milter.Change{change(milter.Alter, 3, "Received", "")}, "From: ann@signer.example\r\nReceived: from a\r\n\tby b\r\nreceived : from c\r\nSubject:  hi\r\n\r\nbody\r\n"},
	}
	src := mail.Octets(message)
	h := header.Scan(src, header.Limits{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const ours = "Authentication-Results: mx.example; none\r\n"
			v := Verdict{Fields: ours, Cut: forged(h, "mx.example")}
			d := newDraft(v, src, h)
			for _, c := range tt.changes {
				d.change(c)
			}
			d.finish(&v)
			var b bytes.Buffer
			if _, err := mail.NewMessage(src).Cut(v.Cut).Prepend(v.Fields).WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			if got := b.String(); got != ours+tt.want {
				t.Errorf("got\n%q\nwant\n%q", got, ours+tt.want)
			}
			var shown strings.Builder
			for _, f := range d.shown() {
				shown.WriteString(f.Name + ":" + f.Value + "\r\n")
			}
			if head, _, _ := strings.Cut(strings.ReplaceAll(b.String(), "received :", "received:"), "\r\n\r\n"); shown.String() != head+"\r\n" {
				t.Errorf("the next filter would be shown\n%q", shown.String())
			}
		})
	}
}

// startFilter starts a filter that answers the end of each message with packets,
// and returns how to ask it.
func startFilter(t *testing.T, packets ...string) Filter {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serveFilter(nc, packets)
		}
	}()
	return Filter{Filter: &milter.Filter{Name: "fake", Network: "unix", Address: path, Spool: &spool.Spool{InMemory: 1 << 10, MaxMemory: 1 << 20, MaxFiles: 1 << 20}}}
}

// serveFilter wants to hear nothing but the end.
func serveFilter(nc net.Conn, packets []string) {
	defer nc.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(nc, size[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(nc, data); err != nil {
			return
		}
		var answers []string
		switch data[0] {
		case 'O':
			answers = []string{"O\x00\x00\x00\x06\x00\x00\x00\x3f\x00\x00\x02\x7f"}
		case 'E':
			answers = packets
		}
		for _, a := range answers {
			if _, err := nc.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(a))), a...)); err != nil {
				return
			}
		}
	}
}

func TestFilters(t *testing.T) {
	away := Filter{Filter: &milter.Filter{Name: "away", Network: "unix", Address: filepath.Join(t.TempDir(), "absent")}}
	awayDefer := away
	awayDefer.Defer = true
	marks := startFilter(t, "hX-A\x00yes\x00", "bnew body\r\n", "c")
	refuses := startFilter(t, "y554 5.7.1 go away\x00")
	small := refuses
	small.MaxSize = 10
	tests := []struct {
		name    string
		filters []Filter
		to      string
		want    Action
		text    string // of the reply
		note    string
	}{
		{"refused", []Filter{marks, refuses, away}, "bob@here.example", Reject, "go away", "filter:reject (fake: go away)"},
		{"two bodies", []Filter{marks, marks}, "bob@here.example", Accept, "", ""},
		{"refused for now", []Filter{startFilter(t, "t")}, "bob@here.example", Defer, mail.TryAgain.Text, "filter:defer"},
		{"refused in its words", []Filter{startFilter(t, "r")}, "bob@here.example", Reject, mail.Filtered.Text, "filter:reject"},
		{"too large to be shown", []Filter{small}, "bob@here.example", Accept, "", ""},
		{"set apart", []Filter{startFilter(t, "qa virus\x00", "c")}, "bob@here.example", Quarantine, "", "filter:quarantine (fake: a virus)"},
		{"thrown away", []Filter{startFilter(t, "d")}, "bob@here.example", Quarantine, "", "throw it away"},
		{"away", []Filter{away, marks}, "bob@here.example", Mark, "", "filter:mark (away: filter away: dial"},
		{"away, and that matters", []Filter{awayDefer}, "bob@here.example", Defer, mail.TryAgain.Text, ""},
		{"a postmaster's", []Filter{refuses}, "postmaster@here.example", Reject, "go away", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &Policy{Hostname: "mx.here.example", Enforce: true}
			var kept *Record
			j := &Judge{Resolver: dns.Zone{}, Policy: func() *Policy { return p }, Filters: tt.filters, Closed: func(r *Record) { kept = r }}
			env := envelope("ann@signer.example", tt.to)
			c := j.Open(env)
			src := mail.Octets(text)
			v := c.Message(context.Background(), []mail.Address{env.To[0].Address}, src, header.Scan(src, header.Limits{}))
			if v.Action != tt.want || v.Reply.Text != tt.text || !strings.Contains(v.Note, tt.note) {
				t.Errorf("%s, %v, %s", v.Action, v.Reply, v.Note)
			}
			if tt.want == Accept && strings.Contains(v.Note, "filter") {
				t.Errorf("note %q", v.Note)
			}
			if marked := strings.Contains(v.Fields, "X-A: yes\r\n"); marked != (tt.filters[0].Filter == marks.Filter || len(tt.filters) > 1) || marked != (v.Body != nil) {
				t.Errorf("fields %q, body %v", v.Fields, v.Body)
			}
			c.Close(mail.ReplyTo(v.Refusal()))
			if again := p.Decide(kept.Facts, v.Findings); again.Action != v.Action {
				t.Errorf("from the record: %s", again.Action)
			}
			for _, f := range tt.filters {
				if f.Spool == nil {
					continue
				}
				if memory, files := f.Spool.Held(); memory+files != 0 {
					t.Errorf("%d octets are held", memory+files)
				}
			}
		})
	}
}
