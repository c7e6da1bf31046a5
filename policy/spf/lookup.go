package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/mail"
)

// maxAnswer bounds the text of an answer in the evidence.
const maxAnswer = 500

// A Lookup is a question that was asked of the DNS.
type Lookup struct {
	Type string // "TXT", "MX", "A", "AAAA", "PTR"
	Name string // without a final dot; an IP address for PTR

	texts []string // TXT, MX and PTR
	addrs []netip.Addr
	err   error
}

// Answer returns what the DNS said, in brief: the records, or why there is none.
func (l Lookup) Answer() string {
	switch {
	case len(l.texts) > 0:
		quoted := make([]string, len(l.texts))
		for i, s := range l.texts {
			quoted[i] = s
			if l.Type == "TXT" {
				quoted[i] = `"` + s + `"`
			}
		}
		return mail.Printable(strings.Join(quoted, " "), maxAnswer)
	case len(l.addrs) > 0:
		return mail.Printable(strings.Trim(fmt.Sprint(l.addrs), "[]"), maxAnswer)
	case errors.Is(l.err, dns.ErrNXDomain):
		return dns.ErrNXDomain.Error()
	case l.err == nil || dns.NotFound(l.err):
		return dns.ErrNoData.Error()
	}
	err := l.err
	if e := (*dns.Error)(nil); errors.As(err, &e) {
		err = e.Err // the question is there already
	}
	return mail.Printable(err.Error(), maxAnswer)
}

// String returns the question and its answer.
func (l Lookup) String() string {
	return mail.Printable(l.Type+" "+l.Name, maxAnswer) + ": " + l.Answer()
}

// answered keeps l as evidence. It returns an error only where the DNS gave no
// answer; that there is no record is an answer.
func (c *check) answered(l Lookup) error {
	c.result.Asked = append(c.result.Asked, l)
	if l.err == nil || dns.NotFound(l.err) || len(l.texts) > 0 || len(l.addrs) > 0 {
		return nil
	}
	return temperror("%s %s: no answer from the DNS", l.Type, l.Name)
}

// texts asks for the TXT records of name.
func (c *check) texts(ctx context.Context, name string) ([]string, error) {
	texts, err := c.resolver.LookupTXT(ctx, name+".")
	return texts, c.answered(Lookup{Type: "TXT", Name: name, texts: texts, err: err})
}

// exchangers asks for the names of the MX records of name.
func (c *check) exchangers(ctx context.Context, name string) ([]string, error) {
	mxs, err := c.resolver.LookupMX(ctx, name+".")
	hosts := make([]string, len(mxs))
	for i, mx := range mxs {
		hosts[i] = strings.TrimSuffix(mx.Host, ".")
	}
	return hosts, c.answered(Lookup{Type: "MX", Name: name, texts: hosts, err: err})
}

// addresses asks for the addresses of name that are of the client's family.
func (c *check) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	if c.ip.Is4() {
		return c.family(ctx, "ip4", name)
	}
	return c.family(ctx, "ip6", name)
}

// family asks for the addresses of name in the network "ip4" or "ip6".
func (c *check) family(ctx context.Context, network, name string) ([]netip.Addr, error) {
	typ := "A"
	if network == "ip6" {
		typ = "AAAA"
	}
	addrs, err := c.resolver.LookupNetIP(ctx, network, name+".")
	return addrs, c.answered(Lookup{Type: typ, Name: name, addrs: addrs, err: err})
}

// A pointer is a name of the client's address, which anybody may claim.
type pointer struct {
	name             string
	checked, genuine bool // it was asked whether the name has the address; it has
}

// pointers asks for the names of the client, once: the first ten (RFC 7208,
// section 4.6.4).
func (c *check) pointers(ctx context.Context) ([]pointer, error) {
	if c.hasNames {
		return c.names, c.namesErr
	}
	c.hasNames = true
	ip := c.ip.String()
	names, err := c.resolver.LookupAddr(ctx, ip)
	c.namesErr = c.answered(Lookup{Type: "PTR", Name: ip, texts: names, err: err})
	for _, name := range names[:min(len(names), maxNames)] {
		c.names = append(c.names, pointer{name: strings.TrimSuffix(name, ".")})
	}
	return c.names, c.namesErr
}

// isGenuine reports whether the client has the name, as the name's own domain
// says (RFC 7208, section 5.5). On a DNS error it does not.
func (c *check) isGenuine(ctx context.Context, p *pointer) bool {
	if p.checked || !isName(p.name) {
		return p.genuine
	}
	p.checked = true
	addrs, err := c.addresses(ctx, p.name)
	p.genuine = err == nil && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == c.ip })
	return p.genuine
}
