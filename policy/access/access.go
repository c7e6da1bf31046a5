// Package access finds the rule that an administrator wrote for a client, a
// sender or a recipient.
//
// Rules stand in order, and the first that fits holds. One fits if all that it
// names fits: the client's network, what it says in HELO, the sender and the
// recipient. Looking up a rule takes a few look-ups in hash tables for each
// rule, however many networks and names are in it.
package access

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"postern/internal/dnsname"
	"postern/mail"
)

// An Action is what a rule says.
type Action string

// The actions.
const (
	Allow Action = "allow" // take it, whatever others say
	Deny  Action = "deny"  // refuse it for good
	Defer Action = "defer" // refuse it for now
)

// A Rule is one that an administrator wrote. What it does not name fits any.
type Rule struct {
	Name    string // where it stands, as "spammers.toml: rule 3"
	Action  Action
	Text    string // what the client hears; empty: a standard text
	Clients []netip.Prefix
	// Hello are names: "mail.example.com", or ".example.com" for it and all
	// below it.
	Hello []string
	// Senders and Recipients are addresses: "ann@example.com", domains as in
	// Hello, "ann@" in any domain, and "<>" for the null sender. Neither case
	// nor the spelling of an internationalised domain matters.
	Senders, Recipients []string
}

// A Query is a transaction for which a rule is wanted.
type Query struct {
	Client    netip.Addr
	Hello     string
	Sender    mail.Address
	Recipient mail.Address
}

// A Match is the rule that holds.
type Match struct {
	Rule   string // its Name
	Action Action
	Text   string
}

// A List is a list of rules. A nil List has none.
type List struct{ rules []rule }

// A rule is a Rule made ready.
type rule struct {
	match              Match
	clients            networks
	hello              names
	sender, recipients names
}

// New returns the rules as a List. The error says of every wrong one what is wrong
// with it.
func New(rules []Rule) (*List, error) {
	l := new(List)
	var errs []error
	for _, r := range rules {
		made, err := r.compile()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.Name, err))
		}
		l.rules = append(l.rules, made)
	}
	return l, errors.Join(errs...)
}

// Check says what is wrong with r, nil if nothing is.
func (r Rule) Check() error {
	_, err := r.compile()
	return err
}

func (r Rule) compile() (rule, error) {
	made := rule{match: Match{Rule: r.Name, Action: r.Action, Text: r.Text}}
	var errs []error
	switch r.Action {
	case Allow, Deny, Defer:
	default:
		errs = append(errs, fmt.Errorf("%q is no action", r.Action))
	}
	if len(r.Clients)+len(r.Hello)+len(r.Senders)+len(r.Recipients) == 0 {
		errs = append(errs, errors.New("fits everything: it names neither client, helo, sender nor recipient"))
	}
	made.clients = newNetworks(r.Clients)
	for _, part := range []struct {
		into      *names
		patterns  []string
		addresses bool
	}{{&made.hello, r.Hello, false}, {&made.sender, r.Senders, true}, {&made.recipients, r.Recipients, true}} {
		var err error
		*part.into, err = newNames(part.patterns, part.addresses)
		errs = append(errs, err)
	}
	return made, errors.Join(errs...)
}

// Len returns how many rules there are.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.rules)
}

// Match returns the first rule that fits q.
func (l *List) Match(q Query) (Match, bool) {
	if l.Len() == 0 {
		return Match{}, false
	}
	hello := fold(mail.Address{Domain: q.Hello})
	sender, recipient := fold(q.Sender), fold(q.Recipient)
	ip := q.Client.Unmap().WithZone("")
	for _, r := range l.rules {
		if r.clients.has(ip) && r.hello.has(hello) && r.sender.has(sender) && r.recipients.has(recipient) {
			return r.match, true
		}
	}
	return Match{}, false
}

// networks is a set of networks; nil has every address.
type networks map[int]map[netip.Prefix]struct{} // by the number of bits

func newNetworks(prefixes []netip.Prefix) networks {
	if len(prefixes) == 0 {
		return nil
	}
	n := make(networks)
	for _, p := range prefixes {
		if n[p.Bits()] == nil {
			n[p.Bits()] = make(map[netip.Prefix]struct{})
		}
		n[p.Bits()][p.Masked()] = struct{}{}
	}
	return n
}

func (n networks) has(ip netip.Addr) bool {
	if n == nil {
		return true
	}
	for bits, set := range n {
		p, err := ip.Prefix(bits)
		if err != nil { // no address, or one of fewer bits
			continue
		}
		if _, found := set[p]; found {
			return true
		}
	}
	return false
}

// names is a set of patterns, by what they are compared with; nil has every
// name.
type names map[string]struct{}

// null is the pattern of the null sender.
const null = "<>"

func newNames(patterns []string, addresses bool) (names, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	n := make(names, len(patterns))
	var errs []error
	for _, p := range patterns {
		key, err := Pattern(p, addresses)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		n[key] = struct{}{}
	}
	return n, errors.Join(errs...)
}

// Pattern returns p as it is compared: in lower case and A-labels. The error
// says why it is no pattern; only where addresses are compared may it be one.
func Pattern(p string, addresses bool) (string, error) {
	at := strings.LastIndexByte(p, '@')
	switch {
	case p == null && addresses:
		return null, nil
	case at >= 0 && !addresses:
		return "", fmt.Errorf("%q is an address and not the name of a host", p)
	case at == 0:
		return "", fmt.Errorf("%q has nothing before the @; write %q for the domain", p, p[1:])
	}
	domain := p[at+1:]
	below, isBelow := strings.CutPrefix(domain, ".")
	if at >= 0 && isBelow {
		return "", fmt.Errorf("%q: a domain in an address cannot stand for those below it", p)
	}
	folded, ok := foldDomain(below)
	if at >= 0 && domain == "" {
		folded, ok = "", true
	}
	if !ok {
		return "", fmt.Errorf("%q is no domain", below)
	}
	if isBelow {
		return "." + folded, nil
	}
	return strings.ToLower(p[:at+1]) + folded, nil
}

// A folded address is one as patterns are compared with it.
type folded struct{ local, domain string }

func fold(a mail.Address) folded {
	domain, ok := foldDomain(a.Domain)
	if !ok {
		domain = strings.ToLower(a.Domain) // which no pattern is, unless it is a literal
	}
	return folded{strings.ToLower(a.Local), domain}
}

// has reports whether a pattern fits the address, or the bare name if it has no
// local part.
func (n names) has(a folded) bool {
	if n == nil {
		return true
	}
	in := func(key string) bool { _, found := n[key]; return found }
	if a == (folded{}) {
		return in(null)
	}
	if a.local != "" && (in(a.local+"@"+a.domain) || in(a.local+"@")) {
		return true
	}
	if a.domain == "" {
		return false
	}
	if in(a.domain) {
		return true
	}
	for d := a.domain; d != ""; _, d, _ = strings.Cut(d, ".") {
		if in("." + d) {
			return true
		}
	}
	return false
}

// foldDomain returns a domain as it is compared. An address literal stays as it
// is, in lower case.
func foldDomain(domain string) (string, bool) {
	literal := strings.TrimSuffix(domain, ".")
	if strings.HasPrefix(literal, "[") && strings.HasSuffix(literal, "]") {
		return strings.ToLower(literal), true
	}
	return dnsname.Canonical(domain)
}
