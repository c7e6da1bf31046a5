package story

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/mail"
	"postern/policy"
)

// A Finding is what one check found, and on what it rests.
type Finding struct {
	Check   string // "dnsbl", "iprev", "spf", "dkim", "arc", "dmarc", "greylist", "filter"
	What    string
	Verdict string
	Why     string
}

// Evidence returns what was found about the message of r.
func Evidence(r *policy.Record) []Finding {
	var all []Finding
	row := func(check, what, verdict string, why ...string) {
		why = slices.DeleteFunc(why, func(s string) bool { return s == "" })
		all = append(all, Finding{check, what, verdict, strings.Join(why, ", ")})
	}
	v := r.Verdict
	if v == nil {
		return nil
	}
	for _, l := range v.Client.Lists.Listings {
		row("dnsbl", "list "+l.List, string(l.State), l.Reason, l.Problem)
	}
	row("iprev", "iprev", v.IPRev.Verdict, v.IPRev.Name, v.IPRev.Problem)
	row("spf", "SPF of HELO", string(v.Hello.Verdict), v.Hello.Domain, v.Hello.Mechanism, v.Hello.Problem)
	row("spf", "SPF", string(v.SPF.Verdict), v.SPF.Domain, v.SPF.Mechanism, v.SPF.Problem)
	for _, d := range v.DKIM {
		row("dkim", "DKIM", string(d.Verdict), d.Domain, d.Selector, d.Reason)
	}
	if v.ARC.Verdict != "none" {
		row("arc", "ARC", string(v.ARC.Verdict), v.ARC.Reason)
	}
	for _, s := range v.ARC.Sets {
		row("arc", "", "", fmt.Sprintf("%d sealed by %s: %s", s.Instance, s.Domain, mail.Printable(s.Payload, 200)))
	}
	row("dmarc", "DMARC", string(v.DMARC.Verdict), v.DMARC.Author, v.DMARC.Record, v.DMARC.Problem)
	for _, f := range v.DMARC.Findings {
		row("dmarc", "", "", fmt.Sprintf("%s of %s: %s", f.Method, f.Domain, alignment(string(f.Alignment))))
	}
	if g := r.Facts.Greylist; g != nil {
		row("greylist", "greylist", map[bool]string{true: "known", false: "unknown"}[g.Known], g.Sender+" from "+g.Origin)
	}
	for _, f := range r.Facts.Filters {
		row("filter", "filter "+f.Name, string(f.Action), f.Why)
	}
	return all
}

// PrintEvidence tells what was found, and on what it rests.
func PrintEvidence(w io.Writer, r *policy.Record) {
	for _, f := range Evidence(r) {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.What, f.Verdict, f.Why)
	}
}

func alignment(a string) string {
	if a == "" {
		return "alignment not needed"
	}
	return "aligned " + a
}

// PrintExchanges tells what the DNS was asked, and what it said.
func PrintExchanges(w io.Writer, asked []dns.Exchange) {
	for _, e := range asked {
		answer := strings.Join(e.Answers, " / ")
		if e.Cause != "" {
			answer = e.Cause
		}
		fmt.Fprintf(w, "%s %s\t%s\t%s\n", e.Type, e.Name, e.Outcome, answer)
	}
}
