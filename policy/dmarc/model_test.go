package dmarc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns"
)

// A model judges as the text of RFC 9989 does: it takes every walk to its end,
// asks for all that it may need, and knows no shortcut. It needs a world without
// errors.
type model struct{ zone dns.Zone }

func (m model) record(domain string) *record {
	var found []record
	for _, text := range m.zone["TXT _dmarc."+domain] {
		if rec, ok := parseRecord(text); ok {
			found = append(found, rec)
		}
	}
	if len(found) != 1 {
		return nil
	}
	return &found[0]
}

// walk is section 4.10: the domains that are asked for, to the end.
func (m model) walk(domain string) []string {
	var targets []string
	labels := strings.Split(domain, ".")
	for first := true; len(labels) > 0; first = false {
		target := strings.Join(labels, ".")
		targets = append(targets, target)
		if rec := m.record(target); rec != nil && rec.psd != psdUnknown {
			break
		}
		if x := len(labels); first && x >= 8 {
			labels = labels[x-7:]
		} else {
			labels = labels[1:]
		}
	}
	return targets
}

// org is section 4.10.2.
func (m model) org(domain string) string {
	fewest := ""
	for _, target := range m.walk(domain) {
		rec := m.record(target)
		switch {
		case rec == nil:
			continue
		case rec.psd == psdNo:
			return target
		case rec.psd == psdYes && target != domain:
			n := len(strings.Split(target, ".")) + 1
			labels := strings.Split(domain, ".")
			return strings.Join(labels[len(labels)-n:], ".")
		}
		fewest = target
	}
	if fewest != "" {
		return fewest
	}
	return domain
}

// discover is section 4.10.1: the domain of the record that applies. A record
// that the walk passes over in a long name is never found (section 5.1.7).
func (m model) discover(author string) string {
	if m.record(author) != nil {
		return author
	}
	if org := m.org(author); m.record(org) != nil && slices.Contains(m.walk(author), org) {
		return org
	}
	for _, target := range m.walk(author) {
		if rec := m.record(target); rec != nil && rec.psd == psdYes {
			return target
		}
	}
	return ""
}

// judge is section 5.3; the result is as brief as outcome makes it.
func (m model) judge(q Query) string {
	author := q.Author.Domains[0]
	at := m.discover(author)
	if at == "" || !m.record(at).usable {
		return "none"
	}
	rec := m.record(at)
	for _, id := range q.Identifiers {
		aligned := id.Domain == author || !rec.strict(id.Method) && m.org(id.Domain) == m.org(author)
		if id.Pass && aligned {
			return "pass"
		}
	}
	policy := rec.p
	if at != author {
		exists := false
		for key := range m.zone {
			_, name, _ := strings.Cut(key, " ")
			exists = exists || isWithin(name, author)
		}
		switch {
		case !exists && rec.np != "":
			policy = rec.np
		case rec.sp != "":
			policy = rec.sp
		}
	}
	if rec.testing {
		policy = policy.milder()
	}
	return "fail, " + string(policy)
}

func outcome(r Result) string {
	if r.Verdict == Fail {
		return "fail, " + string(r.Disposition)
	}
	return string(r.Verdict)
}

// Dice make a world out of octets: each throw takes one.
type dice []byte

func (d *dice) throw(sides int) int {
	if len(*d) == 0 {
		return 0
	}
	n := int((*d)[0]) % sides
	*d = (*d)[1:]
	return n
}

func (d *dice) pick(options ...string) string { return options[d.throw(len(options))] }

var domains = []string{
	"com", "example.com", "b.example.com", "a.b.example.com", "c.example.com", "x.c.example.com", "net", "example.net",
	"3.4.5.6.7.example.com", "2.3.4.5.6.7.example.com", "1.2.3.4.5.6.7.example.com", "0.0.1.2.3.4.5.6.7.example.com",
}

