package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/access"
	"postern/policy/dkim"
	"postern/policy/dmarc"
	"postern/policy/dnsbl"
	"postern/policy/spf"
)

func address(s string) mail.Address {
	local, domain, _ := strings.Cut(s, "@")
	return mail.Address{Local: local, Domain: domain}
}

// facts are those of a message from a client that nobody knows.
func facts(to ...string) Facts {
	f := Facts{Time: time.Unix(1e9, 0), Client: mail.Client{IP: netip.MustParseAddr("192.0.2.7"), Hello: "client.example"}, From: address("ann@signer.example")}
	for _, s := range to {
		f.To = append(f.To, address(s))
	}
	return f
}

var (
	rejected    = Findings{DMARC: dmarc.Result{Verdict: dmarc.Fail, Policy: dmarc.Reject, Disposition: dmarc.Reject}}
	quarantined = Findings{DMARC: dmarc.Result{Verdict: dmarc.Fail, Policy: dmarc.Quarantine, Disposition: dmarc.Quarantine}}
	severalFrom = Findings{Author: dmarc.Author{Fields: 2}, DMARC: dmarc.Result{Verdict: dmarc.PermError}}
	manyDomains = Findings{Author: dmarc.Author{Fields: 1, Domains: []string{"a", "b", "c", "d", "e"}}}
	noMail      = Findings{SPF: spf.Result{Verdict: spf.Fail, Strict: true}}
	noAnswer    = Findings{SPF: spf.Result{Verdict: spf.TempError}, DMARC: dmarc.Result{Verdict: dmarc.TempError}}
	listedAt    = Findings{Client: ClientFindings{Lists: dnsbl.Result{Verdict: dnsbl.Listed, Listings: []dnsbl.Listing{{List: "bad.example", State: dnsbl.Present}}}}}
)

// with returns found with a good signature of domain.
func (found Findings) with(domain string) Findings {
	found.DKIM = []dkim.Result{{Verdict: dkim.Fail, Domain: "other.example"}, {Verdict: dkim.Pass, Domain: domain}}
	return found
}

