package dns

import (
	"sync/atomic"
	"time"
)

// counters are what Stats shows of the past.
type counters struct {
	questions, hits, spared             atomic.Uint64
	sent, silent, servfail, tcp, failed atomic.Uint64
}

// Stats are the figures of a Client: counts since it was made, and its state.
type Stats struct {
	Questions uint64 // asked by callers
	Hits      uint64 // of them, answered from the cache
	Shared    uint64 // of them, already being asked for somebody else
	Spared    uint64 // of them, failed at once because the servers were silent
	Left      uint64 // of them, given up by callers whose contexts ended first
	Failed    uint64 // questions to which no server gave an answer of use

	Sent     uint64 // datagrams sent to servers
	Silent   uint64 // of them, not answered at all
	ServFail uint64 // of them, answered with SERVFAIL
	TCP      uint64 // of them, asked again over TCP

	InFlight int      // questions being asked now
	Entries  int      // in the cache
	Octets   int      // that they take
	Sick     []string // servers that were silent, and are asked last for a while
	Open     bool     // all servers are silent, and are not asked
	Opened   uint64   // how often that happened
}

// Stats returns the figures as they are now.
func (c *Client) Stats() Stats {
	s := Stats{
		Questions: c.counts.questions.Load(),
		Hits:      c.counts.hits.Load(),
		Shared:    c.flights.shared.Load(),
		Spared:    c.counts.spared.Load(),
		Failed:    c.counts.failed.Load(),
		Sent:      c.counts.sent.Load(),
		Silent:    c.counts.silent.Load(),
		ServFail:  c.counts.servfail.Load(),
		TCP:       c.counts.tcp.Load(),
		Left:      c.flights.left.Load(),
		InFlight:  c.flights.size(),
		Sick:      c.servers.sick(time.Now()),
	}
	s.Entries, s.Octets = c.cache.size()
	s.Open, s.Opened = c.breaker.state()
	return s
}
