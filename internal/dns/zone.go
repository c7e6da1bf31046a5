package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// A Zone is a Resolver whose whole world is a map, for tests:
//
//	dns.Zone{
//		"TXT good.example":     {"v=spf1 ip4:192.0.2.0/24 -all"},
//		"MX good.example":      {"10 mx.good.example"},
//		"A mx.good.example":    {"192.0.2.25"},
//		"CNAME www.example":    {"good.example"},
//		"PTR 192.0.2.25":       {"mx.good.example"},
//		"TXT flaky.example":    {"SERVFAIL"},
//		"TXT slow.example":     {"TIMEOUT"},
//	}
//
// A name that has a record of another type, or a name below it, gives NODATA,
// any other NXDOMAIN; an alias leads to what is at its target. "SERVFAIL" as
// the first answer is a temporary error; "TIMEOUT" waits for the context to end
// first. Names are lower-case and without the final dot.
type Zone map[string][]string

// maxAliases bounds the CNAME records that lead to an answer. Recursive servers
// stop somewhere between 8 and 16.
const maxAliases = 16

// LookupTXT implements Resolver.
func (z Zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return lookup(z.lookup).txt(ctx, name)
}

// LookupMX implements Resolver.
func (z Zone) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return lookup(z.lookup).mx(ctx, name)
}

// LookupNetIP implements Resolver.
func (z Zone) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return lookup(z.lookup).netIP(ctx, network, host)
}

// LookupAddr implements Resolver.
func (z Zone) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return lookup(z.lookup).names(ctx, addr)
}

func (z Zone) lookup(ctx context.Context, typ, name string) ([]string, error) {
	fail := func(err error) ([]string, error) { return nil, &Error{Type: typ, Name: name, Err: err} }
	if ctx.Err() != nil {
		return fail(fmt.Errorf("%w: %w", ErrTemporary, context.Cause(ctx)))
	}
	_, answers, err := z.Follow(typ, name)
	switch {
	case err != nil:
		return fail(err)
	case answers[0] == "SERVFAIL":
		return fail(fmt.Errorf("%w: SERVFAIL", ErrTemporary))
	case answers[0] == "TIMEOUT":
		<-ctx.Done()
		return fail(fmt.Errorf("%w: %w", ErrTemporary, context.Cause(ctx)))
	}
	return slices.Clone(answers), nil
}

// Follow returns the aliases that lead from name to a record of type typ, from
// name itself to the last target, and the records there; with an error, which
// wraps ErrNXDomain, ErrNoData or ErrTemporary, the aliases as far as they go.
// The records are those of the map, "SERVFAIL" and "TIMEOUT" among them.
func (z Zone) Follow(typ, name string) (aliases, records []string, err error) {
	name = lower(strings.TrimSuffix(name, "."))
	for len(aliases) < maxAliases {
		aliases = append(aliases, name)
		if records := z[typ+" "+name]; len(records) > 0 {
			return aliases, records, nil
		}
		target := z["CNAME "+name]
		if len(target) == 0 {
			return aliases, nil, z.absent(name)
		}
		name = lower(strings.TrimSuffix(target[0], "."))
	}
	return aliases, nil, fmt.Errorf("%w: more than %d aliases", ErrTemporary, maxAliases)
}

// absent says why there is nothing at name: a name that has a record of another
// type, or a name below it, exists (RFC 8020).
func (z Zone) absent(name string) error {
	for key := range z {
		_, owner, _ := strings.Cut(key, " ")
		if owner == name || strings.HasSuffix(owner, "."+name) {
			return ErrNoData
		}
	}
	return ErrNXDomain
}
