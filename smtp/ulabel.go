package smtp

import (
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// HasULabels reports whether each label of a domain that is not ASCII is a U-label
// of RFC 5890, section 2.3.2.1: normalized, without a character that is never seen
// or would be another one after mapping, and no longer than the DNS can hold. Only
// its case may be another: what is left of it in lower case is one and the same
// name for all.
//
// RFC 6531, section 3.3, allows nothing else in an address. Whoever maps first
// would judge "ex\u00adample.org" as example.org, and show something else.
func HasULabels(domain string) bool {
	name, err := registrable.ToASCII(strings.Map(lowerAndBack, domain))
	if err != nil {
		return false
	}
	mapped, err := mapping.ToASCII(domain)
	return err == nil && mapped == name
}

// registrable maps nothing, and mapping is how others look a name up. Both leave
// the other characters of a host name to IsDomain: hyphens and underscores are seen in
// the wild where none may be.
var (
	registrable = idna.New(idna.ValidateForRegistration(), idna.BidiRule(),
		idna.StrictDomainName(false), idna.CheckHyphens(false), idna.VerifyDNSLength(true))
	mapping = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.CheckHyphens(false))
)

// lowerAndBack returns a capital letter in lower case, if it is the capital of that: the
// dotted capital I is not that of "i", nor the Kelvin sign that of "k".
func lowerAndBack(r rune) rune {
	if l := unicode.ToLower(r); unicode.ToUpper(l) == r {
		return l
	}
	return r
}
