package smtp

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"postern/mail"
)

const (
	maxEnvelopeID = 100 // octets, encoded (RFC 3461, section 4.4)
	maxOriginal   = 500 // octets, encoded (RFC 3461, section 4.2)
)

// notifyWords are the values of NOTIFY (RFC 3461, section 4.1).
var notifyWords = []struct {
	word  string
	value mail.Notify
}{
	{"NEVER", mail.NotifyNever},
	{"SUCCESS", mail.NotifySuccess},
	{"FAILURE", mail.NotifyFailure},
	{"DELAY", mail.NotifyDelay},
}

func parseNotify(s string) (mail.Notify, error) {
	var n mail.Notify
	for word := range strings.SplitSeq(s, ",") {
		value := mail.Notify(0)
		for _, known := range notifyWords {
			if upper(word) == known.word {
				value = known.value
			}
		}
		if value == 0 {
			return 0, mail.BadArgument
		}
		n |= value
	}
	if n&mail.NotifyNever != 0 && strings.Contains(s, ",") {
		return 0, mail.BadArgument
	}
	return n, nil
}

// formatNotify returns n as it is written behind "NOTIFY=".
func formatNotify(n mail.Notify) string {
	var words []string
	for _, known := range notifyWords {
		if n&known.value != 0 {
			words = append(words, known.word)
		}
	}
	return strings.Join(words, ",")
}

func parseEnvelopeID(s string) (string, error) {
	id, ok := DecodeXtext(s)
	if !ok || id == "" || len(s) > maxEnvelopeID || strings.Trim(id, printableASCII) != "" {
		return "", mail.BadArgument
	}
	return id, nil
}

// parseOriginal parses addr-type ";" xtext. An address of type utf-8 may also
// come as it is (RFC 6533, section 3).
func parseOriginal(s string) (kind, addr string, err error) {
	kind, encoded, ok := strings.Cut(s, ";")
	if !ok || !isParamKey(kind) || encoded == "" || len(s) > maxOriginal {
		return "", "", mail.BadArgument
	}
	if strings.EqualFold(kind, "utf-8") {
		if !isUTF8Address(encoded) {
			return "", "", mail.BadArgument
		}
		return kind, encoded, nil
	}
	addr, ok = DecodeXtext(encoded)
	if !ok || strings.Trim(addr, printableASCII) != "" {
		return "", "", mail.BadArgument
	}
	return kind, addr, nil
}

// embedded is a character of an address of type utf-8 that is written as its number
// (RFC 6533, section 3, EmbeddedUnicodeChar).
var embedded = regexp.MustCompile(`\\x\{([0-9A-Fa-f]{2,6})\}`)

// isUTF8Address reports whether s, the address of an ORCPT of type utf-8, has no
// backslash but that of an embedded character, which is one that a mailbox can have.
func isUTF8Address(s string) bool {
	for _, number := range embedded.FindAllStringSubmatch(s, -1) {
		c, err := strconv.ParseInt(number[1], 16, 32)
		if err != nil || c < ' ' || c == 0x7f || !utf8.ValidRune(rune(c)) {
			return false
		}
	}
	return !strings.Contains(embedded.ReplaceAllLiteralString(s, ""), `\`)
}

// printableASCII is what an ENVID and the address of an ORCPT may consist of once
// they are decoded (RFC 3461, sections 4.2 and 4.4).
const printableASCII = ` !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_` + "`abcdefghijklmnopqrstuvwxyz{|}~"

// DecodeXtext decodes xtext (RFC 3461, section 4): "+" and two upper-case
// hexadecimal digits stand for an octet. It reports whether s is xtext.
func DecodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			if i+2 >= len(s) || !isUpperHex(s[i+1]) || !isUpperHex(s[i+2]) {
				return "", false
			}
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		case isNotXchar(rune(c)):
			return "", false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// EncodeXtext encodes s as xtext (RFC 3461, section 4): printable ASCII that can
// be the value of a parameter, if s is not empty.
func EncodeXtext(s string) string {
	if strings.IndexFunc(s, isNotXchar) < 0 {
		return s // as nearly all are
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isNotXchar(rune(c)) {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isNotXchar(c rune) bool { return c < '!' || c > '~' || c == '+' || c == '=' }

func isUpperHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'A' + 10
}
