package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A listener that greets works, whatever it listens on; one that nobody accepts
// on, or that says something else, does not.
func TestProbe(t *testing.T) {
	greets := func(network, addr, greeting string) net.Addr {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(greeting))
				_ = c.Close()
			}
		}()
		return l.Addr()
	}
	hangs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.Close()
	for _, tt := range []struct {
		name string
		addr net.Addr
		want string // in the error; "": none
	}{
		{"any address", greets("tcp", "[::]:0", "220 mx ESMTP\r\n"), ""},
		{"one address", greets("tcp", "127.0.0.1:0", "220 mx ESMTP\r\n"), ""},
		{"UNIX socket", greets("unix", filepath.Join(t.TempDir(), "s"), "220 mx LMTP\r\n"), ""},
		{"has enough clients", greets("tcp", "127.0.0.1:0", "421 4.7.0 later\r\n"), ""},
		{"says nothing", greets("tcp", "127.0.0.1:0", ""), "EOF"},
		{"says something else", greets("tcp", "127.0.0.1:0", "SSH-2.0-x\r\n"), "it greets with"},
		{"hangs", hangs.Addr(), "timeout"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if tt.addr == hangs.Addr() {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		s := &server{probes: []probe{{tt.addr}}}
		err := s.probe(ctx)
		cancel()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
