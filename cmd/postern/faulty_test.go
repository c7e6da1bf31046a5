package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A faulty is a proxy between an LMTP client and its server that does what a
// test wants to the replies after a message.
type faulty struct {
	path string // of its socket

	mu    sync.Mutex
	fault fault // nil: none
}

// A fault is asked about the replies to one message, one after the other: k
// counts them from 0. It returns what is passed on in the place of line; with
// false the connection is cut after that. A fault that is done with returns line
// as it is.
type fault func(k int, to, line string) (instead string, goOn bool)

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

func (f *faulty) get() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// once returns a fault that is do for the first message, and none after it.
func (f *faulty) once(do fault) fault {
	return func(k int, to, line string) (string, bool) {
		f.set(nil)
		return do(k, to, line)
	}
}

// serve passes on what client and server say to each other.
func (f *faulty) serve(client net.Conn, behind string) {
	defer client.Close()
	server, err := net.Dial("unix", behind)
	if err != nil {
		return
	}
	defer server.Close()
	messages := make(chan []string, 100) // the recipients of messages that ended
	go func() {
		defer server.Close()
		f.requests(server, client, messages)
	}()
	f.replies(client, server, messages)
}

// requests passes on what the client says, and notes whom messages are for.
func (f *faulty) requests(server io.Writer, client io.Reader, messages chan<- []string) {
	r := bufio.NewReader(client)
	var rcpts []string
	inData := false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, arg, _ := strings.Cut(line, " "); {
		case inData && line == ".\r\n":
			inData = false
			messages <- rcpts
		case inData:
		case verb == "MAIL":
			rcpts = nil
		case verb == "RCPT":
			addr, _, _ := strings.Cut(strings.TrimPrefix(arg, "TO:<"), ">")
			rcpts = append(rcpts, addr)
		case verb == "DATA\r\n":
			inData = true
		}
		if _, err := io.WriteString(server, line); err != nil {
			return
		}
	}
}

// replies passes on what the server says, with faults after the 354 to a message.
func (f *faulty) replies(client io.Writer, server io.Reader, messages <-chan []string) {
	r := bufio.NewReader(server)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(client, line); err != nil {
			return
		}
		if !strings.HasPrefix(line, "354") {
			continue
		}
		do := f.get()
		for k, to := range <-messages {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			goOn := true
			if do != nil {
				line, goOn = do(k, to, line)
			}
			if _, err := io.WriteString(client, line); err != nil || !goOn {
				return
			}
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
