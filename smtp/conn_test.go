package smtp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/mail"
)

// commands reads commands from w until an error that ends the session, and
// returns what they and the other errors were.
func commands(w net.Conn) (said []string) {
	c := NewConn(w)
	defer c.Release()
	for {
		cmd, err := c.ReadCommand()
		switch {
		case err == nil:
			said = append(said, fmt.Sprintf("%s|%s", cmd.Verb, cmd.Arg))
		case errors.Is(err, ErrLineTooLong), errors.Is(err, ErrBareNewline):
			said = append(said, err.Error())
		default:
			return append(said, err.Error())
		}
	}
}

func TestRFC5321_2_3_8_LineEnds(t *testing.T) {
	tests := []struct {
		in   string
		want string // without the EOF at the end
	}{
		{"NOOP\r\n", "NOOP|"},
		{"noop  x \r\nQuit\r\n", "NOOP|x; QUIT|"},
		{"\r\nNOOP\r\n", "|; NOOP|"},
		{"NOOP\nQUIT\r\nRSET\r\n", "smtp: LF without CR; RSET|"},
		{"\nNOOP\r\nRSET\r\n", "smtp: LF without CR; RSET|"},
		{"NOOP\n\r\nRSET\r\n", "smtp: LF without CR; RSET|"},
		{"NOOP\rQUIT\r\n", "NOOP\rQUIT|"}, // a CR ends no line, and is no white space
		{"NOOP\r\r\nRSET\r\n", "NOOP\r|; RSET|"},
		{"NOOP a\x00b\r\n", "NOOP|a\x00b"},
		{"NOOP\tx\r\n", "NOOP|x"},
		{" NOOP\r\n", "|NOOP"},
		{"NOOP", ""},
		{"NOOP\n", ""},
		{"NOOP\r", ""},
	}
	for _, tt := range tests {
		want := strings.TrimPrefix(tt.want+"; EOF", "; ")
		for i := range tt.in {
			if got := strings.Join(commands(newWire(tt.in, i)), "; "); got != want {
				t.Errorf("%q cut at %d: got %q, want %q", tt.in, i, got, want)
			}
		}
	}
}

func TestRFC5321_4_5_3_1_4_CommandLine(t *testing.T) {
	tests := []struct {
		length int // with CRLF
		want   string
	}{
		{512, ""},
		{maxCommand - 1, ""},
		{maxCommand, ""},
		{maxCommand + 1, ErrLineTooLong.Error()},
		{maxCommand + 2, ErrLineTooLong.Error()},
		{bufferSize - 1, ErrLineTooLong.Error()},
		{bufferSize, ErrLineTooLong.Error()},
		{bufferSize + 1, ErrLineTooLong.Error()},
		{maxDiscard, ErrLineTooLong.Error()},
	}
	for _, tt := range tests {
		arg := strings.Repeat("x", tt.length-len("NOOP \r\n"))
		line := "NOOP " + arg + "\r\n"
		want := tt.want
		if want == "" {
			want = "NOOP|" + arg
		}
		for _, fill := range []string{"RSET\r\n", "RSET\r\n" + strings.Repeat("NOOP\r\n", bufferSize/6-7)} {
			in := fill + line + "QUIT\r\n"
			at := len(fill) + len(line)
			for _, cuts := range [][]int{nil, {at - 1}, {at - 2}, {at}, {at + 1}, {at - 2, at - 1, at}, cutEvery(in, 251)} {
				got := commands(newWire(in, cuts...))
				n := len(got)
				if n < 4 || got[n-3] != want || got[n-2] != "QUIT|" {
					t.Fatalf("length %d cut at %v: %.300q", tt.length, cuts, got[max(0, n-3):])
				}
			}
		}
	}
}

// A line that never ends is not read for ever, and not kept.
func TestReadCommandEndless(t *testing.T) {
	for _, s := range []string{"x", "\n", "\r", "\r.\n"} {
		e := &endless{text: []byte(strings.Repeat(s, 3000))}
		if got := commands(e); len(got) != 1 || got[0] != ErrEndless.Error() {
			t.Errorf("%q: %q", s, got)
		}
		if e.read > 2*maxDiscard {
			t.Errorf("%q: %d octets read", s, e.read)
		}
	}
}

