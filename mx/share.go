package mx

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"postern/mail"
	"postern/policy/rate"
)

// PerClient bounds what the clients of one network may take together, so that
// the rest of the world gets its share. Zero bounds nothing.
type PerClient struct {
	Connections int // at once
	// Errors are commands out of order or not understood, and recipients that
	// do not exist, in an hour: somebody who tries names, or does not speak
	// SMTP. Good servers carry old lists; what they are not told today they
	// hear tomorrow.
	Errors int
	Exempt []netip.Prefix // for which neither holds
}

// maxOffenders bounds the networks whose errors are remembered.
const maxOffenders = 50_000

// shares knows what each network has taken.
type shares struct {
	mu          sync.Mutex
	connections map[netip.Prefix]int
	errors      *rate.Limiter[netip.Prefix]
}

func newShares(p PerClient) *shares {
	return &shares{
		connections: make(map[netip.Prefix]int),
		errors:      rate.New[netip.Prefix](p.Errors, time.Hour, maxOffenders),
	}
}

// shareOf returns the network whose share the client takes from; the zero Prefix
// is none.
func (s *session) shareOf() netip.Prefix {
	if s.peer.mayXClient && !s.peer.introduced || s.isHidden() || s.client.In(s.srv.PerClient.Exempt) {
		return netip.Prefix{}
	}
	return s.client.Network()
}

// enter counts a connection of the client, if its network may have another one.
// Whoever was let in leaves later.
func (s *session) enter() error {
	n, shares, per := s.shareOf(), s.srv.shares, s.srv.PerClient
	if !n.IsValid() {
		return nil
	}
	shares.mu.Lock()
	defer shares.mu.Unlock()
	switch {
	case shares.errors.Full(n):
		return mail.TooManyErrors.Because(fmt.Errorf("mx: %v made %d errors in an hour", n, per.Errors))
	case per.Connections > 0 && shares.connections[n] >= per.Connections:
		return mail.TooManyConnections.Because(fmt.Errorf("mx: %v has %d connections", n, per.Connections))
	}
	shares.connections[n]++
	s.peer.share = n
	return nil
}

// leave ends what enter began.
func (s *session) leave() {
	n, shares := s.peer.share, s.srv.shares
	if !n.IsValid() {
		return
	}
	s.peer.share = netip.Prefix{}
	shares.mu.Lock()
	defer shares.mu.Unlock()
	if shares.connections[n]--; shares.connections[n] <= 0 {
		delete(shares.connections, n)
	}
}

// offend counts an error of the client, and reports whether its network has made
// too many.
func (s *session) offend() bool {
	n, shares := s.peer.share, s.srv.shares
	if !n.IsValid() {
		return false
	}
	shares.errors.Add(n, 1)
	return shares.errors.Full(n)
}
