// Package dns asks the domain name system on behalf of the policies.
//
// It tells four outcomes apart, because a mail system must: an answer; the name
// does not exist (NXDOMAIN); the name exists but has no such record (NODATA);
// and nobody could say (SERVFAIL, REFUSED, silence). The last one is never a
// reason to refuse mail for good.
//
// Names are absolute, with or without the final dot: no search list is applied,
// and /etc/hosts is not read. An octet of a name stands for itself; there are
// no escapes. Client asks real servers, Zone is a world made up for a test,
// Recorder keeps what was asked, and Replay answers from what was kept.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// A Resolver answers the questions that the policies ask. Its methods are those
// of net.Resolver, so that one can stand in for it; every error from this
// package's own resolvers is an *Error, and every name they return is without
// the final dot, except for the root of a null MX (RFC 7505), which is ".".
//
// What is returned belongs to the caller.
type Resolver interface {
	// LookupTXT returns the TXT records of name, the strings of each
	// concatenated without a space.
	LookupTXT(ctx context.Context, name string) ([]string, error)
	// LookupMX returns the MX records of name, lowest preference first.
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	// LookupNetIP returns the addresses of host. The network is "ip4", "ip6",
	// or "ip" for both; when only one of the two kinds could be had, then that
	// one is returned together with the temporary error of the other.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	// LookupAddr returns the names of an IP address (PTR), unverified.
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

var (
	_ Resolver = (*net.Resolver)(nil)
	_ Resolver = (*Client)(nil)
	_ Resolver = (*Recorder)(nil)
	_ Resolver = (*Replay)(nil)
	_ Resolver = Zone(nil)
)

// What a question that brought no record ended with. An *Error wraps one of
// them, and is matched with errors.Is.
var (
	ErrNXDomain  = errors.New("no such name")            // RFC 8020: nothing below it either
	ErrNoData    = errors.New("no such record")          // RFC 2308, section 2.2
	ErrTemporary = errors.New("no answer from resolver") // SERVFAIL, REFUSED, timeout, bad answer
)

// An Error says which question found no answer, and why.
type Error struct {
	Type string // "TXT", "MX", "A", "AAAA", "PTR"
	Name string
	Err  error // wraps ErrNXDomain, ErrNoData or ErrTemporary
}

func (e *Error) Error() string { return fmt.Sprintf("dns: %s %s: %v", e.Type, e.Name, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// NotFound reports whether err says that the name, or the record at it, does
// not exist: a "void lookup" of RFC 7208, section 4.6.4.
func NotFound(err error) bool {
	if errors.Is(err, ErrNXDomain) || errors.Is(err, ErrNoData) {
		return true
	}
	var std *net.DNSError // from a net.Resolver, which does not tell the two apart
	return errors.As(err, &std) && std.IsNotFound
}
