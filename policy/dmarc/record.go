package dmarc

import (
	"net/url"
	"strings"
)

// A psd is the value of the tag of that name: whether a domain is a public
// suffix.
type psd byte

const (
	psdUnknown psd = 'u'
	psdYes     psd = 'y'
	psdNo      psd = 'n'
)

// A record is a DMARC Policy Record (RFC 9989, section 4.7). Each tag
// that is wrong is ignored by itself.
type record struct {
	text       string
	p, sp, np  Policy // empty: not there
	psd        psd
	testing    bool
	strictDKIM bool
	strictSPF  bool
	usable     bool // it has policies that can be applied
	repaired   bool // one of its policies was not valid, so that all of them are none
}

// parseRecord parses a TXT record (RFC 9989, sections 4.7 and 4.8). It is not a
// DMARC record unless it begins with the version.
func parseRecord(text string) (record, bool) {
	first, rest, _ := strings.Cut(text, ";")
	name, value, ok := cutTag(first)
	if !ok || name != "v" || value != "DMARC1" || strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t") {
		return record{}, false
	}
	tags := parseTags(rest)
	rec := record{
		text:       text,
		psd:        psdUnknown,
		testing:    isOneOf(tags["t"], "y"),
		strictDKIM: isOneOf(tags["adkim"], "s"),
		strictSPF:  isOneOf(tags["aspf"], "s"),
	}
	switch {
	case isOneOf(tags["psd"], "y"):
		rec.psd = psdYes
	case isOneOf(tags["psd"], "n"):
		rec.psd = psdNo
	}
	rec.parsePolicies(tags)
	return rec, true
}

// parsePolicies applies the rule of RFC 9989, section 4.10.1: a record without a
// valid p, or with an invalid sp or np, asks for nothing but reports, and for
// nothing at all if it does not say where to send them.
func (rec *record) parsePolicies(tags map[string]string) {
	valid := true
	for name, policy := range map[string]*Policy{"p": &rec.p, "sp": &rec.sp, "np": &rec.np} {
		value, found := tags[name]
		switch {
		case isOneOf(value, string(PolicyNone), string(Quarantine), string(Reject)):
			*policy = Policy(strings.ToLower(value))
		case found || name == "p":
			valid = false
		}
	}
	rec.usable = valid
	if !valid && hasURI(tags["rua"]) {
		rec.p, rec.sp, rec.np = PolicyNone, "", ""
		rec.usable, rec.repaired = true, true
	}
}

// parseTags returns the tags of a tag-list by their names in lower case. What is
// no tag is left out. A tag that appears twice has no value that one could rely
// on (RFC 6376, section 3.2), so it has an empty one, which is never valid.
func parseTags(list string) map[string]string {
	tags := map[string]string{}
	for tag := range strings.SplitSeq(list, ";") {
		name, value, ok := cutTag(tag)
		if !ok {
			continue
		}
		if _, twice := tags[name]; twice {
			value = ""
		}
		tags[name] = value
	}
	return tags
}

// cutTag cuts a tag at its first "=". Its name is of letters, its value is
// printable; there may be white space around both.
func cutTag(tag string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(tag, "=")
	name = strings.ToLower(strings.Trim(name, " \t"))
	value = strings.Trim(value, " \t")
	if !ok || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") != "" {
		return "", "", false
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return "", "", false
		}
	}
	return name, value, true
}

func isOneOf(value string, options ...string) bool {
	for _, o := range options {
		if strings.EqualFold(value, o) {
			return true
		}
	}
	return false
}

// hasURI reports whether the value of a rua tag has a syntactically valid URI
// (RFC 3986). The size that may follow a "!" is obsolete (RFC 9990).
func hasURI(list string) bool {
	for uri := range strings.SplitSeq(list, ",") {
		uri, _, _ = strings.Cut(strings.Trim(uri, " \t"), "!")
		u, err := url.Parse(uri)
		if err == nil && u.Scheme != "" && strings.IndexByte(uri, ' ') < 0 {
			return true
		}
	}
	return false
}

// strict reports whether an identifier of that method has to be the author
// domain itself.
func (rec record) strict(m Method) bool {
	if m == SPF {
		return rec.strictSPF
	}
	return rec.strictDKIM
}
