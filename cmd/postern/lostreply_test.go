package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/peer"
)

// loses returns the address of a proxy before an SMTP server that hangs up in the
// place of the first replies to a message, as many as these.
func loses(t *testing.T, server string, replies int32) (addr string, lost *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	lost = new(atomic.Int32)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go relayLossy(client, server, replies, lost)
		}
	}()
	return l.Addr().String(), lost
}

func relayLossy(client net.Conn, addr string, replies int32, lost *atomic.Int32) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	go io.Copy(server, client) // ends with the connections
	r := bufio.NewReader(server)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "250 2.0.0 OK 0") && lost.Load() < replies { // a message's ID begins so
			lost.Add(1)
			return
		}
		if _, err := io.WriteString(client, line); err != nil {
			return
		}
	}
}

// Real senders whose 250 is lost, again and again, try again, and nobody has a
// second copy.
func TestLostReplyToPeers(t *testing.T) {
	s := newSite(t)
	s.start("serve")
	to := []string{"u1@example.com", "u2@example.com", "u3@example.com"}
	send := func(addr string) {
		t.Helper()
		c, err := peer.Dial(t.Context(), peer.SMTP, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if replies, err := c.Send("someone@"+peer.SenderDomain, to, small.Message(3).Octets); err != nil || !replies[0].Positive() {
			t.Fatal(replies, err)
		}
	}
	const times = 3
	t.Run("Postfix", func(t *testing.T) {
		addr, lost := loses(t, s.smtp, times)
		postfix := peer.StartPostfix(t, peer.PostfixConfig{Transport: peer.SMTPTo(addr)})
		send(postfix.Addr)
		postfix.WaitEmpty(time.Minute)
		s.wantCopies(s.store, map[string]int{"u1": 1, "u2": 1, "u3": 1})
		if n := lost.Load(); n != times || len(postfix.Bounces()) > 0 {
			t.Errorf("%d replies were lost; bounces: %s", n, postfix.Bounces())
		}
	})
	t.Run("Exim", func(t *testing.T) {
		addr, lost := loses(t, s.smtp, times)
		exim := peer.StartExim(t, addr, "hosts_try_prdr =")
		send(exim.Addr)
		exim.WaitEmpty(time.Minute)
		s.wantCopies(s.store, map[string]int{"u1": 2, "u2": 2, "u3": 2})
		if n := lost.Load(); n != times || strings.Contains(exim.Log(), " <= <> ") {
			t.Errorf("%d replies were lost", n)
		}
	})
}
