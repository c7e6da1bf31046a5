package smtp

import (
	"net/netip"
	"strconv"
	"strings"

	"postern/mail"
)

// XClientAttributes are the attributes of XCLIENT (Postfix, XCLIENT_README), as
// they are announced.
const XClientAttributes = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

// An XClient is what a proxy says of its client with XCLIENT. Of what is known,
// only what a server here can use is kept: the name of an address is looked up
// anew, nobody logs in, and ports decide nothing.
type XClient struct {
	// Addr is the client's address, and zero where the proxy does not know it.
	// HasAddr says that it spoke of it.
	Addr    netip.Addr
	HasAddr bool
	Server  netip.Addr // that the client connected to; zero where it did not say
	Hello   string     // "" where it said none
	ESMTP   bool       // it said so with PROTO
}

// ParseXClient parses the argument of XCLIENT. Its errors are replies.
func ParseXClient(arg string) (x XClient, err error) {
	err = attributes(arg, x.set)
	return x, err
}

// attributes calls set with each attribute of XCLIENT or XFORWARD that is in arg, its
// name in capitals, and with its value, which was xtext. An error is a reply: also if
// there is no attribute, if one comes twice, or if set does not know one.
func attributes(arg string, set func(name, value string) (ok bool)) error {
	seen := make(map[string]bool)
	for word := range strings.FieldsFuncSeq(arg, isWSP) {
		name, encoded, _ := strings.Cut(word, "=")
		name = upper(name)
		value, ok := DecodeXtext(encoded)
		if !ok || value == "" || len(value) > maxDomain || seen[name] || !set(name, value) {
			return mail.BadArgument
		}
		seen[name] = true
	}
	if len(seen) == 0 {
		return mail.BadArgument
	}
	return nil
}

// unavailable reports whether value says that the peer does not know it.
func unavailable(value string) bool {
	return strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]")
}

// set takes the value of an attribute, and reports whether it is one.
func (x *XClient) set(name, value string) (ok bool) {
	unknown := unavailable(value)
	switch name {
	case "ADDR":
		x.HasAddr, ok = true, unknown
		if !unknown {
			x.Addr, ok = parseLiteral(value)
		}
	case "HELO":
		if ok = true; !unknown {
			x.Hello = value
		}
	case "PROTO":
		x.ESMTP = upper(value) == "ESMTP"
		ok = unknown || x.ESMTP || upper(value) == "SMTP"
	case "NAME":
		ok = unknown || IsDomain(value)
	case "LOGIN":
		ok = true
	case "DESTADDR":
		if ok = unknown; !unknown {
			x.Server, ok = parseLiteral(value)
		}
	case "PORT", "DESTPORT":
		_, err := strconv.ParseUint(value, 10, 16)
		ok = unknown || err == nil
	}
	return ok
}
