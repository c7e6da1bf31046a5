package authres

import (
	"mime"
	"strings"

	"golang.org/x/net/idna"

	"postern/internal/header"
	"postern/mail"
)

// Own returns where the Authentication-Results fields stand that claim to be
// ours, whose authserv-id is id, in ascending order. Before we say what we found
// they are taken out, for whoever reads the message later believes the name
// (RFC 8601, section 5). Those of others are theirs, and so are all
// ARC-Authentication-Results.
//
// The name is known in every spelling that a reader might take for it: in any
// case, quoted, behind comments, folded, with a final dot, as A-labels or
// U-labels, with a version or without anything after it, as an encoded-word.
func Own(h header.Header, id string) []mail.Range {
	var own []mail.Range
	if id = canonical(id); id == "" {
		return nil
	}
	for f := range h.All(Name) {
		value := header.Unfold(f.Value())
		if claims(value, id) || claims(decoded(value), id) {
			own = append(own, mail.Range{Start: int64(f.Start), End: int64(f.End)})
		}
	}
	return own
}

// claims reports whether somebody could read value as a field of id, which is
// canonical. It errs on the side of yes: what says our name and cannot be
// understood was not written by us, and nobody else has a use for it.
func claims(value, id string) bool {
	p := parser{s: value}
	read, err := p.id()
	if err == nil && canonical(read) == id {
		return true
	}
	if canonical(firstWord(value)) == id || canonical(firstWord(withoutComments(value))) == id {
		return true // as a reader might that knows nothing of quotes, or of comments
	}
	unreadable := err != nil && err != errNoID
	return unreadable && strings.Contains(strings.ToLower(value), id)
}

// decoded returns the beginning of value as it looks to a reader that decodes
// the encoded-words of RFC 2047, where none may stand, before it looks at the
// syntax. Only the beginning: the decoder takes quadratic time for bad ones.
func decoded(value string) string {
	p := parser{s: value}
	if p.cfws() != nil {
		p.at = 0
	}
	text, err := new(mime.WordDecoder).DecodeHeader(value[p.at:min(len(value), p.at+4*longestID)])
	if err != nil {
		return ""
	}
	return text
}

// firstWord returns what stands before the first white space or ";", without
// quotes.
func firstWord(s string) string {
	s = strings.ReplaceAll(strings.TrimLeft(s, " \t"), `"`, "")
	if i := strings.IndexAny(s, " \t;/=("); i >= 0 {
		s = s[:i]
	}
	return s
}

// withoutComments returns s with what stands in parentheses left out. One that
// does not end is no comment.
func withoutComments(s string) string {
	p := parser{s: s}
	var b strings.Builder
	for p.at < len(s) {
		b.WriteString(p.until("("))
		if start := p.at; p.cfws() != nil {
			return b.String() + s[start:]
		}
	}
	return b.String()
}

// lookup maps a domain name as RFC 5891, section 5, would before it is looked
// up, and takes what is no host name as it is. It is laxer than dnsname: a reader
// may not know the rule about names that run both ways, and still take one for ours.
var lookup = idna.New(idna.MapForLookup(), idna.StrictDomainName(false))

// longestID is more than any domain name has octets, in whatever labels. What is
// longer names nobody, and mapping it may take time.
const longestID = 1024

// canonical returns the one spelling of an authserv-id that is compared: lower
// case, A-labels, no control characters, no final dot; "" if it is too long.
func canonical(id string) string {
	if len(id) > longestID {
		return ""
	}
	id = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToLower(id))
	if ascii, err := lookup.ToASCII(id); err == nil {
		id = ascii
	}
	return strings.TrimRight(id, ".")
}
