package mx

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns"
	"postern/mail"
	"postern/policy"
	"postern/policy/access"
	"postern/policy/dnsbl"
	"postern/policy/greylist"
)

// judged gives h a judge whose world is zone, and returns the records of what it
// judged.
func (h *house) judged(t *testing.T, zone dns.Zone, rules ...access.Rule) *[]*policy.Record {
	t.Helper()
	list, err := access.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	p := &policy.Policy{Hostname: "mx.example", Enforce: true, Access: list, Junk: "Junk"}
	records := new([]*policy.Record)
	h.Judge = &policy.Judge{
		Resolver: zone, Policy: func() *policy.Policy { return p },
		Closed: func(r *policy.Record) { *records = append(*records, r) },
	}
	return records
}

// A client that the judge refuses does not learn who exists, and the log has why.
func TestJudgeRefusesRecipients(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.judged(t, dns.Zone{}, access.Rule{Name: "rule 1", Action: access.Deny, Senders: []string{"client.example"}})
		h.play(t, sender+`
			C: RCPT TO:<ann@mx.example>
			S: 550 5.7.1 refused by local policy
			C: RCPT TO:<nobody@mx.example>
			S: 550 5.7.1 refused by local policy
			C: DATA
			S: 503 *
			`+quit)
		if o := h.outcomes[0]; o.Event != mail.Refused || o.Note != "access:reject (rule 1)" || len(o.To) != 1 {
			t.Errorf("%+v", o)
		}
	})
}

func TestJudgeRefusesMessages(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		records := h.judged(t, dns.Zone{"TXT _dmarc.reject.example": {"v=DMARC1; p=reject"}})
		h.play(t, toAnn+data+`
			C: From: eve@reject.example
			C:
			C: hi
			C: .
			S: 550 5.7.26 *
			`+quit)
		h.nothingDelivered(t)
		o := h.outcome(t, mail.EndOfData)
		if !strings.Contains(o.Note, "dmarc=fail") || !strings.Contains(o.Note, "dmarc:reject (the policy of reject.example is reject)") {
			t.Errorf("note %q", o.Note)
		}
		if r := (*records)[0]; len(*records) != 1 || r.Reply.Code != 550 || r.ID != o.ID || len(r.Asked) == 0 {
			t.Errorf("%+v", r)
		}
	})
}

// What is set apart is marked, and its folder is told to the next hop.
func TestJudgeSetsApart(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.judged(t, dns.Zone{"TXT _dmarc.quarantine.example": {"v=DMARC1; p=quarantine"}})
		h.play(t, toAnn+data+`
			C: From: eve@quarantine.example
			C: x-spam-flag: no
			C:
			C: hi
			C: .
			S: 250 2.0.0 OK *
			`+quit)
		got := h.delivered(t)
		if got.env.Folder != "Junk" || !strings.Contains(got.text, "\r\nX-Spam-Flag: YES\r\nFrom: eve@quarantine.example\r\n\r\nhi\r\n") {
			t.Errorf("folder %q, message\n%s", got.env.Folder, got.text)
		}
	})
}

