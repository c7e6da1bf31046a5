package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// A probe is a listener of ours that has to answer.
type probe struct{ addr net.Addr }

// probeTimeout is how long a server may take to greet us: longer than a busy one
// needs, shorter than what a client waits for (RFC 5321, section 4.5.3.2.1).
const probeTimeout = time.Minute

// keepWatch tells systemd again and again that the servers work, if it wants to
// know (WatchdogSec=). What it tells was tried: each listener takes a connection
// and greets it, by the way that a client takes. A server that hangs tells
// nothing, and is started anew.
func (s *server) keepWatch(ctx context.Context) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		if err := s.probe(ctx); err == nil {
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog) // it will notice by itself
		} else if ctx.Err() == nil {
			s.log.Warn("our own listener does not greet: systemd starts us anew if that goes on", "cause", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// probe returns what is wrong with the first listener that does not greet.
func (s *server) probe(ctx context.Context) error {
	for _, p := range s.probes {
		if err := p.greeting(ctx); err != nil {
			return fmt.Errorf("probe %v: %w", p.addr, err)
		}
	}
	return nil
}

// greeting connects as a client does. That the server has enough clients (421)
// is an answer, too.
func (p probe) greeting(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, p.addr.Network(), reachable(p.addr))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	line, err := bufio.NewReader(conn).ReadString('\n')
	switch {
	case err != nil:
		return err
	case !strings.HasPrefix(line, "220") && !strings.HasPrefix(line, "421"):
		return fmt.Errorf("it greets with %q", line)
	}
	_, _ = conn.Write([]byte("QUIT\r\n")) // it has shown what we wanted to see
	return nil
}

// reachable returns an address at which a listener's own host reaches it.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	loopback := net.IPv4(127, 0, 0, 1) // [::] takes IPv4, too
	return (&net.TCPAddr{IP: loopback, Port: tcp.Port}).String()
}
