package spf

import (
	"context"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"postern/mail"
)

// maxExplanation lets an explanation fit one reply line (RFC 5321, section
// 4.5.3.1.5).
const maxExplanation = 450

// target returns the name that a domain-spec stands for, in the record of
// domain, without a final dot (RFC 7208, sections 4.8 and 7.3).
func (c *check) target(ctx context.Context, spec, domain string) (string, error) {
	name := spec
	if strings.IndexByte(spec, '%') >= 0 {
		var err error
		value := func(letter byte) (string, error) { return c.value(ctx, letter, domain) }
		if name, err = expand(spec, value, keepEnd); err != nil {
			return "", err
		}
	}
	return truncate(strings.TrimSuffix(name, ".")), nil
}

// keepEnd keeps as much as truncate looks at, and a final dot.
func keepEnd(name []byte) []byte {
	const enough = maxName + 2
	if len(name) > 16*enough {
		name = append(name[:0], name[len(name)-enough:]...)
	}
	return name
}

// explanation returns what the domain has to say to a client that failed (RFC
// 7208, section 6.2), or nothing where anything about it is wrong.
func (c *check) explanation(ctx context.Context, spec, domain string) string {
	name, err := c.target(ctx, spec, domain)
	if err != nil || !isName(name) {
		return ""
	}
	texts, err := c.texts(ctx, name)
	if err != nil || len(texts) != 1 || !isVisible(texts[0]) {
		return ""
	}
	value := func(letter byte) (string, error) { return c.value(ctx, letter, domain) }
	text, err := expand(texts[0], value, keepStart)
	if err != nil {
		return ""
	}
	return mail.Printable(text, maxExplanation) // a local part may be UTF-8
}

// keepStart keeps as much as an explanation may say.
func keepStart(text []byte) []byte { return text[:min(len(text), maxExplanation)] }

// value returns what a macro-letter stands for, in the record of domain (RFC
// 7208, section 7.2).
func (c *check) value(ctx context.Context, letter byte, domain string) (string, error) {
	switch letter {
	case 's':
		return c.query.Sender.Local + "@" + c.query.Sender.Domain, nil
	case 'l':
		return c.query.Sender.Local, nil
	case 'o':
		return c.query.Sender.Domain, nil
	case 'd':
		return domain, nil
	case 'i':
		return dotted(c.ip), nil
	case 'p':
		return c.clientName(ctx, domain)
	case 'v':
		if c.ip.Is4() {
			return "in-addr", nil
		}
		return "ip6", nil
	case 'h':
		return c.query.Hello, nil
	case 'c':
		return c.ip.String(), nil
	case 'r':
		if c.query.Receiver == "" {
			return "unknown", nil
		}
		return c.query.Receiver, nil
	case 't':
		return strconv.FormatInt(c.query.Now.Unix(), 10), nil
	}
	return "", errMacro
}

// clientName is the macro-letter p: a name that the client has, of domain or
// below it if there is one. Asking for it counts as a term.
func (c *check) clientName(ctx context.Context, domain string) (string, error) {
	if !c.hasNames {
		if err := c.count(); err != nil {
			return "", err
		}
	}
	names, err := c.pointers(ctx)
	if err != nil {
		return "unknown", expired(ctx)
	}
	for _, fits := range []func(name string) bool{
		func(name string) bool { return strings.EqualFold(name, domain) },
		func(name string) bool { return isWithin(name, domain) },
		func(string) bool { return true },
	} {
		for i := range names {
			if fits(names[i].name) && c.isGenuine(ctx, &names[i]) {
				return names[i].name, nil
			}
		}
	}
	return "unknown", expired(ctx)
}

// dotted returns ip in labels: octets of IPv4, nibbles of IPv6.
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	raw := ip.As16()
	digits := strings.ToUpper(hex.EncodeToString(raw[:]))
	var b strings.Builder
	for i := range len(digits) {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteByte(digits[i])
	}
	return b.String()
}
