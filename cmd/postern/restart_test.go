package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/peer"
)

// startWith starts a half with a socket that is ours, as systemd does, so that it
// stays while the half is restarted.
func (s *site) startWith(verb, name string, socket *os.File) *peer.Process {
	s.t.Helper()
	args := append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, s.command(verb).Args...)
	cmd := exec.Command("sh", args...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES="+name)
	cmd.ExtraFiles = []*os.File{socket}
	p := peer.Start(s.t, cmd)
	p.WaitOutput("msg=serving")
	return p
}

// Both halves are restarted, 20 times in all, while 50 connections send: none is
// refused, and what each client sends until it hears 250 is in the mailbox once.
func TestRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	const restarts, connections = 20, 50
	s := newSite(t, "mx: max_connections = 200")
	smtp, err := net.Listen("tcp", s.smtp)
	must(t, err)
	lmtp, err := net.Listen("unix", s.lmtp)
	must(t, err)
	smtpFile, err := smtp.(*net.TCPListener).File()
	must(t, err)
	lmtpFile, err := lmtp.(*net.UnixListener).File()
	must(t, err)
	t.Cleanup(func() { _ = errors.Join(smtp.Close(), lmtp.Close(), smtpFile.Close(), lmtpFile.Close()) })
	mda, mx := s.startWith("mda", "lmtp", lmtpFile), s.startWith("mx", "smtp", smtpFile)

	clients := &insisting{addr: s.smtp, messages: peer.Generator{Seed: 20}}
	var running sync.WaitGroup
	for range connections {
		running.Go(func() { clients.run(t) })
	}
	for i := range restarts {
		clients.wait(t, int64(connections/10))
		if i%2 == 0 {
			must(t, mx.Stop())
			mx = s.startWith("mx", "smtp", smtpFile)
		} else {
			must(t, mda.Stop())
			mda = s.startWith("mda", "lmtp", lmtpFile)
		}
	}
	clients.wait(t, connections)
	clients.stop.Store(true)
	running.Wait()
	taken, census := int(clients.taken.Load()), peer.TakeCensus(t, s.store, clients.messages)
	t.Logf("%d restarts: %d messages from %d connections, %d of them sent again, %d connections refused, %d in the store",
		restarts, taken, connections, clients.again.Load(), clients.refused.Load(), census.Total())
	if clients.refused.Load() > 0 || census.Total() != taken || len(census.Doubled()) > 0 {
		t.Errorf("%d connections refused, %d of %d messages there; twice: %v", clients.refused.Load(), census.Total(), taken, census.Doubled())
	}
}

// insisting clients send each message until it is taken, as mail servers do.
type insisting struct {
	addr     string
	messages peer.Generator

	next, taken, again, refused atomic.Int64
	stop                        atomic.Bool
}

// wait waits until n more messages are taken.
func (c *insisting) wait(t *testing.T, n int64) {
	t.Helper()
	for until, end := c.taken.Load()+n, time.Now().Add(time.Minute); c.taken.Load() < until; {
		if time.Now().After(end) {
			t.Fatal("no mail is taken any more")
		}
		time.Sleep(time.Millisecond)
	}
}

// run is one of them, with connections of a few messages.
func (c *insisting) run(t *testing.T) {
	var client *peer.Client
	hangUp := func() {
		if client != nil {
			_ = client.Close()
		}
		client = nil
	}
	defer hangUp()
	for !c.stop.Load() {
		i := int(c.next.Add(1))
		for end := time.Now().Add(time.Minute); ; c.again.Add(1) {
			if time.Now().After(end) {
				t.Errorf("message %d is not taken", i)
				return
			}
			if client == nil {
				if client = c.dial(t); client == nil {
					continue
				}
			}
			replies, err := client.Send("someone@"+peer.SenderDomain, []string{fmt.Sprintf("u%d@example.com", i%10)}, c.messages.Message(i).Octets)
			if err == nil && replies[0].Positive() {
				break
			}
			if err == nil && replies[0].Code/100 == 5 {
				t.Errorf("message %d: %v", i, replies[0])
			}
			hangUp()
		}
		c.taken.Add(1)
		if i%7 == 0 {
			hangUp()
		}
	}
}

// dial returns nil where there is no session to be had now.
func (c *insisting) dial(t *testing.T) *peer.Client {
	client, err := peer.Dial(t.Context(), peer.SMTP, "tcp", c.addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		c.refused.Add(1)
	}
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return nil
	}
	return client
}
