// Package spf judges whether a client may send mail in the name of a domain, by
// the record that the domain publishes (RFC 7208).
//
// A judgement is a pure function of what the session knows and what the DNS
// answers. It comes with its evidence: the term of the record that decided, the
// way there through include and redirect, and every question that was asked.
// What is done about a verdict is for others to decide.
//
// Nothing that a client or a record says makes it run on: at most ten terms of
// all records together ask the DNS, each a bounded number of questions, and the
// caller's context ends it all.
package spf

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"postern/internal/dns"
	"postern/mail"
)

// A Verdict is a result of check_host() (RFC 7208, section 2.6), in the spelling
// of Authentication-Results (RFC 8601, section 2.7.2).
type Verdict string

// The verdicts.
const (
	None      Verdict = "none"      // no domain, or no record
	Neutral   Verdict = "neutral"   // the domain says nothing of this client
	Pass      Verdict = "pass"      // the client is authorized
	Fail      Verdict = "fail"      // the client is not authorized
	SoftFail  Verdict = "softfail"  // the client is probably not authorized
	TempError Verdict = "temperror" // the DNS gave no answer: a later try may bring one
	PermError Verdict = "permerror" // the record cannot be interpreted; this is not Fail
)

// An Identity says which name a verdict is about.
type Identity string

// The identities of RFC 7208, sections 2.3 and 2.4.
const (
	Hello    Identity = "helo"
	MailFrom Identity = "mailfrom"
)

// maxHello is the longest domain in a command (RFC 5321, section 4.5.3.1.2). What
// exceeds it is no name, and not worth putting a thousand times into another.
const maxHello = 255

// A Query is what a session knows of a client and its message.
type Query struct {
	IP     netip.Addr   // the client; an IPv4-mapped address counts as IPv4
	Hello  string       // the argument of HELO or EHLO, as it was sent
	Sender mail.Address // the reverse-path; may be null

	Receiver string    // our host name, for the macro %{r} in explanations
	Now      time.Time // for the macro %{t} in explanations
}

// A Result is a verdict and how it came about. All strings in it that come from
// the DNS are printable ASCII, cut to a sane length; Domain is what a client said.
type Result struct {
	Verdict  Verdict
	Identity Identity
	Domain   string // whose record was asked for: A-labels, no final dot

	// Mechanism is the directive that matched, as it was published, and
	// "default" if none did (RFC 7208, section 9.1). It is empty where the
	// verdict is none, temperror or permerror.
	Mechanism string
	// Chain are the include and redirect terms, the outermost first, that led
	// from the record of Domain to the one in which Mechanism, or Problem, is.
	Chain []string
	// Problem tells an administrator why the verdict is none, temperror or
	// permerror.
	Problem string
	// Explanation is what the domain wants a client to hear that failed
	// (RFC 7208, section 6.2); empty if it says nothing, or nothing valid.
	Explanation string

	// Strict reports whether all that the record of Domain says is -all: the
	// domain sends no mail, and no forwarder can have broken anything.
	Strict bool

	Lookups int      // terms that asked the DNS, of which ten are allowed
	Voids   int      // those of them that found nothing
	Asked   []Lookup // all questions, in order
}

// CheckHello judges the name with which the client introduced itself (RFC 7208,
// section 2.3). Where that is an address literal or no fully qualified domain
// name, the verdict is None.
func CheckHello(ctx context.Context, r dns.Resolver, q Query) Result {
	q.Sender = mail.Address{Domain: q.Hello}
	return run(ctx, r, q, Hello)
}

// CheckMailFrom judges the reverse-path (RFC 7208, section 2.4). The null one
// stands for postmaster at the name in HELO.
func CheckMailFrom(ctx context.Context, r dns.Resolver, q Query) Result {
	if q.Sender.Domain == "" {
		q.Sender = mail.Address{Domain: q.Hello}
	}
	return run(ctx, r, q, MailFrom)
}

func run(ctx context.Context, r dns.Resolver, q Query, id Identity) Result {
	domain := strings.TrimSuffix(toASCII(q.Sender.Domain), ".")
	c := check{
		resolver: r,
		query:    q,
		ip:       q.IP.Unmap().WithZone(""), // section 5: ::ffff:192.0.2.1 is IPv4
		result:   Result{Identity: id, Domain: domain, Asked: make([]Lookup, 0, 4)},
	}
	c.query.Hello = strings.TrimSuffix(q.Hello[:min(len(q.Hello), maxHello)], ".") // no macro has the final dot
	c.query.Sender.Domain = domain
	if q.Sender.Local == "" {
		c.query.Sender.Local = "postmaster" // section 4.3
	}
	switch {
	case !c.ip.IsValid():
		return c.end(None, none("the client has no IP address"))
	case !isHostName(domain):
		return c.end(None, none("not a fully qualified domain name"))
	}
	return c.end(c.host(ctx, domain))
}

// end returns the result of a check that ended with v or with a problem.
func (c *check) end(v Verdict, err error) Result {
	c.result.Verdict = v
	if err != nil {
		c.result.Mechanism = ""
		c.result.Verdict, c.result.Problem = explain(err)
	}
	c.result.Chain = c.chain
	return c.result
}