// Whatever is said, it is heard the same way however its octets arrive; small
// reads go another way through the buffers than large ones.
func FuzzReadCommand(f *testing.F) {
	f.Add("EHLO a\r\nMAIL FROM:<a@b>\r\n", []byte{1})
	f.Add("a\nb\r\n\r\r\n", []byte{0, 2})
	f.Add(strings.Repeat("x", maxCommand)+"\r\nNOOP\r\n", []byte{255, 7})
	f.Fuzz(func(t *testing.T, s string, sizes []byte) {
		for _, s := range []string{s, strings.Repeat(s, 1+5000/(len(s)+1)) + "\r\n" + s, spell(s)} {
			want := fmt.Sprintf("%q", commands(newWire(s)))
			if got := fmt.Sprintf("%q", commands(newWire(s, cutEvery(s, 1)...))); got != want {
				t.Fatalf("%q octet by octet: got %s, want %s", s, got, want)
			}
			if got := fmt.Sprintf("%q", commands(newWire(s, cutBy(s, sizes)...))); got != want {
				t.Fatalf("%q: got %s, want %s", s, got, want)
			}
		}
	})
}

// A batch of commands gets its replies in one write, and nothing is sent while
// there is still something to read.
func TestRFC2920_3_2_RepliesInOneWrite(t *testing.T) {
	batch := "MAIL FROM:<a@b>\r\n" + strings.Repeat("RCPT TO:<c@d>\r\n", 100) + "DATA\r\n"
	tests := []struct {
		name string
		cuts []int
		most int // writes; the first read of an idle connection is a small one
	}{
		{"one segment", nil, 2},
		{"two segments", []int{len(batch) / 2}, 3},
		{"in the middle of a line", []int{len(batch) - 3}, 3},
	}
	for _, tt := range tests {
		w := newWire(batch, tt.cuts...)
		c := NewConn(w)
		n := 0
		for {
			if _, err := c.ReadCommand(); err != nil {
				break
			}
			n++
			if err := c.WriteReply(mail.Accepted); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Count(w.sent(), "\r\n"); got != 102 || n != 102 {
			t.Errorf("%s: %d replies to %d commands", tt.name, got, n)
		}
		if len(w.writes) > tt.most {
			t.Errorf("%s: %d writes", tt.name, len(w.writes))
		}
	}
}

// A client that has sent a stray octet behind its command, as some do behind the
// dot, still hears the reply, and so does one that says no more.
func TestRepliesAreNotHeldBack(t *testing.T) {
	for _, stray := range []string{"\n", "\x00", " ", "QUIT", "\r"} {
		pipe(t, func(c *Conn) {
			c.ReadTimeout = 5 * time.Minute
			for {
				if _, err := c.ReadCommand(); err != nil {
					break
				}
				_ = c.WriteReply(mail.Accepted)
			}
		}, func(nc net.Conn, _ *Conn) {
			start := time.Now()
			_, _ = io.WriteString(nc, "NOOP\r\n"+stray)
			_, err := io.ReadFull(nc, make([]byte, len("250 2.0.0 OK\r\n")))
			if d := time.Since(start); d != 0 || err != nil {
				t.Errorf("%q: heard after %v, %v", stray, d, err)
			}
		})
	}
	full := strings.Repeat("x", idleSize-len("NOOP \r\nNO"))
	w := newWire("NOOP "+full+"\r\nNO", idleSize)
	c := NewConn(w)
	_, _ = c.ReadCommand()
	_ = c.WriteReply(mail.Accepted)
	if _, err := c.ReadCommand(); err != io.EOF || w.sent() != "250 2.0.0 OK\r\n" {
		t.Errorf("at the end: %v, sent %q", err, w.sent())
	}
}

// A client that pipelines without end and reads nothing does not fill our
// memory.
func TestRepliesAreBounded(t *testing.T) {
	w := newWire("")
	c := NewConn(w)
	for range 10000 {
		if err := c.WriteReply(mail.Accepted); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.out) > flushSize || len(w.sent())+len(c.out) != 10000*len("250 2.0.0 OK\r\n") {
		t.Errorf("%d octets held, %d sent", len(c.out), len(w.sent()))
	}
}

// pipe runs serve on one end of a pipe in a bubble, and test on the other.
func pipe(t *testing.T, serve func(*Conn), test func(client net.Conn, server *Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewConn(a)
		var server sync.WaitGroup
		server.Go(func() {
			defer a.Close()
			serve(c)
		})
		test(b, c)
		_ = b.Close()
		server.Wait()
	})
}

