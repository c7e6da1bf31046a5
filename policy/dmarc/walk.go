package dmarc

import (
	"context"
	"errors"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/internal/dnsname"
	"postern/mail"
)

const (
	maxLabels = 7   // of the names that a walk asks for after the first
	maxAnswer = 500 // octets of an answer in the evidence
)

// A Step is a question that was asked of the DNS, and its answer in brief.
type Step struct {
	Type   string // "TXT" for a record; "A" for whether a domain exists
	Name   string
	Answer string
}

// String returns the question and the answer.
func (s Step) String() string { return s.Type + " " + s.Name + ": " + s.Answer }

// A tree is the part of the DNS that one check has seen. It asks no question
// twice.
type tree struct {
	resolver dns.Resolver
	known    []node
	asked    []Step
}

// A node is what was found at a domain: a record, none, or no answer.
type node struct {
	domain string
	rec    record
	found  bool
	err    error
}

// at asks for the record of domain (RFC 9989, section 4.10, steps 1 and 2). Where
// several are published, none is.
func (t *tree) at(ctx context.Context, domain string) node {
	if i := slices.IndexFunc(t.known, func(n node) bool { return n.domain == domain }); i >= 0 {
		return t.known[i]
	}
	name := "_dmarc." + domain
	n := node{domain: domain}
	if !dnsname.Valid(name) {
		t.known = append(t.known, n)
		return n
	}
	texts, err := t.resolver.LookupTXT(ctx, name+".")
	if err != nil && !dns.NotFound(err) {
		n.err = err
	}
	count := 0
	for _, text := range texts {
		if rec, ok := parseRecord(text); ok {
			n.rec = rec
			count++
		}
	}
	n.found = count == 1 && n.err == nil
	t.known = append(t.known, n)
	t.note("TXT", name, texts, err)
	return n
}

// exists reports whether there is anything at domain, or below it: only
// NXDOMAIN says that there is not (RFC 9989, section 3.2.13).
func (t *tree) exists(ctx context.Context, domain string) (bool, error) {
	if !dnsname.Valid(domain) {
		return false, nil
	}
	addrs, err := t.resolver.LookupNetIP(ctx, "ip4", domain+".")
	var texts []string
	for _, addr := range addrs {
		texts = append(texts, addr.String())
	}
	t.note("A", domain, texts, err)
	if errors.Is(err, dns.ErrNXDomain) {
		return false, nil
	}
	if err != nil && !dns.NotFound(err) {
		return false, err
	}
	return true, nil
}

// note keeps a question and its answer as evidence.
func (t *tree) note(typ, name string, texts []string, err error) {
	answer := strings.Join(texts, " | ")
	if e := (*dns.Error)(nil); errors.As(err, &e) {
		err = e.Err // the question is there already
	}
	if err != nil {
		answer = err.Error()
	}
	t.asked = append(t.asked, Step{Type: typ, Name: mail.Printable(name, maxAnswer), Answer: mail.Printable(answer, maxAnswer)})
}

// A walk is a DNS Tree Walk from a domain.
type walk struct {
	start string
	found []node // with a record, from the longest name to the shortest
	org   string // the organizational domain
	err   error  // a question found no answer, so that org is not known
}

// walk goes up from start and finds its organizational domain (RFC 9989,
// sections 4.10 and 4.10.2). A long name is cut to seven labels after the first
// question, so that there are no more than eight.
func (t *tree) walk(ctx context.Context, start string) walk {
	w := walk{start: start}
	for domain := start; domain != ""; domain = parent(domain) {
		n := t.at(ctx, domain)
		if n.err != nil {
			w.err = n.err
			return w
		}
		if n.found {
			w.found = append(w.found, n)
			if n.rec.psd != psdUnknown {
				break
			}
		}
	}
	w.org = w.organization()
	return w
}

// parent returns the name to ask for after domain: empty after the last.
func parent(domain string) string {
	_, rest, _ := strings.Cut(domain, ".")
	for strings.Count(rest, ".") >= maxLabels {
		_, rest, _ = strings.Cut(rest, ".")
	}
	return rest
}

// organization selects the organizational domain among the domains with records
// (RFC 9989, section 4.10.2).
func (w walk) organization() string {
	if len(w.found) == 0 {
		return w.start
	}
	// The walk ended at the last one, be it for its psd tag or because no other
	// with fewer labels has a record.
	last := w.found[len(w.found)-1]
	if last.rec.psd == psdYes && last.domain != w.start {
		return oneBelow(w.start, last.domain)
	}
	return last.domain
}

// oneBelow returns the domain that has one label more than suffix and in which,
// or at which, name is. Name is below suffix.
func oneBelow(name, suffix string) string {
	above := strings.TrimSuffix(name, "."+suffix)
	return name[strings.LastIndexByte(above, '.')+1:]
}

// policy returns the record that applies where the start has none of its own:
// that of the organizational domain, or else that of the public suffix above it
// (RFC 9989, section 4.10.1).
func (w walk) policy() (node, bool) {
	if i := slices.IndexFunc(w.found, func(n node) bool { return n.domain == w.org }); i >= 0 {
		return w.found[i], true
	}
	if len(w.found) > 0 {
		return w.found[len(w.found)-1], true
	}
	return node{}, false
}
