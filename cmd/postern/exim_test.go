package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/peer"
)

var deliveredTo = regexp.MustCompile(`msg=delivery .* to=<u[12]@`)

// To an Exim, which speaks PRDR, each recipient's own reply is said: of three, one
// has the message, one is refused for good and one put off; only that one is tried
// again.
func TestMixedEndFromExim(t *testing.T) {
	s, proxy := newFaultySite(t)
	proxy.set(says("u2@example.com", "552 5.2.2 mailbox full"))
	server := s.start("serve")
	inTheWay := filepath.Join(s.store, "example.com", "u3")
	if err := os.MkdirAll(filepath.Dir(inTheWay), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	exim := peer.StartExim(t, s.smtp, "hosts_try_prdr = *")
	c, err := peer.Dial(t.Context(), peer.SMTP, "tcp", exim.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if replies, err := c.Send("someone@"+peer.SenderDomain, three, small.Message(0).Octets); err != nil || !replies[0].Positive() {
		t.Fatal(replies, err)
	}
	// Exim notes of each what it heard: "=>" delivered, "**" refused, "==" put off.
	noted := func(mark, rcpt, reply string) int {
		n := 0
		for line := range strings.Lines(exim.Log()) {
			if strings.Contains(line, " "+mark+" "+rcpt) && strings.Contains(line, "PRDR") && strings.Contains(line, reply) {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(time.Minute); noted("==", "u3@example.com", "451 4.3.0") == 0; {
		if time.Now().After(deadline) {
			t.Fatal("u3 was not put off")
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.wantCopies(s.store, map[string]int{"u1": 1})
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	exim.WaitEmpty(time.Minute)
	if n := noted("**", "u2@example.com", "552 5.2.2 mailbox full"); n != 1 {
		t.Errorf("u2 was refused %d times", n)
	}
	if bounces := strings.Count(exim.Log(), " <= <> "); bounces != 1 {
		t.Errorf("%d bounces", bounces)
	}
	s.wantCopies(s.store, map[string]int{"u1": 1, "u3": 1})
	if again := deliveredTo.FindAllString(server.Output(), -1); len(again) != 2 {
		t.Errorf("u1 and u2, who had their reply, were delivered to %d times", len(again))
	}
}

// What a sender asks for in notices is handed on to a next hop that offers DSN,
// which alone can send one, and is not offered before any other (RFC 3461, section
// 5.2.1).
func TestNoticesAskedForByPeers(t *testing.T) {
	hop := newNotifier(t)
	s := newSite(t, fmt.Sprintf("mx: deliver_to = %q", "unix:"+hop.path))
	s.start("mx")
	exim := peer.StartExim(t, s.smtp)
	postfix := peer.StartPostfix(t, peer.PostfixConfig{Transport: peer.SMTPTo(s.smtp)})
	for name, addr := range map[string]string{"exim": exim.Addr, "postfix": postfix.Addr} {
		c, err := peer.Dial(t.Context(), peer.SMTP, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.MailParams = "RET=HDRS ENVID=" + name + "+2B1"
		c.RcptParams = "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;" + name + "+2Bx@example.com"
		if replies, err := c.Send("someone@"+peer.SenderDomain, []string{"u1@example.com"}, small.Message(0).Octets); err != nil || !replies[0].Positive() {
			t.Fatal(name, replies, err)
		}
	}
	exim.WaitEmpty(time.Minute)
	postfix.WaitEmpty(time.Minute)
	for _, name := range []string{"exim", "postfix"} {
		for _, want := range [][]string{
			{"MAIL FROM:<someone@" + peer.SenderDomain + ">", " RET=HDRS", " ENVID=" + name + "+2B1"},
			{"RCPT TO:<u1@example.com>", " NOTIFY=", "SUCCESS", "FAILURE", " ORCPT=rfc822;" + name + "+2Bx@example.com"},
		} {
			if !hop.heardLine(want) {
				t.Errorf("%s: the next hop heard no line with %q:\n%s", name, want, hop.all())
			}
		}
	}
}

// A notifier is an LMTP server that takes everything, and offers DSN.
type notifier struct {
	path string

	mu    sync.Mutex
	lines []string // MAIL and RCPT
}

func newNotifier(t *testing.T) *notifier {
	t.Helper()
	n := &notifier{path: filepath.Join(peer.Dir(t), "notifier.sock")}
	l, err := net.Listen("unix", n.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go n.serve(nc)
		}
	}()
	return n
}

func (n *notifier) serve(nc net.Conn) {
	defer nc.Close()
	say := func(reply string) { fmt.Fprint(nc, reply+"\r\n") }
	say("220 notifier.example LMTP")
	r, rcpts := bufio.NewReader(nc), 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "LHLO":
			say("250-notifier.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN")
			continue
		case "MAIL", "RCPT":
			n.note(line)
			if rcpts++; verb == "MAIL" {
				rcpts = 0
			}
		case "DATA":
			say("354 go on")
			for line != ".\r\n" && err == nil {
				line, err = r.ReadString('\n')
			}
			for range rcpts - 1 {
				say("250 2.0.0 OK")
			}
		}
		say("250 2.0.0 OK")
	}
}

func (n *notifier) note(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, strings.TrimSpace(line))
}

// heardLine reports whether there was a line that has all the words.
func (n *notifier) heardLine(words []string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range n.lines {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return true
		}
	}
	return false
}

func (n *notifier) all() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, "\n")
}
