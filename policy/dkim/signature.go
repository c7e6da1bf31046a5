package dkim

import (
	"errors"
	"fmt"
	"io"
	"math"
	"mime/quotedprintable"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/dnsname"
	"postern/internal/header"
)

// maxNames bounds h=. Signers that name what they do not want to see added name
// some dozens.
const maxNames = 500

// A Problem is why a signature does not pass. Every error about a signature or
// a key is one.
type Problem struct {
	Verdict Verdict
	Reason  string // for people
}

func (p Problem) Error() string { return p.Reason }

func neutral(reason string) error   { return Problem{Neutral, reason} }
func permerror(reason string) error { return Problem{PermError, reason} }
func unacceptable(format string, args ...any) error {
	return Problem{Policy, fmt.Sprintf(format, args...)}
}

// A signature is a DKIM-Signature (RFC 6376, section 3.5), or what is like it.
type signature struct {
	field header.Field
	tags  Tags

	value      string // b=, without white space
	signed     []byte // what it stands for
	bodyHash   []byte // bh=
	algorithm  string // a=
	domain     string // d=, canonical
	selector   string // s=, canonical
	identity   string // i=
	header     Canon
	body       part
	names      []string // h=, in lower case
	created    time.Time
	expires    time.Time
	sameDomain bool // i= is in d= itself, not below it
}

// parseSignature reads a DKIM-Signature. What could be read is there even if
// there is an error, which is a Problem.
func parseSignature(f header.Field) (signature, error) {
	sig, err := parseCommon(f)
	if err != nil {
		return sig, err
	}
	switch {
	case !sig.tags.Has("v"):
		return sig, permerror("signature lacks tag v=")
	case sig.tags.Get("v") != "1":
		return sig, neutral("unknown version of signature")
	case !sig.fromSigned():
		return sig, permerror("From is not signed") // section 5.4
	}
	return sig, sig.parseIdentity()
}

// parseARC reads an ARC-Message-Signature (RFC 8617, section 4.1.2). Its i= is an
// instance, which is the caller's business, and it has no version. Nor need it
// cover From: a chain is a chain all the same, and who trusts its sealers has to
// look at Result.FromSigned.
func parseARC(f header.Field) (signature, error) {
	sig, err := parseCommon(f)
	sig.identity, sig.sameDomain = "", true
	if err == nil && slices.Contains(sig.names, "arc-seal") {
		err = permerror("signature covers ARC-Seal") // section 4.1.2: it must not
	}
	return sig, err
}

// parseCommon reads the tags that the signatures of DKIM and ARC share.
func parseCommon(f header.Field) (signature, error) {
	sig := signature{field: f}
	tags, err := ParseTags(string(f.Value()))
	if err != nil {
		return sig, neutral(err.Error())
	}
	sig.tags = tags
	sig.value = tags.Compact("b")
	sig.algorithm = strings.ToLower(tags.Compact("a"))
	sig.identity = tags.Compact("i")
	var errDomain, errSelector error
	sig.domain, errDomain = DomainName(tags.Compact("d"), 2)
	sig.selector, errSelector = DomainName(tags.Compact("s"), 1)
	for _, required := range []string{"a", "b", "bh", "d", "h", "s"} {
		if !tags.Has(required) {
			return sig, permerror("signature lacks tag " + required + "=")
		}
	}
	switch {
	case errDomain != nil:
		return sig, neutral("malformed domain in d=")
	case errSelector != nil:
		return sig, neutral("malformed selector in s=")
	}
	for _, parse := range []func() error{sig.parseMethods, sig.parseValues, sig.parseTimes, sig.parseNames} {
		if err := parse(); err != nil {
			return sig, err
		}
	}
	return sig, nil
}

