package dnsbl

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Codes are the answers of a list that count: the A records that say that an
// address is on it, and why (RFC 5782, section 2.1). By others a
// list may say what is no reason to refuse or to trust anybody.
type Codes []pattern

// A pattern has a set of values for each of the four octets.
type pattern [4][256]bool

var (
	// block is what lists of bad addresses answer by default: not 127.0.0.1,
	// which RFC 5782, section 5, forbids, and not 127.0.0.255, by which some
	// say that they have been asked too often.
	block = mustParse("127.0.0.[2..254]")
	// allow is what lists of good ones answer, the last octet being the trust;
	// 0 is none.
	allow = mustParse("127.0.[0..254].[1..3]")
)

// ParseCodes reads patterns, as they are used with Postfix: an address such as
// 127.0.0.2, in which each octet may be a list of values and ranges in brackets,
// 127.0.[0;2].[2..11].
func ParseCodes(patterns ...string) (Codes, error) {
	codes := make(Codes, len(patterns))
	for i, text := range patterns {
		if err := codes[i].parse(text); err != nil {
			return nil, fmt.Errorf("dnsbl: return code %q: %w", text, err)
		}
	}
	return codes, nil
}

func mustParse(text string) Codes {
	codes, err := ParseCodes(text)
	if err != nil {
		panic(err)
	}
	return codes
}

func (p *pattern) parse(text string) error {
	for i := range p {
		octet, rest, err := cutOctet(text)
		if err != nil {
			return err
		}
		if err := parseOctet(&p[i], octet); err != nil {
			return err
		}
		if dot := strings.HasPrefix(rest, "."); dot != (i < 3) || !dot && rest != "" {
			return errors.New("it is not four octets")
		}
		text = strings.TrimPrefix(rest, ".")
	}
	for v, wanted := range p[0] {
		if wanted && v != 127 {
			return errors.New("it is not in 127.0.0.0/8")
		}
	}
	return nil
}

// cutOctet takes the first octet of a pattern from text, without its brackets.
func cutOctet(text string) (octet, rest string, err error) {
	inner, ok := strings.CutPrefix(text, "[")
	if !ok {
		n := digits(text)
		return text[:n], text[n:], nil
	}
	octet, rest, ok = strings.Cut(inner, "]")
	if !ok {
		return "", "", errors.New("a bracket is not closed")
	}
	return octet, rest, nil
}

func digits(text string) int {
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	return n
}

// parseOctet reads "1", "1..3" or several of them with ";" in between.
func parseOctet(set *[256]bool, text string) error {
	for item := range strings.SplitSeq(text, ";") {
		low, high, isRange := strings.Cut(item, "..")
		first, err := strconv.ParseUint(low, 10, 8)
		if err != nil {
			return fmt.Errorf("%q is not an octet", low)
		}
		last := first
		if isRange {
			if last, err = strconv.ParseUint(high, 10, 8); err != nil {
				return fmt.Errorf("%q is not an octet", high)
			}
		}
		if last < first {
			return fmt.Errorf("the range %s is empty", item)
		}
		for v := first; v <= last; v++ {
			set[v] = true
		}
	}
	return nil
}

// match reports whether one of the patterns has the address.
func (c Codes) match(addr netip.Addr) bool {
	octets := addr.As4()
	for i := range c {
		p := &c[i]
		if p[0][octets[0]] && p[1][octets[1]] && p[2][octets[2]] && p[3][octets[3]] {
			return true
		}
	}
	return false
}

var (
	loopback = netip.MustParsePrefix("127.0.0.0/8")
	// trouble is where lists answer those who ask wrongly: too often, through
	// an open resolver, for a zone that is not there.
	trouble = netip.MustParsePrefix("127.255.255.0/24")
)
