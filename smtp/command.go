package smtp

import (
	"strings"
	"unicode/utf8"

	"postern/mail"
)

// A Command is a command line: its verb, in upper case, and the rest (RFC 5321,
// section 2.4 and 4.1.1).
type Command struct {
	Verb string
	Arg  string // without the space before it and the white space after it
}

// ParseCommand splits a line, which comes without its CRLF. Some clients write a
// TAB for the space.
func ParseCommand(line []byte) Command {
	verb, arg := string(line), ""
	if end := strings.IndexAny(verb, " \t"); end >= 0 {
		verb, arg = verb[:end], verb[end:]
	}
	return Command{Verb: upper(verb), Arg: strings.Trim(arg, " \t")}
}

// HasControls reports whether the argument of a command that takes any text has
// characters that no argument may have (RFC 5321, section 4.1.2): controls, but
// for TAB. What other commands take is parsed.
func (c Command) HasControls() bool {
	switch c.Verb {
	case "EHLO", "HELO", "LHLO", "NOOP", "VRFY", "HELP":
		return strings.ContainsFunc(c.Arg, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
	}
	return false
}

// A Param is an ESMTP parameter of MAIL or RCPT (RFC 5321, section 4.1.2).
type Param struct {
	Key      string // in upper case
	Value    string
	HasValue bool // "=" stood behind the key
}

// ParseMail parses the argument of MAIL: FROM:Reverse-path and parameters. The domain
// has U-labels where it is not ASCII (HasULabels). Its errors are replies.
func ParseMail(arg string) (mail.Address, []Param, error) {
	path, ok := cutKeyword(arg, "FROM:")
	if !ok {
		return mail.Address{}, nil, mail.BadArgument
	}
	if rest, ok := strings.CutPrefix(path, "<>"); ok {
		params, err := parseParams(rest)
		return mail.Address{}, params, err
	}
	addr, rest, ok := parsePath(path, anyDots)
	ascii := mail.Address{Domain: addr.Domain}.IsASCII()
	if !ok || addr.Domain == "" || !ascii && !HasULabels(addr.Domain) {
		return mail.Address{}, nil, mail.BadSender
	}
	params, err := parseParams(rest)
	return addr, params, err
}

// ParseRcpt parses the argument of RCPT: TO:Forward-path and parameters. The
// address is a bare "postmaster", without a domain, where the client said so.
// Its errors are replies.
func ParseRcpt(arg string) (mail.Address, []Param, error) {
	path, ok := cutKeyword(arg, "TO:")
	if !ok {
		return mail.Address{}, nil, mail.BadArgument
	}
	addr, rest, ok := parsePath(path, isDotString)
	if !ok || addr.Domain == "" && !addr.IsPostmaster() {
		return mail.Address{}, nil, mail.BadRecipient
	}
	params, err := parseParams(rest)
	return addr, params, err
}

// cutKeyword removes the keyword, and the white space that many clients put
// behind its colon.
func cutKeyword(arg, keyword string) (string, bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", false
	}
	return strings.TrimLeft(arg[len(keyword):], " \t"), true
}

// parseParams parses what follows a path: parameters, each behind white space.
func parseParams(rest string) ([]Param, error) {
	if rest == "" {
		return nil, nil
	}
	if rest[0] != ' ' && rest[0] != '\t' {
		return nil, mail.BadArgument
	}
	var params []Param
	for _, word := range strings.FieldsFunc(rest, isWSP) {
		key, value, hasValue := strings.Cut(word, "=")
		if !isParamKey(key) || hasValue && !isParamValue(value) {
			return nil, mail.BadArgument
		}
		params = append(params, Param{Key: upper(key), Value: value, HasValue: hasValue})
	}
	return params, nil
}

// isParamKey reports whether s is an esmtp-keyword.
func isParamKey(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

// isParamValue reports whether s is an esmtp-value; RFC 6531, section 3.3, adds
// UTF-8.
func isParamValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '=' || c == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// upper returns s with its ASCII letters in upper case. Others stay as they are:
// some of them would become ASCII.
func upper(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return 'a' <= r && r <= 'z' }) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// isWSP reports whether r separates words. No other white space does.
func isWSP(r rune) bool { return r == ' ' || r == '\t' }

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
