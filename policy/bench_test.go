package policy

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/dns/dnstest"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/access"
	"postern/policy/dkim"
	"postern/policy/dmarc"
	"postern/policy/dnsbl"
	"postern/policy/greylist"
	"postern/policy/spf"
)

// The cost of each check, and of all that is done about a message of 20 KiB with
// one signature and one recipient, with a resolver that has the answers.
func BenchmarkJudge(b *testing.B) {
	signed, key := sign(b, strings.TrimSuffix(text, "hi\r\n")+strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz\r\n", 540), "signer.example")
	server := dnstest.Start(b, dns.Zone{
		"TXT sel._domainkey.signer.example": {key},
		"TXT signer.example":                {"v=spf1 include:_spf.signer.example mx -all"},
		"TXT _spf.signer.example":           {"v=spf1 ip4:198.51.100.0/24 a:mail.signer.example ~all"},
		"A mail.signer.example":             {"192.0.2.7"},
		"PTR 192.0.2.7":                     {"mail.signer.example"},
		"TXT client.signer.example":         {"v=spf1 a -all"},
		"A client.signer.example":           {"192.0.2.7"},
		"TXT _dmarc.signer.example":         {"v=DMARC1; p=reject; rua=mailto:r@signer.example"},
	})
	resolver, err := dns.NewClient(dns.Config{Servers: []string{server.Addr}})
	if err != nil {
		b.Fatal(err)
	}
	list, err := access.New([]access.Rule{{Name: "it", Action: access.Deny, Clients: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}})
	if err != nil {
		b.Fatal(err)
	}
	store, err := greylist.Open("", greylist.Options{Delay: 1, Window: 1e15, Keep: 1e15})
	if err != nil {
		b.Fatal(err)
	}
	p := &Policy{Hostname: "mx.here.example", Enforce: true, Access: list, Greylist: true, Lists: []dnsbl.List{{Zone: "bad.example"}, {Zone: "good.example", Allow: true}}}
	j := &Judge{Resolver: resolver, Policy: func() *Policy { return p }, Greylist: store}
	env := envelope("ann@signer.example", "bob@here.example")
	to := []mail.Address{env.To[0].Address}
	src := mail.Octets(signed)
	h := header.Scan(src, header.Limits{})
	ctx := context.Background()
	f := Facts{Client: env.Client, From: env.From, To: to}
	q := spf.Query{IP: env.Client.IP, Hello: env.Client.Hello, Sender: env.From, Receiver: p.Hostname}
	found, err := p.Examine(ctx, resolver, f, src, h)
	if err != nil || found.DMARC.Verdict != dmarc.Pass || found.SPF.Verdict != spf.Pass || found.Hello.Verdict != spf.Pass || found.IPRev.Verdict != "pass" || found.DKIM[0].Verdict != dkim.Pass {
		b.Fatalf("%+v, %v", found, err)
	}
	for _, bm := range []struct {
		name string
		do   func()
	}{
		{"lists", func() { p.Client(ctx, resolver, f) }},
		{"recipient", func() { p.Recipient(f, ClientFindings{}, to[0]) }},
		{"iprev", func() { Reverse(ctx, resolver, env.Client.IP) }},
		{"helo", func() { spf.CheckHello(ctx, resolver, q) }},
		{"spf", func() { spf.CheckMailFrom(ctx, resolver, q) }},
		{"dkim", func() { _, _ = dkim.NewMessage(src, h).Verify(ctx, resolver, dkim.Options{}) }},
		{"dmarc", func() {
			dmarc.Check(ctx, resolver, dmarc.Query{Author: found.Author, Identifiers: found.identifiers()})
		}},
		{"verdict", func() { p.Verdict(f, found, h) }},
		{"all", func() {
			c := j.Open(env)
			c.Recipient(ctx, to[0])
			c.Message(ctx, to, src, h)
			c.Close(mail.Accepted)
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			bm.do()
			for b.Loop() {
				bm.do()
			}
		})
	}
}
