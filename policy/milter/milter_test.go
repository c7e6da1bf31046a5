package milter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"postern/internal/spool"
	"postern/mail"
)

// A packet is one of a fake filter's, or one that it heard.
type packet struct {
	cmd  byte
	data string
}

func (p packet) String() string { return fmt.Sprintf("%c %q", p.cmd, p.data) }

// A fake is a filter that answers each command as it is told, and else goes on.
type fake struct {
	version, actions, protocol uint32
	answers                    map[byte][]packet // by command
	refuse                     string            // the recipient that is refused
	hang                       byte              // the command after which it is silent
	heard                      []packet
	ended                      chan error
}

// start starts the fake for one connection, and returns a Filter that asks it.
func (f *fake) start(t testing.TB) *Filter {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f.ended = make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			f.ended <- err
			return
		}
		defer nc.Close()
		f.ended <- f.serve(newWire(nc))
	}()
	return &Filter{Name: "fake", Network: "unix", Address: path, Timeout: 5 * time.Second,
		Spool: &spool.Spool{InMemory: 1 << 16, MaxMemory: 1 << 20, MaxFiles: 1 << 20}}
}

func (f *fake) serve(w wire) error {
	for {
		cmd, data, err := w.read()
		if err != nil {
			return err
		}
		f.heard = append(f.heard, packet{cmd, string(data)})
		switch {
		case cmd == cmdQuit:
			return nil
		case cmd == f.hang:
			_, err := w.r.ReadByte()
			return err
		case cmd == cmdMacros:
			continue
		case cmd == cmdNegotiate:
			var b []byte
			for _, n := range []uint32{f.version, f.actions, f.protocol} {
				b = binary.BigEndian.AppendUint32(b, n)
			}
			if err := w.write(cmdNegotiate, b); err != nil {
				return err
			}
			continue
		}
		answers := f.answers[cmd]
		if cmd == cmdRcpt && string(data) == f.refuse {
			answers = []packet{{ansReject, ""}}
		}
		if answers == nil {
			if f.quiet(cmd) {
				continue
			}
			answers = []packet{{ansContinue, ""}}
		}
		for _, a := range answers {
			if err := w.write(a.cmd, []byte(a.data)); err != nil {
				return err
			}
		}
	}
}

func (f *fake) quiet(cmd byte) bool {
	bit := map[byte]uint32{cmdConnect: quietConnect, cmdHello: quietHello, cmdMail: quietMail, cmdRcpt: quietRcpt,
		cmdData: quietData, cmdField: quietField, cmdEndHeader: quietEndHeader, cmdBody: quietBody}[cmd]
	return f.protocol&bit != 0
}

// text returns what was heard, but for macros.
func (f *fake) text() string {
	var lines []string
	for _, p := range f.heard {
		if p.cmd != cmdMacros && p.cmd != cmdNegotiate {
			lines = append(lines, p.String())
		}
	}
	return strings.Join(lines, "\n")
}

const source = "Subject: hi\r\nX: a\r\n b\r\n\r\nbody\r\n"

func question1() Message {
	return Message{
		ID: "id1", Hostname: "mx.example",
		Client:     mail.Client{IP: netip.MustParseAddr("192.0.2.7"), Hello: "client.example", TLS: "TLSv1.3 AES"},
		ClientName: "mail.client.example",
		From:       mail.Address{Local: "a b", Domain: "client.example"},
		To:         []mail.Address{{Local: "bob", Domain: "mx.example"}, {Local: "eve", Domain: "mx.example"}},
		Fields:     []Field{{"Subject", " hi"}, {"X", " a\r\n b"}},
		Source:     mail.Octets(source), Body: int64(strings.Index(source, "body")),
	}
}

