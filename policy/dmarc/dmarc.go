// Package dmarc judges whether the domain in the From field of a message stands
// behind it, and what that domain wants to be done if it does not (RFC 9989).
//
// What SPF and DKIM found comes in as plain values; records and organizational
// domains are found by walks up the tree of the DNS, with no list of public
// suffixes. A verdict has its evidence: every question, the record that applies,
// and for each identifier how it is aligned.
//
// A question that nobody answers makes no verdict of fail: it makes temperror,
// unless the message passes without it. What is asked is bounded, by eight
// questions for each domain and by the number of domains.
package dmarc

import (
	"context"
	"strings"

	"postern/internal/dns"
)

// A Verdict is a result in the spelling of Authentication-Results (RFC 8601,
// section 2.7, and RFC 9989, section 9).
type Verdict string

// The verdicts.
const (
	None      Verdict = "none"      // no record applies
	Pass      Verdict = "pass"      // an aligned identifier was authenticated
	Fail      Verdict = "fail"      // none was
	TempError Verdict = "temperror" // it cannot be said now; a later try may tell
	PermError Verdict = "permerror" // the message does not have one author domain, so nothing can be said
)

// A Policy is what a domain wants to be done with mail that fails (RFC 9989,
// section 4.7): a Domain Owner Assessment Policy.
type Policy string

// The policies, from the mildest.
const (
	PolicyNone Policy = "none"
	Quarantine Policy = "quarantine"
	Reject     Policy = "reject"
)

// A Method is what authenticated an identifier.
type Method string

// The methods of RFC 9989, section 4.4.
const (
	SPF  Method = "spf"
	DKIM Method = "dkim"
)

// An Identifier is a domain that SPF or DKIM looked at. For SPF it is that of the
// MAIL FROM identity, which is the name in HELO for a null reverse-path (RFC
// 9989, section 4.4.2); for DKIM it is d=.
type Identifier struct {
	Method    Method
	Domain    string // in A-labels, of whatever case
	Pass      bool   // it is authenticated
	TempError bool   // it might have been, had the DNS answered
}

// A Query is a message whose author is to be judged.
type Query struct {
	Author      Author
	Identifiers []Identifier // those beyond MaxIdentifiers are not looked at

	// MaxAuthors is how many domains the From field may have. All are judged,
	// and the worst verdict is that of the message (RFC 9989, section 11.5);
	// with more, the verdict is PermError. Zero stands for one.
	MaxAuthors int

	// Thorough finds the alignment of all that is authenticated, as reports tell
	// it (RFC 9990), and not only as much as the verdict depends on.
	Thorough bool
}

// MaxIdentifiers is how many identifiers of a message are looked at.
const MaxIdentifiers = 16

// An Alignment says how an identifier stands to the author domain (RFC 9989,
// section 4.4).
type Alignment string

// The alignments.
const (
	NotNeeded Alignment = ""        // the verdict did not depend on it
	Unaligned Alignment = "no"      // another organization
	Strict    Alignment = "strict"  // the same domain
	Relaxed   Alignment = "relaxed" // the same organizational domain
	Unknown   Alignment = "unknown" // the DNS gave no answer
)

// A Finding is an Identifier and its alignment.
type Finding struct {
	Identifier
	Alignment Alignment
	Org       string // its organizational domain; empty: not needed
}

// A Result is a verdict and how it came about. What comes from the DNS is
// printable ASCII of a sane length.
type Result struct {
	Verdict Verdict
	Author  string // the author domain; empty: there is not one
	Org     string // its organizational domain; empty: not needed

	RecordDomain string // where the record that applies was found; empty: none does
	Record       string // what it says
	Policy       Policy // what it asks for: the value of Tag, or none by default
	Tag          string // "p", "sp" or "np"
	Testing      bool   // t=y: the policy is to be applied one level below

	// Disposition is what the domain wants to be done with this message: Policy,
	// or the next milder one if Testing. It is PolicyNone unless the verdict is
	// Fail. What is done is for the receiver to decide.
	Disposition Policy

	Findings []Finding
	Asked    []Step
	// Problem tells an administrator why the verdict is none, temperror or
	// permerror, or what is wrong with a From field that could be understood.
	Problem string
}

// Check judges the author of a message.
func Check(ctx context.Context, r dns.Resolver, q Query) Result {
	if problem, verdict := q.Author.unfit(max(q.MaxAuthors, 1)); problem != "" {
		return Result{Verdict: verdict, Disposition: PolicyNone, Problem: problem}
	}
	q.Identifiers = q.Identifiers[:min(len(q.Identifiers), MaxIdentifiers)]
	c := check{tree: tree{resolver: r}, query: q}
	var worst Result
	for i, domain := range q.Author.Domains {
		if res := c.author(ctx, domain); i == 0 || res.severity() > worst.severity() {
			worst = res
		}
	}
	worst.Asked = c.tree.asked
	if worst.Problem == "" {
		worst.Problem = q.Author.Malformed
	}
	return worst
}

// severity orders the results for the authors of one message: what is certain
// and grave comes first, and a pass last.
func (r Result) severity() int {
	switch {
	case r.Verdict == Fail && r.Disposition == Reject:
		return 5
	case r.Verdict == Fail && r.Disposition == Quarantine:
		return 4
	case r.Verdict == TempError:
		return 3
	case r.Verdict == Fail:
		return 2
	case r.Verdict == None:
		return 1
	}
	return 0
}

// isWithin reports whether name is domain or below it.
func isWithin(name, domain string) bool {
	rest, ok := strings.CutSuffix(name, domain)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}
