package dns

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	wire "github.com/miekg/dns"
)

// A question is what is asked of a server: a type, and an absolute name in
// lower case without its final dot. It is the key of the cache.
type question struct {
	typ  uint16
	name string
}

// newQuestion returns the question for the records of type typ at name, which
// in a PTR question may be the address itself. Its error wraps ErrNXDomain
// where no such name can exist, as the macros of a policy or the mood of a
// client may have it: there is nothing to ask.
func newQuestion(typ, name string) (question, error) {
	code, ok := typeCode(typ)
	if !ok {
		return question{}, fmt.Errorf("%w: type %q is not one that is asked for", ErrTemporary, typ)
	}
	if code == wire.TypePTR {
		name = reverseName(name)
	}
	name = lower(strings.TrimSuffix(name, "."))
	if !isName(name) {
		return question{}, fmt.Errorf("%w: not a domain name", ErrNXDomain)
	}
	return question{code, name}, nil
}

func typeCode(typ string) (code uint16, ok bool) {
	switch typ {
	case "A":
		return wire.TypeA, true
	case "AAAA":
		return wire.TypeAAAA, true
	case "MX":
		return wire.TypeMX, true
	case "PTR":
		return wire.TypePTR, true
	case "TLSA":
		return wire.TypeTLSA, true
	case "TXT":
		return wire.TypeTXT, true
	}
	return 0, false
}

// isName reports whether name, without a final dot, can be asked for: labels of
// 1 to 63 octets, of whatever value, and 253 in all (RFC 1035, section 2.3.4).
// The root has nothing that a mail system asks for.
func isName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 {
			return false
		}
	}
	return true
}

// trimDot returns name without its final dot, unless it is the root.
func trimDot(name string) string {
	if name == "." {
		return name
	}
	return strings.TrimSuffix(name, ".")
}

// presentation returns the name as the wire library wants it: absolute, and in
// the escapes of a zone file. With raw octets in it the library can be wrong
// about where a name ends.
func (q question) presentation() string { return Escape(q.name) + "." }

// Reverse returns the labels under which reverse zones and DNS lists keep ip:
// "1.2.0.192" for 192.0.2.1, and 32 nibbles for an IPv6 address, to which an
// IPv4-mapped one belongs (RFC 1035, section 3.5; RFC 3596, section 2.5; RFC
// 5782, section 2.4).
func Reverse(ip netip.Addr) string {
	var b []byte
	if ip.Is4() {
		octets := ip.As4()
		for i := len(octets) - 1; i >= 0; i-- {
			b = append(strconv.AppendUint(b, uint64(octets[i]), 10), '.')
		}
		return string(b[:len(b)-1])
	}
	const hex = "0123456789abcdef"
	octets := ip.As16()
	for i := len(octets) - 1; i >= 0; i-- {
		b = append(b, hex[octets[i]&15], '.', hex[octets[i]>>4], '.')
	}
	return string(b[:len(b)-1])
}

// reverseName returns the name of the PTR records of addr, and addr itself if
// it is no address.
func reverseName(addr string) string {
	ip, err := netip.ParseAddr(addr)
	ip = ip.Unmap()
	switch {
	case err != nil:
		return addr
	case ip.Is4():
		return Reverse(ip) + ".in-addr.arpa"
	}
	return Reverse(ip) + ".ip6.arpa"
}
