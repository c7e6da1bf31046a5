package dns

import "strings"

// Escape returns the octets of s as printable ASCII: a backslash doubled, and
// what does not print as a backslash and three decimal digits (RFC 1035,
// section 5.1).
func Escape(s string) string {
	i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' })
	if i < 0 {
		return s
	}
	b := []byte(s[:i])
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			b = append(b, '\\', '\\')
		case c < ' ' || c > '~':
			b = append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// Unescape returns the octets that s stands for: a backslash and three digits
// for the octet of that value, a backslash and anything else for that.
func Unescape(s string) string {
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s
	}
	b := []byte(s[:i])
	for ; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		if v, ok := decimal(s[i+1:]); ok {
			b = append(b, v)
			i += 3
			continue
		}
		i++
		b = append(b, s[i])
	}
	return string(b)
}

// decimal reads three digits for an octet at the start of s.
func decimal(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	v := 0
	for i := range 3 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		v = v*10 + int(s[i]-'0')
	}
	return byte(v), v <= 255
}
