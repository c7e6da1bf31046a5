package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/certtest"
	"postern/mail"
)

// testTLS returns what a server needs to speak TLS to clients that do not ask
// who it is.
func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{certtest.New(t)}}
}

var anyServer = &tls.Config{InsecureSkipVerify: true}

func TestStartTLS(t *testing.T) {
	config := testTLS(t)
	pipe(t, func(c *Conn) {
		c.ReadTimeout = 5 * time.Minute
		if got := c.TLS(); got != "" {
			t.Errorf("in the clear: %q", got)
		}
		if _, err := c.ReadCommand(); err != nil {
			t.Fatal(err)
		}
		if err := c.WriteReply(mail.ReadyForTLS); err != nil {
			t.Fatal(err)
		}
		if err := c.StartTLS(context.Background(), config); err != nil {
			t.Fatal(err)
		}
		if got := c.TLS(); got != "TLSv1.3 TLS_AES_128_GCM_SHA256" && got != "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256" {
			t.Errorf("under TLS: %q", got)
		}
		if cmd, err := c.ReadCommand(); err != nil || cmd.Verb != "EHLO" {
			t.Errorf("under TLS: %v, %v", cmd, err)
		}
		// An interruption of TLS leaves it whole.
		if _, err := c.ReadCommand(); !errors.Is(err, ErrInterrupted) {
			t.Errorf("interrupted: %v", err)
		}
		if err := errors.Join(c.WriteReply(mail.Accepted), c.Flush()); err != nil {
			t.Error(err)
		}
		if cmd, err := c.ReadCommand(); err != nil || cmd.Verb != "QUIT" {
			t.Errorf("after the interruption: %v, %v", cmd, err)
		}
	}, func(nc net.Conn, c *Conn) {
		_, _ = io.WriteString(nc, "STARTTLS\r\n")
		_, _ = io.ReadFull(nc, make([]byte, len(AppendReply(nil, mail.ReadyForTLS))))
		client := tls.Client(nc, anyServer)
		_, _ = io.WriteString(client, "EHLO a\r\n")
		time.Sleep(time.Second)
		c.Interrupt()
		_, _ = io.ReadFull(client, make([]byte, len("250 2.0.0 OK\r\n")))
		_, _ = io.WriteString(client, "QUIT\r\n")
	})
}

// What came in the clear is never heard as if it had come under TLS.
func TestRFC3207_4_2_EarlyData(t *testing.T) {
	config := testTLS(t)
	tests := []struct {
		name string
		say  []string // before the handshake, each in a write of its own
		want error    // nil: a failed handshake
	}{
		{"in the same segment", []string{"STARTTLS\r\nEHLO evil\r\n"}, ErrEarlyData},
		{"half a line", []string{"STARTTLS\r\nE"}, ErrEarlyData},
		{"in the next segment", []string{"STARTTLS\r\n", "EHLO evil\r\n"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pipe(t, func(c *Conn) {
				if _, err := c.ReadCommand(); err != nil {
					t.Fatal(err)
				}
				err := c.StartTLS(context.Background(), config)
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("got %v", err)
				}
			}, func(nc net.Conn, _ *Conn) {
				for _, s := range tt.say {
					_, _ = io.WriteString(nc, s)
				}
				_, _ = io.Copy(io.Discard, nc)
			})
		})
	}
}

// A handshake takes no longer than its context lets it, whatever deadline an
// earlier wait had set.
func TestStartTLSTimeout(t *testing.T) {
	config := testTLS(t)
	pipe(t, func(c *Conn) {
		c.ReadTimeout, c.WriteTimeout = time.Second, time.Second
		if _, err := c.ReadCommand(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := c.StartTLS(ctx, config)
		if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d != time.Minute {
			t.Errorf("%v after %v", err, d)
		}
	}, func(nc net.Conn, _ *Conn) {
		_, _ = io.WriteString(nc, "STARTTLS\r\n")
		time.Sleep(time.Hour)
	})
}

// A shutdown may close the connection in the middle of it all.
func TestStartTLSCloseRace(t *testing.T) {
	config := testTLS(t)
	for range 20 {
		a, b := net.Pipe()
		c := NewConn(a)
		var others sync.WaitGroup
		others.Go(func() {
			_ = tls.Client(b, anyServer).Handshake()
			_, _ = io.Copy(io.Discard, b)
		})
		others.Go(func() { _ = c.Close() })
		if err := c.StartTLS(context.Background(), config); err == nil {
			_, _ = c.ReadCommand()
		}
		_ = c.Close()
		_ = b.Close()
		others.Wait()
	}
}

// The buffers of the connection in the clear do not outlive it.
func TestStartTLSForgetsBuffers(t *testing.T) {
	config := testTLS(t)
	pipe(t, func(c *Conn) {
		_, _ = c.ReadCommand()
		_, _ = c.ReadCommand()
		if err := c.StartTLS(context.Background(), config); err != nil {
			t.Fatal(err)
		}
		if c.buf != nil || c.Buffered() != 0 {
			t.Error("there is still a buffer")
		}
	}, func(nc net.Conn, _ *Conn) {
		_, _ = io.WriteString(nc, "NOOP\r\nSTARTTLS\r\n")
		synctest.Wait()
		client := tls.Client(nc, anyServer)
		_ = client.Handshake()
		time.Sleep(time.Second)
	})
}
