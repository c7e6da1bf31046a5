package dnsbl

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"postern/internal/dns"
)

// A Health knows which lists are fit for use. A list proves it by its test
// entries (RFC 5782, section 5): 127.0.0.2 is on it and 127.0.0.1 is not, and
// the same for ::FFFF:7F00:2 and ::FFFF:7F00:1 if it has IPv6 addresses. One
// that has lost its domain, blocks us, or lists the world at the end of its days
// is not used until it passes again.
//
// A list is used from its first passed test on. A test without an answer from
// the DNS proves nothing and changes nothing. It may be used by several
// goroutines.
type Health struct {
	resolver dns.Resolver
	lists    []List
	log      *slog.Logger

	mu    sync.Mutex
	state []Condition
}

// A Condition says for which addresses a list is in use, and why it is not for
// the others. Empty is in use.
type Condition struct {
	List       string
	IPv4, IPv6 string
}

// isSick reports whether c may be better soon. That a list has no IPv6 addresses
// is no sickness.
func (c Condition) isSick() bool { return c.IPv4 != "" || c.IPv6 == untested }

const (
	untested = "not tested yet"

	checkEvery = time.Hour
	retryAfter = 5 * time.Minute // while a list is not in use that should be
	checkWait  = 10 * time.Second
)

// NewHealth returns a Health of lists, none of which has been tested. The log
// hears when one goes out of use, and when it comes back.
func NewHealth(r dns.Resolver, lists []List, log *slog.Logger) *Health {
	h := &Health{resolver: r, lists: lists, log: log, state: make([]Condition, len(lists))}
	for i, list := range lists {
		h.state[i] = Condition{List: list.String(), IPv4: untested, IPv6: untested}
	}
	return h
}

// Run tests the lists now and then until ctx ends: each hour, and sooner while
// one of them is out of use.
func (h *Health) Run(ctx context.Context) {
	for ctx.Err() == nil {
		h.Check(ctx)
		wait := checkEvery
		if slices.ContainsFunc(h.Conditions(), Condition.isSick) {
			wait = retryAfter
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// Check tests all lists once.
func (h *Health) Check(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	var wg sync.WaitGroup
	for i, list := range h.lists {
		wg.Go(func() {
			problem, known := list.test(ctx, h.resolver, "127.0.0.2", "127.0.0.1")
			h.note(i, &h.state[i].IPv4, problem, known)
		})
		wg.Go(func() {
			problem, known := list.test(ctx, h.resolver, "::ffff:127.0.0.2", "::ffff:127.0.0.1")
			h.note(i, &h.state[i].IPv6, problem, known)
		})
	}
	wg.Wait()
}

// Usable returns the lists that can be asked about ip.
func (h *Health) Usable(ip netip.Addr) []List {
	v4 := ip.Unmap().Is4()
	h.mu.Lock()
	defer h.mu.Unlock()
	usable := make([]List, 0, len(h.lists))
	for i, c := range h.state {
		if v4 && c.IPv4 == "" || !v4 && c.IPv6 == "" {
			usable = append(usable, h.lists[i])
		}
	}
	return usable
}

// InUse reports whether the list of that name can be asked about ip. One that
// Health does not know is not in use.
func (h *Health) InUse(list string, ip netip.Addr) bool {
	for _, l := range h.Usable(ip) {
		if l.String() == list {
			return true
		}
	}
	return false
}

// Conditions returns the state of all lists, in their order.
func (h *Health) Conditions() []Condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.state)
}

// note records the end of a test at where, in the state of list i.
func (h *Health) note(i int, where *string, problem string, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := *where
	if !known || problem == before {
		return
	}
	*where = problem
	family, level := "IPv4", slog.LevelWarn
	if where == &h.state[i].IPv6 {
		family, level = "IPv6", slog.LevelInfo // most lists never have any
	}
	if problem == "" {
		h.log.Info("DNS list in use", "list", h.state[i].List, "family", family)
		return
	}
	h.log.Log(context.Background(), level, "DNS list not in use", "list", h.state[i].List, "family", family, "why", problem)
}

// anything are the answers that a test entry may have: those that count, and the
// others of the list.
var anything = mustParse("127.[0..255].[0..255].[0..255]")

// test asks for the entry that must be on l, and for the one that must not. It
// returns what is wrong with l, and whether it is known.
func (l List) test(ctx context.Context, r dns.Resolver, present, absent string) (problem string, known bool) {
	l.Codes = anything
	ask := func(addr string) (State, string) {
		codes, err := r.LookupNetIP(ctx, "ip4", l.nameOf(netip.MustParseAddr(addr)))
		if err != nil && !dns.NotFound(err) {
			return "", ""
		}
		return l.read(codes, err)
	}
	on, onProblem := ask(present)
	off, offProblem := ask(absent)
	switch {
	case on == Silent:
		return onProblem, true
	case off == Silent:
		return offProblem, true
	case off == Present:
		return absent + " is on it, and so may be everybody", true
	case on == Absent:
		return present + " is not on it", true
	}
	return "", on == Present && off == Absent
}
