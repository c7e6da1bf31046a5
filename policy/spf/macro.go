package spf

import (
	"errors"
	"slices"
	"strings"
)

// What is wrong with a term.
var (
	errArgument  = errors.New("takes no argument")
	errMechanism = errors.New("unknown mechanism")
	errNoDomain  = errors.New("needs a domain")
	errDomain    = errors.New("domain does not end in a top-level name or a macro")
	errLength    = errors.New("bad prefix length")
	errNetwork   = errors.New("bad network address")
	errMacro     = errors.New("bad macro")
)

// The letters of RFC 7208, section 7.2. Three of them are for explanations only.
const (
	termLetters    = "slodiphv"
	explainLetters = termLetters + "crt"
	delimiters     = ".-+,/_="
)

// A macro is a part of a macro-string (RFC 7208, section 7.1): a run of literal
// octets, or a macro-expand.
type macro struct {
	literal string // what it stands for, if it has no letter
	percent bool   // it begins with "%"

	letter  byte   // in lower case; 0: none
	escape  bool   // the letter was in upper case: to be escaped as in a URL
	keep    int    // how many parts to keep, from the right; 0: all
	reverse bool   // the parts, before some are kept
	delims  string // what separates parts; empty: "."
}

// cutMacro takes the first part off s, which is not empty.
func cutMacro(s string) (m macro, rest string, err error) {
	if s[0] != '%' {
		end := strings.IndexByte(s, '%')
		if end < 0 {
			end = len(s)
		}
		return macro{literal: s[:end]}, s[end:], nil
	}
	if len(s) < 2 {
		return macro{}, "", errMacro
	}
	switch rest = s[2:]; s[1] {
	case '%':
		return macro{literal: "%", percent: true}, rest, nil
	case '_':
		return macro{literal: " ", percent: true}, rest, nil
	case '-':
		return macro{literal: "%20", percent: true}, rest, nil
	case '{':
		body, rest, ok := strings.Cut(rest, "}")
		if !ok {
			return macro{}, "", errMacro
		}
		m, err := parseMacro(body)
		return m, rest, err
	}
	return macro{}, "", errMacro
}

// parseMacro parses macro-letter transformers *delimiter.
func parseMacro(body string) (macro, error) {
	if body == "" || !isAlpha(body[0]) {
		return macro{}, errMacro
	}
	m := macro{percent: true, letter: body[0] | 0x20, escape: body[0] < 'a'}
	body = body[1:]
	digits := len(body) - len(strings.TrimLeft(body, "0123456789"))
	for i := range digits {
		m.keep = min(10*m.keep+int(body[i]-'0'), 1<<16) // more parts than a name can have
	}
	if digits > 0 && m.keep == 0 {
		return macro{}, errMacro // section 7.3: it must be nonzero
	}
	body = body[digits:]
	if body != "" && body[0]|0x20 == 'r' {
		m.reverse, body = true, body[1:]
	}
	if strings.Trim(body, delimiters) != "" {
		return macro{}, errMacro
	}
	m.delims = body
	return m, nil
}

// checkMacros checks a macro-string whose macro-letters are among letters.
func checkMacros(s, letters string) error {
	_, err := lastMacro(s, letters)
	return err
}

// checkDomainSpec checks a domain-spec (RFC 7208, section 7.1): it ends in a
// macro, or in "." and a toplabel.
func checkDomainSpec(spec string) error {
	if spec == "" {
		return errNoDomain
	}
	last, err := lastMacro(spec, termLetters)
	if err != nil || last.percent {
		return err
	}
	end := strings.TrimSuffix(last.literal, ".")
	dot := strings.LastIndexByte(end, '.')
	if dot < 0 || !isTopLabel(end[dot+1:]) {
		return errDomain
	}
	return nil
}

// lastMacro checks s as checkMacros does and returns its last part.
func lastMacro(s, letters string) (m macro, err error) {
	for s != "" {
		if m, s, err = cutMacro(s); err != nil {
			return m, err
		}
		if m.letter != 0 && strings.IndexByte(letters, m.letter) < 0 {
			return m, errMacro
		}
	}
	return m, nil
}

// expand returns what the macro-string s stands for. The value of each
// macro-letter is asked of value, whose errors are returned; bound cuts what has
// been put together so far to a sane length.
func expand(s string, value func(letter byte) (string, error), bound func([]byte) []byte) (string, error) {
	var out []byte
	for s != "" {
		m, rest, err := cutMacro(s)
		if err != nil {
			return "", err
		}
		v := m.literal
		if m.letter != 0 {
			if v, err = value(m.letter); err != nil {
				return "", err
			}
		}
		out, s = bound(m.append(out, v)), rest
	}
	return string(out), nil
}

// append appends v to out, transformed as m says (RFC 7208, section 7.3).
func (m macro) append(out []byte, v string) []byte {
	if m.keep > 0 || m.reverse || m.delims != "" {
		v = m.transform(v)
	}
	if !m.escape {
		return append(out, v...)
	}
	for i := range len(v) {
		if c := v[i]; isAlpha(c) || isDigit(c) || strings.IndexByte("-._~", c) >= 0 {
			out = append(out, c)
		} else {
			const hex = "0123456789ABCDEF"
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return out
}

// transform splits v, reverses its parts, keeps those at the right, and joins
// them with dots, whatever they were split at.
func (m macro) transform(v string) string {
	delims := m.delims
	if delims == "" {
		delims = "."
	}
	var parts []string
	for {
		i := strings.IndexAny(v, delims)
		if i < 0 {
			break
		}
		parts, v = append(parts, v[:i]), v[i+1:]
	}
	parts = append(parts, v)
	if m.reverse {
		slices.Reverse(parts)
	}
	if m.keep > 0 && m.keep < len(parts) {
		parts = parts[len(parts)-m.keep:]
	}
	return strings.Join(parts, ".")
}
