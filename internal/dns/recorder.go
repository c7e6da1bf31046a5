package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// maxExchanges bounds a record. The policies together ask some hundred questions
// about the worst of messages that is within their limits.
const maxExchanges = 1000

// A Recorder is a Resolver that asks another one on behalf of one message or
// session, and keeps what it heard.
//
// It asks each question once: who asks again is given the first answer, be it a
// temporary error. So all verdicts on a message rest on one view of the world,
// a sick server is waited for once, and the record, replayed, gives the same
// verdicts. It may be used by several goroutines.
type Recorder struct {
	next Resolver

	mu    sync.Mutex
	asked []Exchange
	index map[[2]string]int // by type and name
}

// NewRecorder returns a Recorder that asks next.
func NewRecorder(next Resolver) *Recorder {
	return &Recorder{next: next, index: make(map[[2]string]int)}
}

// Exchanges returns what was asked so far, in the order in which it was
// answered.
func (r *Recorder) Exchanges() []Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// LookupTXT implements Resolver.
func (r *Recorder) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return lookup(r.lookup).txt(ctx, name)
}

// LookupMX implements Resolver.
func (r *Recorder) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return lookup(r.lookup).mx(ctx, name)
}

// LookupNetIP implements Resolver.
func (r *Recorder) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return lookup(r.lookup).netIP(ctx, network, host)
}

// LookupAddr implements Resolver.
func (r *Recorder) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return lookup(r.lookup).names(ctx, addr)
}

func (r *Recorder) lookup(ctx context.Context, typ, name string) ([]string, error) {
	key := [2]string{typ, exchangeName(name)}
	r.mu.Lock()
	i, known := r.index[key]
	full := len(r.asked) >= maxExchanges
	r.mu.Unlock()
	switch {
	case known:
		return r.answer(i)
	case full:
		return nil, &Error{Type: typ, Name: name, Err: fmt.Errorf("%w: more than %d questions", ErrTemporary, maxExchanges)}
	}
	records, err := textOf(ctx, r.next, typ, name)
	return r.answer(r.keep(key, records, err))
}

// keep records how a question ended, and returns where. Who asked at the same
// time may have been first.
func (r *Recorder) keep(key [2]string, records []string, err error) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, known := r.index[key]
	if !known {
		i = len(r.asked)
		r.index[key] = i
		r.asked = append(r.asked, newExchange(key[0], key[1], records, err))
	}
	return i
}

func (r *Recorder) answer(i int) ([]string, error) {
	r.mu.Lock()
	e := r.asked[i] // does not change any more
	r.mu.Unlock()
	return e.result()
}

// textOf asks a Resolver, and returns the records as a lookup does.
func textOf(ctx context.Context, r Resolver, typ, name string) ([]string, error) {
	switch typ {
	case "TXT":
		return r.LookupTXT(ctx, name)
	case "MX":
		mxs, err := r.LookupMX(ctx, name)
		return texts(mxs, func(mx *net.MX) string { return fmt.Sprintf("%d %s", mx.Pref, trimDot(mx.Host)) }), err
	case "A":
		addrs, err := r.LookupNetIP(ctx, "ip4", name)
		return texts(addrs, func(a netip.Addr) string { return a.Unmap().String() }), err
	case "AAAA":
		addrs, err := r.LookupNetIP(ctx, "ip6", name)
		return texts(addrs, netip.Addr.String), err
	}
	names, err := r.LookupAddr(ctx, name)
	return texts(names, trimDot), err
}

func texts[T any](records []T, text func(T) string) []string {
	var all []string
	for _, r := range records {
		all = append(all, text(r))
	}
	return all
}