func (d *dice) world() (dns.Zone, Query) {
	zone := dns.Zone{}
	for _, domain := range domains {
		switch d.throw(6) {
		case 0, 1:
			zone["TXT _dmarc."+domain] = []string{d.record()}
		case 2:
			zone["TXT _dmarc."+domain] = []string{"other", d.record(), d.pick("v=DMARC2", d.record())}
		case 3:
			zone["A "+domain] = []string{"192.0.2.1"}
		}
	}
	q := Query{Author: from("ann@" + d.pick(domains...))}
	for range d.throw(4) {
		id := Identifier{Method: Method(d.pick("spf", "dkim")), Domain: d.pick(domains...), Pass: d.throw(4) > 0}
		q.Identifiers = append(q.Identifiers, id)
	}
	return zone, q
}

func (d *dice) record() string {
	policies := []string{"none", "quarantine", "reject"}
	tags := []string{"v=DMARC1", d.pick("p=", "p=", "p=", "p=x") + d.pick(policies...)}
	for _, tag := range []string{"sp=", "np="} {
		if d.throw(3) == 0 {
			tags = append(tags, tag+d.pick(policies...))
		}
	}
	tags = append(tags, d.pick("", "", "", "psd=y", "psd=n"), d.pick("", "", "t=y"), d.pick("", "", "adkim=s"), d.pick("", "", "aspf=s"), d.pick("", "rua=mailto:a@b.example"))
	return strings.Join(tags, ";")
}

// partial is a world in which nobody answers for some domains.
type partial struct {
	dns.Zone
	silent []string
}

func (p partial) answers(name string) error {
	if slices.Contains(p.silent, strings.TrimPrefix(strings.TrimSuffix(name, "."), "_dmarc.")) {
		return dns.ErrTemporary
	}
	return nil
}

func (p partial) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := p.answers(name); err != nil {
		return nil, err
	}
	return p.Zone.LookupTXT(ctx, name)
}

func (p partial) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	if err := p.answers(name); err != nil {
		return nil, err
	}
	return p.Zone.LookupNetIP(ctx, network, name)
}

// compare holds Check against the model, and then takes answers away: whatever
// is certain without an answer must not depend on what the answer would be.
func compare(t *testing.T, throws []byte) string {
	d := dice(throws)
	zone, q := d.world()
	want := model{zone}.judge(q)
	got := Check(t.Context(), zone, q)
	if outcome(got) != want {
		t.Fatalf("%s, want %s\n%v by %+v\n%q", brief(got), want, q.Author.Domains, q.Identifiers, zone)
	}
	names := asked(got)
	slices.Sort(names)
	if most := 8 + 1 + 8*len(q.Identifiers); len(names) > most || len(slices.Compact(names)) != len(got.Asked) {
		t.Errorf("asked %d times, %v", len(got.Asked), got.Asked)
	}
	sick := partial{zone, []string{d.pick(domains...), d.pick(domains...)}}
	if got := outcome(Check(t.Context(), sick, q)); got != "temperror" && got != want {
		t.Fatalf("%s without some answers, and %s with them\n%v by %+v\n%q", got, want, q.Author.Domains, q.Identifiers, sick)
	}
	return want
}

func TestModel(t *testing.T) {
	random := rand.New(rand.NewPCG(9989, 1))
	reached := map[string]int{}
	for range 5_000 {
		throws := make([]byte, 200)
		for i := range throws {
			throws[i] = byte(random.Uint32())
		}
		reached[compare(t, throws)]++
	}
	for _, outcome := range []string{"none", "pass", "fail, none", "fail, quarantine", "fail, reject"} {
		if reached[outcome] < 100 {
			t.Errorf("%s only %d times", outcome, reached[outcome])
		}
	}
	t.Log(fmt.Sprint(reached))
}

func FuzzModel(f *testing.F) {
	f.Add([]byte("example"))
	f.Fuzz(func(t *testing.T, throws []byte) { compare(t, throws) })
}
