package publish

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"strings"
)

// ReadChain reads a certificate without its key, which not everybody may read.
func ReadChain(file string) (*tls.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	chain := new(tls.Certificate)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			chain.Certificate = append(chain.Certificate, block.Bytes)
		}
	}
	if len(chain.Certificate) == 0 {
		return nil, errors.New("there is none in this file: it must be in PEM")
	}
	chain.Leaf, err = x509.ParseCertificate(chain.Certificate[0])
	return chain, err
}

// Trusted says why those who know the public authorities alone would not take pair
// for a certificate of hostname; nil if they would.
func Trusted(pair *tls.Certificate, hostname string) error {
	others := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			others.AddCert(cert)
		}
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: hostname, Intermediates: others})
	return err
}

// TLSA returns the record for the key of a certificate (RFC 7672, section 3.1).
func TLSA(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "3 1 1 " + hex.EncodeToString(sum[:])
}

// FitsTLSA reports whether a record "3 1 1 1a2b" fits the leaf, or with usage 2
// any certificate of the chain.
func FitsTLSA(pair *tls.Certificate, record string) bool {
	fields := strings.Fields(record)
	if len(fields) != 4 {
		return false
	}
	chain := pair.Certificate
	if fields[0] == "3" {
		chain = chain[:1]
	}
	return slices.ContainsFunc(chain, func(der []byte) bool {
		data := der
		if fields[1] == "1" {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return false
			}
			data = cert.RawSubjectPublicKeyInfo
		}
		switch fields[2] {
		case "1":
			sum := sha256.Sum256(data)
			data = sum[:]
		case "2":
			sum := sha512.Sum512(data)
			data = sum[:]
		}
		return strings.EqualFold(hex.EncodeToString(data), fields[3])
	})
}
