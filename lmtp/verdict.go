package lmtp

import (
	"fmt"
	"slices"
	"strings"

	"postern/mail"
	"postern/smtp"
)

// verdict returns what a reply of the next hop, 2xx, 4xx or 5xx, means for the
// recipient.
//
// A 5xx is handed on, and becomes a bounce, if it speaks of the sender, the
// recipient or the message: nobody knows better than the next hop. But one that
// speaks of our commands, or of us, says that the two servers do not fit
// together. That is a mistake in a program or a configuration, for which no
// sender can do anything; it is 4xx until somebody has repaired it. (Postfix
// hands on every 5xx to MAIL, RCPT and DATA. With a queue behind it, its
// administrator sees the bounces; here they would be made elsewhere.)
//
// 421 becomes 451: it is the next hop that leaves, not we.
func verdict(r mail.Reply) mail.Reply {
	if r.Status == (mail.Status{}) {
		r.Status = mail.Status{r.Code / 100}
	}
	r.Text = tidy(r.Text)
	switch {
	case r.Code == mail.ShuttingDown.Code:
		return mail.NextHopDown.Because(r)
	case r.Code == 552 && r.Status == (mail.Status{5, 5, 3}):
		// RFC 5321, section 4.5.3.1.10: too many recipients, in the words of RFC
		// 821, which knew no 452 for it.
		return mail.TooManyRecipients.Because(r)
	case aboutUs(r):
		return mail.TryAgain.Because(r)
	}
	return r
}

// aboutUs reports whether r is a 5xx that speaks of us or of our command.
func aboutUs(r mail.Reply) bool {
	switch r.Code {
	case 500, 501, 502, 503, 504, 555:
		// Syntax, sequence, parameters. But "501 5.1.3" says that it is the
		// recipient's address which cannot be understood: the subjects 1, 2, 6
		// and 7 are address, mailbox, content and policy (RFC 3463, section 3).
		switch r.Status[1] {
		case 1, 2, 6, 7:
			return false
		}
		return true
	case 521, 556: // a host, or domain, that takes no mail at all (RFC 7504)
		return true
	case 530, 534, 535, 538: // it wants us to authenticate, or to use TLS (RFC 4954, RFC 3207)
		return true
	}
	return false
}

const (
	maxLines = 4   // of the text of a reply
	maxText  = 256 // octets of a line
)

// tidy cuts the text of a stranger's reply to a size that can be handed on, and
// makes it printable.
func tidy(text string) string {
	line, rest, more := strings.Cut(text, "\n")
	if !more {
		return mail.Printable(line, maxText)
	}
	lines := []string{mail.Printable(line, maxText)}
	for more && len(lines) < maxLines {
		line, rest, more = strings.Cut(rest, "\n")
		lines = append(lines, mail.Printable(line, maxText))
	}
	return strings.Join(lines, "\n")
}

// unfit returns the reply for a message of size octets that need not be sent,
// because the next hop offers no way to take it; 0 is unknown.
//
// A message above the limit of the next hop will not shrink: 552 (RFC 1870,
// section 6.1). But an extension that the next hop does not offer was offered to
// the client, or the message would not make use of it, and that was a mistake of
// ours, or the next hop has changed. When the client comes again it finds the
// offer corrected; it can then convert the message, or tell its author. Nobody on
// the way can convert a message without breaking its signatures. One with 8-bit
// octets that is not declared so goes as it came.
func unfit(offer smtp.Offer, env *mail.Envelope, size int64) error {
	missing := ""
	switch {
	case offer.SizeOffered && offer.Size > 0 && size > offer.Size:
		return mail.TooBig
	case env.Body == mail.Body8Bit && !offer.EightBit:
		missing = "8BITMIME"
	case env.Body == mail.BodyBinary:
		missing = "BINARYMIME"
	case env.UTF8 && !offer.UTF8:
		missing = "SMTPUTF8"
	case env.RequireTLS && !offer.RequireTLS:
		missing = "REQUIRETLS"
	default:
		return unspeakable(env, env.From)
	}
	return mail.TryAgain.Because(fmt.Errorf("lmtp: next hop does not offer %s", missing))
}

// inUTF8 returns env, or a copy that makes use of SMTPUTF8, if the next hop offers
// that and one of to needs it. The client need not have asked for it: an alias in
// ASCII may have members that are not, and those are our own matter.
func inUTF8(offer smtp.Offer, env *mail.Envelope, to ...mail.Recipient) *mail.Envelope {
	if env.UTF8 || !offer.UTF8 || !slices.ContainsFunc(to, func(r mail.Recipient) bool { return !r.IsASCII() }) {
		return env
	}
	asked := *env
	asked.UTF8 = true
	return &asked
}

// unspeakable returns the reply for an address that cannot stand in a command:
// without SMTPUTF8 (RFC 6531) it is ASCII, and control characters are in none.
func unspeakable(env *mail.Envelope, addr mail.Address) error {
	for _, s := range [...]string{addr.Local, addr.Domain} {
		for i := range len(s) {
			if c := s[i]; c < ' ' || c == 0x7f || c >= 0x80 && !env.UTF8 {
				return mail.NonASCIIAddress
			}
		}
	}
	return nil
}
