package peer_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postern/internal/peer"
)

const anyone = "ann@example.com"

// userOf spreads messages over a few mailboxes.
func userOf(i int) string { return fmt.Sprintf("user%d@example.com", i%7) }

// The peers without Postern: Postfix takes mail by SMTP, sends it to Dovecot
// by LMTP, and all of it is read back from the files, by IMAP and by POP3.
func TestPostfixToDovecot(t *testing.T) {
	t.Parallel()
	for name, transport := range map[string]func(*peer.Dovecot) string{
		"unix": func(d *peer.Dovecot) string { return peer.LMTPToUnix(d.LMTPUnix) },
		"tcp":  func(d *peer.Dovecot) string { return peer.LMTPTo(d.LMTP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const count = 50
			d := peer.StartDovecot(t, peer.DovecotConfig{})
			p := peer.StartPostfix(t, peer.PostfixConfig{Transport: transport(d)})
			gen := peer.Generator{Seed: 1, Min: 1 << 10, Max: 1 << 20}
			load := peer.Load{
				Protocol: peer.SMTP, Network: "tcp", Addr: p.Addr, Connections: 4, Pipeline: true,
				From: "sender@" + peer.SenderDomain, To: func(i int) []string { return []string{userOf(i)} },
				Messages: gen, Count: count,
			}
			results := load.Run(t.Context())
			for _, r := range results {
				if !r.Accepted() {
					t.Error(r)
				}
			}
			p.WaitEmpty(time.Minute)

			census := peer.TakeCensus(t, d.Store, gen)
			if n := census.Total(); n != count {
				t.Errorf("%d messages in the store, want %d", n, count)
			}
			for _, lost := range census.Lost(results) {
				t.Error("lost:", lost)
			}
			for _, del := range p.Deliveries() {
				if del.Status != "sent" || del.Service != "lmtp" {
					t.Errorf("%+v", del)
				}
			}
			for i := range 7 {
				compare(t, gen.IdentifyIMAP, d.FetchIMAP(userOf(i)), len(census[userOf(i)]))
				compare(t, gen.Identify, d.FetchPOP3(userOf(i)), len(census[userOf(i)]))
			}
			if c := d.Complaints(); c != nil {
				t.Errorf("Dovecot complains: %q", c)
			}
		})
	}
}

// compare fails unless what a mailbox server gave are want whole messages, of
// the sizes that it stated.
func compare(t *testing.T, identify func([]byte) (peer.Message, error), all []peer.Stored, want int) {
	t.Helper()
	if len(all) != want {
		t.Errorf("%d messages fetched, want %d", len(all), want)
	}
	for _, m := range all {
		if _, err := identify(m.Octets); err != nil {
			t.Error(err)
		}
		if m.Size != int64(len(m.Octets)) {
			t.Errorf("message %s is said to have %d octets, and has %d", m.ID, m.Size, len(m.Octets))
		}
	}
}

// An unknown user is refused by Dovecot, and Postfix sends a bounce.
func TestBounceComesBack(t *testing.T) {
	t.Parallel()
	d := peer.StartDovecot(t, peer.DovecotConfig{Users: []string{anyone}})
	p := peer.StartPostfix(t, peer.PostfixConfig{Transport: peer.LMTPToUnix(d.LMTPUnix)})
	msg := []byte("Subject: hello\n\nhello\n")
	p.Sendmail("joe@"+peer.SenderDomain, []string{anyone, "nobody@example.com"}, msg)
	p.WaitEmpty(time.Minute)

	status := make(map[string]string)
	for _, del := range p.Deliveries() {
		status[del.To] = del.Status
	}
	if status[anyone] != "sent" || status["nobody@example.com"] != "bounced" {
		t.Errorf("Postfix tells %v", status)
	}
	if b := p.Bounces(); len(b) != 1 || !bytes.Contains(b[0], []byte("550 5.1.1 <nobody@example.com>")) {
		t.Errorf("%d bounces: %s", len(b), bytes.Join(b, nil))
	}
	if got := d.FetchIMAP(anyone); len(got) != 1 || !bytes.HasSuffix(got[0].Octets, []byte("\r\n\r\nhello\r\n")) {
		t.Errorf("%s has %+v", anyone, got)
	}
}

// Where there is no server, mail waits in the queue; it goes when one comes.
func TestPostfixDefers(t *testing.T) {
	t.Parallel()
	addr := peer.Addr(t)
	p := peer.StartPostfix(t, peer.PostfixConfig{Transport: peer.SMTPTo(addr)})
	p.Sendmail("joe@"+peer.SenderDomain, []string{anyone}, []byte("\nhello\n"))
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if q := p.Queue(); len(q) == 1 && q[0].Queue == "deferred" && strings.Contains(q[0].Recipients[0].Delay, "refused") {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("in the queue: %+v", p.Queue())
		}
	}
	sink := peer.Start(t, smtpSink(t, addr))
	sink.WaitListen("tcp", addr)
	p.WaitEmpty(time.Minute)
}

// smtpSink is a server of Postfix's that takes all mail and drops it.
func smtpSink(t *testing.T, addr string) *exec.Cmd {
	return exec.Command(peer.Need(t, "smtp-sink")[0], "-u", "nobody", addr, "10")
}

