package policy

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/arc"
	"postern/policy/authres"
	"postern/policy/dkim"
	"postern/policy/dmarc"
	"postern/policy/spf"
)

// maxAuthors is how many domains a From field may have if DMARC is to judge each of them
// (RFC 9989, section 11.5). A field with more names no author; it is a trick.
const maxAuthors = 4

// Findings are what was found out about a message, each with its evidence.
type Findings struct {
	Client ClientFindings
	IPRev  IPRev
	Hello  spf.Result // of the name in HELO
	SPF    spf.Result // of the reverse-path
	DKIM   []dkim.Result
	ARC    arc.Result
	Author dmarc.Author
	DMARC  dmarc.Result
}

// A Verdict is what the policies say of one message.
type Verdict struct {
	Decision
	Findings

	Fields string       // to be put on top, whole
	Cut    []mail.Range // forged fields, to be taken out; ascending
	// Body is nil, or what stands in the place of the body, which begins at
	// BodyStart. It lasts until the Case is closed.
	Body      mail.Source `json:"-"`
	BodyStart int64
	Folder    string // that it is to be filed in; empty: as any other
	Note      string // the results in brief, for the log: "spf=pass dkim=none"
	Err       error  `json:"-"` // why the message could not be judged: the trouble is ours
}

// Refusal returns the reply that refuses the message, nil if it is taken.
func (v Verdict) Refusal() error {
	if v.Err != nil {
		return v.Err
	}
	return v.Decision.Refusal()
}

// Examine finds out about the message in src, whose header is h, as it was
// received. The error is that of src, and no fault of the message.
func (p *Policy) Examine(ctx context.Context, r dns.Resolver, f Facts, src mail.Source, h header.Header) (Findings, error) {
	found := Findings{Author: dmarc.ParseFrom(h)}
	first, cancel := context.WithTimeout(ctx, untilAuthor(ctx))
	defer cancel()
	q := spf.Query{IP: f.Client.IP, Hello: f.Client.Hello, Sender: f.From, Receiver: p.Hostname, Now: f.Time}
	// They ask different servers of the DNS, and together they wait no longer than the
	// slowest.
	var asking sync.WaitGroup
	asking.Go(func() { found.IPRev = Reverse(first, r, f.Client.IP) })
	asking.Go(func() { found.Hello = spf.CheckHello(first, r, q) })
	asking.Go(func() { found.SPF = spf.CheckMailFrom(first, r, q) })
	err := found.signatures(first, r, dkim.NewMessage(src, h), dkim.Options{Now: f.Time})
	asking.Wait()
	if err != nil {
		return found, err
	}
	found.DMARC = dmarc.Check(ctx, r, dmarc.Query{
		Author: found.Author, Identifiers: found.identifiers(), MaxAuthors: maxAuthors, Thorough: p.Reports,
	})
	return found, nil
}

// untilAuthor returns how much of the time that ctx has left SPF and DKIM may take. The
// rest is for the author's record.
func untilAuthor(ctx context.Context) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return Budget
	}
	left := time.Until(end)
	return max(left/2, left-authorWait)
}

// signatures verifies the signatures of the message (DKIM), and those of the hosts that
// forwarded it (ARC).
func (found *Findings) signatures(ctx context.Context, r dns.Resolver, m *dkim.Message, opt dkim.Options) error {
	report, err := m.Verify(ctx, r, opt)
	if err != nil {
		return err
	}
	found.DKIM = report.Results
	found.ARC, err = arc.Verify(ctx, r, m, opt)
	return err
}

// identifiers returns what SPF and DKIM have found, as DMARC wants to hear it.
func (found *Findings) identifiers() []dmarc.Identifier {
	s := found.SPF
	ids := []dmarc.Identifier{{
		Method: dmarc.SPF, Domain: s.Domain,
		Pass: s.Verdict == spf.Pass, TempError: s.Verdict == spf.TempError,
	}}
	for _, d := range found.DKIM {
		ids = append(ids, dmarc.Identifier{
			Method: dmarc.DKIM, Domain: d.Domain,
			Pass: d.Verdict == dkim.Pass, TempError: d.Verdict == dkim.TempError,
		})
	}
	return ids
}

// signed reports whether a signature is good.
func (found *Findings) signed() bool { return found.hasSignature(dkim.Pass) }

func (found *Findings) hasSignature(v dkim.Verdict) bool {
	return slices.ContainsFunc(found.DKIM, func(r dkim.Result) bool { return r.Verdict == v })
}

