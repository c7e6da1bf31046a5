package policy

import (
	"context"
	"slices"

	"postern/internal/dns"
	"postern/mail"
	"postern/policy/dmarc"
)

// A Replayed is what is decided about a transaction that was recorded, by another
// policy than the one that held then.
type Replayed struct {
	// Recipients are the decisions about those of the Record, in their order.
	Recipients []Decision
	// Message is nil where nobody looked at one.
	Message *Decision
	// Unknown is what the policy would have asked that nobody asked then: DNS
	// lists, filters, the greylist. What it decides without the answer may not
	// be what it would decide with it.
	Unknown []string
}

// Replay decides again about the transaction of r, from what is in it: the same
// facts, the answers that the DNS gave then, what was found out about the message.
// The judge itself has what depends on earlier transactions: rates whose limits have
// changed are counted anew, if all records are replayed in the order of their time.
// A judge that replays needs no resolver and judges nothing else.
// Taken reports whether the maps know the recipient of that index.
func (j *Judge) Replay(r *Record, taken func(i int) bool) Replayed {
	p, asked := j.Policy(), dns.NewReplay(r.Asked)
	var again Replayed
	f := r.Facts
	client := p.Client(context.Background(), asked, f)
	f.To = nil
	for i, rcpt := range r.Recipients {
		d := Decision{Action: Accept}
		if rcpt.Decision.Action != "" { // else it did not come to that
			f.Over = j.overAgain(r, rcpt)
			d = p.Recipient(f, client, rcpt.To)
		}
		again.Recipients = append(again.Recipients, d)
		if d.Refusal() == nil && slices.Contains(r.Facts.To, rcpt.To) && taken(i) {
			f.To = append(f.To, rcpt.To)
		}
	}
	for _, q := range asked.Missing() {
		again.Unknown = append(again.Unknown, q.Type+" "+q.Name)
	}
	f.Over = nil
	if r.Verdict != nil && len(f.To) > 0 {
		found := r.Verdict.Findings
		found.Client = client
		d := j.messageAgain(&again, f, found, r.Size)
		again.Message = &d
	}
	if r.Reply.Code != 0 {
		j.countAt(p, f, f.Time)
	}
	return again
}

// overAgain returns the rates that mail for rcpt would exceed: as it was where the
// limits are the same, for then it is known.
func (j *Judge) overAgain(r *Record, rcpt RecipientRecord) []Rate {
	if now := j.limits(); now == r.Limits {
		return rcpt.Over
	}
	return j.overAt(r.Facts.Client, rcpt.To, r.Facts.Time)
}

// messageAgain decides again about a message.
func (j *Judge) messageAgain(again *Replayed, f Facts, found Findings, size int64) Decision {
	p := j.Policy()
	answers := f.Filters
	f.Filters = nil
	d := p.Decide(f, found)
	if p.Greylist && f.Greylist == nil && d.Refusal() == nil && found.DMARC.Verdict != dmarc.Pass {
		again.Unknown = append(again.Unknown, "the greylist")
	}
	for _, filter := range j.Filters {
		if d.Refusal() != nil {
			return d
		}
		i := slices.IndexFunc(answers, func(a FilterAnswer) bool { return a.Name == filter.Name })
		switch {
		case i < 0 && filter.MaxSize > 0 && size > filter.MaxSize:
			continue
		case i < 0:
			again.Unknown = append(again.Unknown, "the filter "+filter.Name)
			continue
		}
		f.Filters = append(f.Filters, filter.again(answers[i]))
		d = p.Decide(f, found)
	}
	return d
}

// again returns the answer of a filter, with what is now to be done if there was
// none.
func (f Filter) again(a FilterAnswer) FilterAnswer {
	if !a.Failed {
		return a
	}
	a.Action, a.Reply = Mark, mail.Reply{}
	if f.Defer {
		a.Action, a.Reply = Defer, mail.TryAgain
	}
	return a
}
