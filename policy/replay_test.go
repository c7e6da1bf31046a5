package policy

import (
	"encoding/json"
	"reflect"
	"testing"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/dnsbl"
)

// A record, even one that was JSON meanwhile, gives the verdicts again: nothing
// but what is in it went into them.
func TestRecordReplays(t *testing.T) {
	signed, record := sign(t, text, "signer.example")
	worlds := map[string]dns.Zone{
		"nothing": {},
		"good": {
			"TXT sel._domainkey.signer.example": {record}, "TXT signer.example": {"v=spf1 a:mail.signer.example -all"},
			"A mail.signer.example": {"192.0.2.7"}, "PTR 192.0.2.7": {"mail.signer.example"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=reject"},
			"A 7.2.0.192.bad.example": {"127.0.0.2"}, "TXT 7.2.0.192.bad.example": {"why not"},
		},
		"bad":  {"TXT signer.example": {"v=spf1 -all"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=quarantine"}},
		"sick": {"TXT signer.example": {"SERVFAIL"}, "TXT _dmarc.signer.example": {"v=DMARC1; p=quarantine"}, "A 7.2.0.192.bad.example": {"SERVFAIL"}},
	}
	for name, zone := range worlds {
		t.Run(name, func(t *testing.T) {
			p := &Policy{Hostname: "mx.here.example", Enforce: true, Greylist: true, Listed: Mark, Lists: []dnsbl.List{{Zone: "bad.example"}}}
			var kept *Record
			j := &Judge{Resolver: zone, Policy: func() *Policy { return p }, Closed: func(r *Record) { kept = r }}
			env := envelope("ann@signer.example", "bob@here.example")
			c := j.Open(env)
			c.Recipient(t.Context(), env.To[0].Address)
			src := mail.Octets(signed)
			h := header.Scan(src, header.Limits{})
			want := c.Message(t.Context(), []mail.Address{env.To[0].Address}, src, h)
			c.Close(mail.ReplyTo(want.Refusal()))

			b, err := json.Marshal(kept)
			if err != nil {
				t.Fatal(err)
			}
			var r Record
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			again := dns.NewReplay(r.Asked)
			client := p.Client(t.Context(), again, r.Facts)
			for _, rcpt := range r.Recipients {
				if d := p.Recipient(r.Facts, client, rcpt.To); !reflect.DeepEqual(d, rcpt.Decision) {
					t.Errorf("%v: %+v, and now %+v", rcpt.To, rcpt.Decision, d)
				}
			}
			found, err := p.Examine(t.Context(), again, r.Facts, src, h)
			if err != nil {
				t.Fatal(err)
			}
			found.Client = client
			got := p.Verdict(r.Facts, found, h)
			if got.Note != want.Note || got.Fields != want.Fields || got.Action != want.Action || !got.Reply.Is(want.Reply) {
				t.Errorf("%s\n%s\nand now\n%s\n%s", want.Note, want.Fields, got.Note, got.Fields)
			}
			if missing := again.Missing(); len(missing) > 0 {
				t.Errorf("it was not asked for %v", missing)
			}
		})
	}
}
