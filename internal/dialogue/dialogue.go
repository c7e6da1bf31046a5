// Package dialogue plays scripts that read like the examples of RFC 5321, over
// any net.Conn, so that a protocol test shows what is said and nothing else:
//
//	dialogue.Play(t, nc, `
//		S: 220 mx.example ESMTP
//		C: EHLO client.example
//		S: 250-mx.example *
//		S: ...
//		S: 250 ENHANCEDSTATUSCODES
//		# a batch, sent in one write
//		C: RSET
//		C: QUIT
//		S: 250 *
//		S: 221 *
//		S.`)
//
// A line is one of these; white space before it, empty lines and lines that
// start with "#" are skipped:
//
//	S: text    the server says this line; "*" stands for any octets
//	S: ...     the server says whatever it likes, up to the next S: line
//	S.         the server closes the connection
//	C: text    the client says this line; CRLF is added
//	C| text    the client sends these octets; nothing is added
//	C.         the client closes the connection
//	S| text    the server says these octets
//	WAIT 5m    nobody speaks for this long
//
// Lines of the side that is played, with nothing between them, are sent in one
// write. In a text \r, \n, \t, \xHH, \* and \\ stand for one octet each, and only
// CRLF ends a line that the other side says.
package dialogue

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// T is what of a testing.TB is used. Fatalf must not return.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Play plays the client's part of script on nc, and holds what comes back
// against the server's part. It reads not one octet more than the script tells,
// so that another Play can go on where it ended. It sets no deadline.
func Play(t T, nc net.Conn, script string) {
	t.Helper()
	play(t, nc, script, 'C')
}

// Serve plays the server's part, as Play does the client's.
func Serve(t T, nc net.Conn, script string) {
	t.Helper()
	play(t, nc, script, 'S')
}

func play(t T, nc net.Conn, script string, self byte) {
	t.Helper()
	steps, err := parse(script)
	if err != nil {
		t.Fatalf("dialogue: %v", err)
	}
	p := player{nc: nc, self: self}
	if err := p.play(steps); err != nil {
		_ = nc.Close() // or the writer would wait for ever
		p.wait()
		t.Fatalf("dialogue: %v\n%s", err, p.transcript())
	}
}

// A player plays one side, self, of a script.
type player struct {
	nc      net.Conn
	self    byte
	said    []string   // what was said so far, for the transcript
	writing chan error // the write that is under way; nil: none
}

func (p *player) play(steps []step) error {
	for i := 0; i < len(steps); {
		n, err := p.next(steps[i:])
		if err != nil {
			return fmt.Errorf("line %d of the script: %w", steps[i].line, err)
		}
		i += n
	}
	return p.wait()
}

// next plays the first of steps, and those that belong to it, and returns how
// many they were.
func (p *player) next(steps []step) (int, error) {
	switch s := steps[0]; {
	case s.kind == wait:
		if err := p.wait(); err != nil {
			return 0, err
		}
		time.Sleep(s.pause)
		return 1, nil
	case s.side == p.self && s.kind == end:
		if err := p.wait(); err != nil {
			return 0, err
		}
		return 1, p.nc.Close()
	case s.side == p.self:
		return p.send(steps)
	case s.kind == end:
		return 1, p.expectEnd()
	case s.kind == raw:
		return 1, p.expectRaw(s)
	case s.kind == skip:
		if len(steps) < 2 || steps[1].side == p.self || steps[1].kind != line {
			return 0, fmt.Errorf("a line to skip to must follow")
		}
		return p.expect(steps[1], true)
	default:
		return p.expect(s, false)
	}
}

// send sends all lines of our own side at the start of steps in one write. It
// does not wait for its end: over a net.Pipe a write ends when the other side
// has read it all, and the other side may want to be heard first.
func (p *player) send(steps []step) (n int, err error) {
	if err := p.wait(); err != nil {
		return 0, err
	}
	var batch []byte
	for n < len(steps) && steps[n].side == p.self && (steps[n].kind == line || steps[n].kind == raw) {
		batch = append(batch, steps[n].text...)
		p.note(p.self, steps[n].text)
		n++
	}
	p.writing = make(chan error, 1)
	go func(done chan<- error) {
		_, err := p.nc.Write(batch)
		done <- err
	}(p.writing)
	return n, nil
}

// wait waits until everything is sent.
func (p *player) wait() error {
	if p.writing == nil {
		return nil
	}
	err := <-p.writing
	p.writing = nil
	return err
}

// expect reads the line that s tells of; with skipping, after any others.
func (p *player) expect(s step, skipping bool) (n int, err error) {
	n = 1
	if skipping {
		n = 2
	}
	for {
		got, err := p.readLine()
		switch {
		case err != nil:
			return 0, fmt.Errorf("want %c: %s\n got %w after %q", s.side, s.show(), err, got)
		case match(s.text, s.stars, got):
			return n, nil
		case !skipping:
			return 0, fmt.Errorf("want %c: %s\n got %c: %s", s.side, s.show(), s.side, escape(got))
		}
	}
}

// expectRaw reads as many octets as s has. There are no wildcards in it.
func (p *player) expectRaw(s step) error {
	got := make([]byte, len(s.text))
	n, err := io.ReadFull(p.nc, got)
	p.note(s.side, string(got[:n]))
	switch {
	case err != nil:
		return fmt.Errorf("want %c| %s\n got %w after %q", s.side, s.show(), err, got[:n])
	case string(got) != s.text:
		return fmt.Errorf("want %c| %s\n got %c| %s", s.side, s.show(), s.side, escape(string(got)))
	}
	return nil
}

// expectEnd waits for the end of the connection. Who closes it need not have
// heard everything.
func (p *player) expectEnd() error {
	got, err := p.readLine()
	if err == nil || len(got) > 0 {
		return fmt.Errorf("want the end of the connection\n got %q", got)
	}
	_ = p.wait()
	return nil
}

// readLine reads up to a CRLF, which it leaves out, octet by octet: what
// follows belongs to somebody else.
func (p *player) readLine() (string, error) {
	var (
		got   []byte
		octet [1]byte
	)
	for {
		n, err := p.nc.Read(octet[:])
		got = append(got, octet[:n]...)
		if text, ok := strings.CutSuffix(string(got), "\r\n"); ok {
			p.note(p.other(), string(got))
			return text, nil
		}
		if err != nil {
			if len(got) > 0 {
				p.note(p.other(), string(got))
			}
			return string(got), err
		}
	}
}

func (p *player) other() byte { return 'C' + 'S' - p.self }

func (p *player) note(side byte, text string) {
	mark := "|"
	if t, ok := strings.CutSuffix(text, "\r\n"); ok {
		mark, text = ":", t
	}
	p.said = append(p.said, fmt.Sprintf("\t%c%s %s\n", side, mark, escape(text)))
}

// transcript returns what was said, the last lines of it.
func (p *player) transcript() string {
	const last = 40
	if n := len(p.said); n > last {
		return fmt.Sprintf("the dialogue (without %d lines):\n%s", n-last, strings.Join(p.said[n-last:], ""))
	}
	return "the dialogue:\n" + strings.Join(p.said, "")
}

// escape shows octets that do not print as a script would write them, and not
// all of a very long text.
func escape(text string) string {
	q := strconv.QuoteToASCII(text)
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	if len(q) > 300 {
		q = q[:200] + " ... " + q[len(q)-90:]
	}
	return q
}
