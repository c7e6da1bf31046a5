// Package dnsname spells the names of domains in one way, so that two of them
// can be compared.
package dnsname

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// The limits of RFC 1035, section 2.3.4, on a name without its final dot, in
// octets.
const (
	MaxLength = 253
	maxLabel  = 63
)

// MaxWritten is how many octets of a name are worth looking at: in whatever
// letters it is written, a longer one does not fit in MaxLength.
const MaxWritten = 1024

// profile maps a name as RFC 5891, section 5, would before it is looked up. It
// lets underscores pass, which are in use in selectors and service names.
var profile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// ToASCII returns name in lower case and A-labels (RFC 5890). A final dot stays,
// and so does all else that is ASCII: what a label may hold is for the caller to
// check. An error tells that name has a label that cannot be looked up.
func ToASCII(name string) (string, error) { return profile.ToASCII(name) }

// Canonical returns name in lower case and A-labels, without a final dot. It
// reports false if that is not a name by Valid, or if name is not UTF-8.
//
// Upper case goes before the mapping, which knows fewer letters: it refuses the
// Georgian capitals, say.
func Canonical(name string) (canonical string, ok bool) {
	if len(name) > MaxWritten || !utf8.ValidString(name) {
		return "", false
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !IsASCII(name) {
		var err error
		if name, err = ToASCII(name); err != nil {
			return "", false
		}
	}
	return name, Valid(name)
}

// Valid reports whether name can be that of a host, or of a record of one: its
// labels are of lower-case letters, digits, hyphens and underscores, and neither
// they nor name are empty or too long for the DNS. It has no final dot.
func Valid(name string) bool {
	if len(name) > MaxLength {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// IsASCII reports whether s is ASCII alone.
func IsASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
