package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/access"
)

// What is counted is what was found and what was done.
func TestRow(t *testing.T) {
	signed, key := sign(t, text, "mail.signer.example")
	zone := func(record, sender string) dns.Zone {
		return dns.Zone{
			"TXT sel._domainkey.mail.signer.example": {key}, "TXT signer.example": {sender},
			"TXT _dmarc.signer.example": {record},
		}
	}
	const (
		passes = "v=spf1 ip4:192.0.2.7 -all"
		fails  = "v=spf1 ip4:192.0.2.8 -all"
		rua    = "; rua=mailto:r@signer.example"
	)
	allow := rules(t, access.Rule{Action: access.Allow, Senders: []string{"signer.example"}})
	client := Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}}
	tests := []struct {
		name    string
		policy  Policy
		zone    dns.Zone
		message string
		want    string
	}{
		{"no report wanted", Policy{Enforce: true}, zone("v=DMARC1; p=reject", passes), signed, ""},
		{"no record", Policy{Enforce: true}, dns.Zone{}, signed, ""},
		{"no answer", Policy{Enforce: true}, dns.Zone{"TXT _dmarc.signer.example": {"SERVFAIL"}}, signed, ""},
		{"both", Policy{Enforce: true}, zone("v=DMARC1; p=reject"+rua, passes), signed, "pass dkim=true spf=true []"},
		{"one", Policy{Enforce: true}, zone("v=DMARC1; p=reject"+rua, fails), signed, "pass dkim=true spf=false []"},
		{"strict", Policy{Enforce: true}, zone("v=DMARC1; p=reject; adkim=s"+rua, passes), signed, "pass dkim=false spf=true []"},
		{"passed, and none asked for", Policy{Enforce: true}, zone("v=DMARC1; p=none"+rua, passes), text, "none dkim=false spf=true []"},
		{"none asked for", Policy{Enforce: true}, zone("v=DMARC1; p=none"+rua, fails), text, "none dkim=false spf=false []"},
		{"refused", Policy{Enforce: true}, zone("v=DMARC1; p=reject"+rua, fails), text, "reject dkim=false spf=false []"},
		{"set apart", Policy{Enforce: true}, zone("v=DMARC1; p=quarantine"+rua, fails), text, "quarantine dkim=false spf=false []"},
		{"set apart instead", Policy{Enforce: true, DMARCReject: Quarantine}, zone("v=DMARC1; p=reject"+rua, fails), text, "quarantine dkim=false spf=false [{local_policy }]"},
		{"marked", Policy{Enforce: true, DMARCReject: Mark}, zone("v=DMARC1; p=reject"+rua, fails), text, "none dkim=false spf=false [{local_policy }]"},
		{"not enforced", Policy{}, zone("v=DMARC1; p=reject"+rua, fails), text, "none dkim=false spf=false [{local_policy }]"},
		{"allowed", Policy{Enforce: true, Access: allow}, zone("v=DMARC1; p=reject"+rua, fails), text, "none dkim=false spf=false [{local_policy }]"},
		{"forwarded", Policy{Enforce: true, Forwarders: client}, zone("v=DMARC1; p=reject"+rua, fails), text, "none dkim=false spf=false [{trusted_forwarder }]"},
		{"tested", Policy{Enforce: true}, zone("v=DMARC1; p=reject; t=y"+rua, fails), text, "quarantine dkim=false spf=false [{policy_test_mode }]"},
		{"tested, no more", Policy{Enforce: true}, zone("v=DMARC1; p=quarantine; t=y"+rua, fails), text, "none dkim=false spf=false [{policy_test_mode }]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.policy.Hostname, tt.policy.Reports = "mx.here.example", true
			var kept *Record
			j := &Judge{Resolver: tt.zone, Policy: func() *Policy { return &tt.policy }, Closed: func(r *Record) { kept = r }}
			env := envelope("ann@signer.example", "bob@here.example")
			c := j.Open(env)
			src := mail.Octets(tt.message)
			v := c.Message(t.Context(), []mail.Address{env.To[0].Address}, src, header.Scan(src, header.Limits{}))
			c.Close(mail.ReplyTo(v.Refusal()))
			row, ok := kept.row()
			got := ""
			if ok {
				got = fmt.Sprintf("%s dkim=%v spf=%v %v", row.Disposition, row.DKIM, row.SPF, row.Reasons)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q\n%s", got, tt.want, v.Note)
			}
			if ok && (row.Policy != "signer.example" || row.HeaderFrom != "signer.example" || row.SourceIP != "192.0.2.7" || row.EnvelopeFrom != "signer.example") {
				t.Errorf("%+v", row)
			}
		})
	}
}
