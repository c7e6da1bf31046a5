package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/textproto"
	"runtime"
	"strings"
	"testing"

	signer "github.com/emersion/go-msgauth/dkim"

	"postern/mx"
	"postern/policy"
)

// What judging costs: messages a second over one connection, by a server that
// judges nothing and stores nothing, and by one that asks SPF, DKIM, DMARC, ARC,
// two DNS lists, access rules, rates and the greylist, with a resolver that has
// the answers. And the same over 20 connections, where the delivery agent stores
// each message durably in TMPDIR, on which the rate depends.
func BenchmarkJudging(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		signed, record := signedMessage(b, size)
		zone := maps.Clone(world)
		zone["TXT sel._domainkey.good.example"] = []string{record}
		zone["TXT client.good.example"] = []string{"v=spf1 a -all"}
		zone["A client.good.example"] = []string{"198.51.100.7"}
		zone["A 2.0.0.127.good.list.example"] = []string{"127.0.0.2"}
		s := judgedSite(b, zone, `dnsbl: lists = [{ zone = "bl.example" }, { zone = "good.list.example", allow = true }]`,
			"policy: received_spf = true", `policy: access = "access.d"`, "greylist: enable = true", "reports: dmarc = true",
			"limits: messages_per_client = 1000000000", "limits: messages_per_recipient = 1000000000")
		s.write("access.d/a.toml", "[[rule]]\naction = 'deny'\nclient = ['203.0.113.0/24']\n")
		for _, judged := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dKiB/judged=%v", size>>10, judged), func(b *testing.B) {
				conn := benchClient(b, benchServer(b, s, judged, false))
				b.SetBytes(int64(len(signed)))
				b.ReportAllocs()
				for b.Loop() {
					benchSend(b, conn, signed)
				}
			})
			b.Run(fmt.Sprintf("%dKiB/stored/judged=%v", size>>10, judged), func(b *testing.B) {
				addr := benchServer(b, s, judged, true)
				b.SetBytes(int64(len(signed)))
				b.SetParallelism(20 / runtime.GOMAXPROCS(0)) // 20 connections
				b.RunParallel(func(pb *testing.PB) {
					conn := benchClient(b, addr)
					for pb.Next() {
						benchSend(b, conn, signed)
					}
				})
			})
		}
	}
}

// signedMessage returns one of about that size, and the record of its key.
func signedMessage(b *testing.B, size int) (signed, record string) {
	b.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	text := "From: <ann@good.example>\r\nSubject: hi\r\n\r\n" + strings.Repeat("It was a bright cold day in April, and the clocks were striking.\r\n", size/66)
	var out bytes.Buffer
	if err := signer.Sign(&out, strings.NewReader(text), &signer.SignOptions{Domain: "good.example", Selector: "sel", Signer: key}); err != nil {
		b.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		b.Fatal(err)
	}
	return out.String(), "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(public)
}

// benchServer starts the MX of s, in front of its delivery agent or of one that
// stores nothing, and returns its address.
func benchServer(b *testing.B, s *site, judged, stored bool) string {
	b.Helper()
	p, err := load(s.config, io.Discard, "")
	if err != nil {
		b.Fatal(err)
	}
	j, err := p.judging()
	if err != nil {
		b.Fatal(err)
	}
	j.Health.Check(b.Context())
	judge := j.Judge
	if !judged {
		judge = (*policy.Judge)(nil)
	}
	srv := p.mxServer(judge)
	p.attach(srv, p.nextHop())
	srv.Spool, srv.Record = p.spool(b.TempDir()), nil
	if stored {
		benchAgent(b, p)
	} else {
		srv.Next, srv.NextOffer, srv.Heard = &dry{directory: directory{p.recipients.Current()}}, nil, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	benchRun(b, func(ctx context.Context) error { return srv.Serve(ctx, mx.Listener{Listener: elsewhere{l}}) })
	return l.Addr().String()
}

// benchAgent starts the delivery agent of p.
func benchAgent(b *testing.B, p *parts) {
	b.Helper()
	store, err := p.openStore(nil)
	if err != nil {
		b.Fatal(err)
	}
	srv, ledger := p.lmtpServer(p.agent(store))
	l, err := net.Listen("unix", p.config.MDA.Listen.Address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ledger.Close() })
	benchRun(b, func(ctx context.Context) error { return srv.Serve(ctx, l) })
}

// benchRun has serve run until the benchmark ends.
func benchRun(b *testing.B, serve func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- serve(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

// benchClient connects to the server at addr and says EHLO.
func benchClient(b *testing.B, addr string) *textproto.Conn {
	conn, err := textproto.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	for _, line := range []string{"", "EHLO client.good.example"} {
		if line != "" {
			_ = conn.PrintfLine("%s", line) // it will be heard if nothing answers
		}
		if _, _, err := conn.ReadResponse(2); err != nil {
			b.Fatal(err)
		}
	}
	return conn
}

// An elsewhere is a listener whose clients come from 198.51.100.7.
type elsewhere struct{ net.Listener }

func (l elsewhere) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return at{nc, netip.MustParseAddrPort("198.51.100.7:25")}, nil
}

// benchSend sends a message, which has no line that begins with a dot.
func benchSend(b *testing.B, conn *textproto.Conn, msg string) {
	_ = conn.PrintfLine("MAIL FROM:<ann@good.example>\r\nRCPT TO:<u1@example.com>\r\nDATA")
	for _, code := range []int{2, 2, 3} {
		if _, _, err := conn.ReadResponse(code); err != nil {
			b.Fatal(err)
		}
	}
	_, _ = conn.W.WriteString(msg)
	_ = conn.PrintfLine(".")
	if _, _, err := conn.ReadResponse(2); err != nil {
		b.Fatal(err)
	}
}
