package spf

import (
	"context"
	"net/netip"

	"postern/internal/dns"
)

// The limits of RFC 7208, section 4.6.4.
const (
	maxLookups = 10 // terms that ask the DNS, in all records together
	maxNames   = 10 // names of one mx or ptr whose addresses are asked for
	maxVoids   = 2  // terms that ask for what does not exist
)

// A check is one judgement under way.
type check struct {
	resolver dns.Resolver
	query    Query // the sender complete: it has a local part and a domain
	ip       netip.Addr
	result   Result
	chain    []string // include and redirect terms that led to the present record
	includes int      // how many of them are include

	names    []pointer // of the client, once they were asked for
	namesErr error
	hasNames bool
}

// host is check_host() for domain (RFC 7208, section 4). Its errors are
// problems.
func (c *check) host(ctx context.Context, domain string) (Verdict, error) {
	if !isDomain(domain) {
		return None, none(domain + ": not a fully qualified domain name")
	}
	rec, err := c.record(ctx, domain)
	if err != nil {
		return "", err
	}
	if len(c.chain) == 0 {
		c.result.Strict = rec.onlyAll()
	}
	return c.evaluate(ctx, rec, domain)
}

// record finds and parses the record of domain (RFC 7208, sections 4.4 to 4.6).
func (c *check) record(ctx context.Context, domain string) (record, error) {
	texts, err := c.texts(ctx, domain)
	if err != nil {
		return record{}, err
	}
	text, found := "", false
	for _, t := range texts {
		if !isRecord(t) {
			continue
		}
		if found {
			return record{}, permerror("%s: more than one record", domain)
		}
		text, found = t, true
	}
	if !found {
		return record{}, none(domain + ": no record")
	}
	rec, err := parseRecord(text)
	if err != nil {
		return record{}, permerror("%s: %v", domain, err)
	}
	return rec, nil
}

// evaluate tries the directives of rec in turn, and then its redirect (RFC 7208,
// sections 4.6.2, 4.7 and 6.1). Only the record whose directive decides explains
// a failure, and no record that is included does (section 6.2).
func (c *check) evaluate(ctx context.Context, rec record, domain string) (Verdict, error) {
	for i := range rec.directives {
		d := &rec.directives[i]
		matched, err := c.match(ctx, d, domain)
		if err != nil {
			return "", err
		}
		if !matched {
			continue
		}
		if d.mechanism != include {
			c.result.Mechanism = d.text
		}
		if d.verdict == Fail && c.includes == 0 && rec.exp != "" {
			c.result.Explanation = c.explanation(ctx, rec.exp, domain)
		}
		return d.verdict, nil
	}
	if rec.redirect != "" {
		return c.redirect(ctx, rec.redirect, domain)
	}
	c.result.Mechanism = "default"
	return Neutral, nil
}

// redirect is the modifier of RFC 7208, section 6.1.
func (c *check) redirect(ctx context.Context, spec, domain string) (Verdict, error) {
	c.chain = append(c.chain, "redirect="+spec)
	if err := c.count(); err != nil {
		return "", err
	}
	target, err := c.target(ctx, spec, domain)
	if err != nil {
		return "", err
	}
	verdict, err := c.host(ctx, target)
	return verdict, mandatory(err)
}

