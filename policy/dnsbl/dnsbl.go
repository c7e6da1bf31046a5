// Package dnsbl asks lists in the DNS about the address of a client (RFC 5782):
// those of bad senders, and those of good ones, which exempt.
//
// A judgement is a pure function of the address, the lists and what the DNS
// answers, and comes with its evidence. Only an answer that the list is known to
// give for its listings counts: no answer, an error, and what a hijacked or
// abandoned zone says of everybody never list anybody. Health takes a list out
// of use that does so.
package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"postern/internal/dns"
	"postern/mail"
)

// A List is a zone in the DNS that lists addresses.
type List struct {
	// Zone is where the list is, as "zen.spamhaus.org".
	Zone string
	// Name is what the list is called before strangers, for a zone may hold a
	// key that nobody else shall see; empty: Zone.
	Name string
	// Allow says that the addresses on it are good, and exempt from the others.
	Allow bool
	// Weight is what a listing adds to the score, or takes from it; 0 stands
	// for 1. Where Allow is set it means nothing.
	Weight int
	// Codes are the answers that count; nil: 127.0.0.[2..254], and where Allow
	// is set 127.0.[0..254].[1..3], all but the lowest of dnswl.org's trust.
	Codes Codes
}

// String returns the name that strangers may see.
func (l List) String() string {
	if l.Name != "" {
		return l.Name
	}
	return l.Zone
}

func (l List) weight() int {
	if l.Weight == 0 {
		return 1
	}
	return l.Weight
}

func (l List) codes() Codes {
	switch {
	case l.Codes != nil:
		return l.Codes
	case l.Allow:
		return allow
	}
	return block
}

// A Query is what is asked about a client.
type Query struct {
	IP        netip.Addr // an IPv4-mapped address counts as IPv4
	Lists     []List
	Threshold int // the score from which on a client counts as listed; 0 stands for 1
}

// A Verdict says what the lists together say of a client.
type Verdict string

// The verdicts.
const (
	Clear   Verdict = "clear"   // not on enough lists
	Listed  Verdict = "listed"  // on enough lists
	Exempt  Verdict = "exempt"  // on a list of good addresses
	Unknown Verdict = "unknown" // lists that would decide did not answer
)

// A Result is a verdict and how it came about.
type Result struct {
	Verdict Verdict
	// Score is the sum of the weights of the lists that the client is on. Where
	// the verdict is Unknown and the score reaches the threshold, the client is
	// bad enough, and only a list that may exempt it is silent.
	Score    int
	Listings []Listing // one for each list, in their order; none for an address that is not public
}

// A Listing is what one list says of a client.
type Listing struct {
	List    string // as strangers may see it
	State   State
	Codes   []netip.Addr // what the list answered
	Reason  string       // what the list says of a listing, printable: for the log, not for the client
	Problem string       // why State is Silent
}

// A State says whether a client is on a list.
type State string

// The states.
const (
	Absent  State = "absent"
	Present State = "present"
	Silent  State = "silent" // the list did not say, or said what cannot be
)

const (
	maxReason = 200 // octets
	// maxReasonWait bounds the wait for a reason, without which one can do.
	maxReasonWait = time.Second
)

// Check asks all lists of q at once, and returns what they say together. It
// waits as long as ctx lasts, if need be; lists that have not answered by then
// are silent.
func Check(ctx context.Context, r dns.Resolver, q Query) Result {
	ip := q.IP.Unmap()
	if !isPublic(ip) {
		return Result{Verdict: Clear}
	}
	result := Result{Listings: make([]Listing, len(q.Lists))}
	var wg sync.WaitGroup
	for i, list := range q.Lists {
		wg.Go(func() { result.Listings[i] = list.ask(ctx, r, ip) })
	}
	wg.Wait()
	result.judge(q)
	return result
}

// isPublic reports whether lists can know ip. Others, and those that are on
// lists for the sake of tests, are not asked about.
func isPublic(ip netip.Addr) bool { return ip.IsGlobalUnicast() && !ip.IsPrivate() }

// judge composes the verdict from the listings.
func (r *Result) judge(q Query) {
	exempt, exemptUnknown := false, false
	low, high := 0, 0 // of the score, whatever the silent lists would say
	for i, l := range r.Listings {
		list := q.Lists[i]
		switch {
		case l.State == Present && list.Allow:
			exempt = true
		case l.State == Silent && list.Allow:
			exemptUnknown = true
		case l.State == Present:
			r.Score += list.weight()
		case l.State == Silent:
			low += min(0, list.weight())
			high += max(0, list.weight())
		}
	}
	threshold := max(1, q.Threshold)
	switch {
	case exempt:
		r.Verdict, r.Score = Exempt, 0
	case r.Score+high < threshold:
		r.Verdict = Clear
	case r.Score+low >= threshold && !exemptUnknown:
		r.Verdict = Listed
	default:
		r.Verdict = Unknown
	}
}

// ask returns what l says of ip.
func (l List) ask(ctx context.Context, r dns.Resolver, ip netip.Addr) Listing {
	name := l.nameOf(ip)
	codes, err := r.LookupNetIP(ctx, "ip4", name)
	found := Listing{List: l.String(), Codes: codes}
	found.State, found.Problem = l.read(codes, err)
	if found.State == Present {
		found.Reason = reason(ctx, r, name)
	}
	return found
}

// nameOf returns what is asked for about ip.
func (l List) nameOf(ip netip.Addr) string {
	return dns.Reverse(ip) + "." + strings.Trim(l.Zone, ".")
}

// read interprets the answer of a list (RFC 5782, section 2.1).
func (l List) read(codes []netip.Addr, err error) (state State, problem string) {
	switch {
	case dns.NotFound(err):
		return Absent, ""
	case err != nil:
		return Silent, cause(err)
	}
	state = Absent
	for _, code := range codes {
		switch code = code.Unmap(); {
		case !loopback.Contains(code):
			return Silent, fmt.Sprintf("%v is no answer of a list", code)
		case trouble.Contains(code):
			return Silent, fmt.Sprintf("the list does not want to be asked so (%v)", code)
		case l.codes().match(code):
			state = Present
		}
	}
	return state, ""
}

// reason asks what l says of a listing (RFC 5782, section 2.1).
func reason(ctx context.Context, r dns.Resolver, name string) string {
	ctx, cancel := context.WithTimeout(ctx, maxReasonWait)
	defer cancel()
	texts, err := r.LookupTXT(ctx, name)
	if err != nil {
		return ""
	}
	return mail.Printable(strings.Join(texts, " / "), maxReason)
}

// cause returns err without the name that was asked for, in which a key may be.
func cause(err error) string {
	var asked *dns.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	return err.Error()
}
