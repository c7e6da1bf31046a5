package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/access"
	"postern/policy/dmarc"
	"postern/policy/dnsbl"
	"postern/policy/milter"
	"postern/policy/rate"
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
			whole := (&Judge{Policy: func() *Policy { return p }}).Replay(&r, func(int) bool { return true })
			if len(whole.Unknown) > 0 || whole.Message.Action != want.Action || whole.Message.Note() != want.Decision.Note() ||
				!reflect.DeepEqual(whole.Recipients[0], r.Recipients[0].Decision) {
				t.Errorf("decided %s, and now %+v", want.Decision.Note(), whole)
			}
		})
	}
}

// Another policy decides otherwise about what was, as far as is known.
func TestReplayOfAnotherPolicy(t *testing.T) {
	ann, bob, cat := mail.Address{Local: "ann", Domain: "here.example"}, mail.Address{Local: "bob", Domain: "here.example"}, mail.Address{Local: "cat", Domain: "here.example"}
	record := func() *Record {
		return &Record{
			Facts: Facts{
				Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Client: mail.Client{IP: netip.MustParseAddr("192.0.2.7")}, From: mail.Address{Local: "eve", Domain: "there.example"},
				To: []mail.Address{ann, bob}, Filters: []FilterAnswer{{Name: "old", Action: Reject, Reply: mail.Filtered}, {Name: "away", Action: Mark, Failed: true}},
			},
			Recipients: []RecipientRecord{
				{To: ann, Decision: Decision{Action: Accept}, By: ByNextHop, Reply: mail.RecipientOK},
				{To: bob, Decision: Decision{Action: Accept}, By: ByNextHop, Reply: mail.RecipientOK},
				{To: cat, By: BySession, Reply: mail.TooManyRecipients},
			},
			Verdict: &Verdict{Findings: Findings{DMARC: dmarc.Result{Verdict: dmarc.Fail, Policy: dmarc.Reject, Disposition: dmarc.Reject}}},
			Reply:   mail.DMARCFail,
		}
	}
	deny := func(recipient string) *access.List {
		l, err := access.New([]access.Rule{{Name: "it", Action: access.Deny, Recipients: []string{recipient}}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	named := func(name string, put bool) Filter { return Filter{Filter: &milter.Filter{Name: name}, Defer: put} }
	tests := []struct {
		name    string
		policy  Policy
		filters []Filter
		maps    func(int) bool
		want    string
	}{
		{"the same", Policy{Enforce: true}, nil, nil, "accept accept accept: reject []"},
		{"milder", Policy{Enforce: true, DMARCReject: Quarantine}, nil, nil, "accept accept accept: quarantine []"},
		{"not enforced", Policy{}, nil, nil, "accept accept accept: accept []"},
		{"a rule for one", Policy{Access: deny("ann@here.example")}, nil, nil, "reject accept accept: accept []"},
		{"a rule for all", Policy{Access: deny("here.example")}, nil, nil, "reject reject accept: none []"},
		{"one is gone", Policy{Access: deny("ann@here.example")}, nil, func(i int) bool { return i != 1 }, "reject accept accept: none []"},
		{"a new list", Policy{Lists: []dnsbl.List{{Zone: "bad.example"}}}, nil, nil, "accept accept accept: accept [A 7.2.0.192.bad.example]"},
		{"a new greylist", Policy{Greylist: true}, nil, nil, "accept accept accept: accept [the greylist]"},
		{"a filter as it was", Policy{DMARCReject: Mark, Enforce: true}, []Filter{named("old", false)}, nil, "accept accept accept: reject []"},
		{"a filter that was away", Policy{DMARCReject: Mark, Enforce: true}, []Filter{named("away", true)}, nil, "accept accept accept: defer []"},
		{"a new filter", Policy{DMARCReject: Mark, Enforce: true}, []Filter{named("new", false)}, nil, "accept accept accept: mark [the filter new]"},
	}
	for _, tt := range tests {
		j := &Judge{Policy: func() *Policy { return &tt.policy }, Filters: tt.filters}
		if tt.maps == nil {
			tt.maps = func(int) bool { return true }
		}
		again := j.Replay(record(), tt.maps)
		got := ""
		for _, d := range again.Recipients {
			got += string(d.Action) + " "
		}
		message := "none"
		if again.Message != nil {
			message = string(again.Message.Action)
		}
		if got = fmt.Sprintf("%s: %s %v", strings.TrimSpace(got), message, again.Unknown); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Rates that have changed are counted anew; others are as they were.
func TestReplayOfRates(t *testing.T) {
	p := &Policy{}
	ann := mail.Address{Local: "ann", Domain: "here.example"}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	record := func(minute int) *Record {
		return &Record{
			Limits: Limits{Recipient: 5}, Reply: mail.Accepted,
			Facts:      Facts{Time: start.Add(time.Duration(minute) * time.Minute), Client: mail.Client{IP: netip.MustParseAddr("192.0.2.7")}, To: []mail.Address{ann}},
			Recipients: []RecipientRecord{{To: ann, Decision: Decision{Action: Accept}, Reply: mail.RecipientOK, Over: []Rate{{Of: "recipient", Limit: 5}}}},
		}
	}
	for limit, want := range map[int]string{2: "accept accept defer accept", 3: "accept accept accept accept", 5: "defer defer defer defer", 0: "accept accept accept accept"} {
		j := &Judge{Policy: func() *Policy { return p }, ByRecipient: rate.New[string](limit, time.Hour, 100)}
		got := ""
		for _, minute := range []int{0, 1, 2, 60} {
			got += string(j.Replay(record(minute), func(int) bool { return true }).Recipients[0].Action) + " "
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("a limit of %d: %s, want %s", limit, got, want)
		}
	}
}