func rules(t *testing.T, rules ...access.Rule) *access.List {
	t.Helper()
	for i := range rules {
		rules[i].Name = "rule"
	}
	l, err := access.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDecide(t *testing.T) {
	client := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	stranger := facts("bob@here.example")
	stranger.Greylist = &Acquaintance{Origin: "192.0.2.0/24", Sender: "ann@signer.example"}
	known, waited, early := stranger, stranger, stranger
	known.Greylist = &Acquaintance{Known: true}
	waited.Greylist = &Acquaintance{Waited: true, Since: stranger.Time}
	early.Greylist = &Acquaintance{Since: stranger.Time}
	filtered := facts("bob@here.example")
	filtered.Filters = []FilterAnswer{{Name: "a", Action: Accept}, {Name: "b", Action: Reject, Reply: mail.Filtered}}
	tests := []struct {
		name   string
		policy Policy // Enforce is set
		facts  Facts
		found  Findings
		want   Action
		reply  mail.Reply
		note   string // part of it
	}{
		{name: "nothing", want: Accept},
		{name: "dmarc reject", found: rejected, want: Reject, reply: mail.DMARCFail},
		{name: "dmarc reject, set apart", policy: Policy{DMARCReject: Quarantine}, found: rejected, want: Quarantine},
		{name: "dmarc reject, marked", policy: Policy{DMARCReject: Mark}, found: rejected, want: Mark},
		{name: "dmarc quarantine", found: quarantined, want: Quarantine},
		{name: "dmarc quarantine, refused", policy: Policy{DMARCQuarantine: Reject}, found: quarantined, want: Reject, reply: mail.DMARCFail},
		{name: "two From fields", found: severalFrom, want: Reject, reply: mail.SeveralFrom},
		{name: "two From fields, set apart", policy: Policy{SeveralFrom: Quarantine}, found: severalFrom, want: Quarantine},
		{name: "five authors", found: manyDomains, want: Reject, reply: mail.SeveralFrom},
		{name: "the domain sends no mail", found: noMail, want: Reject, reply: mail.SPFFail},
		{name: "the domain sends no mail, but signed", found: noMail.with("signer.example"), want: Accept},
		{name: "no answer", found: noAnswer, want: Accept},
		{name: "no answer, put off", policy: Policy{Defer: true}, found: noAnswer, want: Defer, reply: mail.PolicyTempError},
		{name: "no answer, signed", policy: Policy{Defer: true}, found: noAnswer.with("signer.example"), want: Accept},
		{name: "no answer about what is refused anyway", policy: Policy{Defer: true, SeveralFrom: Reject}, found: severalFrom, want: Reject, reply: mail.SeveralFrom},

		{name: "forwarder by network", policy: Policy{Forwarders: Forwarders{Networks: client}}, found: rejected, want: Accept, note: "pardoned: the client is a forwarder"},
		{name: "forwarder by signature", policy: Policy{Forwarders: Forwarders{Domains: []string{"list.example"}}}, found: rejected.with("a.list.example"), want: Accept, note: "forwarded by a.list.example"},
		{name: "forwarder by its very signature", policy: Policy{Forwarders: Forwarders{Domains: []string{"list.example"}}}, found: rejected.with("list.example"), want: Accept},
		{name: "put off by a rule is not allowed", policy: Policy{Access: rules(t, access.Rule{Action: access.Defer, Recipients: []string{"bob@here.example"}})}, facts: facts("bob@here.example"), found: rejected, want: Reject, reply: mail.DMARCFail},
		{name: "to nobody", facts: Facts{Time: time.Unix(1, 0), Client: mail.Client{IP: client[0].Addr()}, To: []mail.Address{}}, found: rejected, want: Reject, reply: mail.DMARCFail},
		{name: "not quite the forwarder", policy: Policy{Forwarders: Forwarders{Domains: []string{"list.example"}}}, found: rejected.with("alist.example"), want: Reject, reply: mail.DMARCFail},
		{name: "a forwarder may not have two authors", policy: Policy{Forwarders: Forwarders{Networks: client}}, found: severalFrom, want: Reject, reply: mail.SeveralFrom},
		{name: "an exempt client is judged", policy: Policy{Exempt: client}, found: rejected, want: Reject, reply: mail.DMARCFail},

		{name: "whose address is not known", facts: Facts{To: []mail.Address{}}, found: rejected, want: Accept, note: "address is not known"},
		{name: "whose address is not known, with two authors", facts: Facts{To: []mail.Address{}}, found: severalFrom, want: Reject, reply: mail.SeveralFrom},

		{name: "to postmaster and abuse", facts: facts("Postmaster@here.example", "abuse@here.example"), found: rejected, want: Accept, note: "postmasters"},
		{name: "to postmaster and bob", facts: facts("postmaster@here.example", "bob@here.example"), found: rejected, want: Reject, reply: mail.DMARCFail},
		{name: "allowed for all", policy: Policy{Access: rules(t, access.Rule{Action: access.Allow, Recipients: []string{"here.example"}})}, facts: facts("ann@here.example", "bob@here.example"), found: rejected, want: Accept, note: "allowed by rule"},
		{name: "allowed for one", policy: Policy{Access: rules(t, access.Rule{Action: access.Allow, Recipients: []string{"ann@here.example"}})}, facts: facts("ann@here.example", "bob@here.example"), found: rejected, want: Reject, reply: mail.DMARCFail},

		{name: "listed, set apart", policy: Policy{Listed: Quarantine}, found: listedAt, want: Quarantine, note: "dnsbl:quarantine (listed by bad.example)"},
		{name: "listed, and yet here", found: listedAt, want: Accept},

		{name: "stranger", policy: Policy{Greylist: true}, facts: stranger, want: Defer, reply: mail.Greylisted},
		{name: "stranger, too early", policy: Policy{Greylist: true}, facts: early, want: Defer, reply: mail.Greylisted, note: "too early"},
		{name: "stranger, no greylist", facts: stranger, want: Accept},
		{name: "stranger who waited", policy: Policy{Greylist: true}, facts: waited, want: Accept},
		{name: "known", policy: Policy{Greylist: true}, facts: known, want: Accept},
		{name: "stranger with a name", policy: Policy{Greylist: true}, facts: stranger, found: Findings{DMARC: dmarc.Result{Verdict: dmarc.Pass}}, want: Accept},
		{name: "stranger on a good list", policy: Policy{Greylist: true}, facts: stranger, found: Findings{Client: ClientFindings{Lists: dnsbl.Result{Verdict: dnsbl.Exempt}}}, want: Accept},
		{name: "stranger, no answer", policy: Policy{Greylist: true}, facts: stranger, found: noAnswer, want: Accept},
		{name: "stranger who is exempt", policy: Policy{Greylist: true, Exempt: client}, facts: stranger, want: Accept},
		{name: "stranger who is to be refused", policy: Policy{Greylist: true}, facts: stranger, found: rejected, want: Reject, reply: mail.DMARCFail},

		{name: "filtered", facts: filtered, want: Reject, reply: mail.Filtered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.facts.To == nil {
				tt.facts = facts("bob@here.example")
			}
			tt.policy.Enforce = true
			d := tt.policy.Decide(tt.facts, tt.found)
			if d.Action != tt.want || !d.Reply.Is(tt.reply) || !strings.Contains(d.Note(), tt.note) {
				t.Errorf("%s %v: %s", d.Action, d.Reply, d.Note())
			}
			if refused := d.Refusal() != nil; refused != (tt.reply.Code != 0) {
				t.Errorf("refusal %v", d.Refusal())
			}
			tt.policy.Enforce = false
			if d := tt.policy.Decide(tt.facts, tt.found); d.Action != Accept {
				t.Errorf("not enforced: %s, %s", d.Action, d.Note())
			}
		})
	}
}

