package smtp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/mail"
)

// sockets returns the ends of a real connection, of which the first rests at once.
func sockets(t *testing.T, network, addr string) (*Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(server)
	c.RestAfter = time.Nanosecond
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return c, client
}

// Whatever it was that ended the wait of a connection at rest, the command that
// follows or the reason why there is none is that of a wait that nothing broke off.
func TestAtRest(t *testing.T) {
	tests := []struct {
		name string
		do   func(nc net.Conn, c *Conn)
		want error // nil: the command
	}{
		{"a command", func(nc net.Conn, _ *Conn) { _, _ = io.WriteString(nc, "NOOP\r\n") }, nil},
		{"its first octet, and after a while its rest", func(nc net.Conn, _ *Conn) {
			_, _ = io.WriteString(nc, "N")
			time.Sleep(5 * time.Millisecond)
			_, _ = io.WriteString(nc, "OOP\r\n")
		}, nil},
		{"the client hangs up", func(nc net.Conn, _ *Conn) { _ = nc.Close() }, io.EOF},
		{"an interruption", func(_ net.Conn, c *Conn) { c.Interrupt() }, ErrInterrupted},
		{"it is told to go", func(_ net.Conn, c *Conn) { c.Dismiss() }, os.ErrDeadlineExceeded},
		{"nothing more is read", func(_ net.Conn, c *Conn) { c.CloseRead() }, io.EOF},
		{"it is closed", func(_ net.Conn, c *Conn) { _ = c.Close() }, net.ErrClosed},
		{"its time is up", func(_ net.Conn, c *Conn) {}, os.ErrDeadlineExceeded},
	}
	for _, network := range []string{"tcp", "unix"} {
		for _, tt := range tests {
			t.Run(network+", "+tt.name, func(t *testing.T) {
				addr := "127.0.0.1:0"
				if network == "unix" {
					addr = filepath.Join(t.TempDir(), "sock")
				}
				c, client := sockets(t, network, addr)
				c.ReadTimeout = time.Minute
				if errors.Is(tt.want, os.ErrDeadlineExceeded) {
					c.ReadTimeout = 20 * time.Millisecond
				}
				if _, err := c.ReadCommand(); err != ErrAtRest || !c.Resting() || c.Silence() == 0 {
					t.Fatalf("%v, resting %v, silent for %v", err, c.Resting(), c.Silence())
				}
				go tt.do(client, c)
				c.Await()
				cmd, err := c.ReadCommand()
				if !errors.Is(err, tt.want) || err == nil && cmd.Verb != "NOOP" {
					t.Errorf("%v, %v; want %v", cmd, err, tt.want)
				}
				if c.Resting() || c.Silence() != 0 {
					t.Errorf("afterwards resting: %v, silent for %v", c.Resting(), c.Silence())
				}
			})
		}
	}
}

// A peer that has begun to say something does not let the session rest: what comes then is
// the rest of it, also of a line that is too long to be kept.
func TestAtRestAmidALine(t *testing.T) {
	for name, begin := range map[string]string{"a command": "NO", "a line that is too long": strings.Repeat("x", maxCommand+1)} {
		t.Run(name, func(t *testing.T) {
			c, client := sockets(t, "tcp", "127.0.0.1:0")
			c.ReadTimeout, c.RestAfter = time.Minute, 50*time.Millisecond
			go func() {
				_, _ = io.WriteString(client, begin)
				time.Sleep(3 * c.RestAfter)
				_, _ = io.WriteString(client, "OP\r\nQUIT\r\n")
			}()
			cmd, err := c.ReadCommand()
			if begin == "NO" && (err != nil || cmd.Verb != "NOOP") || begin != "NO" && err != ErrLineTooLong {
				t.Errorf("%v, %v", cmd, err)
			}
			if cmd, err := c.ReadCommand(); err != nil || cmd.Verb != "QUIT" {
				t.Errorf("then: %v, %v", cmd, err)
			}
		})
	}
}

// Whoever speaks before it is asked is heard at once, whatever comes between the
// last look and the wait.
func TestAtRestRace(t *testing.T) {
	c, client := sockets(t, "tcp", "127.0.0.1:0")
	c.ReadTimeout = time.Minute
	for i := range 2000 {
		said := make(chan error, 1)
		go func() {
			_, err := io.WriteString(client, "NOOP\r\n")
			said <- err
		}()
		cmd, err := c.ReadCommand()
		for err == ErrAtRest {
			c.Await()
			cmd, err = c.ReadCommand()
		}
		if err != nil || cmd.Verb != "NOOP" {
			t.Fatalf("command %d: %v, %v", i, cmd, err)
		}
		if err := <-said; err != nil {
			t.Fatal(err)
		}
	}
}

// An interruption is told once, also of a connection that is just lying down.
func TestAtRestInterrupted(t *testing.T) {
	c, client := sockets(t, "tcp", "127.0.0.1:0")
	c.ReadTimeout = time.Minute
	for i := range 2000 {
		done := make(chan struct{})
		go func() { c.Interrupt(); close(done) }()
		_, err := c.ReadCommand()
		for err == ErrAtRest {
			c.Await()
			_, err = c.ReadCommand()
		}
		<-done
		if err != ErrInterrupted {
			t.Fatalf("interruption %d: %v", i, err)
		}
	}
	go func() { _, _ = io.WriteString(client, "QUIT\r\n") }()
	for {
		cmd, err := c.ReadCommand()
		if err == nil && cmd.Verb == "QUIT" {
			return
		}
		if err != ErrAtRest {
			t.Fatalf("after them: %v, %v", cmd, err)
		}
		c.Await()
	}
}

// Under TLS a socket may have something to read and the connection nothing.
func TestAtRestUnderTLS(t *testing.T) {
	config := testTLS(t)
	c, nc := sockets(t, "tcp", "127.0.0.1:0")
	c.ReadTimeout = time.Minute
	said := make(chan error, 1)
	go func() {
		client := tls.Client(nc, anyServer)
		_, err := io.WriteString(client, "NOOP\r\nRSET\r\n")
		_, _ = io.ReadFull(client, make([]byte, len("250 2.0.0 OK\r\n")))
		_, err2 := io.WriteString(client, "QUIT\r\n")
		said <- errors.Join(err, err2)
	}()
	if err := c.StartTLS(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	var rested int
	for _, want := range []string{"NOOP", "RSET", "QUIT"} {
		cmd, err := c.ReadCommand()
		for err == ErrAtRest {
			rested++
			c.Await()
			cmd, err = c.ReadCommand()
		}
		if err != nil || cmd.Verb != want {
			t.Fatalf("%v, %v; want %s", cmd, err, want)
		}
		if want == "RSET" {
			if err := errors.Join(c.WriteReply(mail.Accepted), c.Flush()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-said; err != nil || rested == 0 {
		t.Errorf("the client: %v; rested %d times", err, rested)
	}
}
