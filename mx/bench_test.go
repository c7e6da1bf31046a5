package mx

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"

	"postern/internal/spool"
	"postern/mail"
)

// A sink takes everything and keeps nothing.
type sink struct{}

func (sink) Verify(context.Context, *mail.Envelope, mail.Recipient) error { return nil }

func (sink) Deliver(_ context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	if _, err := msg.WriteTo(io.Discard); err != nil {
		return nil
	}
	return env.Each(mail.Accepted)
}

// A talker is a client that says the same again and again, and causes no garbage.
type talker struct {
	net.Conn
	steps [][]byte // each is one write, answered by one line
	heard [512]byte
}

func newTalker(nc net.Conn, size int) *talker {
	text := "Subject: hello\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78) + ".\r\n"
	return &talker{Conn: nc, steps: [][]byte{
		[]byte("MAIL FROM:<sender@example.net>\r\n"), []byte("RCPT TO:<ann@mx.example>\r\n"), []byte("DATA\r\n"), []byte(text),
	}}
}

// hear reads what is said to the end of a line, and reports whether it is good.
func (c *talker) hear() bool {
	n, err := c.Read(c.heard[:])
	for err == nil && c.heard[n-1] != '\n' {
		var more int
		more, err = c.Read(c.heard[n:])
		n += more
	}
	return err == nil && (c.heard[0] == '2' || c.heard[0] == '3')
}

// send sends a message, and reports whether it was taken.
func (c *talker) send() bool {
	for _, step := range c.steps {
		if _, err := c.Write(step); err != nil || !c.hear() {
			return false
		}
	}
	return true
}

// connected returns a client of a server that judges nothing, logs each outcome
// and delivers into a sink.
func connected(t testing.TB, size int) *talker {
	t.Helper()
	return connectedTo(t, sinking(t), size)
}

// sinking returns that server.
func sinking(t testing.TB) *Server {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &Server{
		Hostname: "mx.example", Next: sink{}, Log: log, Record: func(o mail.Outcome) { o.Log(log) },
		Spool:     &spool.Spool{InMemory: 256 << 10, MaxMemory: 64 << 20, MaxFiles: 1 << 30, Dir: t.TempDir()},
		Directory: func() Directory { return directory{} },
		MaxSize:   64 << 20, MaxRecipients: 100,
	}
}

// connectedTo returns a client of srv, over TCP.
func connectedTo(t testing.TB, srv *Server, size int) *talker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, Listener{Listener: l}) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = nc.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c := newTalker(nc, size)
	c.hello(t)
	return c
}

// hello hears the greeting and says EHLO.
func (c *talker) hello(t testing.TB) {
	t.Helper()
	_, err := c.Write([]byte("EHLO client.example.net\r\n"))
	for err == nil && !bytes.Contains(c.heard[:], []byte("250 ")) {
		_, err = c.Read(c.heard[:])
	}
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkMessage is what a message costs in the MX, with its log line, and
// without judges and next hop.
func BenchmarkMessage(b *testing.B) {
	for name, size := range map[string]int{"4KiB": 4 << 10, "100KiB": 100 << 10, "5MiB": 5 << 20} {
		b.Run(name, func(b *testing.B) {
			c := connected(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if !c.send() {
					b.Fatalf("%s", c.heard[:])
				}
			}
		})
	}
}

// A message causes 48 allocations in the MX, with its log line, and without judges
// and next hop. The bound leaves room for the race detector, which has pools forget
// things on purpose.
func TestAllocations(t *testing.T) {
	const most = 56
	c := connected(t, 4<<10)
	send := func() {
		if !c.send() {
			t.Fatalf("%s", c.heard[:])
		}
	}
	for range 20 {
		send() // so that the pools are full
	}
	if n := testing.AllocsPerRun(200, send); n > most {
		t.Errorf("%.0f allocations a message, want %d at most", n, most)
	}
}

// BenchmarkIdle is what a connection takes that said EHLO and then nothing: of
// stacks, and of the heap.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		first := connected(b, 0) // with the server
		const n = 500
		runtime.GC()
		runtime.ReadMemStats(&before)
		var idle [n]*talker
		for i := range n {
			nc, err := net.Dial("tcp", first.RemoteAddr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			idle[i] = newTalker(nc, 0)
			idle[i].hello(b)
		}
		runtime.GC()
		runtime.GC() // stacks shrink by half
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/n, "stack-B/conn")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "heap-B/conn")
		_ = idle
	}
}
