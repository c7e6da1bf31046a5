package smtp_test

import (
	"io"
	"net"
	"testing"
	"time"

	"postern/smtp"
)

// tcpPair returns the two ends of a connection over loopback.
func tcpPair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if there, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if here, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

// A command that was sent before a reply was is no sign that the reply was read,
// be it in the buffer or still in the socket.
func TestDry(t *testing.T) {
	here, there := tcpPair(t)
	c := smtp.NewConn(here)
	if !c.Dry() {
		t.Error("not dry, and nobody has said anything")
	}
	write := func(s string) {
		if _, err := io.WriteString(there, s); err != nil {
			t.Fatal(err)
		}
	}
	read := func(verb string) {
		t.Helper()
		if cmd, err := c.ReadCommand(); err != nil || cmd.Verb != verb {
			t.Fatalf("read %v, %v", cmd, err)
		}
	}
	waitUntil := func(dry bool) {
		t.Helper()
		for range 1000 {
			if c.Dry() == dry {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Fatalf("never dry = %v", dry)
	}
	write("NOOP\r\nRSET\r\n")
	waitUntil(false) // in the socket
	read("NOOP")
	if c.Dry() {
		t.Error("dry, with a command in the buffer")
	}
	read("RSET")
	if !c.Dry() {
		t.Error("not dry, and all was read")
	}
	there.Close()
	time.Sleep(10 * time.Millisecond)
	if !c.Dry() {
		t.Error("the end is taken for something said")
	}
}

// A connection at rest is stale once its peer said something unasked, or is gone.
func TestStale(t *testing.T) {
	for name, end := range map[string]func(there net.Conn){
		"said something": func(there net.Conn) { _, _ = io.WriteString(there, "421 bye\r\n") },
		"gone":           func(there net.Conn) { there.Close() },
	} {
		here, there := tcpPair(t)
		c := smtp.NewConn(here)
		if c.Stale() {
			t.Fatalf("%s: stale before it", name)
		}
		end(there)
		for n := 0; !c.Stale(); n++ {
			if n == 1000 {
				t.Fatalf("%s: never stale", name)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
