package spf

import (
	"strings"
	"unicode/utf8"

	"postern/internal/dnsname"
)

// The limits of RFC 1035, section 2.3.4, on a name without its final dot.
const (
	maxName  = 253
	maxLabel = 63
)

// toASCII returns name with its U-labels as A-labels (RFC 8616, section 4), and
// name itself where that cannot be: no host has it then.
func toASCII(name string) string {
	if isVisible(name) || len(name) > 4*maxName || !utf8.ValidString(name) {
		return name
	}
	ascii, err := dnsname.ToASCII(name)
	if err != nil {
		return name
	}
	return ascii
}

// isName reports whether the DNS can be asked for name, which has no final dot:
// its labels are neither empty nor too long. They need not be those of a host; a
// record may send us to any printable name.
func isName(name string) bool {
	if len(name) > maxName || !isVisible(name) {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	return true
}

// isDomain reports whether check_host() can be called for name (RFC 7208,
// section 4.3), which has no final dot: it has more than one label.
func isDomain(name string) bool {
	return strings.IndexByte(name, '.') >= 0 && isName(name)
}

// isHostName reports whether name, in which a client spoke of itself or of a
// sender, is a fully qualified domain name, and not an address, with brackets or
// without.
func isHostName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isAlpha(c) && !isDigit(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	top := name[strings.LastIndexByte(name, '.')+1:]
	return isDomain(name) && strings.Trim(top, "0123456789") != ""
}

// isTopLabel reports whether s is a toplabel of RFC 7208, section 7.1: letters,
// digits and hyphens, no hyphen at either end, and not digits alone.
func isTopLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	numeric := true
	for i := range len(s) {
		if c := s[i]; !isDigit(c) {
			if numeric = false; !isAlpha(c) && c != '-' {
				return false
			}
		}
	}
	return !numeric
}

// isWithin reports whether name is domain or below it. Neither has a final dot.
func isWithin(name, domain string) bool {
	i := len(name) - len(domain)
	return i >= 0 && strings.EqualFold(name[i:], domain) && (i == 0 || name[i-1] == '.')
}

// truncate removes labels from the left of name until the DNS can be asked for
// it (RFC 7208, section 7.3).
func truncate(name string) string {
	if len(name) <= maxName {
		return name
	}
	name = name[len(name)-maxName-1:]
	return name[strings.IndexByte(name, '.')+1:]
}

// isVisible reports whether s is of printable ASCII alone.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
