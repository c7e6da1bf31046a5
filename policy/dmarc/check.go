package dmarc

import (
	"context"
	"fmt"
	"strings"

	"postern/mail"
)

// A check is one message under judgement.
type check struct {
	tree  tree
	query Query
}

// author judges one author domain (RFC 9989, section 5.3).
func (c *check) author(ctx context.Context, domain string) Result {
	res := Result{Author: domain, Disposition: PolicyNone}
	n, org, err := c.discover(ctx, domain)
	switch {
	case err != nil:
		return res.end(TempError, "%v", err)
	case !n.found:
		res.Org = org
		return res.end(None, "no record for %s", domain)
	}
	res.RecordDomain, res.Record, res.Org = n.domain, mail.Printable(n.rec.text, maxAnswer), org
	if !n.rec.usable {
		return res.end(None, "the record of %s has no valid policy, and no rua", n.domain)
	}
	if n.rec.repaired {
		res.Problem = "the record has no valid policy, which counts as none"
	}
	passed, err := c.align(ctx, &res, n.rec)
	if err != nil && !passed {
		return res.end(TempError, "%v", err)
	}
	return c.apply(ctx, res, n, passed)
}

// end returns res with a verdict and the reason for it.
func (r Result) end(v Verdict, format string, args ...any) Result {
	r.Verdict, r.Problem = v, mail.Printable(fmt.Sprintf(format, args...), maxAnswer)
	return r
}

// discover finds the record that applies to an author domain: its own, or one
// that a walk finds (RFC 9989, section 4.10.1). It returns the organizational
// domain too if it took a walk. If there is no record, the node is not found.
func (c *check) discover(ctx context.Context, domain string) (n node, org string, err error) {
	if n := c.tree.at(ctx, domain); n.found {
		return n, "", nil
	}
	w := c.tree.walk(ctx, domain)
	if w.err != nil {
		return node{}, "", w.err
	}
	n, _ = w.policy()
	return n, w.org, nil
}

// align finds out which identifiers are aligned with the author domain (RFC 9989,
// section 4.10.2), and reports whether an authenticated one is. It takes walks
// only as long as the verdict depends on them. The error says that without an
// answer it cannot be told that none is.
func (c *check) align(ctx context.Context, res *Result, rec record) (passed bool, err error) {
	for _, id := range c.query.Identifiers {
		f := Finding{Identifier: id}
		f.Domain = strings.ToLower(strings.TrimSuffix(id.Domain, "."))
		switch {
		case f.Domain == res.Author:
			f.Alignment = Strict
			passed = passed || id.Pass
		case rec.strict(id.Method):
			f.Alignment = Unaligned
		}
		res.Findings = append(res.Findings, f)
	}
	for i := range res.Findings {
		f := &res.Findings[i]
		if passed && !c.query.Thorough {
			break
		}
		if f.Alignment == NotNeeded && (f.Pass || f.TempError) {
			err = cmpError(err, c.relax(ctx, res, f))
		}
		passed = passed || f.Pass && f.Alignment == Relaxed
	}
	for _, f := range res.Findings {
		if f.TempError && (f.Alignment == Strict || f.Alignment == Relaxed) {
			err = cmpError(err, fmt.Errorf("%s of %s: no answer from the DNS", f.Method, f.Domain))
		}
	}
	return passed, err
}

// cmpError returns the first error.
func cmpError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// relax finds out whether f is in relaxed alignment: has the organizational
// domain of the author. That of f is f itself or above it, so that what is not
// within the author's needs no walk.
//
// Nor does one in another top-level domain: nobody gains by its silence.
func (c *check) relax(ctx context.Context, res *Result, f *Finding) error {
	if topLevel(f.Domain) != topLevel(res.Author) {
		f.Alignment = Unaligned
		return nil
	}
	if res.Org == "" {
		w := c.tree.walk(ctx, res.Author)
		if w.err != nil {
			f.Alignment = Unknown
			return w.err
		}
		res.Org = w.org
	}
	if !isWithin(f.Domain, res.Org) {
		f.Alignment = Unaligned
		return nil
	}
	w := c.tree.walk(ctx, f.Domain)
	if w.err != nil {
		f.Alignment = Unknown
		return w.err
	}
	f.Org, f.Alignment = w.org, Unaligned
	if w.org == res.Org {
		f.Alignment = Relaxed
	}
	return nil
}

func topLevel(domain string) string { return domain[strings.LastIndexByte(domain, '.')+1:] }

// apply completes res with the policy in n and the verdict (RFC 9989, sections
// 4.7 and 4.10.1). Whether the author domain exists is asked only where it makes
// a difference for a message that failed.
func (c *check) apply(ctx context.Context, res Result, n node, passed bool) Result {
	res.Policy, res.Tag, res.Testing = n.rec.p, "p", n.rec.testing
	if below := n.domain != res.Author; below {
		if n.rec.sp != "" {
			res.Policy, res.Tag = n.rec.sp, "sp"
		}
		if np := n.rec.np; np != "" && np != res.Policy && !passed {
			exists, err := c.tree.exists(ctx, res.Author)
			if err != nil {
				res.Policy, res.Tag = "", ""
				return res.end(TempError, "%v", err)
			}
			if !exists {
				res.Policy, res.Tag = np, "np"
			}
		}
	}
	if passed {
		res.Verdict = Pass
		return res
	}
	res.Verdict, res.Disposition = Fail, res.Applied()
	return res
}

// Applied returns the policy that holds for the message, whether it passed or not:
// while the owner of the domain is testing, the next milder one (RFC 9989, section
// 4.7, the tag t).
func (r Result) Applied() Policy {
	if r.Testing && r.Policy != "" { // else it is not known
		return r.Policy.milder()
	}
	return r.Policy
}

// milder returns the policy one level below p.
func (p Policy) milder() Policy {
	if p == Reject {
		return Quarantine
	}
	return PolicyNone
}
