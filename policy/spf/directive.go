package spf

import (
	"net/netip"
	"slices"
	"strings"
)

// A mechanism is the kind of a directive (RFC 7208, section 5).
type mechanism byte

const (
	all mechanism = iota
	include
	a
	mx
	ptr
	ip4
	ip6
	exists
)

// mechanisms are the names of the mechanisms.
var mechanisms = [...]string{
	all: "all", include: "include", a: "a", mx: "mx", ptr: "ptr", ip4: "ip4", ip6: "ip6", exists: "exists",
}

// A directive is a qualifier and a mechanism (RFC 7208, section 4.6.1).
type directive struct {
	text    string // as published
	verdict Verdict
	mechanism
	spec   string       // the domain-spec; empty: the current domain
	bits4  int          // of an address that a or mx finds
	bits6  int          // likewise
	prefix netip.Prefix // of ip4 and ip6
}

// parseDirective parses a directive. Its errors say what is wrong with it.
func parseDirective(term string) (directive, error) {
	d := directive{text: term, bits4: 32, bits6: 128}
	d.verdict, term = cutQualifier(term)
	name, arg := term, ""
	if i := strings.IndexAny(term, ":/"); i >= 0 {
		name, arg = term[:i], term[i:]
	}
	kind := slices.Index(mechanisms[:], strings.ToLower(name))
	if kind < 0 {
		return d, errMechanism
	}
	d.mechanism = mechanism(kind)
	return d, d.parseArgument(arg)
}

// parseArgument parses what follows the name of a mechanism.
func (d *directive) parseArgument(arg string) (err error) {
	switch d.mechanism {
	case all:
		if arg != "" {
			err = errArgument
		}
	case include, exists:
		d.spec, err = parseSpec(arg)
	case ptr:
		if arg != "" {
			d.spec, err = parseSpec(arg)
		}
	case a, mx:
		err = d.parseHosts(arg)
	case ip4:
		d.prefix, err = parseNetwork(arg, netip.Addr.Is4)
	case ip6:
		d.prefix, err = parseNetwork(arg, netip.Addr.Is6)
	}
	return err
}

// cutQualifier returns the verdict that the qualifier of a directive stands for, and
// the mechanism behind it. No qualifier is a pass (RFC 7208, section 4.6.2).
func cutQualifier(term string) (Verdict, string) {
	switch rest := term[1:]; term[0] {
	case '+':
		return Pass, rest
	case '-':
		return Fail, rest
	case '~':
		return SoftFail, rest
	case '?':
		return Neutral, rest
	}
	return Pass, term
}

// parseSpec parses ":" domain-spec.
func parseSpec(arg string) (string, error) {
	spec, ok := strings.CutPrefix(arg, ":")
	if !ok {
		return "", errNoDomain
	}
	return spec, checkDomainSpec(spec)
}

// parseHosts parses [ ":" domain-spec ] [ dual-cidr-length ] (RFC 7208, section
// 5.6). A domain-spec may hold slashes, so the lengths are taken off its end.
func (d *directive) parseHosts(arg string) error {
	if rest, length, ok := cutLength(arg); ok && strings.HasSuffix(rest, "/") {
		if d.bits6, ok = parseLength(length, 128); !ok {
			return errLength
		}
		arg = rest[:len(rest)-1]
	}
	if rest, length, ok := cutLength(arg); ok {
		if d.bits4, ok = parseLength(length, 32); !ok {
			return errLength
		}
		arg = rest
	}
	if arg == "" {
		return nil
	}
	var err error
	d.spec, err = parseSpec(arg)
	return err
}

// cutLength takes "/" 1*DIGIT off the end of arg.
func cutLength(arg string) (rest, length string, ok bool) {
	i := len(arg)
	for i > 0 && isDigit(arg[i-1]) {
		i--
	}
	if i == 0 || i == len(arg) || arg[i-1] != '/' {
		return arg, "", false
	}
	return arg[:i-1], arg[i:], true
}

// parseLength parses the digits of a cidr-length, which begin with 0 only where
// they are 0.
func parseLength(s string, limit int) (int, bool) {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, n <= limit
}

// parseNetwork parses ":" ip4-network [ ip4-cidr-length ], or the same of IPv6
// (RFC 7208, section 5.6).
func parseNetwork(arg string, family func(netip.Addr) bool) (netip.Prefix, error) {
	network, ok := strings.CutPrefix(arg, ":")
	if !ok {
		return netip.Prefix{}, errNetwork
	}
	network, length, hasLength := strings.Cut(network, "/")
	addr, err := netip.ParseAddr(network)
	if err != nil || !family(addr) || addr.Zone() != "" {
		return netip.Prefix{}, errNetwork
	}
	bits := addr.BitLen()
	if hasLength {
		if bits, ok = parseLength(length, addr.BitLen()); !ok {
			return netip.Prefix{}, errLength
		}
	}
	return netip.PrefixFrom(addr, bits), nil
}
