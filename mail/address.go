package mail

import (
	"log/slog"
	"strings"
)

// An Address is a Mailbox of RFC 5321, section 4.1.2: local-part "@" domain.
//
// Local holds the meaning of the local part, without the quotes and backslashes
// that it may need on the wire, in the case that the client wrote. Domain is a
// host name or an address literal with its brackets. The zero Address is the
// null reverse-path, written "<>"; an Address with an empty Domain and a Local
// is the bare "postmaster" of section 4.1.1.3.
type Address struct {
	Local  string
	Domain string
}

// IsNull reports whether a is the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// IsPostmaster reports whether a is a postmaster, of whatever domain, in
// whatever case (RFC 5321, section 4.5.1).
func (a Address) IsPostmaster() bool {
	return isASCII(a.Local) && strings.EqualFold(a.Local, "postmaster")
}

// IsASCII reports whether a can be sent without SMTPUTF8 (RFC 6531).
func (a Address) IsASCII() bool { return isASCII(a.Local) && isASCII(a.Domain) }

// String returns a as it is written between angle brackets, the local part
// quoted where it must be.
func (a Address) String() string {
	if a.Domain == "" {
		return a.local()
	}
	return a.local() + "@" + a.Domain
}

// local returns the local part, quoted where it must be.
func (a Address) local() string {
	if !isDotString(a.Local) && !a.IsNull() {
		return quote(a.Local)
	}
	return a.Local
}

// Path returns a with its angle brackets: the Path of RFC 5321, section 4.1.2.
func (a Address) Path() string {
	if a.Domain == "" {
		return "<" + a.local() + ">"
	}
	return "<" + a.local() + "@" + a.Domain + ">"
}

// LogValue implements slog.LogValuer.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.Path()) }

// isDotString reports whether local is a Dot-string of RFC 5321, section 4.1.2,
// with the UTF-8 of RFC 6531, section 3.3.
func isDotString(local string) bool {
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return false
		}
	}
	for i := range len(local) {
		if c := local[i]; c != '.' && !IsAtext(c) {
			return false
		}
	}
	return true
}

// IsAtext reports whether c may stand in an Atom (RFC 5322, section 3.2.3, and
// RFC 6531, section 3.3, which adds all octets of UTF-8).
func IsAtext(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= 0x80:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// quote returns local as a Quoted-string (RFC 5321, section 4.1.2).
func quote(local string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(local) {
		if c := local[i]; c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
