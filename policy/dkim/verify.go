package dkim

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"postern/internal/dns"
	"postern/internal/header"
)

// A check is the verification of one signature on its way.
type check struct {
	Result
	sig  signature
	keys []Key
	done bool // the verdict is known
}

func newCheck(f header.Field, parse func(header.Field) (signature, error)) *check {
	sig, err := parse(f)
	c := &check{sig: sig}
	c.Domain, c.Selector, c.Identity = sig.domain, sig.selector, sig.identity
	c.Algorithm, c.Created, c.Expires = sig.algorithm, sig.created, sig.expires
	c.FromSigned = sig.fromSigned()
	if err != nil {
		c.end(err)
	}
	return c
}

// end notes why the signature does not pass.
func (c *check) end(err error) {
	var p Problem
	if !errors.As(err, &p) {
		p = Problem{TempError, err.Error()} // nothing that we understand is the signer's fault
	}
	c.Verdict, c.Reason, c.done = p.Verdict, p.Reason, true
}

// run brings every check to its verdict: first what the signatures say of
// themselves, then their keys, then the body once for all, then the rest.
func (m *Message) run(ctx context.Context, r dns.Resolver, checks []*check, opt Options) error {
	var parts []part
	for _, c := range checks {
		if m.header.Exceeded() {
			c.end(unacceptable("%v", m.header.Stop))
		}
		if !c.done {
			c.checkTimes(opt)
		}
		if !c.done {
			c.findKeys(m.LookupKeys(ctx, r, c.sig.selector, c.sig.domain))
		}
		if !c.done {
			parts = append(parts, c.sig.body)
		}
	}
	if err := m.hashBody(parts...); err != nil {
		return err
	}
	for _, c := range checks {
		if !c.done {
			c.checkMessage(m)
		}
	}
	return nil
}

func (c *check) checkTimes(opt Options) {
	now := opt.now()
	switch {
	case !c.Expires.IsZero() && now.After(c.Expires.Add(clockSkew)):
		c.end(Problem{Fail, "signature has expired"})
	case c.Created.After(now.Add(clockSkew)):
		c.end(unacceptable("signature was made in the future"))
	}
}

// findKeys takes the keys of set that may have made the signature.
func (c *check) findKeys(set KeySet) {
	c.Question, c.Answer = set.Question, set.Answer
	if set.Err != nil {
		c.end(set.Err)
		return
	}
	var err error
	for _, k := range set.Keys {
		if e := c.usable(k); e != nil {
			err = e
			c.KeyBits, c.Testing = k.Bits, k.Testing
			continue
		}
		c.keys = append(c.keys, k)
	}
	if len(c.keys) == 0 {
		c.end(err)
	}
}

// usable says whether the key may have made this signature.
func (c *check) usable(k Key) error {
	if k.strict && !c.sig.sameDomain {
		return permerror("key does not allow i= below d=")
	}
	return k.allows(c.sig.algorithm)
}

// checkMessage compares the signature with the message, whose body has been
// hashed.
func (c *check) checkMessage(m *Message) {
	bodyHash, left := m.bodySum(c.sig.body)
	switch {
	case left < 0:
		c.end(permerror("l= is larger than the body"))
		return
	case subtle.ConstantTimeCompare(bodyHash[:], c.sig.bodyHash) != 1:
		c.end(Problem{Fail, "body has changed: its hash is not that in bh="})
		return
	}
	c.Partial = left
	if f, followed := m.followed(c.sig); followed {
		c.end(Problem{Fail, fmt.Sprintf("a line that is no field follows %s, which is signed", f.Name())})
		return
	}
	c.verifyHeader(m.headerHash(c.sig))
	if c.Verdict == Pass && left > 0 {
		// Anybody can put there what the signer never saw (RFC 6376, section 8.2).
		c.end(unacceptable("%d octets at the end of the body are not signed", left))
	}
}

// verifyHeader tries each key on the hash of the header.
func (c *check) verifyHeader(digest sum) {
	var err error
	for _, k := range c.keys {
		c.KeyBits, c.Testing = k.Bits, k.Testing
		if err = k.Verify(c.sig.algorithm, digest[:], c.sig.signed); err == nil {
			c.Verdict, c.done = Pass, true
			return
		}
	}
	c.end(err)
}

// headerHash returns the hash that sig signs (RFC 6376, section 3.7).
func (m *Message) headerHash(sig signature) sum {
	h := sha256.New()
	var buf []byte
	for _, f := range m.signed(sig.names, sig.field) {
		buf = sig.header.AppendField(buf[:0], f)
		h.Write(buf) // never fails (hash.Hash)
	}
	h.Write(sig.header.AppendUnsigned(buf[:0], sig.field, sig.tags))
	return sum(h.Sum(nil))
}

// String says what was found in one line, for logs.
func (r Result) String() string {
	text := fmt.Sprintf("dkim=%s d=%s s=%s a=%s", r.Verdict, r.Domain, r.Selector, r.Algorithm)
	if r.Reason != "" {
		text += " (" + r.Reason + ")"
	}
	return text
}