func TestRecipient(t *testing.T) {
	denied := func(r access.Rule) Policy { r.Action = access.Deny; return Policy{Access: rules(t, r)} }
	client := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	over := facts()
	over.Over = []Rate{{Of: "client", Whose: "192.0.2.0/24", Limit: 5}}
	tests := []struct {
		name   string
		policy Policy
		facts  Facts
		client ClientFindings
		to     string
		reply  mail.Reply // zero: taken
		text   string
	}{
		{name: "nothing"},
		{name: "denied client", policy: denied(access.Rule{Clients: client}), reply: mail.AccessDenied},
		{name: "denied client, to postmaster", policy: denied(access.Rule{Clients: client}), to: "postmaster@here.example", reply: mail.AccessDenied},
		{name: "denied helo", policy: denied(access.Rule{Hello: []string{"client.example"}, Text: "go away\r\n250 ok"}), reply: mail.AccessDenied, text: "go away??250 ok"},
		{name: "another recipient denied", policy: denied(access.Rule{Recipients: []string{"ann@here.example"}})},
		{name: "put off", policy: Policy{Access: rules(t, access.Rule{Action: access.Defer, Senders: []string{"signer.example"}})}, reply: mail.TryAgain},
		{name: "listed", client: listedAt.Client, reply: mail.Listed, text: "your address is listed by bad.example"},
		{name: "listed, exempt", policy: Policy{Exempt: client}, client: listedAt.Client},
		{name: "listed, a forwarder", policy: Policy{Forwarders: Forwarders{Networks: client}}, client: listedAt.Client},
		{name: "listed, marked", policy: Policy{Listed: Mark}, client: listedAt.Client},
		{name: "listed, to abuse", client: listedAt.Client, to: "Abuse@here.example"},
		{name: "listed, allowed", policy: Policy{Access: rules(t, access.Rule{Action: access.Allow, Recipients: []string{"bob@here.example"}})}, client: listedAt.Client},
		{name: "too many", facts: over, reply: mail.TooManyMessages},
		{name: "too many, exempt", facts: over, policy: Policy{Exempt: client}},
		{name: "too many for postmaster", facts: over, to: "postmaster@here.example", reply: mail.TooManyMessages},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.to == "" {
				tt.to = "bob@here.example"
			}
			if tt.facts.Time.IsZero() {
				tt.facts = facts()
			}
			tt.policy.Enforce = true
			d := tt.policy.Recipient(tt.facts, tt.client, address(tt.to))
			if !d.Reply.Is(tt.reply) && (d.Reply.Code != tt.reply.Code || tt.text == "") {
				t.Errorf("%v, want %v", d.Reply, tt.reply)
			}
			if tt.text != "" && d.Reply.Text != tt.text {
				t.Errorf("%q, want %q", d.Reply.Text, tt.text)
			}
		})
	}
}

// What nobody but us may write is taken out, and what we write cannot be ended
// by what a client said.
func TestFields(t *testing.T) {
	const message = "X-Spam-Flag: NO\r\nFrom: ann@signer.example\r\nx-spam-FLAG : no\r\n folded\r\nFrom: eve@evil.example\r\n\r\nhi\r\n"
	f := facts("bob@here.example")
	f.Client.Hello = "evil\"; x=\r\nBcc: y"
	f.From = mail.Address{Local: `a"b`, Domain: "signer.example"}
	p := &Policy{Hostname: "mx.example", Enforce: true, ReceivedSPF: true, SeveralFrom: Quarantine}
	src := mail.Octets(message)
	h := header.Scan(src, header.Limits{})
	found, err := p.Examine(t.Context(), dns.Zone{"TXT signer.example": {"v=spf1 +all"}}, f, src, h)
	if err != nil {
		t.Fatal(err)
	}
	v := p.Verdict(f, found, h)
	if v.Action != Quarantine || v.Refusal() != nil {
		t.Errorf("%s", v.Decision.Note())
	}
	if len(v.Cut) != 2 || message[v.Cut[0].Start:v.Cut[0].End] != "X-Spam-Flag: NO\r\n" {
		t.Errorf("cut %v", v.Cut)
	}
	const want = "Authentication-Results: mx.example;\r\n" +
		"\tiprev=permerror reason=\"the address has no name\"\r\n\tpolicy.iprev=192.0.2.7;\r\n" +
		"\tspf=pass smtp.mailfrom=\"\\\"a\\\\\\\"b\\\"@signer.example\";\r\n" +
		"\tdkim=none;\r\n" +
		"\tdmarc=permerror reason=\"more than one From field\"\r\n" +
		"Received-SPF: pass\r\n" +
		"\treceiver=mx.example;\r\n" +
		"\tidentity=mailfrom;\r\n" +
		"\tclient-ip=192.0.2.7;\r\n" +
		"\thelo=\"evil\\\"; x=??Bcc: y\";\r\n" +
		"\tenvelope-from=\"\\\"a\\\\\\\"b\\\"@signer.example\";\r\n" +
		"\tmechanism=+all\r\n" +
		"X-Spam-Flag: YES\r\n"
	if v.Fields != want {
		t.Errorf("got\n%s\nwant\n%s", v.Fields, want)
	}
	if fields := header.Scan([]byte(v.Fields+"\r\n"), header.Limits{}); len(fields.Fields) != 3 {
		t.Errorf("%d fields", len(fields.Fields))
	}
}