func (s *signature) parseMethods() error {
	switch s.algorithm {
	case "rsa-sha256", "ed25519-sha256":
	case "rsa-sha1":
		return permerror("rsa-sha1 is obsolete") // RFC 8301, section 3.1
	default:
		return neutral("unknown algorithm in a=")
	}
	s.header, s.body.canon = Simple, Simple
	if s.tags.Has("c") {
		headerCanon, bodyCanon, both := strings.Cut(strings.ToLower(s.tags.Compact("c")), "/")
		s.header = Canon(headerCanon)
		if both {
			s.body.canon = Canon(bodyCanon)
		}
	}
	if !s.header.valid() || !s.body.canon.valid() {
		return neutral("unknown canonicalization in c=")
	}
	if s.tags.Has("q") && !slices.Contains(list(s.tags.Get("q")), "dns/txt") {
		return neutral("unknown query method in q=")
	}
	return nil
}

func (s *signature) parseValues() error {
	var err error
	if s.signed, err = s.tags.Bytes("b"); err != nil || len(s.signed) == 0 {
		return neutral("malformed signature in b=")
	}
	if s.bodyHash, err = s.tags.Bytes("bh"); err != nil {
		return neutral("malformed body hash in bh=")
	}
	s.body.length = allOfIt
	if s.tags.Has("l") {
		if s.body.length, err = number(s.tags.Get("l")); err != nil {
			return neutral("malformed body length in l=")
		}
	}
	return nil
}

func (s *signature) parseTimes() error {
	var errT, errX error
	s.created, errT = instant(s.tags, "t")
	s.expires, errX = instant(s.tags, "x")
	if errT != nil || errX != nil {
		return neutral("malformed time in t= or x=")
	}
	if !s.expires.IsZero() && !s.expires.After(s.created) {
		return neutral("signature expires before it was made")
	}
	return nil
}

func (s *signature) parseNames() error {
	s.names = list(s.tags.Get("h"))
	if len(s.names) > maxNames {
		return unacceptable("more than %d names in h=", maxNames)
	}
	return nil
}

func (s *signature) fromSigned() bool { return slices.Contains(s.names, "from") }

// parseIdentity reads i=, which is within d=: "ann@news.example.org" may sign
// for example.org, and only for it. Domain names have no case.
func (s *signature) parseIdentity() error {
	if !s.tags.Has("i") {
		s.identity, s.sameDomain = "@"+s.domain, true
		return nil
	}
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(s.identity)))
	at := strings.LastIndexByte(string(text), '@')
	if err != nil || at < 0 {
		return neutral("malformed identity in i=")
	}
	s.identity = string(text)
	domain, err := DomainName(string(text[at+1:]), 2)
	s.sameDomain = domain == s.domain
	switch {
	case err != nil:
		return neutral("malformed domain in i=")
	case !s.sameDomain && !strings.HasSuffix(domain, "."+s.domain):
		return permerror("the domain of i= is not within d=")
	}
	return nil
}

// instant reads seconds since 1970 (RFC 6376, section 3.5). A time too far away
// to be told is as far as can be told.
func instant(tags Tags, name string) (time.Time, error) {
	if !tags.Has(name) {
		return time.Time{}, nil
	}
	n, err := number(tags.Get(name))
	return time.Unix(min(n, 1<<40), 0).UTC(), err
}

var errNumber = errors.New("not a number")

// number reads digits; what is larger than an int64 is its maximum.
func number(s string) (int64, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, errNumber
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64, nil
	}
	return n, err
}

var errDomain = errors.New("not a domain name")

// DomainName returns name, the value of a tag d= or s=, in lower case and
// A-labels (RFC 8616, section 4). It has at least so many labels, of letters,
// digits, hyphens and underscores, or there is an error.
//
// It is not dnsname.Canonical: these tags have no final dot, and a capital letter
// that the mapping of U-labels does not know is the signer's mistake.
func DomainName(name string, labels int) (string, error) {
	if len(name) > dnsname.MaxWritten {
		return "", errDomain
	}
	ascii, err := strings.ToLower(name), error(nil)
	if !dnsname.IsASCII(name) {
		ascii, err = dnsname.ToASCII(name)
	}
	if err != nil || !dnsname.Valid(ascii) || strings.Count(ascii, ".")+1 < labels {
		return "", errDomain
	}
	return ascii, nil
}
