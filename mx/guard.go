package mx

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"postern/mail"
)

const (
	// watched is how many of the clients are looked at, the latest ones.
	watched = 100
	// If nearlyAll of them have one private address and send for manyDomains, they
	// are the world, behind something that hides it. A program of one's own that
	// sends most of the mail does so for one domain, or a few; a monitor sends none.
	nearlyAll   = 95
	manyDomains = 10
	// If no more than fewAgain of them have it, that address hides nobody any more.
	fewAgain = 50
	// loudly is the least time between two such errors in the log.
	loudly = time.Hour
)

// carrierNAT is shared address space (RFC 6598): as private as RFC 1918's.
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// A guard notices that the clients of the world seem to have one private address,
// as behind the userland proxy of a container that passes connections on and does
// not say whose. What is known by such an address holds for everybody: with it, SPF
// would fail all, a rate limit would stop all, and an exemption would let all in.
// So nothing is judged by it any more. The zero value is ready.
type guard struct {
	mu     sync.Mutex
	last   [watched]sighting
	next   int
	hidden netip.Addr // behind which the clients are hidden; zero: they are not
	told   time.Time
}

// A sighting is a client that sent mail.
type sighting struct {
	ip     netip.Addr
	domain string // of the sender
}

// see notes a client that sends mail and that no proxy introduced.
func (g *guard) see(log *slog.Logger, ip netip.Addr, from mail.Address) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last[g.next] = sighting{ip, from.Domain}
	g.next = (g.next + 1) % watched
	suspect := ip
	if g.hidden.IsValid() {
		suspect = g.hidden
	}
	if !isPrivate(suspect) {
		return
	}
	visits, domains := g.count(suspect)
	switch {
	case g.hidden.IsValid() && visits <= fewAgain:
		log.Warn("clients come from everywhere again, and are judged by their addresses", "hidden_by", g.hidden)
		g.hidden = netip.Addr{}
	case visits >= nearlyAll && domains >= manyDomains:
		g.hidden = suspect
		if time.Since(g.told) >= loudly {
			g.told = time.Now()
			log.Error("nearly all clients come from one private address: something in front of this server hides them. "+
				"Nothing is judged by that address any more: no SPF, no DNS lists, no limits, no exemption. "+
				"Let it say who they are, by PROXY (mx.listen_proxy) or XCLIENT (mx.xclient), or go round it",
				"address", suspect, "clients", visits, "of", watched)
		}
	}
}

// count returns how many of the last clients came from ip, and for how many
// domains, manyDomains at most.
func (g *guard) count(ip netip.Addr) (visits, domains int) {
	var seen [manyDomains]string
	for i := range g.last {
		if g.last[i].ip != ip {
			continue
		}
		visits++
		if domain := g.last[i].domain; domains < manyDomains && !slices.Contains(seen[:domains], domain) {
			seen[domains] = domain
			domains++
		}
	}
	return visits, domains
}

// hides returns the address behind which the clients are hidden; the zero Addr is
// none.
func (g *guard) hides() netip.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hidden
}

// isPrivate reports whether ip is one that no client in the world has.
func isPrivate(ip netip.Addr) bool {
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || carrierNAT.Contains(ip)
}

// ClientsHidden returns the private address that nearly all clients seem to have;
// the zero Addr if they have their own. Nothing is judged by it.
func (srv *Server) ClientsHidden() netip.Addr { return srv.guard.hides() }

// isHidden reports whether the client's address is not its own but that of what
// hides it.
func (s *session) isHidden() bool {
	return !s.peer.introduced && s.client.IP.IsValid() && s.client.IP == s.srv.guard.hides()
}

// judgedEnvelope returns env as the judge is to see it: without an address that
// says nothing of the client.
func (s *session) judgedEnvelope(env mail.Envelope) *mail.Envelope {
	if !s.peer.introduced {
		s.srv.guard.see(s.srv.Log, s.client.IP, env.From)
	}
	if s.isHidden() {
		env.Client.IP = netip.Addr{}
	}
	return &env
}
