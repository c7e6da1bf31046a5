package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/internal/dnsname"
	"postern/mail"
)

// The sizes of RSA keys that are accepted, in bits: RFC 8301, section 3.2, asks
// for 1024 at least, and to be able to verify up to 4096.
const (
	minRSA = 1024
	maxRSA = 4096
)

// maxRecords bounds the key records of one selector that are tried. There should
// be one (RFC 6376, section 3.6.2.2).
const maxRecords = 4

// A Key is a key record (RFC 6376, section 3.6.1).
type Key struct {
	Bits    int
	Testing bool // t=y

	rsa     *rsa.PublicKey // one of the two is set
	ed25519 ed25519.PublicKey
	hashes  []string // h=; nil: all
	service []string // s=; nil: all
	strict  bool     // t=s: i= is not below d=
}

// A KeySet is what the DNS said about a selector.
type KeySet struct {
	Keys     []Key
	Question string // "TXT s1._domainkey.example.org"
	Answer   string // in brief
	Err      error  // why there are no Keys: a Problem
}

// maxQuestions bounds the keys that are asked for on behalf of one message: those
// of all signatures, and of the seals of a long chain. A chain of 50 (RFC 8617, section
// 4.2.1) has room where a few forwarders seal again and again, as lists do.
const maxQuestions = 30

// LookupKeys asks for the keys of a selector of domain; both are A-labels. For
// one message each is asked for once.
func (m *Message) LookupKeys(ctx context.Context, r dns.Resolver, selector, domain string) KeySet {
	name := selector + "._domainkey." + domain
	set, known := m.keys[name]
	if known {
		return set
	}
	if len(m.keys) == maxQuestions {
		return KeySet{Err: unacceptable("more than %d keys to ask for", maxQuestions)}
	}
	set = lookupKeys(ctx, r, name)
	m.keys[name] = set
	return set
}

func lookupKeys(ctx context.Context, r dns.Resolver, name string) KeySet {
	if len(name) > dnsname.MaxLength {
		return KeySet{Err: permerror("name of the key is too long")}
	}
	set := KeySet{Question: "TXT " + name}
	records, err := r.LookupTXT(ctx, name+".")
	switch {
	case dns.NotFound(err), err == nil && len(records) == 0:
		set.Err = Problem{PermError, "no key at " + name}
	case err != nil:
		set.Err = Problem{TempError, "key is unavailable"}
	}
	if set.Err != nil {
		set.Answer = fmt.Sprint(err)
		return set
	}
	set.Answer = inBrief(records)
	set.Keys, set.Err = parseKeys(records[:min(len(records), maxRecords)])
	return set
}

// parseKeys returns the keys that can be used. The error is the first problem if
// there are none.
func parseKeys(records []string) ([]Key, error) {
	var (
		keys  []Key
		first error
	)
	for _, record := range records {
		key, err := parseKey(record)
		switch {
		case err == nil:
			keys = append(keys, key)
		case first == nil:
			first = err
		}
	}
	if len(keys) > 0 {
		return keys, nil
	}
	return nil, first
}

func inBrief(records []string) string {
	text := fmt.Sprintf("%d octets: ", len(records[0])) + mail.Printable(records[0], 100)
	if len(records) > 1 {
		text += fmt.Sprintf(" and %d more records", len(records)-1)
	}
	return text
}

// parseKey reads a key record. The error is a Problem.
func parseKey(record string) (Key, error) {
	tags, err := ParseTags(record)
	switch {
	case err != nil:
		return Key{}, permerror("key record: " + err.Error())
	case tags.Has("v") && tags.Get("v") != "DKIM1":
		return Key{}, permerror("key record has another version")
	case tags.Has("v") && tags.list[0].name != "v":
		return Key{}, permerror("key record does not begin with v=") // RFC 6376, section 3.6.1
	case !tags.Has("p"):
		return Key{}, permerror("key record without a key")
	case tags.Compact("p") == "":
		return Key{}, permerror("key is revoked")
	}
	var k Key
	if tags.Has("h") {
		k.hashes = list(tags.Get("h"))
	}
	if tags.Has("s") {
		k.service = list(tags.Get("s"))
	}
	flags := list(tags.Get("t"))
	k.Testing = slices.Contains(flags, "y")
	k.strict = slices.Contains(flags, "s")
	return k, k.parsePublic(tags)
}

func (k *Key) parsePublic(tags Tags) error {
	der, err := tags.Bytes("p")
	if err != nil {
		return permerror("malformed key")
	}
	kind := "rsa"
	if tags.Has("k") { // an empty tag is not one that is not there (RFC 6376, section 3.2)
		kind = strings.ToLower(tags.Get("k"))
	}
	switch kind {
	case "rsa":
		if k.rsa = parseRSA(der); k.rsa == nil {
			return permerror("malformed RSA key")
		}
		k.Bits = k.rsa.N.BitLen()
	case "ed25519": // RFC 8463, section 4
		if len(der) != ed25519.PublicKeySize {
			return permerror("malformed Ed25519 key")
		}
		k.ed25519 = der
		k.Bits = 256
	default:
		return permerror("unknown type of key")
	}
	return nil
}

// parseRSA reads a SubjectPublicKeyInfo or, as some signers publish it, the
// RSAPublicKey alone (RFC 6376, erratum 3017). It returns nil if der is neither.
func parseRSA(der []byte) *rsa.PublicKey {
	if spki, err := x509.ParsePKIXPublicKey(der); err == nil {
		key, _ := spki.(*rsa.PublicKey)
		return key
	}
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil
	}
	return key
}

// Verify reports whether signature was made of a SHA-256 with this key by
// algorithm, the value of a tag a=. The error is nil if it was, else a Problem.
func (k Key) Verify(algorithm string, digest, signature []byte) error {
	if err := k.allows(algorithm); err != nil {
		return err
	}
	good := false
	if k.rsa != nil {
		good = rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, digest, signature) == nil
	} else {
		good = ed25519.Verify(k.ed25519, digest, signature)
	}
	if !good {
		return Problem{Fail, "signature does not verify"}
	}
	return nil
}

// allows says whether the key may be used for algorithm in mail.
func (k Key) allows(algorithm string) error {
	kind, hash, _ := strings.Cut(algorithm, "-")
	switch {
	case kind == "rsa" && k.rsa == nil, kind == "ed25519" && k.ed25519 == nil:
		return permerror("key is of another type than the signature")
	case k.hashes != nil && !slices.Contains(k.hashes, hash):
		return permerror("key is not for this hash")
	case k.service != nil && !slices.Contains(k.service, "email") && !slices.Contains(k.service, "*"):
		return permerror("key is not for mail")
	case k.rsa != nil && k.Bits < minRSA:
		return unacceptable("RSA key of %d bits is too short", k.Bits)
	case k.rsa != nil && k.Bits > maxRSA:
		return unacceptable("RSA key of %d bits is too long", k.Bits)
	}
	return nil
}
