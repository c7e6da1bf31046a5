package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/config"
	"postern/internal/dns"
	"postern/policy"
	"postern/policy/access"
	"postern/policy/dnsbl"
	"postern/policy/greylist"
	"postern/policy/milter"
	"postern/policy/rate"
	"postern/policy/report"
)

// maxCounted bounds the networks and the recipients whose messages are counted.
const maxCounted = 100_000

// reportFolder is the folder, in the MX's state, of the counts that DMARC reports are
// made of.
const reportFolder = "dmarc"

// judging is the judge of the MX, with what has to run beside it.
type judging struct {
	*policy.Judge
	dns     *dns.Client
	current atomic.Pointer[policy.Policy] // replaced when the access rules are
	access  *config.Access                // nil: there are none
}

// judging returns the judge that the configuration asks for.
func (p *parts) judging() (*judging, error) {
	c := p.config
	resolver, err := dns.NewClient(dns.Config{Servers: texts(c.DNS.Servers), Log: p.log})
	if err != nil {
		return nil, err
	}
	lists, err := dnsLists(c.DNSBL.Lists)
	if err != nil {
		return nil, err
	}
	j := &judging{dns: resolver}
	j.current.Store(p.policy(lists))
	j.Judge = &policy.Judge{
		Resolver:    resolver,
		Policy:      j.current.Load,
		Health:      dnsbl.NewHealth(resolver, lists, p.log),
		ByClient:    rate.New[netip.Prefix](c.Limits.MessagesPerClient, time.Hour, maxCounted),
		ByRecipient: rate.New[string](c.Limits.MessagesPerRecipient, time.Hour, maxCounted),
		Filters:     p.filters(),
	}
	if c.Greylist.Enable {
		if j.Judge.Greylist, err = p.greylist(); err != nil {
			return nil, err
		}
	}
	if c.Reports.DMARC && p.state != "" {
		if j.Judge.Reports, err = report.NewCounter(p.kept(reportFolder), c.Reports.Keep, p.log); err != nil {
			return nil, err
		}
	}
	j.Judge.Closed = p.decisions.transaction
	if c.Policy.Access != "" {
		j.access, err = config.OpenAccess(c.Policy.Access, p.kept("access"), p.log, checkRule, j.useAccess)
	}
	return j, err
}

// policy returns what the configuration says of judging, but for the access rules.
func (p *parts) policy(lists []dnsbl.List) *policy.Policy {
	c := p.config
	return &policy.Policy{
		Hostname:        c.Hostname,
		Enforce:         c.Policy.Enforce,
		Defer:           c.Policy.OnTemperror == config.Defer,
		ReceivedSPF:     c.Policy.ReceivedSPF,
		DMARCReject:     policy.Action(c.Policy.DMARCReject),
		DMARCQuarantine: policy.Action(c.Policy.DMARCQuarantine),
		SeveralFrom:     policy.Action(c.Policy.SeveralFrom),
		Junk:            c.Policy.Junk,
		Exempt:          c.Limits.Exempt,
		Forwarders:      policy.Forwarders(c.Policy.Forwarders),
		ARCTrusted:      c.Policy.ARCTrusted,
		Lists:           lists,
		Threshold:       c.DNSBL.Threshold,
		Listed:          policy.Action(c.DNSBL.OnListed),
		Greylist:        c.Greylist.Enable,
		Reports:         c.Reports.DMARC,
	}
}

// filters returns the filters in their order.
func (p *parts) filters() []policy.Filter {
	var all []policy.Filter
	replaced := p.spool(p.config.MX.Spool)
	for _, f := range p.config.Filters {
		all = append(all, policy.Filter{
			Filter: &milter.Filter{
				Name: f.Name, Network: f.Connect.Network, Address: f.Connect.Address, Timeout: f.Timeout, Spool: replaced, Log: p.log,
			},
			MaxSize: f.MaxSize,
			Defer:   f.OnFailure == config.Defer,
		})
	}
	return all
}

// greylist opens the greylist of the MX, for reading alone where nothing is kept.
func (p *parts) greylist() (*greylist.Store, error) {
	c := p.config.Greylist
	return greylist.Open(filepath.Join(p.config.State, halves{mx: true}.name(), "greylist"), greylist.Options{
		Delay: c.Delay, Window: c.Window, Keep: c.Keep, Log: p.log, ReadOnly: p.state == "",
	})
}

// useAccess puts rules in the place of those that hold now.
func (j *judging) useAccess(rules []config.AccessRule) error {
	list, err := accessList(rules)
	if err != nil {
		return err
	}
	next := *j.current.Load()
	next.Access = list
	j.current.Store(&next)
	return nil
}

// run does what has to be done beside judging, until ctx ends: with watch also to
// notice edits of the access rules.
func (j *judging) run(ctx context.Context, group *errgroup.Group, watch bool) {
	if len(j.current.Load().Lists) > 0 {
		group.Go(func() error { j.Health.Run(ctx); return nil })
	}
	if j.access != nil && watch {
		group.Go(func() error { return j.access.Watch(ctx) })
	}
	if j.Reports != nil {
		group.Go(func() error { j.Reports.Run(ctx); return nil })
	}
}

// close writes down what is to survive. Nothing may be judged after it.
func (j *judging) close() {
	j.Reports.Flush()
	_ = j.Judge.Greylist.Close() // each of its records was written at once
}

// checkRule says what is wrong with one rule.
func checkRule(r config.AccessRule) error { return accessRule(r).Check() }

func accessList(rules []config.AccessRule) (*access.List, error) {
	made := make([]access.Rule, len(rules))
	for i, r := range rules {
		made[i] = accessRule(r)
	}
	return access.New(made)
}

func accessRule(r config.AccessRule) access.Rule {
	return access.Rule{
		Name: r.Name, Action: access.Action(r.Action), Text: r.Text,
		Clients: r.Clients, Hello: r.Hello, Senders: r.Senders, Recipients: r.To,
	}
}

func dnsLists(lists []config.DNSList) ([]dnsbl.List, error) {
	made := make([]dnsbl.List, len(lists))
	var errs []error
	for i, l := range lists {
		made[i] = dnsbl.List{Zone: l.Zone, Name: l.Name, Allow: l.Allow, Weight: l.Weight}
		if len(l.Codes) == 0 {
			continue
		}
		var err error
		if made[i].Codes, err = dnsbl.ParseCodes(l.Codes...); err != nil {
			errs = append(errs, fmt.Errorf("DNS list %s: %w", made[i], err))
		}
	}
	return made, errors.Join(errs...)
}