func TestLoadByLMTP(t *testing.T) {
	t.Parallel()
	d := peer.StartDovecot(t, peer.DovecotConfig{Users: []string{"user0@example.com", "user1@example.com"}})
	gen := peer.Generator{Seed: 2}
	load := peer.Load{
		Protocol: peer.LMTP, Network: "unix", Addr: d.LMTPUnix, Connections: 3, PerConnection: 4,
		From: "sender@" + peer.SenderDomain, Messages: gen, First: 100, Count: 20,
		To: func(int) []string { return []string{"user0@example.com", "nobody@example.com", "user1@example.com"} },
	}
	results := load.Run(t.Context())
	for i, r := range results {
		if r.Err != nil || r.Index != 100+i || !r.Replies[0].Positive() || r.Replies[1].Code != 550 || !r.Replies[2].Positive() {
			t.Error(r)
		}
	}
	census := peer.TakeCensus(t, d.Store, gen)
	if lost := census.Lost(results); census.Total() != 40 || lost != nil || census.Doubled() != nil {
		t.Errorf("%d in the store, lost %q, doubled %q", census.Total(), lost, census.Doubled())
	}
}

// Exim sends in chunks, here to Postfix, which hands over to Dovecot.
func TestEximToPostfix(t *testing.T) {
	t.Parallel()
	const count = 50
	d := peer.StartDovecot(t, peer.DovecotConfig{})
	p := peer.StartPostfix(t, peer.PostfixConfig{Transport: peer.LMTPToUnix(d.LMTPUnix)})
	x := peer.StartExim(t, p.Addr)
	gen := peer.Generator{Seed: 8, Min: 1 << 10, Max: 1 << 20}
	load := peer.Load{
		Protocol: peer.SMTP, Network: "tcp", Addr: x.Addr, Connections: 4, From: "sender@" + peer.SenderDomain,
		To: func(i int) []string { return []string{userOf(i), userOf(i + 1)} }, Messages: gen, Count: count,
	}
	results := load.Run(t.Context())
	for _, r := range results {
		if !r.Accepted() {
			t.Error(r)
		}
	}
	x.WaitEmpty(time.Minute)
	p.WaitEmpty(time.Minute)
	census := peer.TakeCensus(t, d.Store, gen)
	if lost := census.Lost(results); census.Total() != 2*count || lost != nil || census.Doubled() != nil {
		t.Errorf("%d in the store, lost %q, doubled %q", census.Total(), lost, census.Doubled())
	}
	if chunked := strings.Count(x.Log(), " K C="); chunked == 0 {
		t.Error("Exim sent nothing in chunks")
	}
}

func TestSwaks(t *testing.T) {
	t.Parallel()
	d := peer.StartDovecot(t, peer.DovecotConfig{Users: []string{anyone}})
	args := []string{"--protocol", "LMTP", "--socket", d.LMTPUnix, "--from", "joe@sender.example", "--body", "hello"}
	if transcript, status := peer.Swaks(t, append(args, "--to", anyone)...); status != 0 {
		t.Errorf("status %d\n%s", status, transcript)
	}
	transcript, status := peer.Swaks(t, append(args, "--to", "nobody@example.com")...)
	if status == 0 || !strings.Contains(transcript, "550 5.1.1") {
		t.Errorf("status %d\n%s", status, transcript)
	}
}

func TestStrace(t *testing.T) {
	t.Parallel()
	sink := peer.Addr(t)
	p := peer.Start(t, smtpSink(t, sink))
	p.WaitListen("tcp", sink)
	tr := peer.Strace(t, p.PID(), "accept,accept4")
	c, err := peer.Dial(t.Context(), peer.SMTP, "tcp", sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	calls := tr.End()
	if n := len(calls); n == 2 { // that it was waited for by a connection may be seen, too
		calls = calls[1:]
	}
	if len(calls) != 1 || !strings.HasPrefix(calls[0].Name, "accept") || !strings.Contains(calls[0].Args, "AF_INET") {
		t.Errorf("seen: %+v", calls)
	}
	if p.Ended() {
		t.Error("the trace has ended what it watched")
	}
}

// A load goes on over the deaths of the server, and says which messages each
// death left in doubt.
func TestLoadOutlivesServer(t *testing.T) {
	t.Parallel()
	addr := peer.Addr(t)
	load := peer.Load{
		Protocol: peer.SMTP, Network: "tcp", Addr: addr, Connections: 5, Pipeline: true,
		From: "sender@" + peer.SenderDomain, To: func(int) []string { return []string{anyone} },
		Messages: peer.Generator{Seed: 9, Plain: true},
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	heard := make(chan []peer.Result)
	go func() { heard <- load.Run(ctx) }()
	const lives = 4
	for i := range lives {
		p := peer.Start(t, smtpSink(t, addr))
		p.WaitListen("tcp", addr)
		time.Sleep(100 * time.Millisecond)
		if i == lives-1 {
			stop()
			break
		}
		p.Kill()
	}
	var taken, doubtful int
	for i, r := range <-heard {
		if r.Index != i {
			t.Fatalf("result %d is of message %d", i, r.Index)
		}
		if r.Accepted() {
			taken++
		} else if r.Err != nil && r.Replies[0].Code == 0 {
			doubtful++
		} else {
			t.Error(r)
		}
	}
	if taken == 0 || doubtful == 0 {
		t.Errorf("%d taken, %d in doubt", taken, doubtful)
	}
}

func TestKillIsNoticed(t *testing.T) {
	t.Parallel()
	sink := peer.Addr(t)
	for range 3 { // the same address serves again at once
		p := peer.Start(t, smtpSink(t, sink))
		p.WaitListen("tcp", sink)
		p.Kill()
		if !p.Ended() {
			t.Fatal("not ended by SIGKILL")
		}
	}
}
