package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"postern/internal/header"
	"postern/internal/spool"
	"postern/mail"
	"postern/policy/milter"
)

// A Filter is a program that is asked about messages that nothing else refuses.
type Filter struct {
	*milter.Filter
	MaxSize int64 // larger messages are not shown to it; 0: any are
	Defer   bool  // put off what it does not answer for; else it is taken
}

// ask asks f about the message that d is the draft of.
func (f Filter) ask(ctx context.Context, c *Case, d *draft) FilterAnswer {
	facts := c.record.Facts
	name := ""
	if v := c.record.Verdict; v != nil && v.IPRev.Verdict == "pass" {
		name = v.IPRev.Name
	}
	a, err := f.Ask(ctx, milter.Message{
		ID: c.record.ID, Hostname: c.policy.Hostname, Client: facts.Client, ClientName: name,
		From: facts.From, To: facts.To, Fields: d.shown(), Source: d.bodySource(), Body: d.bodyStart(),
	})
	if err != nil {
		return f.failed(err)
	}
	d.replace(a.Body)
	for _, change := range a.Changes {
		d.change(change)
	}
	return f.answered(a)
}

// failed is what is demanded where a filter does not answer.
func (f Filter) failed(err error) FilterAnswer {
	a := FilterAnswer{Name: f.Name, Action: Mark, Failed: true, Why: mail.Printable(err.Error(), maxProblem)}
	if f.Defer {
		a.Action, a.Reply = Defer, mail.TryAgain.Because(err)
	}
	return a
}

// answered says in our words what a filter said in its own.
func (f Filter) answered(a milter.Answer) FilterAnswer {
	fa := FilterAnswer{Name: f.Name, Action: Accept, Changes: a.Changes, Reply: a.Reply}
	if a.Body != nil {
		fa.Body = a.Body.Size()
	}
	reply := func(standard mail.Reply) {
		if fa.Reply.Code == 0 {
			fa.Reply = standard
		}
		fa.Why = fa.Reply.Text
	}
	switch {
	case a.Action == milter.Reject:
		fa.Action = Reject
		reply(mail.Filtered)
	case a.Action == milter.TempFail:
		fa.Action = Defer
		reply(mail.TryAgain)
	case a.Action == milter.Discard:
		fa.Action, fa.Why = Quarantine, "it would throw it away"
	case a.Quarantine != "":
		fa.Action, fa.Why = Quarantine, a.Quarantine
	case a.Recipients > 0:
		fa.Action, fa.Why = Mark, fmt.Sprintf("it would refuse %d of the recipients", a.Recipients)
	}
	return fa
}

// A draft is a message as it will be passed on, while filters change it: our
// fields, those that they added, and what is kept of the message.
type draft struct {
	src    mail.Source
	header header.Header
	ours   []milter.Field // which no filter may change
	added  []milter.Field
	cut    []mail.Range // ascending
	body   *spool.Buffer
}

// newDraft returns the draft of the message in src that v is the verdict on.
func newDraft(v Verdict, src mail.Source, h header.Header) *draft {
	d := &draft{src: src, header: h, cut: slices.Clone(v.Cut)}
	for _, f := range header.Scan([]byte(v.Fields), header.Limits{}).Fields {
		d.ours = append(d.ours, shown(f))
	}
	return d
}

func shown(f header.Field) milter.Field {
	return milter.Field{Name: string(f.Name()), Value: string(f.Value())}
}

// kept returns the fields of the message that are left.
func (d *draft) kept() []header.Field {
	return slices.DeleteFunc(slices.Clone(d.header.Fields), func(f header.Field) bool {
		return slices.Contains(d.cut, fieldRange(f))
	})
}

func fieldRange(f header.Field) mail.Range {
	return mail.Range{Start: int64(f.Start), End: int64(f.End)}
}

// shown returns the fields as a filter counts them.
func (d *draft) shown() []milter.Field {
	all := slices.Concat(d.ours, d.added)
	for _, f := range d.kept() {
		all = append(all, shown(f))
	}
	return all
}

// bodySource returns what the body is in, and bodyStart where it begins there.
func (d *draft) bodySource() mail.Source {
	if d.body != nil {
		return d.body
	}
	return d.src
}

func (d *draft) bodyStart() int64 {
	if d.body != nil {
		return 0
	}
	return int64(d.header.Body)
}

// replace puts body in the place of the one that there is, unless it is nil.
func (d *draft) replace(body *spool.Buffer) {
	if body == nil {
		return
	}
	if d.body != nil {
		_ = d.body.Close() // nobody reads it any more
	}
	d.body = body
}

// change changes the header. What a filter adds stands between our fields and
// those of the message, for nothing of the message is written anew.
func (d *draft) change(c milter.Change) {
	at := len(d.added)
	switch c.Op {
	case milter.Insert:
		at = min(max(0, c.Index-len(d.ours)), len(d.added))
	case milter.Alter:
		found, place := d.remove(c)
		switch {
		case found && place < 0: // ours stays
			return
		case found:
			at = place
		}
		if c.Value == "" {
			return
		}
	}
	d.added = slices.Insert(d.added, at, c.Field)
}

// remove takes out the field that c names, and returns where what replaces it
// belongs among those that were added; below zero if it is one of ours, which
// stays.
func (d *draft) remove(c milter.Change) (found bool, place int) {
	left := max(1, c.Index)
	is := func(name string) bool {
		if strings.EqualFold(name, c.Name) {
			left--
		}
		return left == 0
	}
	for _, f := range d.ours {
		if is(f.Name) {
			return true, -1
		}
	}
	for i, f := range d.added {
		if is(f.Name) {
			d.added = slices.Delete(d.added, i, i+1)
			return true, i
		}
	}
	for _, f := range d.kept() {
		if is(string(f.Name())) {
			d.cut = append(d.cut, fieldRange(f))
			slices.SortFunc(d.cut, func(a, b mail.Range) int { return int(a.Start - b.Start) })
			return true, len(d.added)
		}
	}
	return false, 0
}

// finish puts what became of the draft into v.
func (d *draft) finish(v *Verdict) {
	var b strings.Builder
	for _, f := range d.added {
		b.WriteString(f.Name + ":" + f.Value + "\r\n")
	}
	v.Fields += b.String()
	v.Cut = d.cut
	if d.body != nil {
		v.Body, v.BodyStart = d.body, int64(d.header.Body)
	}
}
