package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/peer"
)

// three are the recipients of the messages below.
var three = []string{"u1@example.com", "u2@example.com", "u3@example.com"}

// small are messages of some KiB.
var small = peer.Generator{Seed: 7, Min: 2 << 10, Max: 8 << 10}

// wantCopies fails the test unless each of these mailboxes has as many messages.
func (s *site) wantCopies(store string, copies map[string]int) {
	s.t.Helper()
	for user, want := range copies {
		if got := len(peer.Maildir(s.t, filepath.Join(store, "example.com", user))); got != want {
			s.t.Errorf("%s has %d messages, want %d", user, got, want)
		}
	}
}

var bounced = regexp.MustCompile(`(?m)^Final-Recipient: rfc822; (.*)$`)

// wantOneBounce waits until Postfix has nothing left to do, and fails the test
// unless it made one bounce, for this recipient alone.
func wantOneBounce(t *testing.T, postfix *peer.Postfix, rcpt, says string) {
	t.Helper()
	postfix.WaitEmpty(time.Minute)
	bounces := postfix.Bounces()
	if len(bounces) != 1 {
		t.Fatalf("%d bounces:\n%s", len(bounces), postfix.Log())
	}
	about := bounced.FindAllStringSubmatch(string(bounces[0]), -1)
	if len(about) != 1 || about[0][1] != rcpt || !strings.Contains(string(bounces[0]), says) {
		t.Errorf("the bounce is about %v:\n%s", about, bounces[0])
	}
}

// throughPostfix sends message number 0 of small to all three by Postfix.
func throughPostfix(t *testing.T, s *site) *peer.Postfix {
	t.Helper()
	postfix := peer.StartPostfix(t, peer.PostfixConfig{Transport: peer.SMTPTo(s.smtp)})
	sendAll(t, peer.Load{
		Protocol: peer.SMTP, Network: "tcp", Addr: postfix.Addr,
		From: "someone@" + peer.SenderDomain, Messages: small, Count: 1,
		To: func(int) []string { return three },
	})
	return postfix
}

// newFaultySite is a site whose MX reaches the delivery agent through a proxy
// with faults.
func newFaultySite(t *testing.T) (*site, *faulty) {
	s := newSite(t, `mx: deliver_to = "unix:faulty.sock"`)
	return s, newFaulty(t, s.dir, s.lmtp)
}

// One of three recipients is refused for good after the message, by a mailbox
// that is full say: the sender hears of that one, and the others have one copy.
func TestMixedEndFromPostfix(t *testing.T) {
	s, proxy := newFaultySite(t)
	proxy.set(says("u2@example.com", "552 5.2.2 mailbox full"))
	s.start("serve")
	wantOneBounce(t, throughPostfix(t, s), "u2@example.com", "552 5.2.2 mailbox full")
	s.wantCopies(s.store, map[string]int{"u1": 1, "u3": 1})
}