// What a client hears while the resolver is sick, and when: nobody is refused for
// it, and the wait is bounded for the whole transaction.
func TestSickResolver(t *testing.T) {
	const (
		taken  = "250 2.0.0 OK *"
		putOff = "451 4.4.3 *"
	)
	sick := dns.Zone{}
	for _, name := range []string{
		"TXT reject.example", "TXT _dmarc.reject.example", "TXT x._domainkey.reject.example", "PTR 192.0.2.7",
	} {
		sick[name] = []string{"SERVFAIL"}
	}
	slow := dns.Zone{"TXT _dmarc.reject.example": {"v=DMARC1; p=reject"}}
	for name, tt := range map[string]struct {
		resolver dns.Resolver
		putOff   bool // on_temperror = "defer"
		hears    string
		after    time.Duration
		note     string
	}{
		"never answers":               {silent{}, false, taken, policy.Budget, "dmarc=temperror"},
		"never answers, put off":      {silent{}, true, putOff, policy.Budget, "dns:defer"},
		"says SERVFAIL":               {sick, false, taken, 0, "dmarc=temperror"},
		"says SERVFAIL, put off":      {sick, true, putOff, 0, "dns:defer"},
		"is slow":                     {sluggish{slow, time.Second}, false, "550 5.7.26 *", 3 * time.Second, "dmarc=fail"}, // lists; SPF; DMARC
		"is very slow":                {sluggish{slow, 4 * time.Second}, false, taken, 3*time.Second + 4*time.Second + 3*time.Second, "dmarc=temperror"},
		"is too slow":                 {sluggish{slow, time.Minute}, false, taken, policy.Budget, "dmarc=temperror"},
		"is too slow, and is put off": {sluggish{slow, time.Minute}, true, putOff, policy.Budget, "dns:defer"},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				store, err := greylist.Open("", greylist.Options{Delay: time.Minute, Window: time.Hour, Keep: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				p := &policy.Policy{
					Hostname: "mx.example", Enforce: true, Defer: tt.putOff, Greylist: true, ReceivedSPF: true, Reports: true,
					Lists: []dnsbl.List{{Zone: "bad.example"}, {Zone: "good.example", Allow: true}},
				}
				h.Judge = &policy.Judge{Resolver: tt.resolver, Policy: func() *policy.Policy { return p }, Greylist: store}
				start := time.Now()
				h.play(t, toBoth+data+"C: From: eve@reject.example\nC: DKIM-Signature: v=1; a=rsa-sha256; d=reject.example; s=x; h=from; bh=aGk=; b=aGk=\nC:\nC: hi\nC: .\nS: "+tt.hears+"\n"+quit)
				if waited := time.Since(start); waited != tt.after {
					t.Errorf("it took %v, not %v", waited, tt.after)
				}
				if len(h.outcomes) == 0 || !strings.Contains(h.outcomes[len(h.outcomes)-1].Note, tt.note) {
					t.Errorf("outcomes %+v", h.outcomes)
				}
			})
		})
	}
}

// A sluggish resolver has every answer, after some time.
type sluggish struct {
	dns.Zone
	takes time.Duration
}

func (s sluggish) wait(ctx context.Context) error {
	select {
	case <-time.After(s.takes):
		return nil
	case <-ctx.Done():
		return dns.ErrTemporary
	}
}

func (s sluggish) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Zone.LookupTXT(ctx, name)
}

func (s sluggish) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Zone.LookupAddr(ctx, addr)
}

func (s sluggish) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Zone.LookupNetIP(ctx, network, host)
}

// silent is a resolver that never answers.
type silent struct{ dns.Resolver }

func (silent) LookupTXT(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, dns.ErrTemporary
}

func (s silent) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return s.LookupTXT(ctx, addr)
}

func (s silent) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	_, err := s.LookupTXT(ctx, host)
	return nil, err
}

// A panic at the end of a transaction costs the connection, and keeps nothing.
func TestPanicAtTheEnd(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.judged(t, dns.Zone{})
		h.Judge.Closed = func(*policy.Record) { panic("a defect") }
		h.PerClient.Connections = 1
		for range 2 {
			h.play(t, sender+"C: RSET\nS: 421 4.3.0 *\nS.")
			synctest.Wait()
		}
	})
}

// However a transaction ends, its case is closed once.
func TestCasesAreClosed(t *testing.T) {
	for name, end := range map[string]string{
		"reset": "C: RSET\nS: 250 *\n" + quit, "quit": quit, "hello": "C: EHLO again\nS: 250-*\nS: ...\nS: 250 *\n" + quit,
		"hangs up": "C.\n", "hangs up in its message": data + "C: From: x\nC.\n",
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				records := h.judged(t, dns.Zone{})
				h.play(t, toAnn+end)
				synctest.Wait()
				if len(*records) != 1 || (*records)[0].Verdict != nil || len((*records)[0].Recipients) != 1 {
					t.Errorf("%d records", len(*records))
				}
			})
		})
	}
}
