// Package dkim verifies DomainKeys Identified Mail signatures (RFC 6376, with
// RFC 8301, RFC 8463 and RFC 8616).
//
// It reads the body once, in whatever pieces it comes, and hashes each canonical
// form of it once for all signatures. Time and memory are bounded whatever the
// message is: linear in its size, with a fixed number of signatures, keys and
// names looked at. It verifies; it neither signs nor decides what to do.
//
// Verify and sign need the same parser, and emersion/go-msgauth has both. Its
// signer serves the tests, and its verifier stands beside ours in them; it is
// not what faces the world, because it takes quadratic time for a body of empty
// lines and for a long h=, takes "b=" inside another tag for the signature,
// compares i= and d= by case, ignores the key flag t=s, refuses every l=, and
// says neither which selector, algorithm and key it used nor which part of the
// signature names it in a report. Nor does it export the canonical forms and the
// keys that ARC needs too.
package dkim

import (
	"context"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
)

// A Verdict is a result of RFC 8601, section 2.7.1.
type Verdict string

// The verdicts.
const (
	None      Verdict = "none"      // the message is not signed
	Pass      Verdict = "pass"      // the signature is good
	Fail      Verdict = "fail"      // the signature does not fit the message, or has expired
	Policy    Verdict = "policy"    // the signature may be good, but is not of a kind that we accept
	Neutral   Verdict = "neutral"   // the signature cannot be understood
	TempError Verdict = "temperror" // the key could not be had now
	PermError Verdict = "permerror" // the key does not exist, or does not allow this signature
)

// A Result is what was found out about one signature. What the signature says
// is there as far as it could be read, whatever the Verdict.
type Result struct {
	Verdict Verdict
	Reason  string // why it is not Pass, for people; empty if it is

	Domain    string    // d=, who takes responsibility: lower case, A-labels
	Selector  string    // s=, likewise
	Identity  string    // i=, on whose behalf, as the signer wrote it
	Algorithm string    // a=, "rsa-sha256"
	KeyBits   int       // 0: no key was found
	Prefix    string    // the beginning of b=, long enough to tell the signature from its neighbours (RFC 6008)
	Created   time.Time // t=; zero if the signature does not say
	Expires   time.Time // x=; zero likewise

	// Testing is what the key says of itself (t=y): the signer is trying out
	// DKIM, and a signature that fails is to be treated as none.
	Testing bool
	// Partial is the number of octets at the end of the canonical body that the
	// signature leaves out (l=).
	Partial int64
	// FromSigned reports whether the signature covers From, as each of DKIM must
	// and one of ARC need not.
	FromSigned bool

	Question string // what the DNS was asked, "TXT s1._domainkey.example.org"; empty: nothing
	Answer   string // what it said, in brief
}

// A Report is what Verify found.
type Report struct {
	Results []Result // one per signature, from the top of the header
	Ignored int      // signatures below those, which were not looked at
}

// Options say how much is looked at, and when that is. The zero value is the
// default.
type Options struct {
	Signatures int       // how many are looked at; 0: DefaultSignatures
	Now        time.Time // zero: now
}

// DefaultSignatures is how many signatures of a message are looked at. Honest
// ones have one for each host that had reason to sign: two or three.
const DefaultSignatures = 8

// clockSkew is how far the signer's clock may be from ours.
const clockSkew = 5 * time.Minute

func (o Options) now() time.Time {
	if o.Now.IsZero() {
		return time.Now()
	}
	return o.Now
}

// Verify verifies the DKIM signatures of the message in src. The error is that
// of the Source, and no fault of the message.
func Verify(ctx context.Context, r dns.Resolver, src mail.Source, opt Options) (Report, error) {
	h, err := header.Read(src, header.Limits{})
	if err != nil {
		return Report{}, err
	}
	return NewMessage(src, h).Verify(ctx, r, opt)
}

// Verify verifies the DKIM signatures of m.
func (m *Message) Verify(ctx context.Context, r dns.Resolver, opt Options) (Report, error) {
	limit := opt.Signatures
	if limit == 0 {
		limit = DefaultSignatures
	}
	var (
		report Report
		checks []*check
	)
	for f := range m.header.All("DKIM-Signature") {
		if len(checks) == limit {
			report.Ignored++
			continue
		}
		checks = append(checks, newCheck(f, parseSignature))
	}
	if err := m.run(ctx, r, checks, opt); err != nil {
		return Report{}, err
	}
	for _, c := range checks {
		report.Results = append(report.Results, c.Result)
	}
	nameSignatures(report.Results, checks)
	return report, nil
}

// VerifyARC verifies fields of m, each an ARC-Message-Signature, and returns a
// result for each. It does not look at their instances.
func (m *Message) VerifyARC(ctx context.Context, r dns.Resolver, fields []header.Field, opt Options) ([]Result, error) {
	checks := make([]*check, len(fields))
	for i, f := range fields {
		checks[i] = newCheck(f, parseARC)
	}
	if err := m.run(ctx, r, checks, opt); err != nil {
		return nil, err
	}
	results := make([]Result, len(checks))
	for i, c := range checks {
		results[i] = c.Result
	}
	return results, nil
}

// nameSignatures gives each result the beginning of its signature: eight
// characters, or as many as it takes to be the only one (RFC 6008, section 4).
func nameSignatures(results []Result, checks []*check) {
	for i, c := range checks {
		b := c.sig.value
		n := min(8, len(b))
		for j, other := range checks {
			for o := other.sig.value; j != i && o != b && n < len(b) && len(o) >= n && o[:n] == b[:n]; {
				n++
			}
		}
		results[i].Prefix = b[:n]
	}
}
