// Package certificate has the certificates that a server shows. Their files are read
// again when they change, verified before they are shown, and chosen by name and by what
// the client can use.
package certificate

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Set is the key pairs of a server. One whose files are not good when they are read
// again stays as it was.
type Set struct {
	hostname string
	log      *slog.Logger

	mu     sync.Mutex // held while reloading
	pairs  []*keyPair // as they are configured
	choice atomic.Pointer[[]*tls.Certificate]
}

// Files are those of a certificate with its chain, and of its key, in PEM.
type Files struct{ Cert, Key string }

// A keyPair is one of them, and what became of reading it last.
type keyPair struct {
	Files
	current *tls.Certificate // nil: it never was good
	err     error
}

// New returns those of a server of that name. Nothing is read yet.
func New(files []Files, hostname string, log *slog.Logger) *Set {
	c := &Set{hostname: hostname, log: log}
	for _, f := range files {
		c.pairs = append(c.pairs, &keyPair{Files: f})
	}
	return c
}

// Reload reads the files. What is wrong with one leaves it as it was. If none is
// good, clients do not get to hear of STARTTLS.
func (c *Set) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, p := range c.pairs {
		errs = append(errs, c.read(p))
	}
	var usable []*tls.Certificate
	for _, p := range c.pairs {
		if p.current != nil {
			usable = append(usable, p.current)
		}
	}
	slices.SortStableFunc(usable, func(a, b *tls.Certificate) int { return c.rank(a) - c.rank(b) })
	c.choice.Store(&usable)
	return errors.Join(errs...)
}

// rank is lower for what is shown rather: a certificate for our name, and among
// these one without RSA, whose signatures are dear.
func (c *Set) rank(pair *tls.Certificate) (rank int) {
	if pair.Leaf.VerifyHostname(c.hostname) != nil {
		rank = 2
	}
	if _, isRSA := pair.Leaf.PublicKey.(*rsa.PublicKey); isRSA {
		rank++
	}
	return rank
}

// read reads one pair. The log hears what is new, once.
func (c *Set) read(p *keyPair) error {
	pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	now := time.Now()
	switch {
	case err != nil:
		err = fmt.Errorf("TLS certificate %s with key %s: %w", p.Cert, p.Key, err)
	case p.current != nil && slices.EqualFunc(pair.Certificate, p.current.Certificate, bytes.Equal):
		p.err = nil
		return nil
	case p.current != nil && !validAt(&pair, now) && validAt(p.current, now):
		err = fmt.Errorf("TLS certificate %s is valid from %s to %s, and the one before it is valid now", p.Cert,
			pair.Leaf.NotBefore.Format(time.DateTime), pair.Leaf.NotAfter.Format(time.DateTime))
	}
	if err != nil {
		if p.err == nil || p.err.Error() != err.Error() {
			c.log.Error("certificate not loaded, the old one stays", "cause", err)
		}
		p.err = err
		return err
	}
	p.current, p.err = &pair, nil
	c.log.Info("certificate loaded", "file", p.Cert, "names", strings.Join(pair.Leaf.DNSNames, " "), "until", pair.Leaf.NotAfter)
	if err := pair.Leaf.VerifyHostname(c.hostname); err != nil && len(c.pairs) == 1 {
		c.log.Warn("the certificate is not for our name", "hostname", c.hostname, "cause", err)
	}
	if !validAt(&pair, now) {
		c.log.Warn("the certificate is not valid now", "file", p.Cert, "from", pair.Leaf.NotBefore, "until", pair.Leaf.NotAfter)
	}
	return nil
}

func validAt(pair *tls.Certificate, now time.Time) bool {
	return now.After(pair.Leaf.NotBefore) && now.Before(pair.Leaf.NotAfter)
}

// None reports whether there is nothing to show.
func (c *Set) None() bool { return len(*c.choice.Load()) == 0 }

// Files returns the paths of all files.
func (c *Set) Files() []string {
	var files []string
	for _, p := range c.pairs {
		files = append(files, p.Cert, p.Key)
	}
	return files
}

// choose returns the first that is for the name which the client asked for and
// that it can use; or else the first that it can use: most senders look at no
// name, and the others have to be told which one it is that is wrong.
func (c *Set) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	usable := *c.choice.Load()
	anyName := *hello
	anyName.ServerName = ""
	for _, h := range []*tls.ClientHelloInfo{hello, &anyName} {
		for _, pair := range usable {
			if h.SupportsCertificate(pair) == nil {
				return pair, nil
			}
		}
	}
	return usable[0], nil
}

// Config returns how to speak TLS as a server on port 25.
func (c *Set) Config() *tls.Config {
	return &tls.Config{
		GetCertificate: c.choose,
		MinVersion:     tls.VersionTLS12, // RFC 8996
		// Some large senders break off a session that they resume with a ticket
		// of TLS 1.3, and do not try again without (golang/go#70232).
		SessionTicketsDisabled: true,
	}
}

// A Status is what a certificate is, and why a newer one is not shown.
type Status struct {
	File    string    `json:"file"`
	Names   []string  `json:"names,omitempty"`
	Key     string    `json:"key,omitempty"` // "RSA", "ECDSA" or "Ed25519"
	Expires time.Time `json:"expires,omitzero"`
	Refused string    `json:"refused,omitempty"`
}

// Status returns what is shown.
func (c *Set) Status() []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Status
	for _, p := range c.pairs {
		st := Status{File: p.Cert}
		if p.current != nil {
			leaf := p.current.Leaf
			st.Names, st.Key, st.Expires = leaf.DNSNames, leaf.PublicKeyAlgorithm.String(), leaf.NotAfter
		}
		if p.err != nil {
			st.Refused = p.err.Error()
		}
		all = append(all, st)
	}
	return all
}
