package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A Config says how a Client works. The zero Config is fit for production.
type Config struct {
	// Servers are the recursive servers, in the order in which they are asked,
	// each "192.0.2.1" or "[2001:db8::1]:5353". None: those of
	// /etc/resolv.conf, which is read again when it changes.
	Servers []string
	// Timeout is how long one server is waited for; 2 s. Each is asked twice.
	Timeout time.Duration
	// Entries and Octets bound the cache; 20,000 and 16 MiB.
	Entries, Octets int
	// InFlight bounds the questions that are asked at the same time; 500.
	// Further ones wait, as long as their contexts last.
	InFlight int
	// Log hears when the servers fall silent, and when they answer again. Nil:
	// nobody does.
	Log *slog.Logger
}

// A Client is a Resolver that asks recursive servers, and remembers what they
// said for as long as they said it holds. A question ends no later than the
// context of its caller, whose error is then a temporary one.
//
// It promises that no answer is given out beyond its time to live, that what it
// takes for an answer has the ID, the question and the source of one, and that
// ErrNXDomain and ErrNoData are what a server said, never a guess.
type Client struct {
	servers *servers
	send    transport
	timeout time.Duration
	tasks   *tasks
	cache   cache
	flights flights
	breaker breaker
	counts  counters
}

// NewClient returns a Client. The error says what is wrong with cfg, or that
// /etc/resolv.conf cannot be read.
func NewClient(cfg Config) (*Client, error) {
	servers, err := newServers(cfg.Servers, resolvConf)
	if err != nil {
		return nil, err
	}
	return newClient(cfg, servers, send), nil
}

func newClient(cfg Config, servers *servers, send transport) *Client {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		servers: servers,
		send:    send,
		timeout: min(orElse(cfg.Timeout, 2*time.Second), maxWait/maxServers),
		tasks:   newTasks(log),
		cache:   cache{entries: orElse(cfg.Entries, 20_000), octets: orElse(cfg.Octets, 16<<20)},
		flights: flights{
			slots: make(chan struct{}, orElse(cfg.InFlight, 500)),
			byKey: make(map[question]*flight),
		},
		breaker: breaker{log: log},
	}
	c.flights.tasks, c.flights.resolve = c.tasks, c.resolve
	return c
}

// orElse returns v, or other where v says nothing.
func orElse[T int | time.Duration](v, other T) T {
	if v > 0 {
		return v
	}
	return other
}

// Close ends the questions in flight, waits until they have, and lets no more
// begin; what is in the cache is still answered.
func (c *Client) Close() { c.tasks.close() }

// An Answer is what a server said.
type Answer struct {
	// Records are the records as text: the strings of a TXT record concatenated
	// without a space, "10 mx.example", an address, a name, "3 1 1 1a2b..." for
	// TLSA.
	Records []string
	// TTL is how long it may still be relied on.
	TTL time.Duration
	// Authentic says that a server on this very host vouches for it by DNSSEC.
	Authentic bool
}

// Lookup asks for the records of type typ at name: "A", "AAAA", "MX", "PTR",
// "TLSA" or "TXT". The name in a PTR question may be the address. The error is
// an *Error.
func (c *Client) Lookup(ctx context.Context, typ, name string) (Answer, error) {
	o := c.outcome(ctx, typ, name)
	if o.err != nil {
		return Answer{}, &Error{Type: typ, Name: name, Err: o.err}
	}
	return Answer{Records: slices.Clone(o.records), TTL: o.ttl, Authentic: o.authentic}, nil
}

// LookupTXT implements Resolver.
func (c *Client) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return lookup(c.lookup).txt(ctx, name)
}

// LookupMX implements Resolver.
func (c *Client) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return lookup(c.lookup).mx(ctx, name)
}

// LookupNetIP implements Resolver.
func (c *Client) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return lookup(c.lookup).netIP(ctx, network, host)
}

// LookupAddr implements Resolver.
func (c *Client) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return lookup(c.lookup).names(ctx, addr)
}

func (c *Client) lookup(ctx context.Context, typ, name string) ([]string, error) {
	a, err := c.Lookup(ctx, typ, name)
	return a.Records, err
}

// outcome answers from the cache, or asks.
func (c *Client) outcome(ctx context.Context, typ, name string) outcome {
	q, err := newQuestion(typ, name)
	if err != nil {
		return outcome{err: err}
	}
	c.counts.questions.Add(1)
	if o, ok := c.cache.get(q, time.Now()); ok {
		c.counts.hits.Add(1)
		return o
	}
	if c.breaker.refuses.Load() {
		c.counts.spared.Add(1)
		return outcome{err: errServersSilent}
	}
	return c.flights.do(ctx, q)
}

var errServersSilent = fmt.Errorf("%w: the servers are silent", ErrTemporary)
