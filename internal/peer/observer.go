package peer

import (
	"bufio"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An Observer is a proxy between SMTP clients and a server that notes which
// extensions the clients use, by their EHLO keywords; "HELO" means that one does
// without. What is said under TLS it only passes on.
type Observer struct {
	Addr string // where it takes connections: host:port

	mu   sync.Mutex
	used map[string]bool
}

// Observe starts an Observer in front of the server at addr, host:port.
func Observe(t testing.TB, addr string) *Observer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("peer: %v", err)
	}
	o := &Observer{Addr: l.Addr().String(), used: make(map[string]bool)}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { o.serve(client, addr) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return o
}

// Used returns the extensions that were used so far, sorted, and forgets them.
func (o *Observer) Used() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	used := slices.Sorted(maps.Keys(o.used))
	o.used = make(map[string]bool)
	return used
}

func (o *Observer) note(extension string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.used[extension] = true
}

// serve passes on what a client and the server say to each other.
func (o *Observer) serve(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	s := &observed{Observer: o, client: client, server: server, answered: make(chan answer, 1000)}
	s.asked = []string{""} // the greeting is the answer to nothing
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.replies()
		server.Close()
	}()
	s.commands()
	if tcp, ok := server.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	<-done
}

// observed is one connection.
type observed struct {
	*Observer
	client, server net.Conn
	answered       chan answer // one for each command

	askedMu sync.Mutex
	asked   []string // verbs of commands that have no reply yet
}

type answer struct {
	verb string
	code string
}

// commands passes on what the client says.
func (s *observed) commands() {
	r := bufio.NewReader(s.client)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		verb = strings.ToUpper(verb)
		s.command(verb, arg)
		if _, err := io.WriteString(s.server, line); err != nil {
			return
		}
		switch verb {
		case "DATA":
			if s.wait("DATA") == "354" && s.data(r) != nil {
				return
			}
		case "BDAT":
			size, _, _ := strings.Cut(arg, " ")
			n, err := strconv.ParseInt(size, 10, 64)
			if err != nil {
				return
			}
			if _, err := io.CopyN(s.server, r, n); err != nil {
				return
			}
		case "STARTTLS":
			if s.wait("STARTTLS") == "220" {
				_, _ = io.Copy(s.server, r)
				return
			}
		}
	}
}

// wait returns the code of the next answer to a verb.
func (s *observed) wait(verb string) string {
	for a := range s.answered {
		if a.verb == verb {
			return a.code
		}
	}
	return ""
}

// data passes on a message.
func (s *observed) data(r *bufio.Reader) error {
	s.askedMu.Lock()
	s.asked = append(s.asked, ".")
	s.askedMu.Unlock()
	for {
		line, err := r.ReadSlice('\n')
		end := string(line) == ".\r\n"
		if _, err := s.server.Write(line); err != nil {
			return err
		}
		if err != nil && err != bufio.ErrBufferFull || end {
			return err
		}
		for err == bufio.ErrBufferFull { // the rest of a long line is no end
			line, err = r.ReadSlice('\n')
			if _, err := s.server.Write(line); err != nil {
				return err
			}
		}
	}
}

// command notes what a command shows.
func (s *observed) command(verb, arg string) {
	s.askedMu.Lock()
	if len(s.asked) > 0 && slices.Contains([]string{"MAIL", "RCPT"}, s.asked[0]) {
		s.note("PIPELINING")
	}
	s.asked = append(s.asked, verb)
	s.askedMu.Unlock()
	switch verb {
	case "HELO", "STARTTLS":
		s.note(verb)
	case "BDAT":
		s.note("CHUNKING")
	case "MAIL", "RCPT":
		_, params, _ := strings.Cut(arg, "> ")
		for _, param := range strings.Fields(strings.ToUpper(params)) {
			key, value, _ := strings.Cut(param, "=")
			switch key {
			case "BODY":
				key = value
			case "RET", "ENVID", "NOTIFY", "ORCPT":
				key = "DSN"
			}
			s.note(key)
		}
	}
}

// replies passes on what the server says.
func (s *observed) replies() {
	defer close(s.answered)
	r := bufio.NewReader(s.server)
	var whole strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		whole.WriteString(line)
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		verb := ""
		s.askedMu.Lock()
		if len(s.asked) > 0 {
			verb = s.asked[0]
		}
		s.askedMu.Unlock()
		if verb == "MAIL" {
			time.Sleep(20 * time.Millisecond) // whoever does not wait for this reply shows it
		}
		s.askedMu.Lock()
		if len(s.asked) > 0 && !strings.HasPrefix(line, "353") { // more replies follow that one
			s.asked = s.asked[1:]
		}
		s.askedMu.Unlock()
		s.answered <- answer{verb, line[:min(3, len(line))]}
		if _, err := io.WriteString(s.client, whole.String()); err != nil {
			return
		}
		whole.Reset()
		if verb == "STARTTLS" && strings.HasPrefix(line, "220") {
			_, _ = io.Copy(s.client, r)
			return
		}
	}
}
