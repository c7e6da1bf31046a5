package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postern/mail"
	"postern/smtp"
)

// A talk is a Session that does what a test tells it.
type talk struct {
	conn    *smtp.Conn
	serve   func(context.Context, *smtp.Conn) error
	refused *atomic.Value // the reply that was said last
}

func (t talk) Client() mail.Client             { return mail.Client{} }
func (t talk) Serve(ctx context.Context) error { return t.serve(ctx, t.conn) }
func (t talk) Leave()                          {}
func (t talk) Refuse(r mail.Reply)             { t.refused.Store(r); Refuse(t.conn, r) }

// A hall is a server in a bubble, and the door to it.
type hall struct {
	*Sessions
	door    pipes
	close   context.CancelFunc
	ended   chan error
	refused atomic.Value
}

// inHall runs test with a server whose sessions do what serve does.
func inHall(t *testing.T, serve func(context.Context, *smtp.Conn) error, test func(t *testing.T, h *hall)) {
	t.Helper()
	inHallWith(t, func(h *hall, c *smtp.Conn) Session { return talk{c, serve, &h.refused} }, test)
}

// inHallWith is inHall with sessions of another kind.
func inHallWith(t *testing.T, begin func(h *hall, c *smtp.Conn) Session, test func(t *testing.T, h *hall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &hall{Sessions: &Sessions{Log: slog.New(slog.DiscardHandler), Grace: time.Minute}, ended: make(chan error, 1)}
		h.door.conns = make(chan net.Conn)
		h.door.open, h.close = context.WithCancel(t.Context())
		go func() {
			h.ended <- h.Serve(h.door.open, []net.Listener{&h.door}, func(c *smtp.Conn, _ int) Session {
				return begin(h, c)
			})
		}()
		test(t, h)
		h.close()
		if err := <-h.ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := h.Connections(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// dial connects a client.
func (h *hall) dial() net.Conn {
	client, server := net.Pipe()
	h.door.conns <- server
	return client
}

// hears returns all that nc hears until it is closed.
func hears(nc net.Conn) string {
	b, _ := io.ReadAll(nc) // that it ended is all that matters
	return string(b)
}

// pipes is a listener that may be tired: then it fails so often before it accepts.
type pipes struct {
	conns chan net.Conn
	open  context.Context
	tired int
}

func (p *pipes) Accept() (net.Conn, error) {
	if p.tired--; p.tired >= 0 {
		return nil, syscall.EMFILE
	}
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.open.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{Port: 25} }

// greetAndWait greets, and waits for a command.
func greetAndWait(_ context.Context, c *smtp.Conn) error {
	if err := c.WriteReply(mail.Help); err != nil {
		return err
	}
	_, err := c.ReadCommand()
	r, err := ReplyToLine(err)
	if err == nil {
		Refuse(c, r)
	}
	return err
}

// A panic costs the connection that it happened on, is said to the client, and
// counted.
func TestPanic(t *testing.T) {
	first := true
	inHall(t, func(ctx context.Context, c *smtp.Conn) error {
		if first {
			first = false
			panic("a defect")
		}
		return greetAndWait(ctx, c)
	}, func(t *testing.T, h *hall) {
		if heard := hears(h.dial()); !strings.HasPrefix(heard, "421 4.3.0 ") {
			t.Errorf("heard %q", heard)
		}
		nc := h.dial()
		h.close()
		if heard := hears(nc); !strings.HasPrefix(heard, "214 ") {
			t.Errorf("the next one heard %q", heard)
		}
		if r, _ := h.refused.Load().(mail.Reply); h.Panics() != 1 || r.Err == nil || !strings.Contains(r.Err.Error(), "a defect") {
			t.Errorf("%d panics, %v", h.Panics(), h.refused.Load())
		}
	})
}

func TestMax(t *testing.T) {
	inHall(t, greetAndWait, func(t *testing.T, h *hall) {
		h.Max = 1
		first := h.dial()
		synctest.Wait()
		if heard := hears(h.dial()); !strings.HasPrefix(heard, "421 4.7.0 ") {
			t.Errorf("heard %q", heard)
		}
		_ = first.Close()
		synctest.Wait()
		nc := h.dial()
		h.close()
		if heard := hears(nc); !strings.HasPrefix(heard, "214 ") {
			t.Errorf("when there was room again: %q", heard)
		}
	})
}

// Where there is no room, a client that keeps the server waiting for long makes some: at
// rest, amid a line of which an octet comes now and then, or amid a message. One that
// waits for the server does not.
func TestMakeRoom(t *testing.T) {
	const patience = 10 * time.Second
	tests := []struct {
		name  string
		serve func(context.Context, *smtp.Conn) error
		says  string // an octet every second
		stays bool
	}{
		{"at rest", greetAndWait, "", false},
		{"amid a line", greetAndWait, "NOOP that takes its time", false},
		{"amid a message", func(_ context.Context, c *smtp.Conn) error {
			_, err := c.ReadData(io.Discard, 1000)
			r, _ := ReplyToLine(err)
			Refuse(c, r)
			return err
		}, "", false},
		{"amid a message that comes", func(_ context.Context, c *smtp.Conn) error {
			_, err := c.ReadData(io.Discard, 1000)
			return err
		}, "Subject: octet by octet, and so on", true},
		{"served", func(context.Context, *smtp.Conn) error { time.Sleep(2 * patience); return nil }, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first := true
			inHall(t, func(ctx context.Context, c *smtp.Conn) error {
				if !first {
					return greetAndWait(ctx, c)
				}
				first = false
				return tt.serve(ctx, c)
			}, func(t *testing.T, h *hall) {
				h.Max, h.Patience = 1, patience
				nc := h.dial()
				heard := make(chan string, 1)
				go func() { heard <- hears(nc) }()
				speaking := make(chan struct{})
				go func() {
					defer close(speaking)
					for _, octet := range []byte(tt.says) {
						time.Sleep(time.Second)
						if _, err := nc.Write([]byte{octet}); err != nil {
							return // it was told to go, or the test is over
						}
					}
				}()
				time.Sleep(patience - time.Second)
				if said := hears(h.dial()); !strings.HasPrefix(said, "421 4.7.0 ") {
					t.Errorf("before its time another one heard %q", said)
				}
				time.Sleep(2500 * time.Millisecond) // not at the moment when an octet comes
				other := h.dial()
				defer other.Close()
				said := make([]byte, 3)
				if _, err := io.ReadFull(other, said); err != nil || (string(said) == "421") != tt.stays {
					t.Errorf("another one heard %q, %v", said, err)
				}
				if !tt.stays {
					if said := <-heard; !strings.Contains(said, "421 4.4.2 ") {
						t.Errorf("who went heard %q", said)
					}
				}
				_ = nc.Close()
				<-speaking
			})
		})
	}
}

// Clients that do not listen to the goodbye hold up only so many others.
func TestMakeRoomIsBounded(t *testing.T) {
	const room = 2 * leavers
	inHall(t, func(_ context.Context, c *smtp.Conn) error {
		_, err := c.ReadCommand()
		time.Sleep(time.Hour) // a goodbye that is not heard
		return err
	}, func(t *testing.T, h *hall) {
		h.Max, h.Patience = room, time.Second
		for range room {
			defer h.dial().Close()
		}
		time.Sleep(2 * time.Second)
		for range room {
			nc := h.dial()
			defer nc.Close()
			go func() { _ = hears(nc) }()
		}
		time.Sleep(10 * time.Second)
		if n := h.Connections(); n != room+room/leavers+1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Out of file descriptors: that passes, and until then the clients wait.
func TestAcceptGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		door := &pipes{conns: make(chan net.Conn), open: ctx, tired: 10}
		s := &Sessions{Log: slog.New(slog.DiscardHandler)}
		var refused atomic.Value
		ended := make(chan error)
		go func() {
			ended <- s.Serve(ctx, []net.Listener{door}, func(c *smtp.Conn, _ int) Session {
				return talk{c, greetAndWait, &refused}
			})
		}()
		start := time.Now()
		client, server := net.Pipe()
		door.conns <- server
		if d := time.Since(start); d < time.Second || d > 5*time.Second {
			t.Errorf("after %v", d)
		}
		cancel()
		_ = hears(client)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// At the end a session that waits is interrupted, and one that does not end by itself
// has the time of grace, then that of a farewell, then is not read from any more, and is
// cut off.
func TestEnd(t *testing.T) {
	tests := []struct {
		name  string
		serve func(context.Context, *smtp.Conn) error
		takes time.Duration
	}{
		{"waits for a command", greetAndWait, 0},
		{"works until it is told", func(ctx context.Context, _ *smtp.Conn) error { <-ctx.Done(); return nil }, time.Minute},
		{"waits for another command", func(_ context.Context, c *smtp.Conn) error {
			for range 2 {
				_, _ = c.ReadCommand()
			}
			return nil
		}, time.Minute},
		{"waits for more of a message", func(_ context.Context, c *smtp.Conn) error {
			_, err := c.ReadData(io.Discard, 1000)
			return err
		}, time.Minute + farewell},
		{"works on", func(context.Context, *smtp.Conn) error { time.Sleep(time.Hour); return nil }, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHall(t, tt.serve, func(t *testing.T, h *hall) {
				nc := h.dial()
				defer nc.Close()
				go func() { _ = hears(nc) }()
				synctest.Wait()
				start := time.Now()
				h.close()
				err := <-h.ended
				if d := time.Since(start); err != nil || d != tt.takes {
					t.Errorf("after %v, %v", d, err)
				}
				h.ended <- nil
			})
		})
	}
}

// Addresses are unmapped in one place, and without the zone of a link.
func TestRemoteIP(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:5":          "192.0.2.1",
		"[::ffff:192.0.2.1]:5": "192.0.2.1",
		"[2001:db8::1]:5":      "2001:db8::1",
		"[fe80::1%eth0]:5":     "fe80::1",
	} {
		nc := from{nil, netip.MustParseAddrPort(addr)}
		if got := RemoteIP(nc); got.String() != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	a, b := net.Pipe()
	if got := RemoteIP(a); got.IsValid() {
		t.Errorf("a pipe: %v", got)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
}

// from is a connection from somewhere.
type from struct {
	net.Conn
	addr netip.AddrPort
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.addr) }