func TestRFC5321_4_5_3_2_7_Timeout(t *testing.T) {
	tests := []struct {
		name string
		say  func(client net.Conn)
		want time.Duration
	}{
		{"silence", func(net.Conn) {}, 5 * time.Minute},
		{"half a command", func(nc net.Conn) {
			time.Sleep(time.Minute)
			_, _ = io.WriteString(nc, "NOO")
		}, 5 * time.Minute},
		{"an octet a minute", func(nc net.Conn) {
			for range 60 {
				if _, err := io.WriteString(nc, "x"); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}, 5 * time.Minute},
		{"an octet a minute of a line that is too long", func(nc net.Conn) {
			_, _ = io.WriteString(nc, strings.Repeat("x", maxCommand+1))
			for range 60 {
				if _, err := io.WriteString(nc, "x"); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}, 5 * time.Minute},
		{"a command, then silence", func(nc net.Conn) {
			time.Sleep(4 * time.Minute)
			_, _ = io.WriteString(nc, "NOOP\r\n")
		}, 9 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pipe(t, func(c *Conn) {
				c.ReadTimeout = 5 * time.Minute
				start := time.Now()
				_, err := c.ReadCommand()
				for err == nil {
					_, err = c.ReadCommand()
				}
				if d := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || d != tt.want {
					t.Errorf("%v after %v", err, d)
				}
			}, func(nc net.Conn, _ *Conn) {
				tt.say(nc)
				time.Sleep(time.Hour)
			})
		})
	}
}

// A command that came while we were busy is not too late.
func TestDeadlineIsNotStale(t *testing.T) {
	pipe(t, func(c *Conn) {
		c.ReadTimeout = time.Minute
		if _, err := c.ReadCommand(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, err := c.ReadCommand(); !errors.Is(err, ErrLineTooLong) {
			t.Errorf("a long line: %v", err)
		}
		time.Sleep(time.Hour)
		if cmd, err := c.ReadCommand(); err != nil || cmd.Verb != "QUIT" {
			t.Errorf("the next: %v, %v", cmd, err)
		}
	}, func(nc net.Conn, _ *Conn) {
		_, _ = io.WriteString(nc, "NOOP\r\n"+strings.Repeat("x", 2*maxCommand))
		_, _ = io.WriteString(nc, "\r\nQUI")
		_, _ = io.WriteString(nc, "T\r\n")
	})
}

// Without a timeout the deadline is that of whoever owns the connection below.
func TestNoTimeout(t *testing.T) {
	pipe(t, func(c *Conn) {
		c.ReadTimeout, c.WriteTimeout = time.Minute, time.Minute
		for _, pause := range []time.Duration{0, time.Hour} {
			cmd, err := c.ReadCommand()
			if err != nil || cmd.Verb != "NOOP" {
				t.Fatalf("%v, %v", cmd, err)
			}
			if err := errors.Join(c.WriteReply(mail.Accepted), c.Flush()); err != nil {
				t.Fatalf("after %v: %v", pause, err)
			}
			c.ReadTimeout, c.WriteTimeout = 0, 0
			_ = c.NetConn().SetDeadline(time.Time{})
		}
	}, func(nc net.Conn, _ *Conn) {
		for range 2 {
			_, _ = io.WriteString(nc, "NOOP\r\n")
			time.Sleep(time.Second)
			_, _ = io.ReadFull(nc, make([]byte, len("250 2.0.0 OK\r\n")))
			time.Sleep(time.Hour)
		}
	})
}

func TestRFC5321_4_5_3_2_WriteTimeout(t *testing.T) {
	pipe(t, func(c *Conn) {
		c.WriteTimeout = 2 * time.Minute
		start := time.Now()
		err := errors.Join(c.WriteReply(mail.Accepted), c.Flush())
		if d := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || d != 2*time.Minute {
			t.Errorf("%v after %v", err, d)
		}
	}, func(net.Conn, *Conn) { time.Sleep(time.Hour) })
}

// Data has its own limit, that no trickle puts off.
func TestLimit(t *testing.T) {
	pipe(t, func(c *Conn) {
		c.ReadTimeout = 3 * time.Minute
		c.Limit(time.Now().Add(61 * time.Minute))
		start := time.Now()
		_, err := c.ReadData(io.Discard, 1000)
		if d := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || !ConnLost(err) || d != 61*time.Minute {
			t.Errorf("%v after %v", err, d)
		}
		c.Limit(time.Time{})
		if cmd, err := c.ReadCommand(); cmd.Verb != "XQUIT" || err != nil {
			t.Errorf("after the limit was lifted: %v, %v", cmd, err)
		}
	}, func(nc net.Conn, _ *Conn) {
		for range 31 {
			_, _ = io.WriteString(nc, "x")
			time.Sleep(2 * time.Minute)
		}
		_, _ = io.WriteString(nc, "xquit\r\n")
	})
}

func TestInterrupt(t *testing.T) {
	tests := []struct {
		name string
		play func(nc net.Conn, c *Conn)
		want string // what the server got
	}{
		{"while it waits", func(_ net.Conn, c *Conn) {
			time.Sleep(time.Second)
			c.Interrupt()
		}, "interrupted, EOF"},
		{"before it waits", func(_ net.Conn, c *Conn) {
			c.Interrupt()
		}, "interrupted, EOF"},
		{"twice is once", func(_ net.Conn, c *Conn) {
			time.Sleep(time.Second)
			c.Interrupt()
			c.Interrupt()
		}, "interrupted, EOF"},
		{"two, apart", func(_ net.Conn, c *Conn) {
			for range 2 {
				time.Sleep(time.Second)
				c.Interrupt()
			}
		}, "interrupted, interrupted, EOF"},
		{"in the middle of a command", func(nc net.Conn, c *Conn) {
			_, _ = io.WriteString(nc, "NO")
			time.Sleep(time.Second)
			c.Interrupt()
			time.Sleep(time.Second)
			_, _ = io.WriteString(nc, "OP\r\n")
		}, "interrupted, NOOP, EOF"},
		{"commands that came before are heard first", func(nc net.Conn, c *Conn) {
			_, _ = io.WriteString(nc, "BUSY\r\nNOOP\r\nRSET\r\nQU")
			c.Interrupt()
			time.Sleep(time.Minute)
			_, _ = io.WriteString(nc, "IT\r\n")
		}, "BUSY, NOOP, RSET, interrupted, QUIT, EOF"},
		{"in the middle of a line that is too long", func(nc net.Conn, c *Conn) {
			_, _ = io.WriteString(nc, strings.Repeat("x", maxCommand+1))
			time.Sleep(time.Second)
			c.Interrupt()
			time.Sleep(time.Second)
			_, _ = io.WriteString(nc, "QUIT\r\nNOOP\r\n")
		}, "too long, NOOP, interrupted, EOF"},
		{"while busy", func(nc net.Conn, c *Conn) {
			_, _ = io.WriteString(nc, "BUSY\r\n")
			time.Sleep(time.Second)
			c.Interrupt()
		}, "BUSY, interrupted, EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pipe(t, func(c *Conn) {
				if got := strings.Join(interrupts(c), ", "); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}, func(nc net.Conn, c *Conn) {
				tt.play(nc, c)
				time.Sleep(time.Minute)
			})
		})
	}
}