// match reports whether d matches (RFC 7208, section 5).
func (c *check) match(ctx context.Context, d *directive, domain string) (bool, error) {
	switch d.mechanism {
	case all:
		return true, nil
	case ip4, ip6:
		return d.prefix.Contains(c.ip), nil
	}
	if err := c.count(); err != nil {
		return false, err
	}
	target := domain
	if d.spec != "" {
		var err error
		if target, err = c.target(ctx, d.spec, domain); err != nil {
			return false, err
		}
	}
	if !isVisible(target) { // RFC 8616, section 4: a local part in UTF-8 matches nothing
		return false, nil
	}
	switch d.mechanism {
	case include:
		return c.include(ctx, d, target)
	case ptr:
		return c.ptr(ctx, target)
	}
	if !isName(target) { // section 4.8: what cannot be asked for does not exist
		return false, nil
	}
	switch d.mechanism {
	case mx:
		return c.mx(ctx, d, target)
	case exists: // section 5.7: an A record, whatever the client's family
		addrs, err := c.family(ctx, "ip4", target)
		return len(addrs) > 0, c.found(len(addrs), err)
	}
	addrs, err := c.addresses(ctx, target)
	return c.isAmong(addrs, d), c.found(len(addrs), err)
}

// include is the mechanism of RFC 7208, section 5.2.
func (c *check) include(ctx context.Context, d *directive, target string) (bool, error) {
	outer := c.chain
	c.chain = append(c.chain, d.text)
	c.includes++
	verdict, err := c.host(ctx, target)
	c.includes--
	if err != nil {
		return false, mandatory(err)
	}
	if verdict == Pass {
		return true, nil
	}
	c.chain = outer
	return false, nil
}

// mx is the mechanism of RFC 7208, section 5.4.
func (c *check) mx(ctx context.Context, d *directive, target string) (bool, error) {
	hosts, err := c.exchangers(ctx, target)
	if err := c.found(len(hosts), err); err != nil {
		return false, err
	}
	if len(hosts) > maxNames {
		return false, permerror("%s: more than %d MX records", d.text, maxNames)
	}
	for _, host := range hosts {
		if !isName(host) { // such as the "." of RFC 7505
			continue
		}
		addrs, err := c.addresses(ctx, host)
		if err != nil {
			return false, err
		}
		if c.isAmong(addrs, d) {
			return true, nil
		}
	}
	return false, nil
}

// ptr is the mechanism of RFC 7208, section 5.5.
func (c *check) ptr(ctx context.Context, target string) (bool, error) {
	names, err := c.pointers(ctx)
	if err != nil {
		return false, expired(ctx)
	}
	if err := c.found(len(names), nil); err != nil {
		return false, err
	}
	for i := range names {
		if isWithin(names[i].name, target) && c.isGenuine(ctx, &names[i]) {
			return true, nil
		}
	}
	return false, expired(ctx)
}

// isAmong reports whether the client is one of addrs, or in the same network.
func (c *check) isAmong(addrs []netip.Addr, d *directive) bool {
	bits := d.bits4
	if c.ip.Is6() {
		bits = d.bits6
	}
	for _, addr := range addrs {
		if netip.PrefixFrom(addr.Unmap().WithZone(""), bits).Contains(c.ip) {
			return true
		}
	}
	return false
}

// count counts a term that asks the DNS, before it does.
func (c *check) count() error {
	if c.result.Lookups == maxLookups {
		return permerror("more than %d terms ask the DNS", maxLookups)
	}
	c.result.Lookups++
	return nil
}

// found takes what a term's own question brought: n records, or an error. If
// neither, the lookup was void.
func (c *check) found(n int, err error) error {
	if err != nil || n > 0 {
		return err
	}
	c.result.Voids++
	if c.result.Voids > maxVoids {
		return permerror("more than %d terms ask for what does not exist", maxVoids)
	}
	return nil
}

// mandatory returns err, and a permerror where it says that there is no record:
// one that include or redirect names has to exist (RFC 7208, sections 5.2, 6.1).
func mandatory(err error) error {
	if p, ok := err.(*problem); ok && p.verdict == None {
		return &problem{PermError, p.text}
	}
	return err
}

// expired returns a temperror if the time for the check is over (RFC 7208,
// section 4.6.4). Whoever goes on after a DNS error asks it, so that what could
// not be found out in time does not count as found out.
func expired(ctx context.Context) error {
	if ctx.Err() != nil {
		return temperror("the DNS took too long to answer")
	}
	return nil
}
