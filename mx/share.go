package mx

import (
	"fmt"
	"net/netip"
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
	Exempt []netip.Prefix // whom neither holds for
}

// maxOffenders bounds the networks whose errors are remembered.
const maxOffenders = 50_000

// shares knows what each network has taken.
type shares struct {
	connections map[netip.Prefix]int
	errors      *rate.Limiter[netip.Prefix]
}

func newShares(p PerClient) shares {
	return shares{
		connections: make(map[netip.Prefix]int),
		errors:      rate.New[netip.Prefix](p.Errors, time.Hour, maxOffenders),
	}
}

// network returns the network that client's share is of, and false where it has
// none.
func (srv *Server) network(client mail.Client) (netip.Prefix, bool) {
	n := client.Network()
	return n, n.IsValid() && !contains(srv.PerClient.Exempt, client.IP)
}

// enter counts a connection of client, if its network may have another one. Who
// was let in leaves later.
func (srv *Server) enter(client mail.Client) error {
	n, limited := srv.network(client)
	if !limited {
		return nil
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	switch limit := srv.PerClient.Connections; {
	case srv.shares.errors.Full(n):
		return mail.TooManyErrors.Because(fmt.Errorf("mx: %v made %d errors in an hour", n, srv.PerClient.Errors))
	case limit > 0 && srv.shares.connections[n] >= limit:
		return mail.TooManyConnections.Because(fmt.Errorf("mx: %v has %d connections", n, limit))
	}
	srv.shares.connections[n]++
	return nil
}

// leave ends what enter began.
func (srv *Server) leave(client mail.Client) {
	n, limited := srv.network(client)
	if !limited {
		return
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.shares.connections[n]--; srv.shares.connections[n] <= 0 {
		delete(srv.shares.connections, n)
	}
}

// offend counts an error of client, and reports whether its network has made too
// many.
func (srv *Server) offend(client mail.Client) bool {
	n, limited := srv.network(client)
	if !limited {
		return false
	}
	srv.shares.errors.Add(n, 1)
	return srv.shares.errors.Full(n)
}
