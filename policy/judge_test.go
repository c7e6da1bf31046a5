package policy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/dnsbl"
	"postern/policy/greylist"
	"postern/policy/rate"
	"postern/policy/spf"
)

// asked counts the questions that a Zone is asked.
type asked struct {
	dns.Zone
	names *[]string
}

func (a asked) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	*a.names = append(*a.names, host)
	return a.Zone.LookupNetIP(ctx, network, host)
}

// Lists are asked once for a transaction, and not at all about clients whom they
// cannot harm, nor those that are out of use.
func TestListsAreAsked(t *testing.T) {
	client := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	tests := []struct {
		name   string
		policy Policy
		want   []string
	}{
		{"usual", Policy{}, []string{"7.2.0.192.good.example"}},
		{"exempt", Policy{Exempt: client}, nil},
		{"forwarder", Policy{Forwarders: Forwarders{Networks: client}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var names []string
			lists := []dnsbl.List{{Zone: "dead.example"}, {Zone: "good.example", Allow: true}}
			r := asked{dns.Zone{"A 2.0.0.127.good.example": {"127.0.0.2"}}, &names}
			health := dnsbl.NewHealth(dns.Zone{"A 2.0.0.127.good.example": {"127.0.0.2"}}, lists, slog.New(slog.DiscardHandler))
			health.Check(t.Context())
			tt.policy.Lists = lists
			j := &Judge{Resolver: r, Policy: func() *Policy { return &tt.policy }, Health: health}
			c := j.Open(envelope("ann@signer.example", "bob@here.example"))
			for range 3 {
				c.Recipient(t.Context(), address("bob@here.example"))
			}
			if !slices.Equal(names, tt.want) {
				t.Errorf("asked for %q", names)
			}
			if got := fmt.Sprint(c.record.Facts.Unused); got != "[dead.example]" {
				t.Errorf("unused: %s", got)
			}
		})
	}
}

// deliver has j judge one message, and tells it that the client heard what it
// decided.
func deliver(j *Judge, from string) Decision { return deliverBy(j, from, from) }

func deliverBy(j *Judge, from, author string) Decision {
	env := envelope(from, "bob@here.example")
	c := j.Open(env)
	if d := c.Recipient(context.Background(), env.To[0].Address); d.Refusal() != nil {
		c.Close(mail.Reply{})
		return d
	}
	src := mail.Octets("From: " + author + "\r\n\r\nhi\r\n")
	v := c.Message(context.Background(), []mail.Address{env.To[0].Address}, src, header.Scan(src, header.Limits{}))
	c.Close(mail.ReplyTo(v.Refusal()))
	return v.Decision
}

// A stranger waits once; who needs not wait does not become known by that.
func TestJudgeRemembersStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := greylist.Open("", greylist.Options{Delay: 5 * time.Minute, Window: time.Hour, Keep: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		p := &Policy{Hostname: "mx.example", Enforce: true, Greylist: true}
		j := &Judge{Policy: func() *Policy { return p }, Greylist: store, Resolver: dns.Zone{
			"TXT good.example": {"v=spf1 +all"}, "TXT _dmarc.good.example": {"v=DMARC1; p=none"},
			"TXT pool.example": {"v=spf1 +all"},
		}}
		deliver(j, "ann@good.example")
		if d := deliverBy(j, "ann@good.example", "ann@plain.example"); d.Action != Defer {
			t.Errorf("known for nothing: %s", d.Note())
		}
		for i, step := range []struct {
			from string
			want Action
			then time.Duration
		}{
			{"ann@good.example", Accept, 0},   // DMARC speaks for it
			{"ann@other.example", Defer, 0},   // and says nothing of others
			{"ann@other.example", Defer, 0},   // too early
			{"ann@pool.example", Defer, 0},    // known by its domain
			{"ann@other.example", Defer, 300}, // from now on it has waited
			{"eve@other.example", Defer, 0},
			{"ann@other.example", Accept, 0},
			{"eve@other.example", Accept, 0}, // its network came back
			{"eve@pool.example", Defer, 0},   // which is not its network
			{"ann@pool.example", Accept, 86400 * 2},
			{"ann@other.example", Defer, 0}, // forgotten
		} {
			if d := deliver(j, step.from); d.Action != step.want {
				t.Errorf("step %d, %s: %s, %s", i, step.from, d.Action, d.Note())
			}
			time.Sleep(step.then * time.Second)
		}
	})
}

func TestGreyKey(t *testing.T) {
	for _, tt := range []struct {
		ip, from string
		spf      spf.Result
		want     string
	}{
		{"192.0.2.7", "ann@a.example", spf.Result{}, "192.0.2.0/24 ann@a.example"},
		{"2001:db8:1:2:3::4", "ann@a.example", spf.Result{Verdict: spf.SoftFail, Domain: "a.example"}, "2001:db8:1:2::/64 ann@a.example"},
		{"192.0.2.7", "ann@a.example", spf.Result{Verdict: spf.Pass, Domain: "a.example"}, "a.example ann@a.example"},
		{"192.0.2.7", "@", spf.Result{Verdict: spf.Pass, Domain: "mail.a.example"}, "192.0.2.0/24 "},
	} {
		f := Facts{Client: mail.Client{IP: netip.MustParseAddr(tt.ip)}, From: address(tt.from)}
		if origin, sender := greyKey(f, tt.spf); origin+" "+sender != tt.want {
			t.Errorf("%+v: %s %s", tt, origin, sender)
		}
	}
}

