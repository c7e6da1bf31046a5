package policy

import (
	"strings"
	"testing"

	"postern/mail"
	"postern/policy/arc"
	"postern/policy/dkim"
	"postern/policy/dmarc"
	"postern/policy/report"
)

// A set says of a message that it was sealed by domain, who had found results.
func set(domain, results string) arc.Set {
	return arc.Set{Domain: domain, Selector: "s", Payload: "mx." + domain + "; " + results, Message: dkim.Result{Verdict: dkim.Pass, FromSigned: true}}
}

// sealed are the findings about a message of ann@author.example that fails DMARC,
// with sets under it, the oldest first.
func sealed(v arc.Verdict, sets ...arc.Set) Findings {
	found := rejected
	found.Author = dmarc.Author{Fields: 1, Domains: []string{"author.example"}}
	found.ARC = arc.Result{Verdict: v, Sets: sets}
	for i := range sets {
		sets[i].Instance = i + 1
	}
	return found
}

// Who is believed, and what (RFC 8617, section 7.2).
func TestSealed(t *testing.T) {
	const pass = "spf=fail; dmarc=pass (p=reject dis=none) header.from=author.example"
	trusted := []string{"good.example", "list.example"}
	unsigned := set("good.example", pass)
	unsigned.Message.FromSigned = false
	two := sealed(arc.Pass, set("good.example", pass))
	two.Author.Domains = []string{"author.example", "other.example"}
	tests := []struct {
		name    string
		found   Findings
		trusted []string
		want    Action
	}{
		{"nobody is trusted", sealed(arc.Pass, set("good.example", pass)), nil, Reject},
		{"trusted", sealed(arc.Pass, set("good.example", pass)), trusted, Accept},
		{"below who is trusted", sealed(arc.Pass, set("mx.good.example", pass)), trusted, Accept},
		{"another", sealed(arc.Pass, set("evil.example", pass)), trusted, Reject},
		{"almost", sealed(arc.Pass, set("notgood.example", pass)), trusted, Reject},
		{"the case of the author", sealed(arc.Pass, set("good.example", strings.ToUpper(pass))), trusted, Accept},
		{"no chain", sealed(arc.None), trusted, Reject},
		{"bad chain", sealed(arc.Fail, set("good.example", pass)), trusted, Reject},
		{"it did not pass there", sealed(arc.Pass, set("good.example", "dmarc=fail header.from=author.example")), trusted, Reject},
		{"nothing was said of DMARC", sealed(arc.Pass, set("good.example", "dkim=pass header.d=author.example")), trusted, Reject},
		{"somebody else's passed", sealed(arc.Pass, set("good.example", "dmarc=pass header.from=evil.example")), trusted, Reject},
		{"whose passed is not said", sealed(arc.Pass, set("good.example", "dmarc=pass")), trusted, Reject},
		{"it is said in a reason", sealed(arc.Pass, set("good.example", `spf=fail reason="; dmarc=pass header.from=author.example"`)), trusted, Reject},
		{"it is said in a comment", sealed(arc.Pass, set("good.example", "spf=fail (; dmarc=pass header.from=author.example)")), trusted, Reject},
		{"it cannot be read", sealed(arc.Pass, set("good.example", `spf="; dmarc=pass header.from=author.example`)), trusted, Reject},
		{"From is not signed", sealed(arc.Pass, unsigned), trusted, Reject},
		{"two authors", two, trusted, Reject},
		{"by way of another who is trusted", sealed(arc.Pass, set("good.example", pass), set("list.example", "dmarc=fail header.from=author.example")), trusted, Accept},
		{"by way of one who is not", sealed(arc.Pass, set("good.example", pass), set("evil.example", pass)), trusted, Reject},
		{"from one who is not, and did not pass", sealed(arc.Pass, set("evil.example", pass), set("good.example", "dmarc=fail header.from=author.example")), trusted, Reject},
		{"from one who is not, and passed", sealed(arc.Pass, set("evil.example", "none"), set("good.example", pass)), trusted, Accept},

		{"no answer about a seal", sealed(arc.TempError, set("good.example", pass)), trusted, Defer},
		{"no answer about the seal of another", sealed(arc.TempError, set("evil.example", pass)), trusted, Reject},
		{"no answer about one that says nothing", sealed(arc.TempError, set("good.example", "none")), trusted, Reject},
		{"no answer about one that helps nobody", sealed(arc.TempError, set("good.example", pass)), nil, Reject},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Policy{Enforce: true, ARCTrusted: tt.trusted}
			d := p.Decide(facts("bob@here.example"), tt.found)
			reply := map[Action]mail.Reply{Reject: mail.DMARCFail, Defer: mail.PolicyTempError}[tt.want]
			if d.Action != tt.want || !d.Reply.Is(reply) {
				t.Errorf("%s %v: %s", d.Action, d.Reply, d.Note())
			}
		})
	}
}

// What is not known for want of an answer is not refused for good: a signature
// of a forwarder may be good, and so may one that speaks for a domain without
// mail.
func TestUnproved(t *testing.T) {
	silent := func(found Findings, domain string) Findings {
		found.DKIM = []dkim.Result{{Verdict: dkim.TempError, Domain: domain}}
		return found
	}
	p := Policy{Enforce: true, Forwarders: Forwarders{Domains: []string{"list.example"}}}
	for name, tt := range map[string]struct {
		found Findings
		want  Action
	}{
		"forwarder":                   {silent(rejected, "a.list.example"), Defer},
		"another":                     {silent(rejected, "other.example"), Reject},
		"forwarder, to be set apart":  {silent(quarantined, "list.example"), Quarantine},
		"a domain that sends no mail": {silent(noMail, "other.example"), Accept},
	} {
		if d := p.Decide(facts("bob@here.example"), tt.found); d.Action != tt.want {
			t.Errorf("%s: %s, %s", name, d.Action, d.Note())
		}
	}
}

// A report says whose seal it was that was believed.
func TestSealedInReports(t *testing.T) {
	p := Policy{Enforce: true, ARCTrusted: []string{"good.example"}}
	found := sealed(arc.Pass, set("other.example", "none"), set("good.example", "dmarc=pass header.from=author.example"))
	v := Verdict{Decision: p.Decide(facts("bob@here.example"), found), Findings: found}
	done, reasons := v.disposition()
	want := report.Reason{Type: "local_policy", Comment: "arc=pass as[2].d=good.example as[2].s=s as[1].d=other.example as[1].s=s"}
	if done != "none" || len(reasons) != 1 || reasons[0] != want {
		t.Errorf("%s, %+v", done, reasons)
	}
}
