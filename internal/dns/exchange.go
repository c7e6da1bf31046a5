package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// An Exchange is one question and what it ended with: the evidence of a verdict,
// plain enough for JSON. What does not print in Name, Answers and Cause is
// written as RFC 1035, section 5.1, has it: a backslash and three digits; a
// backslash is doubled.
type Exchange struct {
	Type    string // "TXT", "MX", "A", "AAAA", "PTR"
	Name    string // lower-case, without the final dot; the address in a PTR question
	Outcome Outcome
	Answers []string // as text, as in a Zone; none unless Outcome is Answered
	Cause   string   // of a Temporary outcome, for the administrator
}

// An Outcome says how a question ended.
type Outcome string

// The outcomes.
const (
	Answered  Outcome = "NOERROR"
	NoData    Outcome = "NODATA"
	NXDomain  Outcome = "NXDOMAIN"
	Temporary Outcome = "TEMPORARY"
)

func newExchange(typ, name string, records []string, err error) Exchange {
	e := Exchange{Type: typ, Name: Escape(name)}
	switch {
	case err == nil:
		e.Outcome, e.Answers = Answered, texts(records, Escape)
	case errors.Is(err, ErrNoData):
		e.Outcome = NoData
	case NotFound(err):
		e.Outcome = NXDomain
	default:
		e.Outcome, e.Cause = Temporary, Escape(causeOf(err))
	}
	return e
}

// causeOf returns the text of err, without what its Outcome says.
func causeOf(err error) string {
	var inner *Error
	if errors.As(err, &inner) {
		return strings.TrimPrefix(inner.Err.Error(), ErrTemporary.Error()+": ")
	}
	return err.Error()
}

// result returns what a lookup returned, or would have.
func (e Exchange) result() ([]string, error) {
	var err error
	switch e.Outcome {
	case Answered:
		return texts(e.Answers, Unescape), nil
	case NoData:
		err = ErrNoData
	case NXDomain:
		err = ErrNXDomain
	default:
		err = fmt.Errorf("%w: %s", ErrTemporary, e.Cause)
	}
	return nil, &Error{Type: e.Type, Name: Unescape(e.Name), Err: err}
}

// exchangeName returns name in the one spelling of it that a record has.
func exchangeName(name string) string { return lower(trimDot(name)) }

// A Replay is a Resolver that answers from a record, and only from it. A
// question that is not in there ends with a temporary error, and is listed in
// Missing: whoever asks it now did not ask it then. It may be used by several
// goroutines.
type Replay struct {
	index map[[2]string]Exchange

	mu      sync.Mutex
	missing []Exchange
}

// NewReplay returns a Replay of exchanges. Of several for one question the
// first counts.
func NewReplay(exchanges []Exchange) *Replay {
	r := &Replay{index: make(map[[2]string]Exchange)}
	for _, e := range exchanges {
		key := [2]string{e.Type, exchangeName(Unescape(e.Name))}
		if _, known := r.index[key]; !known {
			r.index[key] = e
		}
	}
	return r
}

// Missing returns the questions that were asked and are not in the record, at
// most as many as a record can hold.
func (r *Replay) Missing() []Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.missing)
}

// LookupTXT implements Resolver.
func (r *Replay) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return lookup(r.lookup).txt(ctx, name)
}

// LookupMX implements Resolver.
func (r *Replay) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return lookup(r.lookup).mx(ctx, name)
}

// LookupNetIP implements Resolver.
func (r *Replay) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return lookup(r.lookup).netIP(ctx, network, host)
}

// LookupAddr implements Resolver.
func (r *Replay) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return lookup(r.lookup).names(ctx, addr)
}

func (r *Replay) lookup(_ context.Context, typ, name string) ([]string, error) {
	name = exchangeName(name)
	if e, ok := r.index[[2]string{typ, name}]; ok {
		return e.result()
	}
	e := Exchange{Type: typ, Name: Escape(name), Outcome: Temporary, Cause: "not in the record"}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.missing) < maxExchanges {
		r.missing = append(r.missing, e)
	}
	return e.result()
}
