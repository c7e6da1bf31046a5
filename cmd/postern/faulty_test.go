package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A faulty is a proxy between an LMTP client and its server that does what a
// test wants to what the server says.
type faulty struct {
	path string // of its socket

	mu    sync.Mutex
	fault fault // nil: none
	early early // nil: none
}

// A fault is asked about the replies to one message, one after the other: k
// counts them from 0. It returns what is passed on in the place of line; with
// false the connection is cut after that. A fault that is done with returns line
// as it is. What it returns is sent in pieces that end at each pause.
type fault func(k int, to, line string) (instead string, goOn bool)

// An early fault is asked about every reply before those, by the verb that it
// answers, "" for the greeting; and, with the verb "text" and no reply, about each
// message when half of it has been passed on.
type early func(verb, reply string) (instead string, goOn bool)

const pause = "\v"

// silence is what a fault returns where nothing more is to be said until the client
// hangs up.
const silence = "\a"

// newFaulty listens in dir for clients of the server at the socket behind.
func newFaulty(t testing.TB, dir, behind string) *faulty {
	t.Helper()
	f := &faulty{path: filepath.Join(dir, "faulty.sock")}
	l, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { f.serve(client, behind) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return f
}

func (f *faulty) set(next fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = next
}

func (f *faulty) setEarly(next early) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.early = next
}

func (f *faulty) get() (fault, early) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault, f.early
}

// once returns a fault that is do for the first message, and none after it.
func (f *faulty) once(do fault) fault {
	return func(k int, to, line string) (string, bool) {
		f.set(nil)
		return do(k, to, line)
	}
}

// asked is what a reply is awaited to.
type asked struct {
	verb string
	to   []string // the recipients of a message that ended: a reply for each
}

// serve passes on what client and server say to each other.
func (f *faulty) serve(client net.Conn, behind string) {
	defer client.Close()
	server, err := net.Dial("unix", behind)
	if err != nil {
		return
	}
	defer server.Close()
	c := &relayed{faulty: f, client: client, server: server, asked: make(chan asked, 1000), started: make(chan bool, 1)}
	c.asked <- asked{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		c.requests()
		close(c.asked)
	}()
	c.replies()
	_, _ = client.Close(), server.Close()
	close(c.started)
	<-done
}

// relayed is one connection.
type relayed struct {
	*faulty
	client, server net.Conn
	asked          chan asked
	started        chan bool // whether DATA was answered with 354
}

// requests passes on what the client says, and notes what it asks.
func (c *relayed) requests() {
	r := bufio.NewReader(c.client)
	var to []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		var size int64
		a := asked{verb: verb}
		switch verb {
		case "MAIL":
			to = nil
		case "RCPT":
			addr, _, _ := strings.Cut(strings.TrimPrefix(arg, "TO:<"), ">")
			to = append(to, addr)
		case "BDAT":
			number, last, _ := strings.Cut(arg, " ")
			size, _ = strconv.ParseInt(number, 10, 64)
			if last == "LAST" {
				a.to = to
			}
		}
		c.asked <- a
		if _, err := io.WriteString(c.server, line); err != nil {
			return
		}
		switch {
		case verb == "DATA" && <-c.started:
			err = c.text(r, to)
		case size > 0:
			err = c.chunk(r, size)
		}
		if err != nil {
			return
		}
	}
}

// text passes on a message that ends with a dot.
func (c *relayed) text(r *bufio.Reader, to []string) error {
	for n := 0; ; n++ {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if n == 1 && c.cutsText() {
			return io.ErrUnexpectedEOF
		}
		if line == ".\r\n" {
			c.asked <- asked{".", to}
		}
		if _, err := io.WriteString(c.server, line); err != nil || line == ".\r\n" {
			return err
		}
	}
}

// chunk passes on a part of a message.
func (c *relayed) chunk(r io.Reader, size int64) error {
	if _, err := io.CopyN(c.server, r, size/2); err != nil {
		return err
	}
	if c.cutsText() {
		return io.ErrUnexpectedEOF
	}
	_, err := io.CopyN(c.server, r, size-size/2)
	return err
}

func (c *relayed) cutsText() bool {
	_, early := c.get()
	if early == nil {
		return false
	}
	_, goOn := early("text", "")
	return !goOn
}

// replies passes on what the server says, with faults.
func (c *relayed) replies() {
	r := bufio.NewReader(c.server)
	for a := range c.asked {
		fault, early := c.get()
		n := max(1, len(a.to))
		for k := range n {
			reply, err := readReply(r)
			if err != nil {
				return
			}
			goOn := true
			switch {
			case a.to != nil && fault != nil:
				reply, goOn = fault(k, a.to[k], reply)
			case a.to == nil && early != nil:
				reply, goOn = early(a.verb, reply)
			}
			if reply == silence {
				for range c.asked { // to its end
				}
				return
			}
			for piece := range strings.SplitAfterSeq(reply, pause) {
				if _, err := io.WriteString(c.client, strings.TrimSuffix(piece, pause)); err != nil {
					return
				}
				if strings.HasSuffix(piece, pause) {
					time.Sleep(5 * time.Millisecond)
				}
			}
			if a.verb == "DATA" {
				c.started <- strings.HasPrefix(reply, "354")
			}
			if !goOn {
				return
			}
		}
	}
}

// readReply returns the lines of a reply.
func readReply(r *bufio.Reader) (reply string, err error) {
	for {
		line, err := r.ReadString('\n')
		reply += line
		if err != nil || len(line) < 4 || line[3] != '-' {
			return reply, err
		}
	}
}

// cutAfter cuts the connection after k replies.
func cutAfter(k int) fault {
	return func(i int, _, line string) (string, bool) {
		if i == k {
			return "", false
		}
		return line, true
	}
}

// says gives the recipient to another reply.
func says(rcpt, reply string) fault {
	return func(_ int, to, line string) (string, bool) {
		if to == rcpt {
			return fmt.Sprintf("%s\r\n", reply), true
		}
		return line, true
	}
}
