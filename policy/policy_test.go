package policy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	signer "github.com/emersion/go-msgauth/dkim"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
)

const text = "From: Ann <ann@signer.example>\r\nTo: bob@here.example\r\nSubject: hi\r\n" +
	"Authentication-Results: MX.here.example; spf=pass smtp.mailfrom=bank.example\r\n" +
	"Authentication-Results: other.example; spf=pass smtp.mailfrom=bank.example\r\n\r\nhi\r\n"

// sign signs text for d, and returns it with the key record.
func sign(t *testing.T, text, d string) (signed, record string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := signer.Sign(&b, strings.NewReader(text), &signer.SignOptions{Domain: d, Selector: "sel", Signer: key}); err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
}

func judge(p *Policy, env *mail.Envelope, message string) Verdict {
	src := mail.Octets(message)
	h := header.Scan(src, header.Limits{})
	return p.Message(context.Background(), env, src, h)
}

func envelope(from, to string) *mail.Envelope {
	addr := func(s string) mail.Address {
		local, domain, _ := strings.Cut(s, "@")
		return mail.Address{Local: local, Domain: domain}
	}
	return &mail.Envelope{
		Client: mail.Client{IP: netip.MustParseAddr("192.0.2.7"), Hello: "client.signer.example"},
		From:   addr(from),
		To:     []mail.Recipient{{Address: addr(to)}},
	}
}

func TestVerdict(t *testing.T) {
	signed, record := sign(t, text, "signer.example")
	const key = "TXT sel._domainkey.signer.example"
	tests := []struct {
		name    string
		zone    dns.Zone
		from    string
		to      string
		message string
		policy  Policy // Resolver and Hostname are filled in
		refusal error
		note    string
	}{
		{
			name: "nothing published", message: text, policy: Policy{Enforce: true},
			note: "spf=none dkim=none dmarc=none",
		}, {
			name: "all is well", message: signed, policy: Policy{Enforce: true},
			zone: dns.Zone{key: {record}, "TXT signer.example": {"v=spf1 ip4:192.0.2.7 -all"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=reject"}},
			note: "spf=pass dkim=pass dmarc=pass",
		}, {
			name: "the domain sends no mail", message: text, policy: Policy{Enforce: true},
			zone: dns.Zone{"TXT signer.example": {"v=spf1 -all"}}, refusal: mail.SPFFail,
			note: "spf=fail dkim=none dmarc=none",
		}, {
			name: "the domain sends no mail, but signed this", message: signed, policy: Policy{Enforce: true},
			zone: dns.Zone{key: {record}, "TXT signer.example": {"v=spf1 -all"}},
			note: "spf=fail dkim=pass dmarc=none",
		}, {
			name: "a forwarder fails SPF", message: text, policy: Policy{Enforce: true},
			zone: dns.Zone{"TXT signer.example": {"v=spf1 ip4:198.51.100.1 -all"}},
			note: "spf=fail dkim=none dmarc=none",
		}, {
			name: "the author's domain asks for refusal", message: text, policy: Policy{Enforce: true},
			zone:    dns.Zone{"TXT _dmarc.signer.example": {"v=DMARC1; p=reject"}},
			refusal: mail.DMARCFail, note: "spf=none dkim=none dmarc=fail",
		}, {
			name: "only annotated", message: text,
			zone: dns.Zone{"TXT signer.example": {"v=spf1 -all"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=reject"}},
			note: "spf=fail dkim=none dmarc=fail",
		}, {
			name: "to postmaster", message: text, policy: Policy{Enforce: true}, to: "PostMaster@here.example",
			zone: dns.Zone{"TXT signer.example": {"v=spf1 -all"}},
			note: "spf=fail dkim=none dmarc=none",
		}, {
			name: "no answer, accepted", message: signed, policy: Policy{Enforce: true},
			zone: dns.Zone{key: {"SERVFAIL"}, "TXT signer.example": {"SERVFAIL"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=reject"}},
			note: "spf=temperror dkim=temperror dmarc=temperror",
		}, {
			name: "no answer, put off", message: signed, policy: Policy{Enforce: true, Defer: true},
			zone:    dns.Zone{key: {"SERVFAIL"}, "TXT signer.example": {"SERVFAIL"}, "TXT _dmarc.signer.example": {"SERVFAIL"}},
			refusal: mail.PolicyTempError, note: "spf=temperror dkim=temperror dmarc=temperror",
		}, {
			name: "no answer where it does not matter", message: signed, policy: Policy{Enforce: true, Defer: true},
			zone: dns.Zone{key: {record}, "TXT signer.example": {"SERVFAIL"}},
			note: "spf=temperror dkim=pass dmarc=none",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.zone == nil {
				tt.zone = dns.Zone{}
			}
			tt.policy.Resolver, tt.policy.Hostname = tt.zone, "mx.here.example"
			if tt.to == "" {
				tt.to = "bob@here.example"
			}
			v := judge(&tt.policy, envelope("ann@signer.example", tt.to), tt.message)
			if !errors.Is(v.Refusal, tt.refusal) || tt.refusal == nil && v.Refusal != nil {
				t.Errorf("refusal %v, want %v", v.Refusal, tt.refusal)
			}
			if v.Note != tt.note {
				t.Errorf("note %q, want %q", v.Note, tt.note)
			}
			if !strings.HasPrefix(v.Field, "Authentication-Results: mx.here.example;") {
				t.Errorf("field %q", v.Field)
			}
			if len(v.Cut) != 1 || !strings.HasPrefix(tt.message[v.Cut[0].Start:], "Authentication-Results: MX.here") {
				t.Errorf("cut %v", v.Cut)
			}
		})
	}
}

// However silent the resolver is, a message waits no longer than maxWait.
func TestWaitIsBounded(t *testing.T) {
	signed, _ := sign(t, text, "signer.example")
	synctest.Test(t, func(t *testing.T) {
		zone := dns.Zone{
			"TXT signer.example": {"TIMEOUT"}, "TXT sel._domainkey.signer.example": {"TIMEOUT"},
			"TXT _dmarc.signer.example": {"TIMEOUT"},
		}
		start := time.Now()
		v := judge(&Policy{Resolver: zone, Hostname: "mx.here.example", Enforce: true}, envelope("ann@signer.example", "bob@here.example"), signed)
		if waited := time.Since(start); waited != maxWait || v.Refusal != nil {
			t.Errorf("waited %v, refusal %v", waited, v.Refusal)
		}
	})
}
