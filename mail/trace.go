package mail

import (
	"strings"
	"time"
)

// MaxHops is how many Received fields make a message a looping one (RFC 5321,
// section 6.3).
const MaxHops = 100

// MaxTrace is more than one of our servers puts on top of a message, in octets. The next
// one takes messages, and headers, that are larger by it.
const MaxTrace = 64 << 10

// A Received is the time stamp line that a server puts on top of a message that
// it accepts (RFC 5321, section 4.4).
type Received struct {
	Client   Client
	By       string // host name of this server
	Protocol string // RFC 3848 and RFC 6531, section 4.3, as "ESMTPS"
	ID       string
	For      *Address // only where there is a single recipient: others must not be shown
	Date     time.Time
}

// Protocol returns the value of the "with" clause for a client of an SMTP
// server, or of an LMTP server (RFC 3848).
func Protocol(c Client, lmtp, utf8 bool) string {
	name := "SMTP"
	switch {
	case utf8 && lmtp:
		name = "UTF8LMTP" // RFC 6531, section 4.3
	case utf8:
		name = "UTF8SMTP"
	case lmtp:
		name = "LMTP"
	case c.ESMTP:
		name = "ESMTP"
	}
	if c.TLS != "" && (c.ESMTP || lmtp) {
		name += "S"
	}
	return name
}

// Field returns the whole field, folded, with its CRLF. What the client said is
// made printable and cannot leave its place.
func (r Received) Field() string {
	var b strings.Builder
	b.WriteString("Received: from " + helloName(r.Client.Hello))
	if r.Client.IP.IsValid() {
		b.WriteString(" (" + literal(r.Client) + ")")
	}
	b.WriteString("\r\n\tby " + r.By)
	if r.Client.TLS != "" {
		b.WriteString(" (" + r.Client.TLS + ")")
	}
	b.WriteString(" with " + r.Protocol)
	b.WriteString("\r\n\tid " + r.ID)
	if r.For != nil {
		b.WriteString("\r\n\tfor " + r.For.Path())
	}
	b.WriteString(";\r\n\t" + r.Date.Format(time.RFC1123Z) + "\r\n")
	return b.String()
}

// helloName makes of the client's word for itself an atom that can stand in a
// field: whatever is no character of a domain or an address literal becomes "?".
func helloName(hello string) string {
	if hello == "" {
		return "unknown"
	}
	return strings.Map(func(r rune) rune {
		if isAlnum(r) || strings.ContainsRune("-._:[]", r) {
			return r
		}
		return '?'
	}, hello[:min(len(hello), 255)])
}

func isAlnum(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// literal returns the client's address as an address literal (RFC 5321, section
// 4.1.3).
func literal(c Client) string {
	if c.IP.Is4() {
		return "[" + c.IP.String() + "]"
	}
	return "[IPv6:" + c.IP.WithZone("").String() + "]"
}

// ReturnPath returns the Return-Path field for a message from sender (RFC 5321,
// section 4.4), with its CRLF.
func ReturnPath(sender Address) string { return "Return-Path: " + sender.Path() + "\r\n" }
