package publish

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
)

// newChain returns a certificate for host, and the authority's that signed it.
func newChain(t *testing.T, host string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuerKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain := new(tls.Certificate)
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	for _, c := range []struct {
		of  *x509.Certificate
		key *ecdsa.PrivateKey
	}{{leaf, key}, {issuer, issuerKey}} {
		der, err := x509.CreateCertificate(rand.Reader, c.of, issuer, c.key.Public(), issuerKey)
		if err != nil {
			t.Fatal(err)
		}
		chain.Certificate = append(chain.Certificate, der)
	}
	if chain.Leaf, err = x509.ParseCertificate(chain.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	return chain
}

// A record may hold the certificate or its key, whole or a sum of it; the
// authority's only where the usage says so (RFC 6698, section 2.1).
func TestRFC7672_FitsTLSA(t *testing.T) {
	chain := newChain(t, "mx.example.com")
	issuer, err := x509.ParseCertificate(chain.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	cert, key := chain.Certificate[0], chain.Leaf.RawSubjectPublicKeyInfo
	for record, want := range map[string]bool{
		TLSA(chain.Leaf): true,
		fmt.Sprintf("3 1 1 %X", sha256.Sum256(key)):                            true,
		fmt.Sprintf("3 1 2 %x", sha512.Sum512(key)):                            true,
		fmt.Sprintf("3 1 0 %x", key):                                           true,
		fmt.Sprintf("3 0 1 %x", sha256.Sum256(cert)):                           true,
		fmt.Sprintf("2 1 1 %x", sha256.Sum256(issuer.RawSubjectPublicKeyInfo)): true,
		fmt.Sprintf("2 0 1 %x", sha256.Sum256(issuer.Raw)):                     true,

		fmt.Sprintf("3 1 1 %x", sha256.Sum256(issuer.RawSubjectPublicKeyInfo)): false,
		fmt.Sprintf("3 1 1 %x", sha256.Sum256(cert)):                           false,
		fmt.Sprintf("3 0 1 %x", sha256.Sum256(key)):                            false,
		fmt.Sprintf("3 1 2 %x", sha256.Sum256(key)):                            false,
		"3 1 1":                             false,
		TLSA(newChain(t, "x.example").Leaf): false,
	} {
		if FitsTLSA(chain, record) != want {
			t.Errorf("%s: %v", record, !want)
		}
	}
	if err := Trusted(chain, "mx.example.com"); err == nil {
		t.Error("an authority of our own is a public one")
	}
}

func TestRFC8461_4_1_Names(t *testing.T) {
	for _, tt := range []struct {
		patterns string
		want     bool
	}{
		{"mx.example.com", true}, {"MX.example.com.", true}, {"a.example mx.example.com other.example", true}, {"*.example.com", true},
		{"", false}, {"example.com", false}, {"*.com", false}, {"*.mx.example.com", false}, {"*", false}, {"*.b.example", false},
	} {
		text := "version: STSv1\r\nmode: enforce\r\nmx:" + strings.Join(strings.Fields(" "+tt.patterns), "\r\nmx: ") + "\r\nmax_age: 1\r\n"
		p := ParseSTS(text)
		if p.Version != "STSv1" || p.Mode != "enforce" || p.Names("mx.example.com") != tt.want {
			t.Errorf("%q: %+v", tt.patterns, p)
		}
	}
}

// What is planned is there once it is published; the policy names every host that mail
// comes to, and its record changes with it.
func TestPlan(t *testing.T) {
	zone := dns.Zone{"MX example.com": {"5 other.example"}, "TXT example.com": {"v=spf1 -all", "v=spf1 mx -all", "v=spf10"}}
	ask := func(_ context.Context, typ, name string) (dns.Answer, error) {
		records := zone[typ+" "+name]
		if len(records) == 0 {
			return dns.Answer{}, dns.ErrNoData
		}
		return dns.Answer{Records: records}, nil
	}
	chain := newChain(t, "mx.example.com")
	plan := func(enforce bool) *Plan {
		p := &Plan{Domain: "example.com", Hostname: "mx.example.com", Enforce: enforce, Chains: []*tls.Certificate{chain}}
		p.Look(t.Context(), ask)
		return p
	}
	states := func(p *Plan) (all []string) {
		for _, r := range p.Records {
			all = append(all, r.Type+" "+r.State)
		}
		return all
	}
	p := plan(false)
	if want := []string{"MX differs", "TXT differs", "TXT missing", "TXT missing", "TXT missing", "TLSA missing"}; !slices.Equal(states(p), want) {
		t.Errorf("%q, want %q", states(p), want)
	}
	if spf := p.Records[1]; len(spf.Now) != 2 {
		t.Errorf("SPF: %+v", spf)
	}
	if want := "version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmx: other.example\r\nmax_age: 86400\r\n"; p.Policy.Text != want {
		t.Errorf("%q", p.Policy.Text)
	}
	if enforced := plan(true); enforced.Records[3].Data == p.Records[3].Data || !strings.Contains(enforced.Policy.Text, "\r\nmode: enforce\r\n") {
		t.Errorf("enforced: %+v", enforced)
	}
	zone["TXT example.com"] = nil
	for _, r := range p.Records {
		key := r.Type + " " + r.Name
		zone[key] = append(zone[key], r.Data)
	}
	zone["MX example.com"][1] = "10 MX.example.com."
	if want := []string{"MX present", "TXT present", "TXT present", "TXT present", "TXT present", "TLSA present"}; !slices.Equal(states(plan(false)), want) {
		t.Errorf("published: %q", states(plan(false)))
	}
}