// interrupts reads commands, and says what came.
func interrupts(c *Conn) (got []string) {
	for {
		cmd, err := c.ReadCommand()
		switch {
		case errors.Is(err, ErrInterrupted):
			got = append(got, "interrupted")
		case errors.Is(err, ErrLineTooLong):
			got = append(got, "too long")
		case err != nil:
			return append(got, err.Error())
		default:
			got = append(got, cmd.Verb)
		}
		if cmd.Verb == "BUSY" {
			time.Sleep(10 * time.Second)
		}
	}
}

// Whatever moment an interruption comes at, it is reported just once, and no
// command is lost over it.
func TestInterruptRace(t *testing.T) {
	for range 2000 {
		a, b := net.Pipe()
		c := NewConn(a)
		c.ReadTimeout = time.Minute
		var others sync.WaitGroup
		others.Go(func() {
			_, _ = io.WriteString(b, "NOOP\r\n")
			_, _ = io.WriteString(b, "QU")
			_, _ = io.WriteString(b, "IT\r\n")
		})
		others.Go(c.Interrupt)
		interrupted, said := 0, ""
		for interrupted == 0 || said != "NOOP QUIT " {
			cmd, err := c.ReadCommand()
			switch {
			case errors.Is(err, ErrInterrupted):
				interrupted++
			case err != nil:
				t.Fatal(err)
			default:
				said += cmd.Verb + " "
			}
			if interrupted > 1 || len(said) > len("NOOP QUIT ") {
				t.Fatalf("%q, interrupted %d times", said, interrupted)
			}
		}
		others.Wait()
		_, _ = a.Close(), b.Close()
	}
}

