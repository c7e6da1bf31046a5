package dns

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// A Zone is a Resolver whose whole world is a map, for tests:
//
//	dns.Zone{
//		"TXT good.example":     {"v=spf1 ip4:192.0.2.0/24 -all"},
//		"MX good.example":      {"10 mx.good.example"},
//		"A mx.good.example":    {"192.0.2.25"},
//		"PTR 192.0.2.25":       {"mx.good.example"},
//		"TXT flaky.example":    {"SERVFAIL"},
//		"TXT slow.example":     {"TIMEOUT"},
//	}
//
// A name that has a record of another type gives NODATA, any other NXDOMAIN.
// "SERVFAIL" as an answer is a temporary error; "TIMEOUT" waits for the
// context to end first. Names are lower-case and without the final dot.
type Zone map[string][]string

// LookupTXT implements Resolver.
func (z Zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return z.lookup(ctx, "TXT", name)
}

// LookupMX implements Resolver.
func (z Zone) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	answers, err := z.lookup(ctx, "MX", name)
	var mxs []*net.MX
	for _, a := range answers {
		pref, host, _ := strings.Cut(a, " ")
		n, _ := strconv.ParseUint(pref, 10, 16)
		mxs = append(mxs, &net.MX{Pref: uint16(n), Host: host})
	}
	return mxs, err
}

// LookupNetIP implements Resolver.
func (z Zone) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	types := map[string][]string{"ip4": {"A"}, "ip6": {"AAAA"}, "ip": {"A", "AAAA"}}[network]
	var (
		addrs []netip.Addr
		last  error
	)
	for _, t := range types {
		answers, err := z.lookup(ctx, t, host)
		if err != nil {
			last = err
		}
		for _, a := range answers {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	return nil, last
}

// LookupAddr implements Resolver.
func (z Zone) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return z.lookup(ctx, "PTR", addr)
}

func (z Zone) lookup(ctx context.Context, typ, name string) ([]string, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	fail := func(err error) ([]string, error) { return nil, &Error{Type: typ, Name: name, Err: err} }
	answers := z[typ+" "+name]
	switch {
	case ctx.Err() != nil:
		return fail(ErrTemporary)
	case len(answers) == 0 && z.exists(name):
		return fail(ErrNoData)
	case len(answers) == 0:
		return fail(ErrNXDomain)
	case answers[0] == "SERVFAIL":
		return fail(ErrTemporary)
	case answers[0] == "TIMEOUT":
		<-ctx.Done()
		return fail(ErrTemporary)
	}
	return answers, nil
}

// exists reports whether any record is at name or below it (an empty
// non-terminal exists, RFC 8020).
func (z Zone) exists(name string) bool {
	for key := range z {
		_, owner, _ := strings.Cut(key, " ")
		if owner == name || strings.HasSuffix(owner, "."+name) {
			return true
		}
	}
	return false
}