// Messages are counted for everybody but those who are exempt.
func TestJudgeCounts(t *testing.T) {
	for _, exempt := range []bool{false, true} {
		p := &Policy{Hostname: "mx.example", Enforce: true}
		if exempt {
			p.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
		}
		j := &Judge{Policy: func() *Policy { return p }, Resolver: dns.Zone{},
			ByClient: rate.New[netip.Prefix](1, time.Hour, 100), ByRecipient: rate.New[string](1, time.Hour, 100)}
		first, second := deliver(j, "ann@a.example"), deliver(j, "ann@a.example")
		if first.Action != Accept || (second.Action == Defer) == exempt {
			t.Errorf("exempt %v: %s, then %s", exempt, first.Action, second.Action)
		}
		want := 1
		if exempt {
			want = 0
		}
		if j.ByClient.Len() != want || j.ByRecipient.Len() != want {
			t.Errorf("exempt %v: %d and %d counted", exempt, j.ByClient.Len(), j.ByRecipient.Len())
		}
		if !exempt && len(second.Demands) != 2 {
			t.Errorf("%s", second.Note())
		}
	}
}

func TestReverse(t *testing.T) {
	zone := dns.Zone{
		"PTR 192.0.2.1": {"a.example"}, "A a.example": {"192.0.2.9", "192.0.2.1"},
		"PTR 192.0.2.2": {"b.example"}, "A b.example": {"192.0.2.9"},
		"PTR 192.0.2.3": {"gone.example"},
		"PTR 192.0.2.4": {"SERVFAIL"},
		"PTR 192.0.2.5": {"sick.example", "b.example"}, "A sick.example": {"SERVFAIL"},
		"PTR 192.0.2.6": {"b.example", "sick.example", "c.example"}, "A c.example": {"192.0.2.6"},
		"PTR 192.0.2.7": {"n1.example", "n2.example", "n3.example", "n4.example", "n5.example", "n6.example"}, "A n6.example": {"192.0.2.7"}, "A n5.example": {"192.0.2.8"},
		"PTR 192.0.2.8":   {"n1.example", "n2.example", "n3.example", "n4.example", "n5.example", "n6.example"},
		"PTR 2001:db8::1": {"v6.example"}, "AAAA v6.example": {"2001:db8::1"},
		"PTR 192.0.2.10": {"v6.example"},
		"PTR 192.0.2.11": {"e\r\nvil"},
	}
	for ip, want := range map[string]string{
		"192.0.2.1": "pass a.example ", "192.0.2.2": "fail b.example b.example does not lead back",
		"192.0.2.3": "fail gone.example gone.example does not lead back",
		"192.0.2.4": "temperror", "192.0.2.5": "temperror sick.example", "192.0.2.6": "pass c.example ",
		"192.0.2.7": "fail n1.example", "192.0.2.8": "pass n5.example ", "192.0.2.9": "permerror  the address has no name",
		"2001:db8::1": "pass v6.example ", "192.0.2.10": "fail v6.example", "192.0.2.11": "fail e??vil",
	} {
		r := Reverse(t.Context(), zone, netip.MustParseAddr(ip))
		if got := r.Verdict + " " + r.Name + " " + r.Problem; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", ip, got, want)
		}
	}
	if r := Reverse(t.Context(), zone, netip.Addr{}); r.Verdict != "permerror" {
		t.Errorf("no address: %+v", r)
	}
}

// What stands in Authentication-Results says what was found, and not whom we ask.
func TestResults(t *testing.T) {
	p := &Policy{Hostname: "mx.example", Lists: []dnsbl.List{{Zone: "KEY.good.example", Name: "good.example", Allow: true}, {Zone: "bad.example"}}}
	listed := ClientFindings{Lists: dnsbl.Result{Listings: []dnsbl.Listing{
		{List: "good.example", State: dnsbl.Present, Codes: []netip.Addr{netip.MustParseAddr("127.0.9.2")}},
		{List: "bad.example", State: dnsbl.Present, Codes: []netip.Addr{netip.MustParseAddr("127.0.0.2")}},
	}}}
	bounce := facts()
	bounce.From = mail.Address{}
	tests := []struct {
		name  string
		facts Facts
		found Findings
		want  string
	}{
		{"helo", facts(), Findings{Hello: spf.Result{Verdict: spf.Pass}, SPF: spf.Result{Verdict: spf.Fail}}, "helo=pass spf=fail"},
		{"no record for helo", facts(), Findings{Hello: spf.Result{Verdict: spf.None}, SPF: spf.Result{Verdict: spf.Fail}}, " spf=fail"},
		{"bounce", bounce, Findings{Hello: spf.Result{Verdict: spf.Pass}, SPF: spf.Result{Verdict: spf.Pass}}, " helo=pass dkim"},
		{"good list", facts(), Findings{Client: listed}, "dnswl=pass"},
	}
	for _, tt := range tests {
		results := p.results(tt.facts, tt.found)
		if got := brief(results); !strings.Contains(got, tt.want) || strings.Count(got, "helo=") > 1 || strings.Count(got, "dnswl") > 1 {
			t.Errorf("%s: %s", tt.name, got)
		}
		for _, r := range results {
			if strings.Contains(fmt.Sprint(r), "KEY") {
				t.Errorf("%s: %+v tells a key", tt.name, r)
			}
		}
	}
	sick := Findings{IPRev: IPRev{Verdict: "temperror", Problem: "127.0.0.1:53 is away"}}
	sick.DMARC.Verdict, sick.DMARC.Problem = "temperror", "127.0.0.1:53 is away"
	if got := fmt.Sprint(p.results(facts(), sick)); strings.Contains(got, "127.0.0.1") || strings.Count(got, silent) != 2 {
		t.Errorf("%s", got)
	}
}