// An interruption is none of the data's business.
func TestInterruptDuringData(t *testing.T) {
	pipe(t, func(c *Conn) {
		var text strings.Builder
		if _, err := c.ReadData(&text, 1000); err != nil || text.String() != "a\r\n" {
			t.Errorf("%q, %v", text.String(), err)
		}
		if _, err := c.ReadCommand(); !errors.Is(err, ErrInterrupted) {
			t.Errorf("after the data: %v", err)
		}
	}, func(nc net.Conn, c *Conn) {
		time.Sleep(time.Second)
		c.Interrupt()
		_, _ = io.WriteString(nc, "a\r\n.\r\n")
		time.Sleep(time.Second)
	})
}

// A message that takes long to send is not cut off while its octets flow.
func TestRFC5321_4_5_3_2_5_DataBlock(t *testing.T) {
	const blocks = 20
	body := strings.Repeat("x", blocks*sendSize)
	pipe(t, func(c *Conn) {
		c.WriteTimeout = 3 * time.Minute
		if n, err := c.DataWriter().Write([]byte(body)); n != len(body) || err != nil {
			t.Errorf("%d octets written, %v", n, err)
		}
	}, func(nc net.Conn, _ *Conn) {
		p := make([]byte, sendSize)
		for range blocks {
			_, _ = io.ReadFull(nc, p)
			time.Sleep(2 * time.Minute)
		}
	})
}

// A connection that waits for a command holds no buffer, and one that gave its
// buffers back none at all.
func TestIdleHoldsNoBuffer(t *testing.T) {
	pipe(t, func(c *Conn) {
		for {
			if _, err := c.ReadCommand(); err != nil {
				break
			}
			_ = c.WriteReply(mail.Reply{Code: 250, Text: strings.Repeat("x\n", 1000)})
		}
		c.Release()
		if c.buf != nil || c.out != nil {
			t.Error("buffers are kept after Release")
		}
	}, func(nc net.Conn, c *Conn) {
		_, _ = io.WriteString(nc, "NOOP\r\n")
		_, _ = io.ReadFull(nc, make([]byte, 1000*len("250-x\r\n")+len("250 \r\n")))
		synctest.Wait()
		if c.buf != nil || cap(c.out) > idleSize {
			t.Errorf("idle: buffer %v, %d octets of replies", c.buf != nil, cap(c.out))
		}
	})
}

// Close may come from anywhere at any time. Only -race can find that it may not.
func TestCloseRace(t *testing.T) {
	for range 200 {
		a, b := net.Pipe()
		c := NewConn(a)
		var others sync.WaitGroup
		others.Go(func() { _, _ = io.Copy(io.Discard, b) })
		others.Go(func() { _, _ = io.WriteString(b, "NOOP\r\nNOOP\r\n") })
		others.Go(func() { _ = c.Close() })
		for {
			if _, err := c.ReadCommand(); err != nil {
				break
			}
			_ = c.WriteReply(mail.Accepted)
		}
		_ = b.Close()
		others.Wait()
	}
}

func BenchmarkReadCommand(b *testing.B) {
	for name, text := range map[string]string{
		"rcpt":  "RCPT TO:<somebody@mx.example>\r\n",
		"batch": strings.Repeat("RCPT TO:<somebody@mx.example>\r\n", 100),
	} {
		b.Run(name, func(b *testing.B) {
			c := NewConn(&replay{text: text})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.ReadCommand(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
