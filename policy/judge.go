package policy

import (
	"context"
	"net/netip"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/internal/spool"
	"postern/mail"
	"postern/policy/dnsbl"
	"postern/policy/greylist"
	"postern/policy/rate"
	"postern/policy/report"
)

// A Judge judges transactions for a server. Its fields do not change while it is
// used; it may be used by several goroutines. A nil Judge takes everything.
type Judge struct {
	Resolver dns.Resolver
	// Policy returns the newest. A transaction asks once and keeps to the answer.
	Policy func() *Policy
	// Health knows which DNS lists are in use; nil: all are.
	Health *dnsbl.Health
	// ByClient and ByRecipient bound how many messages are taken in an hour; nil:
	// any number.
	ByClient    *rate.Limiter[netip.Prefix]
	ByRecipient *rate.Limiter[string]
	// Greylist remembers who came before; nil: everybody is a stranger.
	Greylist *greylist.Store
	// Reports counts what DMARC finds; nil: nobody does.
	Reports *report.Counter
	// Filters are asked about whole messages, in order.
	Filters []Filter
	// Closed is told of every transaction that ended; nil: nobody wants to know.
	Closed func(*Record)
}

// A Case is a transaction before the Judge. It belongs to one goroutine. A nil
// Case is one that nobody judges.
type Case struct {
	judge    *Judge
	policy   *Policy
	resolver *dns.Recorder
	left     time.Duration // of the Budget
	record   Record
	client   *ClientFindings // nil: not asked for yet
	body     *spool.Buffer   // that a filter made; nil: none did
}

// Open opens the case of the transaction that env begins.
func (j *Judge) Open(env *mail.Envelope) *Case {
	if j == nil {
		return nil
	}
	c := &Case{judge: j, policy: j.Policy(), resolver: dns.NewRecorder(j.Resolver), left: Budget}
	c.record = Record{ID: env.ID, Generation: env.Generation, Size: env.Size, Limits: j.limits(), Facts: Facts{
		Time: time.Now(), Client: env.Client, From: env.From, UTF8: env.UTF8,
	}}
	if j.Health != nil {
		for _, l := range c.policy.Lists {
			if !j.Health.InUse(l.String(), env.Client.IP) {
				c.record.Facts.Unused = append(c.record.Facts.Unused, l.String())
			}
		}
	}
	return c
}

// within runs do within what is left of the budget.
func (c *Case) within(ctx context.Context, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, c.left)
	defer cancel()
	start := time.Now()
	do(ctx)
	c.left = max(0, c.left-time.Since(start))
}

// Recipient decides whether mail for to is taken at all, before anybody is asked
// whether it exists.
func (c *Case) Recipient(ctx context.Context, to mail.Address) Decision {
	if c == nil {
		return Decision{Action: Accept}
	}
	if c.client == nil {
		c.client = new(ClientFindings)
		c.within(ctx, func(ctx context.Context) { *c.client = c.policy.Client(ctx, c.resolver, c.record.Facts) })
	}
	f := c.record.Facts
	f.Over = c.judge.over(f.Client, to)
	d := c.policy.Recipient(f, *c.client, to)
	c.named(RecipientRecord{To: to, Over: f.Over, Decision: d})
	return d
}

// over returns the rates that a message for to would exceed.
func (j *Judge) over(client mail.Client, to mail.Address) []Rate {
	return j.overAt(client, to, time.Now())
}

func (j *Judge) overAt(client mail.Client, to mail.Address, now time.Time) []Rate {
	var over []Rate
	if n := client.Network(); n.IsValid() && j.ByClient.FullAt(n, now) {
		over = append(over, Rate{Of: "client", Whose: n.String(), Limit: j.ByClient.Limit()})
	}
	if whose := folded(to); j.ByRecipient.FullAt(whose, now) {
		over = append(over, Rate{Of: "recipient", Whose: whose, Limit: j.ByRecipient.Limit()})
	}
	return over
}

func (j *Judge) limits() Limits {
	return Limits{Client: j.ByClient.Limit(), Recipient: j.ByRecipient.Limit()}
}

// Message judges the message in src, whose header is h, for the recipients to.
func (c *Case) Message(ctx context.Context, to []mail.Address, src mail.Source, h header.Header) Verdict {
	if c == nil {
		return Verdict{Decision: Decision{Action: Accept}}
	}
	f := &c.record.Facts
	f.To = to
	var (
		found Findings
		err   error
	)
	c.within(ctx, func(ctx context.Context) { found, err = c.policy.Examine(ctx, c.resolver, *f, src, h) })
	if err != nil {
		return Verdict{Err: err}
	}
	if c.client != nil {
		found.Client = *c.client
	}
	f.Greylist = c.acquaintance(found)
	v := c.policy.Verdict(*f, found, h)
	c.record.Verdict = &v
	if len(c.judge.Filters) > 0 && v.Refusal() == nil {
		c.filter(ctx, src, h)
	}
	return *c.record.Verdict
}

// filter asks the filters about a message that nothing else refuses, until one of them
// refuses it, and decides the verdict again with each answer.
func (c *Case) filter(ctx context.Context, src mail.Source, h header.Header) {
	v, f := c.record.Verdict, &c.record.Facts
	d := newDraft(*v, src, h)
	for _, filter := range c.judge.Filters {
		if filter.MaxSize > 0 && src.Size() > filter.MaxSize {
			continue
		}
		f.Filters = append(f.Filters, filter.ask(ctx, c, d))
		*v = c.policy.Verdict(*f, v.Findings, h)
		if v.Refusal() != nil {
			break
		}
	}
	c.body = d.body
	d.finish(v)
}

// Close ends the case. Reply is what the client heard of the message; zero if there was
// no message.
func (c *Case) Close(reply mail.Reply) {
	if c == nil {
		return
	}
	c.record.Reply = reply
	if c.body != nil {
		_ = c.body.Close() // nobody reads it any more
	}
	if reply.Code != 0 {
		c.count()
		c.remember(reply)
		if row, ok := c.record.row(); ok {
			c.judge.Reports.Add(row)
		}
	}
	if c.judge.Closed != nil {
		c.judge.Closed(c.finish())
	}
}

// count counts a message, whatever became of it.
func (c *Case) count() { c.judge.countAt(c.policy, c.record.Facts, time.Now()) }

func (j *Judge) countAt(p *Policy, f Facts, now time.Time) {
	if contains(p.Exempt, f.Client.IP) {
		return
	}
	if n := f.Client.Network(); n.IsValid() {
		j.ByClient.AddAt(n, 1, now)
	}
	for _, to := range f.To {
		j.ByRecipient.AddAt(folded(to), 1, now)
	}
}
