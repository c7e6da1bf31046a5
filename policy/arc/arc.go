// Package arc validates the Authenticated Received Chain of a message (RFC 8617):
// what the hosts that forwarded it say they saw, each under its own seal.
//
// A chain that passes proves who said what, in which order. It does not prove
// that it is true: whoever acts on it has to know which sealers to trust. The
// package reports them, and decides nothing.
//
// There is no library to use: the one that exists for Go demands that every
// signature of the chain still fits the message, which the chain is there to
// make unnecessary, and passes chains that are malformed.
package arc

import (
	"context"
	"fmt"

	"postern/internal/dns"
	"postern/policy/dkim"
)

// A Verdict is the state of a chain (RFC 8617, section 4.4), or TempError.
type Verdict string

// The verdicts.
const (
	None      Verdict = "none"      // there is no chain
	Pass      Verdict = "pass"      // every seal is good, and the message is as the last sealer left it
	Fail      Verdict = "fail"      // anything else, for good
	TempError Verdict = "temperror" // a key could not be had now, and nothing else is wrong
)

// A Result is what was found out about a chain.
type Result struct {
	Verdict Verdict
	Reason  string // why it is Fail or TempError, for people

	// Sets are the links of the chain, the oldest first, as far as it is one:
	// none if its structure is wrong.
	Sets []Set

	// OldestPass is the instance of the oldest set whose signature still fits
	// the message as it is now, all between included, and 0 if that is the
	// first: the message is as its author's host sent it. It is set if the
	// Verdict is Pass.
	OldestPass int
}

// A Set is one link: what one host said, and its two signatures.
type Set struct {
	Instance int
	Domain   string // of the seal (d=): lower case, A-labels
	Selector string // likewise (s=)
	CV       string // what the sealer thought of the chain before it: "none", "pass", "fail"

	// Payload is what it found: the value of an Authentication-Results field
	// (RFC 8617, section 4.1.1), on one line.
	Payload string

	// Seal is the verification of the ARC-Seal, Message that of the
	// ARC-Message-Signature. A zero Verdict means that it was not verified: the
	// result was clear without it.
	Seal, Message dkim.Result
}

// maxSets is how long a chain may be (RFC 8617, section 4.2.1).
const maxSets = 50

// Verify validates the chain of m, as RFC 8617, section 5.2, says. It shares
// with DKIM the keys and the hashes of the body. The error is that of the Source
// of m, and no fault of the message.
func Verify(ctx context.Context, r dns.Resolver, m *dkim.Message, opt dkim.Options) (Result, error) {
	if h := m.Header(); h.Exceeded() {
		return Result{Verdict: Fail, Reason: h.Stop.String()}, nil
	}
	links, err := collect(m.Header())
	switch {
	case err != nil:
		return Result{Verdict: Fail, Reason: err.Error()}, nil
	case len(links) == 0:
		return Result{Verdict: None}, nil
	}
	c := &chain{msg: m, links: links, result: Result{Verdict: Pass, Sets: make([]Set, len(links))}}
	for i, l := range links {
		c.result.Sets[i] = l.set
	}
	if err := c.checkStatus(); err != nil {
		return Result{Verdict: Fail, Reason: err.Error(), Sets: c.result.Sets}, nil
	}
	if err := c.verifyMessage(ctx, r, opt); err != nil {
		return Result{}, err
	}
	c.verifySeals(ctx, r)
	if c.result.Verdict != Pass {
		c.result.OldestPass = 0
	}
	return c.result, nil
}

// A chain is the validation of a chain on its way: its result is Pass until
// something is found.
type chain struct {
	msg    *dkim.Message
	links  []link // by instance, from 1
	result Result
}

// end notes that a signature did not pass. What is wrong for good outweighs
// what may be right later.
func (c *chain) end(what string, instance int, r dkim.Result) {
	verdict := Fail
	if r.Verdict == dkim.TempError {
		verdict = TempError
	}
	if c.result.Verdict == Pass || c.result.Verdict == TempError && verdict == Fail {
		c.result.Verdict = verdict
		c.result.Reason = fmt.Sprintf("%s %d: %s", what, instance, r.Reason)
	}
}

// checkStatus compares what the sealers say of the chain before them with where
// they stand in it: nobody is before the first, and nobody may have sealed what
// had failed.
func (c *chain) checkStatus() error {
	for i := len(c.links) - 1; i >= 0; i-- {
		want := "pass"
		if i == 0 {
			want = "none"
		}
		switch cv := c.links[i].set.CV; {
		case cv == "fail":
			return fmt.Errorf("chain had failed before seal %d", i+1)
		case cv != want:
			return fmt.Errorf("seal %d says cv=%s", i+1, cv)
		}
	}
	return nil
}

// verifyMessage verifies the signature of the last set, which has to fit, and
// then those before it, which need not: who forwards a message may change it.
func (c *chain) verifyMessage(ctx context.Context, r dns.Resolver, opt dkim.Options) error {
	n := len(c.links)
	last, err := c.msg.VerifyARC(ctx, r, c.signatures(n-1, n), opt)
	if err != nil {
		return err
	}
	c.result.Sets[n-1].Message = last[0]
	if last[0].Verdict != dkim.Pass {
		c.end("message signature", n, last[0])
		return nil
	}
	older, err := c.msg.VerifyARC(ctx, r, c.signatures(0, n-1), opt)
	if err != nil {
		return err
	}
	for i := range older {
		c.result.Sets[i].Message = older[i]
		if older[i].Verdict != dkim.Pass {
			c.result.OldestPass = i + 2
		}
	}
	return nil
}
