package smtp

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"postern/mail"
)

const (
	// maxLocal is longer than the 64 octets of RFC 5321, section 4.5.3.1.1:
	// senders with long return addresses (VERP, SRS) are many, and nothing here
	// breaks on them.
	maxLocal  = 255
	maxDomain = 255 // section 4.5.3.1.2
	maxLabel  = 63  // RFC 1035, section 2.3.4
)

// ParseAddress parses a Mailbox of RFC 5321, section 4.1.2, as it stands
// between angle brackets, without a source route. Nothing may follow it.
func ParseAddress(s string) (mail.Address, bool) {
	addr, rest, ok := parseMailbox(s, isDotString)
	return addr, ok && rest == "" && addr.Domain != ""
}

// parsePath parses a Path in angle brackets at the start of s, and returns what follows
// it. allowed says which local parts need no quotes. A source route is read and
// forgotten (RFC 5321, appendix C). The domain is empty where there was none.
func parsePath(s string, allowed func(local string) bool) (addr mail.Address, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, "<")
	if !ok {
		return addr, "", false
	}
	if strings.HasPrefix(s, "@") {
		if s, ok = cutRoute(s); !ok {
			return addr, "", false
		}
	}
	addr, rest, ok = parseMailbox(s, allowed)
	if !ok {
		return addr, "", false
	}
	rest, ok = strings.CutPrefix(rest, ">")
	return addr, rest, ok
}

// cutRoute removes an A-d-l and its colon: "@one.example,@two.example:".
func cutRoute(s string) (string, bool) {
	for {
		var ok bool
		if s, ok = strings.CutPrefix(s, "@"); !ok {
			return "", false
		}
		_, rest, ok := parseDomain(s)
		if !ok || rest == "" {
			return "", false
		}
		s = rest[1:]
		switch rest[0] {
		case ':':
			return s, true
		case ',':
			continue
		}
		return "", false
	}
}

// parseMailbox parses local-part [ "@" domain ] at the start of s.
func parseMailbox(s string, allowed func(local string) bool) (addr mail.Address, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		addr.Local, rest, ok = parseQuoted(s)
	} else {
		addr.Local, rest = parseAtoms(s)
		ok = allowed(addr.Local)
	}
	if !ok || len(addr.Local) > maxLocal || !utf8.ValidString(addr.Local) {
		return mail.Address{}, "", false
	}
	domain, found := strings.CutPrefix(rest, "@")
	if !found {
		return addr, rest, true
	}
	addr.Domain, rest, ok = parseDomain(domain)
	return addr, rest, ok
}

// parseQuoted parses a Quoted-string, and returns what it means.
func parseQuoted(s string) (local, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			if i++; s[i] < ' ' || s[i] > '~' {
				return "", "", false
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f || c == '\\':
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// parseAtoms parses atoms and dots.
func parseAtoms(s string) (local, rest string) {
	end := 0
	for end < len(s) && (mail.IsAtext(s[end]) || s[end] == '.') {
		end++
	}
	return s[:end], s[end:]
}

// isDotString reports whether local, of atoms and dots, is Atom *("." Atom).
func isDotString(local string) bool {
	return local != "" && local[0] != '.' && local[len(local)-1] != '.' && !strings.Contains(local, "..")
}

// anyDots allows dots anywhere: in Japan some had "a..b." from their telephone
// company, and write with it to this day, without the quotes that it needs. Every
// mail server takes that, and there are no two ways to read it.
func anyDots(local string) bool { return strings.Trim(local, ".") != "" }

// parseDomain parses a Domain or an address-literal at the start of s.
func parseDomain(s string) (domain, rest string, ok bool) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false
		}
		_, ok = ParseLiteral(s[:end+1])
		return s[:end+1], s[end+1:], ok
	}
	end := 0
	for end < len(s) && (isAlnum(s[end]) || s[end] >= 0x80 || strings.IndexByte(".-_", s[end]) >= 0) {
		end++
	}
	return s[:end], s[end:], IsDomain(s[:end])
}

// IsDomain reports whether s is a Domain of RFC 5321, section 4.1.2, with the
// U-labels of RFC 6531, section 3.3. Underscores pass: host names in the wild
// have them, and the DNS does not mind. HasULabels knows how long a U-label may be:
// 63 octets are the bound of its A-label.
func IsDomain(s string) bool {
	if s == "" || len(s) > maxDomain || !utf8.ValidString(s) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	ascii := true
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && c < 0x80 && c != '-' && c != '_' {
			return false
		}
		ascii = ascii && c < 0x80
	}
	return !ascii || len(s) <= maxLabel
}

// ParseLiteral returns the address that an address literal of RFC 5321, section
// 4.1.3, stands for, which has its brackets. One of IPv4 that is mapped into IPv6
// is itself.
func ParseLiteral(domain string) (netip.Addr, bool) {
	s, opened := strings.CutPrefix(domain, "[")
	s, closed := strings.CutSuffix(s, "]")
	if !opened || !closed {
		return netip.Addr{}, false
	}
	return parseLiteral(s)
}

// parseLiteral is ParseLiteral without the brackets. No tag but "IPv6" was ever
// registered.
func parseLiteral(s string) (netip.Addr, bool) {
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		ip, err := netip.ParseAddr(s[5:])
		return ip.Unmap(), err == nil && ip.Is6() && ip.Zone() == ""
	}
	ip, err := netip.ParseAddr(s)
	return ip, err == nil && ip.Is4()
}
