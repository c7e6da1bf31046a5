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

// What came in the clear is never heard as if it had come under TLS: what came along
// with STARTTLS is dropped, and what comes after it is no handshake.
func TestRFC3207_4_2_EarlyData(t *testing.T) {
	config := testTLS(t)
	for _, say := range []string{"STARTTLS\r\nEHLO evil\r\n", "STARTTLS\r\nE"} {
		pipe(t, func(c *Conn) {
			if _, err := c.ReadCommand(); err != nil {
				t.Fatal(err)
			}
			if err := c.StartTLS(context.Background(), config); err != nil {
				t.Fatalf("%q: %v", say, err)
			}
			if cmd, err := c.ReadCommand(); err != nil || cmd.Arg != "good" {
				t.Errorf("%q: heard %+v, %v", say, cmd, err)
			}
		}, func(nc net.Conn, _ *Conn) {
			_, _ = io.WriteString(nc, say)
			client := tls.Client(nc, anyServer)
			_, _ = io.WriteString(client, "EHLO good\r\n")
		})
	}
	pipe(t, func(c *Conn) {
		if _, err := c.ReadCommand(); err != nil {
			t.Fatal(err)
		}
		if err := c.StartTLS(context.Background(), config); err == nil {
			t.Error("a command is a handshake")
		}
	}, func(nc net.Conn, _ *Conn) {
		_, _ = io.WriteString(nc, "STARTTLS\r\n")
		_, _ = io.WriteString(nc, "EHLO evil\r\n")
		_, _ = io.Copy(io.Discard, nc)
	})
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