// A filter hears all, in order, and what it does not want it does not hear.
func TestWhatAFilterHears(t *testing.T) {
	const everything = "C \"mail.client.example\\x004\\x00\\x19192.0.2.7\\x00\"\n" +
		"H \"client.example\\x00\"\nM \"<\\\"a b\\\"@client.example>\\x00\"\nR \"<bob@mx.example>\\x00\"\nR \"<eve@mx.example>\\x00\"\nT \"\"\n" +
		"L \"Subject\\x00hi\\x00\"\nL \"X\\x00a\\n b\\x00\"\nN \"\"\nB \"body\\r\\n\"\nE \"\"\nQ \"\""
	tests := []struct {
		name string
		fake fake
		want string
	}{
		{"everything", fake{version: 6}, everything},
		{"version 2", fake{version: 2, actions: 0x3f}, everything},
		{"without a word in between", fake{version: 6, protocol: protocol &^ (0x37f | noData | leadingSpace | maySkip)}, everything},
		{"leading space", fake{version: 6, protocol: leadingSpace | noConnect | noHello | noMail | noRcpt | noData | noBody | noEndHeader}, "L \"Subject\\x00 hi\\x00\"\nL \"X\\x00 a\\n b\\x00\"\nE \"\"\nQ \"\""},
		{"nothing", fake{version: 6, protocol: 0xffffffff}, "E \"\"\nQ \"\""},
		{"decided early", fake{version: 6, answers: map[byte][]packet{cmdHello: {{ansAccept, ""}}}}, everything[:strings.Index(everything, "M ")] + "Q \"\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &tt.fake
			a, err := f.start(t).Ask(t.Context(), question1())
			if end := <-f.ended; err != nil || end != nil || !reflect.DeepEqual(a, Answer{Action: Accept}) {
				t.Errorf("%+v, %v, %v", a, err, end)
			}
			if got := f.text(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestMacros(t *testing.T) {
	f := &fake{version: 6}
	if _, err := f.start(t).Ask(t.Context(), question1()); err != nil {
		t.Fatal(err)
	}
	<-f.ended
	var got []string
	for _, p := range f.heard {
		if p.cmd == cmdMacros {
			got = append(got, strings.ReplaceAll(p.data, "\x00", " "))
		}
	}
	want := "Cj mx.example {daemon_name} postern {client_addr} 192.0.2.7 {client_name} mail.client.example |" +
		"H{tls_version} TLSv1.3 {cipher} AES |Mi id1 {mail_addr} \"a b\"@client.example |R{rcpt_addr} bob@mx.example |R{rcpt_addr} eve@mx.example |Ti id1 |Ei id1 "
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

func TestAnswers(t *testing.T) {
	at := func(n uint32, s string) string { return string(binary.BigEndian.AppendUint32(nil, n)) + s }
	end := func(p ...packet) map[byte][]packet { return map[byte][]packet{cmdEnd: p} }
	tests := []struct {
		name     string
		answers  map[byte][]packet
		protocol uint32
		want     Answer
	}{
		{"accept", end(packet{ansAccept, ""}), 0, Answer{Action: Accept}},
		{"reject", end(packet{ansReject, ""}), 0, Answer{Action: Reject}},
		{"later", end(packet{ansTempFail, ""}), 0, Answer{Action: TempFail}},
		{"discard", end(packet{ansDiscard, ""}), 0, Answer{Action: Discard}},
		{"shutdown", end(packet{ansShutdown, ""}), 0, Answer{Action: TempFail}},
		{"progress", end(packet{ansProgress, ""}, packet{ansProgress, ""}, packet{ansReject, ""}), 0, Answer{Action: Reject}},
		{"reply", end(packet{ansReply, "554 5.7.1 100%% spam\x00"}), 0, Answer{Action: Reject, Reply: mail.Reply{Code: 554, Status: mail.Status{5, 7, 1}, Text: "100% spam"}}},
		{"reply for now", end(packet{ansReply, "451 later\x00"}), 0, Answer{Action: TempFail, Reply: mail.Reply{Code: 451, Status: mail.Status{4, 7, 1}, Text: "later"}}},
		{"reply at MAIL", map[byte][]packet{cmdMail: {{ansReply, "550 5.1.8 no\x00"}}}, 0, Answer{Action: Reject, Reply: mail.Reply{Code: 550, Status: mail.Status{5, 1, 8}, Text: "no"}}},
		{"all recipients", map[byte][]packet{cmdRcpt: {{ansReply, "550 5.1.1 no\x00"}}}, 0, Answer{Action: Reject, Reply: mail.Reply{Code: 550, Status: mail.Status{5, 1, 1}, Text: "no"}}},
		{"quarantine", end(packet{ansQuarantine, "bad\nthing\x00"}, packet{ansContinue, ""}), 0, Answer{Action: Accept, Quarantine: "bad?thing"}},
		{"fields", end(packet{ansAddField, "X-Spam\x00yes\nreally\x00"}, packet{ansInsert, at(1, "A\x00b\x00")}, packet{ansAlter, at(2, "Subject\x00\x00")}, packet{ansAccept, ""}), 0,
			Answer{Action: Accept, Changes: []Change{{Add, 0, Field{"X-Spam", " yes\r\n\treally"}}, {Insert, 1, Field{"A", " b"}}, {Alter, 2, Field{"Subject", ""}}}}},
		{"fields with their space", end(packet{ansAddField, "X\x00y\x00"}, packet{ansAddField, "X\x00 y\x00"}, packet{ansAccept, ""}), leadingSpace,
			Answer{Action: Accept, Changes: []Change{{Add, 0, Field{"X", "y"}}, {Add, 0, Field{"X", " y"}}}}},
		{"what was not offered", end(packet{'+', "<x@y>\x00"}, packet{'-', "<x@y>\x00"}, packet{'e', "<>\x00"}, packet{ansAccept, ""}), 0, Answer{Action: Accept}},
		{"enough of the body", map[byte][]packet{cmdBody: {{ansSkip, ""}}, cmdEnd: {{ansReject, ""}}}, maySkip, Answer{Action: Reject}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{version: 6, protocol: tt.protocol, answers: tt.answers}
			got, err := f.start(t).Ask(t.Context(), question1())
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, %v", got, err)
			}
			<-f.ended
		})
	}
}

// One recipient that a filter refuses is noted; it goes on with the others.
func TestSomeRecipientsRefused(t *testing.T) {
	f := &fake{version: 6, refuse: "<eve@mx.example>\x00"}
	a, err := f.start(t).Ask(t.Context(), question1())
	if err != nil || !reflect.DeepEqual(a, Answer{Action: Accept, Recipients: 1}) {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestReplacedBody(t *testing.T) {
	f := &fake{version: 6, answers: map[byte][]packet{cmdEnd: {{ansBody, "new "}, {ansBody, "body\r\n"}, {ansContinue, ""}}}}
	a, err := f.start(t).Ask(t.Context(), question1())
	if err != nil || a.Body == nil {
		t.Fatalf("%+v, %v", a, err)
	}
	defer a.Body.Close()
	var b bytes.Buffer
	if err := a.Body.WriteRange(&b, mail.Range{End: a.Body.Size()}); err != nil || b.String() != "new body\r\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// A long body comes in pieces, and whole.
func TestLongBody(t *testing.T) {
	body := strings.Repeat("0123456789abcdef\r\n", 20_000)
	for _, protocol := range []uint32{0, quietBody} {
		f := &fake{version: 6, protocol: protocol}
		m := question1()
		m.Source, m.Body = mail.Octets(body), 0
		if _, err := f.start(t).Ask(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		<-f.ended
		var got strings.Builder
		for _, p := range f.heard {
			if p.cmd == cmdBody {
				if len(p.data) > 65535 {
					t.Errorf("a piece of %d octets", len(p.data))
				}
				got.WriteString(p.data)
			}
		}
		if got.String() != body {
			t.Errorf("%d octets of %d arrived", got.Len(), len(body))
		}
	}
}

// Whatever a filter does wrong, there is an error, and nothing is left behind.
func TestTrouble(t *testing.T) {
	many := make([]packet, 2000)
	for i := range many {
		many[i] = packet{ansAddField, "X\x00y\x00"}
	}
	tests := []struct {
		name string
		fake fake
		want string
	}{
		{"old", fake{version: 1}, "version 1"},
		{"new", fake{version: 7}, "version 7"},
		{"no reply", fake{version: 6, answers: map[byte][]packet{cmdEnd: {{ansReply, "gibberish\x00"}}}}, "no reply"},
		{"reply that accepts", fake{version: 6, answers: map[byte][]packet{cmdEnd: {{ansReply, "250 ok\x00"}}}}, "no reply"},
		{"no field", fake{version: 6, answers: map[byte][]packet{cmdEnd: {{ansAddField, "X:\r\nY\x00y\x00"}}}}, "no field"},
		{"no end", fake{version: 6, answers: map[byte][]packet{cmdEnd: {{ansAddField, "X\x00y"}}}}, "no field"},
		{"no place", fake{version: 6, answers: map[byte][]packet{cmdEnd: {{ansInsert, "X"}}}}, "without a place"},
		{"many fields", fake{version: 6, answers: map[byte][]packet{cmdEnd: many}}, "more than 1000 changes"},
		{"a large packet", fake{version: 6, answers: map[byte][]packet{cmdEnd: {{ansBody, strings.Repeat("x", maxPacket)}}}}, "packet of"},
		{"a large body", fake{version: 6, answers: map[byte][]packet{cmdEnd: {{ansBody, strings.Repeat("x", 1<<19)}, {ansBody, strings.Repeat("x", 1<<19)}, {ansBody, strings.Repeat("x", 1<<19)}}}}, spool.ErrFull.Error()},
		{"silence", fake{version: 6, hang: cmdBody}, os.ErrDeadlineExceeded.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &tt.fake
			filter := f.start(t)
			filter.Spool.MaxFiles = 1 << 19
			if f.hang != 0 {
				filter.Timeout = 50 * time.Millisecond
			}
			a, err := filter.Ask(t.Context(), question1())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !reflect.DeepEqual(a, Answer{}) {
				t.Errorf("%+v, %v", a, err)
			}
			if memory, files := filter.Spool.Held(); memory != 0 || files != 0 {
				t.Errorf("%d octets in memory, %d in files", memory, files)
			}
		})
	}
	if _, err := (&Filter{Network: "unix", Address: filepath.Join(t.TempDir(), "absent")}).Ask(t.Context(), question1()); err == nil {
		t.Error("nobody is there, and no error")
	}
	f := &fake{version: 6, hang: cmdEnd}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := f.start(t).Ask(ctx, question1()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("when the context ends: %v", err)
	}
}

// What a filter sends is never taken for more than it is: fields stay fields,
// replies refuse, and nothing panics.
func FuzzAnswer(f *testing.F) {
	add := func(ps ...packet) {
		var b bytes.Buffer
		w := wire{w: nil}
		_ = w
		for _, p := range ps {
			b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p.data)+1)))
			b.WriteByte(p.cmd)
			b.WriteString(p.data)
		}
		f.Add(b.Bytes())
	}
	add(packet{ansAddField, "X-A\x00b\r\nc\n\n d\x00"}, packet{ansAccept, ""})
	add(packet{ansAlter, "\x00\x00\x00\x01Subject\x00\x00"}, packet{ansQuarantine, "why\x00"}, packet{ansReply, "550-5.7.1 a\r\n550 5.7.1 b\x00"})
	add(packet{ansInsert, "\xff\xff\xff\xffA\x00b\x00"}, packet{ansBody, "x"}, packet{ansContinue, ""})
	f.Fuzz(func(t *testing.T, sent []byte) {
		rw := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(sent), io.Discard}
		q := newQuestion(rw, nil)
		err := q.hear()
		a := q.answer
		if errors.Is(err, errDecided) && a.Reply.Code != 0 && !a.Reply.Refuses() {
			t.Fatalf("%v refuses nothing", a.Reply)
		}
		for line := range strings.SplitSeq(a.Reply.Text, "\n") {
			if mail.Printable(line, 1000) != line {
				t.Fatalf("%q is not for strangers", line)
			}
		}
		for _, c := range a.Changes {
			lines := strings.Split(c.Name+":"+c.Value, "\r\n")
			for i, line := range lines {
				if strings.ContainsAny(line, "\r\n\x00") || i > 0 && (line == "" || line[0] != ' ' && line[0] != '\t' || strings.Trim(line, " \t") == "") {
					t.Fatalf("%q is no field", lines)
				}
			}
		}
	})
}