// The same with one more who cannot be served for now.
func TestMixedEndThatHeals(t *testing.T) {
	s, proxy := newFaultySite(t)
	proxy.set(says("u2@example.com", "552 5.2.2 mailbox full"))
	s.start("serve")
	inTheWay := filepath.Join(s.store, "example.com", "u3")
	if err := os.MkdirAll(filepath.Dir(inTheWay), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	postfix := throughPostfix(t, s)
	for len(postfix.Bounces()) == 0 { // which u2's refusal ends in, while u3 waits
		postfix.Flush()
		time.Sleep(200 * time.Millisecond)
	}
	if left := postfix.Queue(); len(left) != 1 {
		t.Errorf("the message for u3 is not in the queue: %+v", left)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	wantOneBounce(t, postfix, "u2@example.com", "552 5.2.2 mailbox full")
	s.wantCopies(s.store, map[string]int{"u1": 1, "u3": 1})
}

// In front of a delivery agent that is not ours the same holds: here Dovecot's,
// with a mailbox over its quota.
func TestMixedEndBeforeDovecot(t *testing.T) {
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{Extra: `
		mail_plugins = quota
		protocol lmtp {
		  mail_plugins = quota
		}
		plugin {
		  quota = maildir:User quota
		  quota_rule = *:storage=64K
		  quota_grace = 0
		}`})
	s := newSite(t, fmt.Sprintf("mx: deliver_to = %q", "unix:"+dovecot.LMTPUnix), "mx: return_path = false")
	s.start("mx")
	big := []byte("Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 875))
	client, err := peer.Dial(t.Context(), peer.SMTP, "tcp", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if replies, err := client.Send("", []string{"u2@example.com"}, big); err != nil || !replies[0].Positive() {
		t.Fatal(replies, err)
	}
	wantOneBounce(t, throughPostfix(t, s), "u2@example.com", "552 5.2.2")
	s.wantCopies(dovecot.Store, map[string]int{"u1": 1, "u2": 1, "u3": 1})
}

// A cutter is an SMTP client that hangs up when it likes.
type cutter struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

// toRcpt connects and speaks up to the last RCPT.
func (s *site) toRcpt(t *testing.T, from string, to []string, size int) *cutter {
	t.Helper()
	nc, err := net.Dial("tcp", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	c := &cutter{t, nc, bufio.NewReader(nc)}
	c.hear("220")
	c.say("EHLO client.example")
	c.hear("250")
	c.say(fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", from, size))
	c.hear("250")
	for _, rcpt := range to {
		c.say("RCPT TO:<" + rcpt + ">")
		c.hear("250")
	}
	return c
}

// toData speaks up to the end of the data, and does not wait for the reply.
func (s *site) toData(t *testing.T, from string, to []string, octets []byte) *cutter {
	t.Helper()
	c := s.toRcpt(t, from, to, len(octets))
	c.say("DATA")
	c.hear("354")
	if _, err := io.WriteString(c.nc, strings.ReplaceAll("\r\n"+string(octets), "\r\n.", "\r\n..")[2:]+".\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cutter) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cutter) hear(code string) {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, code) {
			c.t.Fatalf("heard %q, %v; want %s", line, err, code)
		}
		if line[3] == ' ' {
			return
		}
	}
}

// A client that lost its 250 may try again. One that heard it and sends the same
// once more means it.
func TestLostReply(t *testing.T) {
	for _, when := range []string{"before the delivery", "after the delivery", "after a restart"} {
		t.Run(when, func(t *testing.T) {
			s, proxy := newFaultySite(t)
			server := s.start("serve")
			octets := small.Message(0).Octets
			to := three[:2]
			delivered := make(chan bool)
			if when == "before the delivery" {
				proxy.set(proxy.once(func(_ int, _, line string) (string, bool) {
					<-delivered // the retry is here already
					return line, true
				}))
			}
			first := s.toData(t, "ann@client.example", to, octets)
			if when != "before the delivery" {
				first.hear("250") // which no server can know that hears nothing more
			}
			first.nc.Close()
			if when == "after a restart" {
				server.Kill()
				s.start("serve")
			}
			retry := s.toData(t, "ann@client.example", to, octets)
			if when == "before the delivery" {
				close(delivered)
			}
			retry.hear("250")
			s.wantCopies(s.store, map[string]int{"u1": 1, "u2": 1})
			retry.say("QUIT")
			retry.hear("221")

			again := s.toData(t, "ann@client.example", to, octets)
			again.hear("250")
			again.say("QUIT")
			again.hear("221")
			s.wantCopies(s.store, map[string]int{"u1": 2, "u2": 2})
		})
	}
}

// On one connection too, and in chunks, a message is sent twice if it is sent
// twice.
func TestSentTwiceOnPurpose(t *testing.T) {
	s := newSite(t)
	s.start("serve")
	client, err := peer.Dial(t.Context(), peer.SMTP, "tcp", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		if replies, err := client.Send("ann@client.example", three, small.Message(0).Octets); err != nil || !replies[0].Positive() {
			t.Fatal(replies, err)
		}
	}
	s.wantCopies(s.store, map[string]int{"u1": 3, "u2": 3, "u3": 3})
	// The same in chunks is the same message, if nobody heard of the first.
	octets := small.Message(1).Octets
	first := s.toData(t, "ann@client.example", three[:1], octets)
	first.hear("250")
	first.nc.Close()
	chunks := s.toRcpt(t, "ann@client.example", three[:1], len(octets))
	chunks.say(fmt.Sprintf("BDAT 1000\r\n%sBDAT %d LAST\r\n%s", octets[:1000], len(octets)-1000, octets[1000:len(octets)-2]))
	chunks.hear("250")
	chunks.hear("250")
	s.wantCopies(s.store, map[string]int{"u1": 4})
}

// Where the agent is killed after it has delivered, and before anybody heard of
// it, the retry is no duplicate: a kill takes nothing from the page cache.
func TestKillBetweenDeliveryAndReply(t *testing.T) {
	s, proxy := newFaultySite(t)
	mx := s.start("mx")
	octets := small.Message(0).Octets
	for i := range 5 {
		agent := s.start("mda")
		time.Sleep(sureFor) // else the message is lost on the proxy's way to the agent that was stopped
		answered := make(chan bool)
		proxy.set(proxy.once(func(_ int, _, line string) (string, bool) {
			close(answered)
			agent.Kill()
			return "", false
		}))
		from := fmt.Sprintf("ann%d@client.example", i)
		first := s.toData(t, from, three, octets)
		<-answered
		first.hear("451")
		agent = s.start("mda")
		retry := s.toData(t, from, three, octets)
		retry.hear("250")
		s.wantCopies(s.store, map[string]int{"u1": i + 1, "u2": i + 1, "u3": i + 1})
		if err := agent.Stop(); err != nil {
			t.Error(err)
		}
	}
	if err := mx.Stop(); err != nil {
		t.Error(err)
	}
}
