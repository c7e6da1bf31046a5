package mx

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
)

// A tired listener fails so often before it accepts again.
type tired struct {
	net.Listener
	fails int
}

func (l *tired) Accept() (net.Conn, error) {
	if l.fails--; l.fails >= 0 {
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// Running out of file descriptors passes; until then the clients wait.
func TestAcceptGoesOn(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.listener.Listener = &tired{pipes{h.conns, h.ctx}, 10}
		start := time.Now()
		h.play(t, greeting+quit)
		if d := time.Since(start); d < time.Second || d > 5*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// A listener that is closed by somebody else ends the server, politely: without
// it the world would not be served, and nobody would know.
func TestListenerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, closeListener := context.WithCancel(context.Background())
		conns := make(chan net.Conn)
		srv := &Server{Hostname: "mx.example", Log: slog.New(slog.DiscardHandler)}
		ended := make(chan error)
		go func() {
			ended <- srv.Serve(context.Background(), Listener{Listener: pipes{nil, life}}, Listener{Listener: pipes{conns, life}})
		}()
		client, server := net.Pipe()
		conns <- server
		dialogue.Play(t, client, greeting)
		closeListener()
		dialogue.Play(t, client, "S: 421 4.3.2 mx.example *\nS.")
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}

// A client that is cut off while it shakes hands leaves nothing behind.
func TestShutdownDuringHandshake(t *testing.T) {
	inHouseWithTLS(t, func(t *testing.T, h *house) {
		nc := h.dial()
		defer nc.Close()
		dialogue.Play(t, nc, ehlo+"C: STARTTLS\nS: 220 *\nWAIT 1s")
		start := time.Now()
		h.shutdown()
		dialogue.Play(t, nc, "S.")
		if d := time.Since(start); d > 32*time.Second {
			t.Errorf("after %v", d)
		}
	})
}
