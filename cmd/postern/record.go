package main

import (
	"io"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/coreos/go-systemd/v22/journal"

	"postern/internal/metrics"
	"postern/mail"
)

// newLog returns the log that a configuration asks for. Where w is our stderr and
// systemd has connected that with its journal, the journal gets priorities and
// fields.
func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	if w == io.Writer(os.Stderr) {
		if connected, err := journal.StderrIsJournalStream(); connected && err == nil {
			return slog.New(journalLog(w, format, level))
		}
	}
	return slog.New(lines(w, format, &slog.HandlerOptions{Level: level}))
}

// lines returns a handler that writes lines in the format of the configuration.
func lines(w io.Writer, format string, options *slog.HandlerOptions) slog.Handler {
	if format == "json" {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// journalLog is for the journal, or else for w. A line for people has no time, for
// journalctl shows it.
func journalLog(w io.Writer, format string, level slog.Level) *journalHandler {
	options := &slog.HandlerOptions{Level: level}
	if format != "json" {
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return newJournalHandler(w, func(w io.Writer) slog.Handler { return lines(w, format, options) })
}

// recorder returns the one function that is told every outcome: it tells the
// log, the tally and the metrics.
func recorder(log *slog.Logger, t *tally, m *metrics.Metrics) func(mail.Outcome) {
	return func(o mail.Outcome) {
		o.Log(log)
		t.add(o)
		m.Record(o)
	}
}

// both returns a function that tells two.
func both(a, b func(mail.Outcome)) func(mail.Outcome) {
	return func(o mail.Outcome) {
		a(o)
		b(o)
	}
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
	case mail.Accept:
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
