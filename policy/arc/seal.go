package arc

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/policy/dkim"
)

// signatures returns the ARC-Message-Signatures of the sets from, to but not
// including to.
func (c *chain) signatures(from, to int) []header.Field {
	fields := make([]header.Field, 0, to-from)
	for _, l := range c.links[from:to] {
		fields = append(fields, l.signature)
	}
	return fields
}

// verifySeals verifies every seal, from the last to the first (RFC 8617, section
// 5.2, step 6), and stops at the first that is bad.
func (c *chain) verifySeals(ctx context.Context, r dns.Resolver) {
	digests := c.digests()
	for i, l := range slices.Backward(c.links) {
		if c.result.Verdict == Fail {
			return
		}
		seal := c.verifySeal(ctx, r, l, digests[i][:])
		c.result.Sets[i].Seal = seal
		if seal.Verdict != dkim.Pass {
			c.end("seal", i+1, seal)
		}
	}
}

// digests returns the hash that each seal signs: of all sets before its own, its
// own results and signature, and itself without b= (RFC 8617, section 5.1.1). The
// sets are not many and the header is not long, so that each may begin anew.
func (c *chain) digests() [][sha256.Size]byte {
	digests := make([][sha256.Size]byte, len(c.links))
	var sealed []byte
	for i, l := range c.links {
		sealed = dkim.Relaxed.AppendField(sealed, l.results)
		sealed = dkim.Relaxed.AppendField(sealed, l.signature)
		digests[i] = sha256.Sum256(dkim.Relaxed.AppendUnsigned(sealed, l.seal, l.tags))
		sealed = dkim.Relaxed.AppendField(sealed, l.seal)
	}
	return digests
}

// verifySeal verifies the seal of l, which signs digest.
func (c *chain) verifySeal(ctx context.Context, r dns.Resolver, l link, digest []byte) dkim.Result {
	result := dkim.Result{Domain: l.set.Domain, Selector: l.set.Selector, Algorithm: l.algorithm}
	keys := c.msg.LookupKeys(ctx, r, l.set.Selector, l.set.Domain)
	result.Question, result.Answer = keys.Question, keys.Answer
	err := keys.Err
	for _, k := range keys.Keys {
		result.KeyBits, result.Testing = k.Bits, k.Testing
		if err = k.Verify(l.algorithm, digest, l.signed); err == nil {
			result.Verdict = dkim.Pass
			return result
		}
	}
	problem := dkim.Problem{Verdict: dkim.TempError, Reason: "no key"}
	errors.As(err, &problem)
	result.Verdict, result.Reason = problem.Verdict, problem.Reason
	return result
}
