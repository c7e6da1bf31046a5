package lmtp_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"postern/lmtp"
	"postern/mail"
)

// A sink takes everything and keeps nothing.
type sink struct{}

func (sink) Verify(context.Context, *mail.Envelope, mail.Recipient) error { return nil }

func (sink) Deliver(_ context.Context, env *mail.Envelope, _ *mail.Message) []mail.Reply {
	return env.Each(mail.Accepted)
}

// overUNIX returns a client of a server that delivers into a sink, with a UNIX
// socket between them.
func overUNIX(b *testing.B) *lmtp.Client {
	b.Helper()
	l, err := net.Listen("unix", filepath.Join(b.TempDir(), "lmtp.sock"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- newServer(sink{}).Serve(ctx, l) }()
	client := &lmtp.Client{Hostname: "mx.example", Dial: lmtp.Dialer("unix", l.Addr().String())}
	b.Cleanup(func() {
		client.Close()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return client
}

func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{4 << 10, 50 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			client, env := overUNIX(b), envelope("bob")
			msg := message(strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78))
			b.SetBytes(msg.Size())
			b.ReportAllocs()
			for b.Loop() {
				if r := client.Deliver(b.Context(), env, msg); !r[0].OK() {
					b.Fatal(r)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	client, env := overUNIX(b), envelope("bob")
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Verify(b.Context(), env, env.To[0]); err != nil {
			b.Fatal(err)
		}
	}
}
