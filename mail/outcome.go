package mail

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// An Outcome is something that ended: the one record that the servers and the
// delivery agent make of it. The log, the metrics and the decision records are
// its readers.
type Outcome struct {
	Event Event
	ID    string // of the transaction; empty where there was none
	// Upstream is Envelope.Upstream.
	Upstream string
	Client   Client
	// Generation is that of the recipient maps that the transaction keeps to.
	Generation string
	From       Address
	To         []Address // at EndOfData: all whose RCPT was accepted; else the one, or none
	Size       int64     // octets
	Reply      Reply     // what the client, or the next hop, heard
	Took       time.Duration
	Note       string // what else an administrator wants to know, as "spf=pass dkim=none"
}

// Outcome returns the outcome of event with what the envelope says of it. What came
// of it, and for whom, is for the caller to fill in.
func (env *Envelope) Outcome(event Event) Outcome {
	return Outcome{
		Event: event, ID: env.ID, Upstream: env.Upstream, Client: env.Client,
		Generation: env.Generation, From: env.From,
	}
}

// An Event says what ended.
type Event int

// The events.
const (
	Connection Event = iota // a connection was refused, or broke
	Refused                 // a MAIL or RCPT command was refused
	EndOfData               // the end of data was answered, whatever the answer; "message" in the log
	Delivery                // one message was delivered into one mailbox, or not
)

// String implements fmt.Stringer.
func (e Event) String() string {
	switch e {
	case Connection:
		return "connection"
	case Refused:
		return "refused"
	case EndOfData:
		return "message"
	case Delivery:
		return "delivery"
	}
	return fmt.Sprintf("event %d", int(e))
}

// Log writes o as one line of l: at Info where somebody's mail was taken or
// refused, at Warn where the trouble was ours.
func (o Outcome) Log(l *slog.Logger) {
	attrs := make([]slog.Attr, 0, 13)
	add := func(set bool, a slog.Attr) {
		if set {
			attrs = append(attrs, a)
		}
	}
	add(o.ID != "", slog.String("id", o.ID))
	add(o.Upstream != "", slog.String("upstream", Printable(o.Upstream, 64)))
	add(true, slog.Any("client", o.Client))
	add(o.Client.Hello != "", slog.String("helo", Printable(o.Client.Hello, 255)))
	add(o.Event != Connection, slog.Any("from", o.From))
	switch {
	case len(o.To) == 1:
		attrs = append(attrs, slog.Any("to", o.To[0]))
	case len(o.To) > 1:
		paths := make([]string, len(o.To))
		for i, a := range o.To {
			paths[i] = a.Path()
		}
		attrs = append(attrs, slog.Any("to", paths))
	}
	add(o.Size > 0, slog.Int64("size", o.Size))
	add(true, slog.Int("code", o.Reply.Code))
	add(true, slog.String("status", o.Reply.Status.String()))
	add(true, slog.String("text", o.Reply.Text))
	add(o.Reply.Err != nil, slog.Any("cause", o.Reply.Err))
	add(o.Client.TLS != "", slog.String("tls", o.Client.TLS))
	add(o.Generation != "", slog.String("generation", o.Generation))
	add(o.Note != "", slog.String("note", o.Note))
	add(o.Took > 0, slog.Duration("took", o.Took.Round(time.Microsecond)))
	level := slog.LevelInfo
	if o.Reply.Temporary() && o.Reply.Err != nil {
		level = slog.LevelWarn
	}
	l.LogAttrs(context.Background(), level, o.Event.String(), attrs...)
}
