// Package policy judges: it asks SPF, DKIM and their like in order, composes
// what they found into one verdict, and writes it down where the reader of the
// message and the administrator can see it.
//
// A verdict is a function of what the session knows, of what the DNS answered,
// and of the configuration. A resolver that is sick never makes a refusal for
// good.
package policy

import (
	"context"
	"slices"
	"strings"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/authres"
	"postern/policy/dkim"
	"postern/policy/dmarc"
	"postern/policy/spf"
)

const (
	// maxWait is how long a message waits for the DNS, all questions together.
	maxWait = 10 * time.Second
	// maxSPFWait is what of it SPF may use, so that something is left for the
	// keys of signatures.
	maxSPFWait = 6 * time.Second
)

// A Policy is how an administrator wants mail judged. Its fields do not change
// while it is used.
type Policy struct {
	Resolver dns.Resolver
	Hostname string // the authserv-id of Authentication-Results (RFC 8601, section 2.5)
	Enforce  bool   // refuse what the policies refuse; else only write it down
	Defer    bool   // refuse for now what could not be judged for want of an answer
}

// A Verdict is what the policies say of one message.
type Verdict struct {
	Refusal error        // nil, or the reply that refuses the message
	Field   string       // Authentication-Results, whole, to be put on top; "" for none
	Cut     []mail.Range // forged fields, to be taken out
	Note    string       // the results in brief, for the log: "spf=pass dkim=none"

	SPF   spf.Result
	DKIM  []dkim.Result
	DMARC dmarc.Result
}

// Message judges the message src, whose header is h, as it was received.
func (p *Policy) Message(ctx context.Context, env *mail.Envelope, src mail.Source, h header.Header) Verdict {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	v := Verdict{Cut: authres.Own(h, p.Hostname), SPF: p.spf(ctx, env)}
	report, err := dkim.NewMessage(src, h).Verify(ctx, p.Resolver, dkim.Options{})
	if err != nil { // the message cannot be read back: the trouble is ours
		v.Refusal = err
		return v
	}
	v.DKIM = report.Results
	v.DMARC = dmarc.Check(ctx, p.Resolver, dmarc.Query{
		Author: dmarc.ParseFrom(h), Identifiers: identifiers(v.SPF, v.DKIM),
	})
	results := slices.Concat(spfResults(env, v.SPF), dkimResults(v.DKIM), dmarcResults(v.DMARC))
	v.Field = authres.Field{ID: p.Hostname, Results: results}.Format(env.UTF8)
	v.Note = brief(results)
	if p.Enforce && !forPostmaster(env) {
		v.Refusal = p.refuse(v)
	}
	return v
}

func (p *Policy) spf(ctx context.Context, env *mail.Envelope) spf.Result {
	ctx, cancel := context.WithTimeout(ctx, maxSPFWait)
	defer cancel()
	return spf.CheckMailFrom(ctx, p.Resolver, spf.Query{
		IP: env.Client.IP, Hello: env.Client.Hello, Sender: env.From,
		Receiver: p.Hostname, Now: time.Now(),
	})
}

// identifiers returns what SPF and DKIM have found, as DMARC wants to hear it.
func identifiers(s spf.Result, signatures []dkim.Result) []dmarc.Identifier {
	found := []dmarc.Identifier{{
		Method: dmarc.SPF, Domain: s.Domain,
		Pass: s.Verdict == spf.Pass, TempError: s.Verdict == spf.TempError,
	}}
	for _, d := range signatures {
		found = append(found, dmarc.Identifier{
			Method: dmarc.DKIM, Domain: d.Domain,
			Pass: d.Verdict == dkim.Pass, TempError: d.Verdict == dkim.TempError,
		})
	}
	return found
}

// refuse returns the reply that v asks for, and nil if it asks for none. SPF
// alone refuses only for a domain that says no more than that it sends no mail:
// a forwarder breaks the SPF of others, whose signature may still be good. What
// could not be found out refuses nobody for good.
func (p *Policy) refuse(v Verdict) error {
	signed := slices.ContainsFunc(v.DKIM, func(r dkim.Result) bool { return r.Verdict == dkim.Pass })
	unsure := v.DMARC.Verdict == dmarc.TempError || v.SPF.Verdict == spf.TempError ||
		slices.ContainsFunc(v.DKIM, func(r dkim.Result) bool { return r.Verdict == dkim.TempError })
	switch {
	case v.SPF.Verdict == spf.Fail && v.SPF.Strict && !signed:
		return mail.SPFFail
	case v.DMARC.Disposition == dmarc.Reject:
		return mail.DMARCFail
	case p.Defer && unsure && v.DMARC.Verdict != dmarc.Pass && !signed && v.SPF.Verdict != spf.Pass:
		return mail.PolicyTempError
	}
	return nil
}

// forPostmaster reports whether the message is for postmasters alone, who must
// be reachable for those who are refused (RFC 5321, section 4.5.1).
func forPostmaster(env *mail.Envelope) bool {
	for _, to := range env.To {
		if !to.IsPostmaster() {
			return false
		}
	}
	return true
}

// brief returns the results as "spf=pass dkim=none".
func brief(results []authres.Result) string {
	words := make([]string, len(results))
	for i, r := range results {
		words[i] = r.Method + "=" + r.Value
	}
	return strings.Join(words, " ")
}

// spfResults tells what SPF found (RFC 8601, section 2.7.2).
func spfResults(env *mail.Envelope, r spf.Result) []authres.Result {
	result := authres.Result{Method: "spf", Value: string(r.Verdict), Reason: r.Problem}
	if env.From.IsNull() {
		result.Props = []authres.Property{{Name: "smtp.helo", Value: env.Client.Hello}}
	} else {
		result.Props = []authres.Property{{Name: "smtp.mailfrom", Value: env.From.String()}}
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

// dmarcResults tells whether the author's domain stands behind the message (RFC
// 9989, section 9).
func dmarcResults(r dmarc.Result) []authres.Result {
	result := authres.Result{Method: "dmarc", Value: string(r.Verdict), Reason: r.Problem, Props: []authres.Property{
		{Name: "header.from", Value: r.Author},
	}}
	if r.Record != "" {
		result.Props = append(result.Props, authres.Property{Name: "policy.dmarc", Value: string(r.Policy)})
	}
	return []authres.Result{result}
}
