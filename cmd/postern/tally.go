package main

import (
	"sync/atomic"

	"postern/mail"
)

// outcome is told every outcome, and tells the log, the tally and the metrics.
func (p *parts) outcome(o mail.Outcome) {
	o.Log(p.log)
	p.tally.add(o)
	p.metrics.Record(o)
}

// A tally counts outcomes, and keeps the last refusals.
type tally struct {
	Messages   counts // ends of data
	Refused    counts // MAIL and RCPT
	Deliveries counts // into mailboxes
	Broken     counts // connections refused or lost
	Recent     recent
}

// counts are of replies, by class.
type counts struct {
	OK, Later, Never atomic.Int64
}

func (t *tally) add(o mail.Outcome) {
	t.Recent.add(o)
	c := t.of(o.Event)
	switch {
	case o.Reply.OK():
		c.OK.Add(1)
	case o.Reply.Temporary():
		c.Later.Add(1)
	default:
		c.Never.Add(1)
	}
}

// of returns the counts of an event.
func (t *tally) of(e mail.Event) *counts {
	switch e {
	case mail.EndOfData:
		return &t.Messages
	case mail.Refused:
		return &t.Refused
	case mail.Delivery:
		return &t.Deliveries
	}
	return &t.Broken
}

// A Tally is a tally at one moment, as the status tells it.
type Tally struct {
	OK    int64 `json:"ok"`
	Later int64 `json:"later"`
	Never int64 `json:"never"`
}

func (c *counts) now() Tally {
	return Tally{OK: c.OK.Load(), Later: c.Later.Load(), Never: c.Never.Load()}
}
