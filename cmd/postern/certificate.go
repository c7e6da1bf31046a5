package main

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"
)

// A certificate is the key pair that the MX shows. It is read again on reload,
// and the one in use stays if the new one is broken.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// reload reads the files. On an error nothing has changed.
func (c *certificate) reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// expires returns until when the certificate is valid.
func (c *certificate) expires() time.Time { return c.current.Load().Leaf.NotAfter }

// serverConfig returns how to speak TLS as a server on port 25.
func (c *certificate) serverConfig() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
		MinVersion:     tls.VersionTLS12, // RFC 8996
		// Some large senders break off a session that they resume with a ticket
		// of TLS 1.3, and do not try again without (golang/go#70232).
		SessionTicketsDisabled: true,
	}
}
