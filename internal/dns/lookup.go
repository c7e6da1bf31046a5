package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A lookup answers one question with its records as text: a TXT record as its
// octets, "10 mx.example" for an MX, an address, a name. The resolvers of this
// package differ in their lookup alone; its methods make a Resolver of it.
//
// The name in a PTR question is the address itself, as "192.0.2.1". The records
// belong to the caller, and every error is an *Error.
type lookup func(ctx context.Context, typ, name string) ([]string, error)

func (l lookup) txt(ctx context.Context, name string) ([]string, error) {
	return l(ctx, "TXT", name)
}

func (l lookup) mx(ctx context.Context, name string) ([]*net.MX, error) {
	records, err := l(ctx, "MX", name)
	if err != nil {
		return nil, err
	}
	mxs := make([]*net.MX, len(records))
	for i, r := range records {
		if mxs[i], err = parseMX(r); err != nil {
			return nil, &Error{Type: "MX", Name: name, Err: err}
		}
	}
	slices.SortStableFunc(mxs, func(a, b *net.MX) int {
		return cmp.Or(cmp.Compare(a.Pref, b.Pref), strings.Compare(a.Host, b.Host))
	})
	return mxs, nil
}

// parseMX reads "10 mx.example".
func parseMX(record string) (*net.MX, error) {
	pref, host, ok := strings.Cut(record, " ")
	n, err := strconv.ParseUint(pref, 10, 16)
	if !ok || err != nil {
		return nil, fmt.Errorf("%w: bad MX record %q", ErrTemporary, record)
	}
	return &net.MX{Pref: uint16(n), Host: host}, nil
}

func (l lookup) netIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	switch network {
	case "ip4":
		return l.addresses(ctx, "A", host)
	case "ip6":
		return l.addresses(ctx, "AAAA", host)
	case "ip":
		return l.bothFamilies(ctx, host)
	}
	err := fmt.Errorf("%w: unknown network %q", ErrTemporary, network)
	return nil, &Error{Type: "A", Name: host, Err: err}
}

func (l lookup) bothFamilies(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err4 := l.addresses(ctx, "A", host)
	if errors.Is(err4, ErrNXDomain) {
		return nil, err4 // says the same of every type
	}
	more, err6 := l.addresses(ctx, "AAAA", host)
	addrs = append(addrs, more...)
	switch {
	case errors.Is(err4, ErrTemporary):
		return addrs, err4
	case errors.Is(err6, ErrTemporary):
		return addrs, err6
	case len(addrs) > 0:
		return addrs, nil
	}
	return nil, err4
}

func (l lookup) addresses(ctx context.Context, typ, host string) ([]netip.Addr, error) {
	records, err := l(ctx, typ, host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, len(records))
	for i, r := range records {
		if addrs[i], err = netip.ParseAddr(r); err != nil {
			return nil, &Error{Type: typ, Name: host, Err: fmt.Errorf("%w: %w", ErrTemporary, err)}
		}
	}
	return addrs, nil
}

func (l lookup) names(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &Error{Type: "PTR", Name: addr, Err: fmt.Errorf("%w: not an IP address", ErrNXDomain)}
	}
	return l(ctx, "PTR", ip.Unmap().WithZone("").String())
}

// lower returns name in lower case: ASCII letters alone, since the rest of the
// octets are compared as they are (RFC 4343).
func lower(name string) string {
	for i := range len(name) {
		if 'A' <= name[i] && name[i] <= 'Z' {
			return lowerFrom(name, i)
		}
	}
	return name
}

func lowerFrom(name string, i int) string {
	b := []byte(name)
	for ; i < len(b); i++ {
		if 'A' <= b[i] && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
