package policy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	signer "github.com/emersion/go-msgauth/dkim"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/dnsbl"
)

const text = "From: Ann <ann@signer.example>\r\nTo: bob@here.example\r\nSubject: hi\r\n" +
	"Authentication-Results: MX.here.example; spf=pass smtp.mailfrom=bank.example\r\n" +
	"Authentication-Results: other.example; spf=pass smtp.mailfrom=bank.example\r\n\r\nhi\r\n"

// sign signs text for d, and returns it with the key record.
func sign(t testing.TB, text, d string) (signed, record string) {
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

// judge has p judge a message, as a server would.
func judge(p *Policy, r dns.Resolver, env *mail.Envelope, message string) Verdict {
	j := &Judge{Resolver: r, Policy: func() *Policy { return p }}
	c := j.Open(env)
	var to []mail.Address
	for _, rcpt := range env.To {
		to = append(to, rcpt.Address)
	}
	src := mail.Octets(message)
	return c.Message(context.Background(), to, src, header.Scan(src, header.Limits{}))
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
		policy  Policy // Hostname is filled in
		refusal error
		note    string
	}{
		{
			name: "nothing published", message: text, policy: Policy{Enforce: true},
			note: "iprev=permerror spf=none dkim=none dmarc=none",
		}, {
			name: "all is well", message: signed, policy: Policy{Enforce: true},
			zone: dns.Zone{key: {record}, "TXT signer.example": {"v=spf1 ip4:192.0.2.7 -all"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=reject"}},
			note: "iprev=permerror spf=pass dkim=pass dmarc=pass",
		}, {
			name: "the domain sends no mail", message: text, policy: Policy{Enforce: true},
			zone: dns.Zone{"TXT signer.example": {"v=spf1 -all"}}, refusal: mail.SPFFail,
			note: "iprev=permerror spf=fail dkim=none dmarc=none",
		}, {
			name: "the domain sends no mail, but signed this", message: signed, policy: Policy{Enforce: true},
			zone: dns.Zone{key: {record}, "TXT signer.example": {"v=spf1 -all"}},
			note: "iprev=permerror spf=fail dkim=pass dmarc=none",
		}, {
			name: "a forwarder fails SPF", message: text, policy: Policy{Enforce: true},
			zone: dns.Zone{"TXT signer.example": {"v=spf1 ip4:198.51.100.1 -all"}},
			note: "iprev=permerror spf=fail dkim=none dmarc=none",
		}, {
			name: "the author's domain asks for refusal", message: text, policy: Policy{Enforce: true},
			zone:    dns.Zone{"TXT _dmarc.signer.example": {"v=DMARC1; p=reject"}},
			refusal: mail.DMARCFail, note: "iprev=permerror spf=none dkim=none dmarc=fail",
		}, {
			name: "only annotated", message: text,
			zone: dns.Zone{"TXT signer.example": {"v=spf1 -all"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=reject"}},
			note: "iprev=permerror spf=fail dkim=none dmarc=fail",
		}, {
			name: "to postmaster", message: text, policy: Policy{Enforce: true}, to: "PostMaster@here.example",
			zone: dns.Zone{"TXT signer.example": {"v=spf1 -all"}},
			note: "iprev=permerror spf=fail dkim=none dmarc=none",
		}, {
			name: "no answer, accepted", message: signed, policy: Policy{Enforce: true},
			zone: dns.Zone{key: {"SERVFAIL"}, "TXT signer.example": {"SERVFAIL"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=reject"}},
			note: "iprev=permerror spf=temperror dkim=temperror dmarc=temperror",
		}, {
			name: "no answer, put off", message: signed, policy: Policy{Enforce: true, Defer: true},
			zone:    dns.Zone{key: {"SERVFAIL"}, "TXT signer.example": {"SERVFAIL"}, "TXT _dmarc.signer.example": {"SERVFAIL"}},
			refusal: mail.PolicyTempError, note: "iprev=permerror spf=temperror dkim=temperror dmarc=temperror",
		}, {
			name: "no answer where it does not matter", message: signed, policy: Policy{Enforce: true, Defer: true},
			zone: dns.Zone{key: {record}, "TXT signer.example": {"SERVFAIL"}},
			note: "iprev=permerror spf=temperror dkim=pass dmarc=none",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.zone == nil {
				tt.zone = dns.Zone{}
			}
			tt.policy.Hostname = "mx.here.example"
			if tt.to == "" {
				tt.to = "bob@here.example"
			}
			v := judge(&tt.policy, tt.zone, envelope("ann@signer.example", tt.to), tt.message)
			if err := v.Refusal(); !errors.Is(err, tt.refusal) || tt.refusal == nil && err != nil {
				t.Errorf("refusal %v, want %v", err, tt.refusal)
			}
			if results, _, _ := strings.Cut(v.Note, ":"); !strings.HasPrefix(results, tt.note) {
				t.Errorf("note %q, want %q", v.Note, tt.note)
			}
			if !strings.HasPrefix(v.Fields, "Authentication-Results: mx.here.example;") {
				t.Errorf("field %q", v.Fields)
			}
			if len(v.Cut) != 1 || !strings.HasPrefix(tt.message[v.Cut[0].Start:], "Authentication-Results: MX.here") {
				t.Errorf("cut %v", v.Cut)
			}
		})
	}
}

// However silent the resolver is, a transaction waits no longer than the Budget,
// and nobody is refused.
func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signed, _ := sign(t, text, "signer.example")
		lists := []dnsbl.List{{Zone: "bad.example"}, {Zone: "worse.example"}, {Zone: "good.example", Allow: true}}
		p := &Policy{Hostname: "mx.here.example", Enforce: true, Lists: lists, Greylist: true}
		j := &Judge{Resolver: silence{}, Policy: func() *Policy { return p }}
		env := envelope("ann@signer.example", "bob@here.example")
		start := time.Now()
		c := j.Open(env)
		for range 5 {
			if err := c.Recipient(t.Context(), env.To[0].Address).Refusal(); err != nil {
				t.Error(err)
			}
		}
		src := mail.Octets(signed)
		v := c.Message(t.Context(), []mail.Address{env.To[0].Address}, src, header.Scan(src, header.Limits{}))
		if waited := time.Since(start); waited != Budget || v.Refusal() != nil {
			t.Errorf("waited %v, refusal %v", waited, v.Refusal())
		}
		const want = "iprev=temperror helo=temperror spf=temperror dkim=temperror dmarc=temperror"
		if v.Note != want {
			t.Errorf("note %q", v.Note)
		}
	})
}

// silence is a resolver that never answers.
type silence struct{}

func wait[T any](ctx context.Context) ([]T, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("%w: %w", dns.ErrTemporary, ctx.Err())
}

func (silence) LookupTXT(ctx context.Context, _ string) ([]string, error)  { return wait[string](ctx) }
func (silence) LookupMX(ctx context.Context, _ string) ([]*net.MX, error)  { return wait[*net.MX](ctx) }
func (silence) LookupAddr(ctx context.Context, _ string) ([]string, error) { return wait[string](ctx) }
func (silence) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	return wait[netip.Addr](ctx)
}
