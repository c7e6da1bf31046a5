package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"postern/internal/dnsname"
)

// The limits of RFC 5321, section 4.5.3.1, in octets.
const (
	maxLocal  = 64
	maxDomain = 255
)

// foldLocal appends to buf the form of a local part by which it is looked up,
// and nowhere else used: in one case, and of equal sequences of characters the
// same one (RFC 6531, section 3.2; Unicode form NFC).
func foldLocal(buf []byte, local string) []byte {
	for i := range len(local) {
		c := local[i]
		if c >= utf8.RuneSelf {
			return append(buf[:0], foldUnicode(local)...)
		}
		buf = append(buf, lower(c))
	}
	return buf
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func foldUnicode(s string) string {
	if !utf8.ValidString(s) {
		return s // equals no name, for names are valid
	}
	return norm.NFC.String(strings.Map(foldRune, norm.NFC.String(s)))
}

// foldRune returns the same character for all that differ in case alone: the
// lower-case one of the smallest of them. Mapping to lower case would keep apart
// the two small sigmas, and full folding join what is not the same ("ß", "ss").
func foldRune(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if l := unicode.ToLower(least); unicode.SimpleFold(l) != l {
		return l // and not for "İ", whose lower case is the "i" of others
	}
	return least
}

// foldDomain appends to buf the form of a domain by which it is looked up:
// lower-case A-labels, without a final dot. It returns nothing for what cannot
// be a domain.
func foldDomain(buf []byte, domain string) []byte {
	if len(domain) > 4*maxDomain {
		return nil
	}
	for i := range len(domain) {
		if domain[i] >= utf8.RuneSelf {
			ascii, err := dnsname.ToASCII(domain)
			if err != nil {
				return nil
			}
			domain = ascii
			break
		}
	}
	domain = strings.TrimSuffix(domain, ".")
	for i := range len(domain) {
		buf = append(buf, lower(domain[i]))
	}
	return buf
}

// checkDomain returns the form of domain by which we call it: lower-case
// A-labels. That is safe as a component of a path.
func checkDomain(domain string) (string, error) {
	const hint = `write it as "example.com"`
	if strings.Contains(domain, "@") {
		return "", hinted{fmt.Sprintf("%q is an address, not a domain", domain), "leave out the local part and the @"}
	}
	if _, err := netip.ParseAddr(strings.Trim(domain, "[]")); err == nil {
		return "", hinted{fmt.Sprintf("%q is an IP address, not a domain", domain), hint}
	}
	ascii, err := strings.ToLower(domain), error(nil)
	if strings.Contains(ascii, "xn--") || strings.ContainsFunc(domain, isNotASCII) {
		ascii, err = dnsname.ToASCII(domain)
	}
	if err != nil {
		return "", hinted{fmt.Sprintf("%q is not a domain name: %v", domain, err), hint}
	}
	if len(ascii) > maxDomain {
		return "", hinted{fmt.Sprintf("%q is longer than %d octets", domain, maxDomain), hint}
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if !isLabel(label) {
			return "", hinted{fmt.Sprintf("%q is not a domain name: %q cannot stand between dots", domain, label), hint}
		}
	}
	return ascii, nil
}

func isNotASCII(r rune) bool { return r >= utf8.RuneSelf }

// isLabel reports whether s is a sub-domain of RFC 5321, section 4.1.2.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return isNotASCII(r) || !isBare(byte(r)) || r == '_'
	})
}

// checkLocal returns the folded form of a name that stands in a recipient map.
func checkLocal(name string) (string, error) {
	at := strings.LastIndexByte(name, '@')
	switch {
	case name == "":
		return "", errors.New("a name must not be empty")
	case at >= 0:
		return "", hinted{fmt.Sprintf("%q must be without a domain", name), fmt.Sprintf("write %q", name[:at])}
	case strings.ContainsFunc(name, unicode.IsControl), strings.TrimSpace(name) != name:
		return "", hinted{fmt.Sprintf("%q has control characters or outer spaces", name), "remove them"}
	case !utf8.ValidString(name):
		return "", fmt.Errorf("%q is not UTF-8", name)
	}
	folded := string(foldLocal(nil, name))
	if max(len(name), len(folded)) > maxLocal {
		return "", fmt.Errorf("%q is longer than %d octets, which no sender can write", name, maxLocal)
	}
	return folded, nil
}

// checkMailbox returns the folded form of the name of a mailbox, which is safe
// as a component of a path.
func checkMailbox(name string) (string, error) {
	switch {
	case strings.ContainsAny(name, "/"):
		return "", hinted{fmt.Sprintf("%q has a slash, and cannot be the name of a folder", name), "rename the mailbox, and make an alias of this name"}
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "-"):
		return "", hinted{fmt.Sprintf("%q begins with %q, and is no safe name for a folder", name, name[:1]), "rename the mailbox, and make an alias of this name"}
	case name == "*":
		return "", hinted{`"*" is not a mailbox`, `for a catch-all write "*" = ["..."] below [aliases]`}
	}
	return checkLocal(name)
}

// hinted is an error that knows the way out.
type hinted struct{ message, hint string }

func (h hinted) Error() string {
	if h.hint == "" {
		return h.message
	}
	return h.message + "; " + h.hint
}
