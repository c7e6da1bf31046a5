package policy

import (
	"slices"
	"strconv"
	"strings"

	"postern/mail"
	"postern/policy/arc"
	"postern/policy/authres"
	"postern/policy/dkim"
	"postern/policy/dmarc"
	"postern/policy/dnsbl"
	"postern/policy/spf"
)

// results returns what was found, as Authentication-Results has it.
func (p *Policy) results(f Facts, found Findings) []authres.Result {
	return slices.Concat(
		iprevResults(f, found.IPRev), helloResults(f, found.Hello), spfResults(f, found.SPF),
		dkimResults(found.DKIM), arcResults(f, found.ARC), dmarcResults(found.DMARC), dnswlResults(p.Lists, found.Client),
	)
}

// brief returns the results as "spf=pass dkim=none".
func brief(results []authres.Result) string {
	words := make([]string, len(results))
	for i, r := range results {
		words[i] = r.Method + "=" + r.Value
		if r.Prop("smtp.helo") != "" {
			words[i] = "helo=" + r.Value
		}
	}
	return strings.Join(words, " ")
}

// Note returns what was demanded, for the log: "dmarc=reject (pardoned: the
// client is a forwarder)".
func (d Decision) Note() string {
	words := make([]string, len(d.Demands))
	for i, demand := range d.Demands {
		words[i] = demand.By + ":" + string(demand.Action)
		why := demand.Why
		if demand.Pardon != "" {
			why = strings.TrimSpace(why + "; pardoned: " + demand.Pardon)
		}
		if why != "" {
			words[i] += " (" + mail.Printable(why, maxProblem) + ")"
		}
	}
	return strings.Join(words, " ")
}

// silent is the reason that is given for a temperror: the reader of a message is not to
// learn which servers we ask.
const silent = "no answer from the DNS"

// iprevResults tells the name of the client (RFC 8601, section 2.7.3).
func iprevResults(f Facts, r IPRev) []authres.Result {
	if !f.Client.IP.IsValid() {
		return nil
	}
	if r.Verdict == "temperror" {
		r.Problem = silent
	}
	return []authres.Result{{Method: "iprev", Value: r.Verdict, Reason: r.Problem, Props: []authres.Property{
		{Name: "policy.iprev", Value: f.Client.IP.String()},
		{Name: "policy.name", Value: r.Name},
	}}}
}

// helloResults tells what SPF says of the name in HELO. For a bounce spfResults does,
// since that name then stands for the reverse-path.
func helloResults(f Facts, r spf.Result) []authres.Result {
	if f.From.IsNull() || r.Verdict == spf.None {
		return nil
	}
	return []authres.Result{{Method: "spf", Value: string(r.Verdict), Reason: r.Problem, Props: []authres.Property{
		{Name: "smtp.helo", Value: f.Client.Hello},
	}}}
}

// spfResults tells what SPF found (RFC 8601, section 2.7.2).
func spfResults(f Facts, r spf.Result) []authres.Result {
	result := authres.Result{Method: "spf", Value: string(r.Verdict), Reason: r.Problem}
	result.Props = []authres.Property{{Name: "smtp.mailfrom", Value: f.From.String()}}
	if f.From.IsNull() {
		result.Props = []authres.Property{{Name: "smtp.helo", Value: f.Client.Hello}}
	}
	return []authres.Result{result}
}

// dkimResults tells what each signature was worth (RFC 8601, section 2.7.1).
func dkimResults(found []dkim.Result) []authres.Result {
	if len(found) == 0 {
		return []authres.Result{{Method: "dkim", Value: string(dkim.None)}}
	}
	results := make([]authres.Result, len(found))
	for i, r := range found {
		results[i] = authres.Result{Method: "dkim", Value: string(r.Verdict), Reason: r.Reason, Props: []authres.Property{
			{Name: "header.d", Value: r.Domain},
			{Name: "header.s", Value: r.Selector},
			{Name: "header.a", Value: r.Algorithm},
			{Name: "header.b", Value: r.Prefix},
		}}
	}
	return results
}

// arcResults tells the state of the chain of forwarders, if there is one, who
// sealed it last, and since when the message is as it is (RFC 8617, sections 6.3
// and 10.2).
func arcResults(f Facts, r arc.Result) []authres.Result {
	if r.Verdict == arc.None {
		return nil
	}
	result := authres.Result{Method: "arc", Value: string(r.Verdict), Reason: r.Reason}
	if r.Verdict == arc.TempError { // ARC has no such result (RFC 8617, section 10.1): all its failures are for good
		result.Value = string(arc.Fail)
	}
	if f.Client.IP.IsValid() {
		result.Props = []authres.Property{{Name: "smtp.remote-ip", Value: f.Client.IP.String()}}
	}
	if r.Verdict == arc.Pass {
		result.Props = append(result.Props, authres.Property{Name: "header.oldest-pass", Value: strconv.Itoa(r.OldestPass)})
	}
	return []authres.Result{result}
}

// dmarcResults tells whether the author's domain stands behind the message (RFC
// 9989, section 9).
func dmarcResults(r dmarc.Result) []authres.Result {
	if r.Verdict == dmarc.TempError {
		r.Problem = silent
	}
	result := authres.Result{Method: "dmarc", Value: string(r.Verdict), Reason: r.Problem, Props: []authres.Property{
		{Name: "header.from", Value: r.Author},
	}}
	if r.Record != "" {
		result.Props = append(result.Props, authres.Property{Name: "policy.dmarc", Value: string(r.Applied())})
	}
	return []authres.Result{result}
}

// dnswlResults tells which lists of good addresses the client is on (RFC 8904).
func dnswlResults(lists []dnsbl.List, c ClientFindings) []authres.Result {
	var results []authres.Result
	for _, l := range c.Lists.Listings {
		allows := slices.ContainsFunc(lists, func(list dnsbl.List) bool { return list.Allow && list.String() == l.List })
		if l.State != dnsbl.Present || !allows || len(l.Codes) == 0 {
			continue
		}
		results = append(results, authres.Result{Method: "dnswl", Value: "pass", Props: []authres.Property{
			{Name: "dns.zone", Value: l.List},
			{Name: "policy.ip", Value: l.Codes[0].Unmap().String()},
		}})
	}
	return results
}