// unsure reports whether an answer of the DNS is missing that might speak for the
// message.
func (found *Findings) unsure() bool {
	if found.signed() || found.SPF.Verdict == spf.Pass || found.DMARC.Verdict == dmarc.Pass {
		return false
	}
	return found.DMARC.Verdict == dmarc.TempError || found.SPF.Verdict == spf.TempError || found.hasSignature(dkim.TempError)
}

// Decide says what becomes of the message that found is about.
func (p *Policy) Decide(f Facts, found Findings) Decision {
	var demands []Demand
	add := func(d Demand, made bool) {
		if made {
			demands = append(demands, p.pardon(d, f, found))
		}
	}
	if d, made := p.listed(found.Client); made && d.Action != Reject && d.Action != Defer {
		add(d, true) // else it was decided for each recipient
	}
	add(p.severalFrom(found))
	add(p.spf(found))
	add(p.dmarc(found))
	add(p.sickDNS(found))
	add(p.greylist(f, found))
	for _, a := range f.Filters {
		add(Demand{By: "filter", Action: a.Action, Why: strings.TrimSpace(a.Name + ": " + a.Why), Reply: a.Reply}, a.Action != Accept)
	}
	return decide(demands)
}

// severalFrom is the demand about a message that shows more than one author: nobody
// knows which of them the reader sees (RFC 6376, section 8.15).
func (p *Policy) severalFrom(found Findings) (Demand, bool) {
	d := Demand{By: "from", Action: p.SeveralFrom.or(Reject), Why: "more than one From field"}
	if found.Author.Fields < 2 {
		d.Why = "too many domains in the From field"
	}
	several := found.Author.Fields > 1 || len(found.Author.Domains) > maxAuthors
	return d.replying(mail.SeveralFrom), several
}

// spf refuses only if the domain says that it sends no mail, and nothing else: a
// forwarder breaks the SPF of any other domain, whose signature may still be good. It
// does not refuse if a signature is good, or if one could not be checked.
func (p *Policy) spf(found Findings) (Demand, bool) {
	d := Demand{By: "spf", Action: Reject, Why: found.SPF.Domain + " sends no mail"}
	fails := found.SPF.Verdict == spf.Fail && found.SPF.Strict
	return d.replying(mail.SPFFail), fails && !found.signed() && !found.hasSignature(dkim.TempError)
}

// dmarc does what the author's domain asks for, as far as we want to.
func (p *Policy) dmarc(found Findings) (Demand, bool) {
	d := Demand{By: "dmarc", Why: "the policy of " + found.DMARC.RecordDomain + " is " + string(found.DMARC.Policy)}
	switch found.DMARC.Disposition {
	case dmarc.Reject:
		d.Action = p.DMARCReject.or(Reject)
	case dmarc.Quarantine:
		d.Action = p.DMARCQuarantine.or(Quarantine)
	default:
		return d, false
	}
	if d.Action == Reject && p.unproved(found) {
		d.Action, d.Why = Defer, d.Why+", and the DNS gave no answer about who forwarded it"
		return d.replying(mail.PolicyTempError), true
	}
	return d.replying(mail.DMARCFail), true
}

// sickDNS puts off what could not be judged, if that is wanted.
func (p *Policy) sickDNS(found Findings) (Demand, bool) {
	d := Demand{By: "dns", Action: Defer, Why: "the DNS gave no answer"}
	return d.replying(mail.PolicyTempError), p.Defer && found.unsure()
}

// Verdict composes what the reader and the administrator are told of a message
// whose header is h.
func (p *Policy) Verdict(f Facts, found Findings, h header.Header) Verdict {
	v := Verdict{Decision: p.Decide(f, found), Findings: found}
	results := p.results(f, found)
	v.Fields = authres.Field{ID: p.Hostname, Results: results}.Format(f.UTF8)
	if p.ReceivedSPF {
		v.Fields += receivedSPF(p.Hostname, f, found.SPF)
	}
	if v.Action == Quarantine {
		v.Fields += quarantineField + ": YES\r\n"
		v.Folder = p.Junk
	}
	v.Cut = forged(h, p.Hostname)
	v.Note = strings.TrimSpace(brief(results) + " " + v.Decision.Note())
	return v
}

// quarantineField marks a message that its readers should not see among the
// others, in words that other software knows.
const quarantineField = "X-Spam-Flag"

// forged returns where fields stand that only we may write, in order.
func forged(h header.Header, id string) []mail.Range {
	cut := authres.Own(h, id)
	for f := range h.All(quarantineField) {
		cut = append(cut, mail.Range{Start: int64(f.Start), End: int64(f.End)})
	}
	slices.SortFunc(cut, func(a, b mail.Range) int { return int(a.Start - b.Start) })
	return cut
}
