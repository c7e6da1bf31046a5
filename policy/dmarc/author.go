package dmarc

import (
	"fmt"
	"slices"
	"strings"

	"postern/internal/dnsname"
	"postern/internal/header"
	"postern/mail"
)

// maxDomains bounds the domains of a From field. Real ones have one.
const maxDomains = 16

// An Author is what the From fields of a message say about who wrote it.
type Author struct {
	Fields  int      // From fields; a message has one (RFC 5322, section 3.6)
	Domains []string // of all addresses, each once: lower case, A-labels
	// Malformed says what is wrong with the syntax; empty: nothing. Domains are
	// found all the same, since a reader would be shown them too.
	Malformed string
}

// ParseFrom finds the author of the message with header h (RFC 9989, section
// 5.3.1). A From field is a list of addresses, and of groups of them (RFC 5322,
// section 3.4, with its obsolete forms, and RFC 6854), in ASCII or UTF-8 (RFC
// 6532). Whatever it is, there is a result.
//
// What stands in brackets is an address; a name before it is not, even if there
// is an unquoted "@" in it.
func ParseFrom(h header.Header) Author {
	var a Author
	for f := range h.All("From") {
		a.Fields++
		p := fromParser{author: &a, lexer: lexer{rest: f.Text()}}
		p.parse()
	}
	return a
}

// unfit says why a message with this author cannot be judged, and the verdict on
// it. More than one From field, and one that has no address or cannot be read,
// are not valid mail; a group may have no address (RFC 6854).
func (a Author) unfit(limit int) (string, Verdict) {
	switch {
	case a.Fields == 0:
		return "no From field", PermError
	case a.Fields > 1:
		return "more than one From field", PermError
	case len(a.Domains) == 0 && a.Malformed != "":
		return a.Malformed, PermError
	case len(a.Domains) == 0:
		return "no address in the From field", None
	case len(a.Domains) > limit:
		return fmt.Sprintf("%d domains in the From field", len(a.Domains)), PermError
	}
	return "", ""
}

// malformed notes what is wrong; the first mistake is told.
func (a *Author) malformed(format string, args ...any) {
	if a.Malformed == "" {
		a.Malformed = "From field: " + mail.Printable(fmt.Sprintf(format, args...), 200)
	}
}

// add adds the domain of an address, as it was written.
func (a *Author) add(domain string) {
	name, ok := dnsname.Canonical(domain)
	if !ok {
		a.malformed("%q is not a domain name", domain)
		name, ok = impossible(domain)
	}
	switch {
	case !ok:
	case slices.Contains(a.Domains, name):
	case len(a.Domains) == maxDomains:
		a.malformed("more than %d domains", maxDomains)
	default:
		a.Domains = append(a.Domains, name)
	}
}

// impossible returns a name that is spelled as those of domains are and cannot exist,
// as its labels are too long, or empty. What stands above it may well exist, and have
// a policy for what does not.
func impossible(domain string) (name string, ok bool) {
	name = strings.ToLower(strings.TrimRight(domain, "."))
	ok = len(domain) <= dnsname.MaxWritten && strings.Contains(strings.Trim(name, "."), ".") && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
	return name, ok
}
