// Package authres writes and reads Authentication-Results fields (RFC 8601): it
// says what we found, takes out what strangers say in our name, and reads what
// others say in theirs.
//
// What it writes is one well-formed field, whatever the values are: they were
// chosen by the client, and must not be able to end a value, a line or the
// field. What it reads may be hostile too: a comment, a quoted string or a fold
// hides nothing from it and makes nothing up.
//
// The authres package of emersion/go-msgauth is not used for this. It writes one
// line of any length, has no header.s, header.a and header.b (RFC 6008), and
// writes "=pass" for method arc; and its parser splits at ";" and at spaces
// inside quoted strings and comments, so that a reason can forge a result. It
// serves the tests as a second reader of what we write.
package authres

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Name is the name of the field.
const Name = "Authentication-Results"

// A Field says what a host found when it checked a message.
type Field struct {
	ID      string // the authserv-id (RFC 8601, section 2.5)
	Results []Result
}

// A Result is the outcome of one check: a resinfo of RFC 8601, section 2.2.
type Result struct {
	Method string // "spf", "dkim", "dmarc", "arc", "iprev", …
	Value  string // "pass", "fail", …, as section 2.7 says for the method
	Reason string // for people; may be empty
	Props  []Property
}

// A Property is one thing that a check looked at.
type Property struct {
	Name  string // ptype and property, "smtp.mailfrom"
	Value string
}

// Prop returns the value of the property of that name, the first if there are
// several, and "" if there is none.
func (r Result) Prop(name string) string {
	for _, p := range r.Props {
		if strings.EqualFold(p.Name, name) {
			return p.Value
		}
	}
	return ""
}

// Bounds of what is written, in octets. A line of a message has 998 at most
// (RFC 5322, section 2.1.1), and 78 where it can be helped.
const (
	maxValue   = 400
	maxKeyword = 64
	maxLine    = 78
)

// Format returns f as a header field, folded, with CRLF at the end. Properties
// without a value are left out, and "none" is said where there are no results.
// In an internationalised message (eai; RFC 8616, section 5) values may have
// characters beyond ASCII; else each is replaced by "?", as is always what cannot
// be printed. The part of a value beyond 400 octets is left out.
func (f Field) Format(eai bool) string {
	w := writer{eai: eai}
	w.add(Name+":", "")
	w.add(" ", w.value(f.ID))
	written := false
	for _, r := range f.Results {
		method, value := keyword(r.Method), keyword(r.Value)
		if method == "" || value == "" {
			continue
		}
		written = true
		w.next(method + "=" + value)
		if r.Reason != "" {
			w.add(" ", "reason="+w.quoted(r.Reason))
		}
		for _, p := range r.Props {
			// A property called "reason" would be read as the reason.
			if name := keyword(p.Name); name != "" && name != "reason" && p.Value != "" {
				w.add(" ", name+"="+w.value(p.Value))
			}
		}
	}
	if !written {
		w.add("; ", "none")
	}
	return w.b.String() + "\r\n"
}

// A writer builds a field and knows how long its last line is.
type writer struct {
	b    strings.Builder
	line int
	eai  bool
}

// next begins the next resinfo, on a line of its own.
func (w *writer) next(word string) {
	w.b.WriteString(";\r\n\t" + word)
	w.line = 8 + len(word)
}

// add writes word after sep, or on a new line where it would be too long.
func (w *writer) add(sep, word string) {
	if sep == " " && w.line+len(sep)+len(word) > maxLine && w.line > 8 {
		sep, w.line = "\r\n\t", 0
	}
	w.b.WriteString(sep + word)
	w.line += max(len(sep), 1) + len(word)
}

// value returns s as it stands after "=": bare if it is a token, a domain name
// or an address of plain words, else quoted (the pvalue of section 2.2).
func (w *writer) value(s string) string {
	local, domain, isAddress := strings.Cut(s, "@")
	bare := isToken(s) || isAddress && (local == "" || isToken(local)) && isToken(domain)
	if bare && len(s) <= maxValue {
		return s
	}
	return w.quoted(s)
}

// quoted returns s as a quoted-string (RFC 5322, section 3.2.4) without anything
// that has to be folded or cannot stand in a field.
func (w *writer) quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if b.Len() >= maxValue {
			break
		}
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r <= '~' && r >= ' ', w.eai && r != utf8.RuneError && unicode.IsGraphic(r):
			b.WriteRune(r)
		default:
			b.WriteByte('?')
		}
	}
	b.WriteByte('"')
	return b.String()
}

// keyword returns s without what cannot stand in a Keyword (RFC 5321, section
// 4.1.2) or between two of them.
func keyword(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_':
			return r
		}
		return -1
	}, s[:min(len(s), maxKeyword)])
}

// isToken reports whether s is a token of RFC 2045, section 5.1, in ASCII.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenChar(c byte) bool {
	return ' ' < c && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}
