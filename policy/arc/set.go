package arc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"postern/internal/header"
	"postern/policy/dkim"
)

// The three fields of a set (RFC 8617, section 4.1).
const (
	resultsField   = "ARC-Authentication-Results"
	signatureField = "ARC-Message-Signature"
	sealField      = "ARC-Seal"
)

// A link is a set as it stands in the header.
type link struct {
	set                      Set
	results, signature, seal header.Field

	tags      dkim.Tags // of the seal
	algorithm string    // a= of the seal
	signed    []byte    // what b= of the seal stands for
}

// collect finds the sets of h by their instances. Each from 1 to the last has
// one field of each kind, or there is no chain (RFC 8617, section 4.2.1). Where
// in the header the fields stand does not matter.
func collect(h header.Header) ([]link, error) {
	var links []link
	for _, f := range h.Fields {
		if !f.Is(resultsField) && !f.Is(signatureField) && !f.Is(sealField) {
			continue
		}
		i, err := instance(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		links = append(links, make([]link, max(0, i-len(links)))...)
		if err := links[i-1].put(f); err != nil {
			return nil, fmt.Errorf("set %d: %w", i, err)
		}
	}
	for i := range links {
		if err := links[i].read(i + 1); err != nil {
			return nil, fmt.Errorf("set %d: %w", i+1, err)
		}
	}
	return links, nil
}

var errInstance = fmt.Errorf("i= is not a number from 1 to %d", maxSets)

// instance returns the number of the set that f belongs to: the value of its tag
// i=, which in the results is not a tag but what they begin with.
func instance(f header.Field) (int, error) {
	text, _, _ := strings.Cut(f.Text(), ";")
	name, digits, _ := strings.Cut(text, "=")
	if !f.Is(resultsField) {
		tags, err := dkim.ParseTags(string(f.Value()))
		if err != nil {
			return 0, err
		}
		name, digits = "i", tags.Get("i")
	}
	digits = strings.Trim(digits, " \t")
	i, err := strconv.Atoi(digits)
	if err != nil || strings.Trim(name, " \t") != "i" || len(digits) > 2 || i < 1 || i > maxSets || digits[0] == '+' {
		return 0, errInstance
	}
	return i, nil
}

// put gives l the field f.
func (l *link) put(f header.Field) error {
	place := &l.seal
	switch {
	case f.Is(resultsField):
		place = &l.results
	case f.Is(signatureField):
		place = &l.signature
	}
	if place.Raw() != nil {
		return fmt.Errorf("two fields %s", f.Name())
	}
	*place = f
	return nil
}

// read completes l, which is the set of instance i.
func (l *link) read(i int) error {
	switch {
	case l.results.Raw() == nil:
		return errors.New("no " + resultsField)
	case l.signature.Raw() == nil:
		return errors.New("no " + signatureField)
	case l.seal.Raw() == nil:
		return errors.New("no " + sealField)
	}
	_, payload, found := strings.Cut(l.results.Text(), ";")
	if !found {
		return errors.New("results without a semicolon after i=")
	}
	l.set.Instance = i
	l.set.Payload = strings.Trim(payload, " \t")
	return l.readSeal()
}

// readSeal reads the tags of the seal (RFC 8617, section 4.1.3).
func (l *link) readSeal() error {
	tags, err := dkim.ParseTags(string(l.seal.Value()))
	if err != nil {
		return err
	}
	if tags.Has("h") {
		return errors.New("seal with h=") // what it covers is not for it to say
	}
	l.tags = tags
	l.set.CV = strings.ToLower(tags.Get("cv"))
	l.algorithm = strings.ToLower(tags.Compact("a"))
	if l.algorithm != "rsa-sha256" && l.algorithm != "ed25519-sha256" {
		return errors.New("unknown algorithm in a= of the seal")
	}
	if l.set.CV != "none" && l.set.CV != "pass" && l.set.CV != "fail" {
		return errors.New("unknown status in cv= of the seal")
	}
	if _, err := strconv.ParseUint(tags.Get("t"), 10, 64); tags.Has("t") && err != nil {
		return errors.New("malformed time in t= of the seal")
	}
	var errB, errD, errS error
	l.signed, errB = tags.Bytes("b")
	l.set.Domain, errD = dkim.DomainName(tags.Compact("d"), 2)
	l.set.Selector, errS = dkim.DomainName(tags.Compact("s"), 1)
	if errB != nil || errD != nil || errS != nil || len(l.signed) == 0 {
		return errors.New("malformed b=, d= or s= of the seal")
	}
	return nil
}
