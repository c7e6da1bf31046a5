// Package milter asks filters about messages, by the protocol of Sendmail's
// milter, versions 2 to 6: Rspamd, ClamAV and most others speak it.
//
// A filter is asked when the whole message is there, over a connection of its
// own for each: it is told of the client, the envelope, the header and the body
// in one go, and answers at the end. So a slow client holds no filter, and there
// is no state to get out of step. What a filter may do is bounded in time, in
// the size of each packet and of all its changes together.
//
// A filter may refuse a message, put it off, set it apart, change its header and
// replace its body. It may not change the envelope, which is not offered to it.
// One that throws a message away has it set apart: what was answered with 250 is
// in a mailbox.
//
// The client is our own and not that of d--j/go-milter, which reads packets of up
// to 512 MB into memory, and of which we would use a small part.
package milter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"postern/internal/spool"
	"postern/mail"
)

// A Filter is a program that is asked about messages. Its exported fields do not
// change while it is used; it may be used by several goroutines. One that hangs is
// asked no more than now and then, until it answers.
type Filter struct {
	Name    string
	Network string // "unix" or "tcp"
	Address string
	Timeout time.Duration // for all that is asked about one message; 0: 30 seconds
	// Spool holds the bodies that it puts in the place of others.
	Spool *spool.Spool
	// Log hears when the filter hangs, and when it answers again; nil: nobody does.
	Log *slog.Logger

	breaker breaker
}

// A Message is what a filter is told. Nothing of it is changed.
type Message struct {
	ID         string // of the transaction
	Hostname   string // ours
	Client     mail.Client
	ClientName string // verified; empty: unknown
	From       mail.Address
	To         []mail.Address
	Fields     []Field // of the header, from the top
	Source     mail.Source
	Body       int64 // where the body begins in Source
}

// A Field is a header field. Its value is what follows the colon, folded as it is
// on the wire, without the CRLF that ends it.
type Field struct{ Name, Value string }

// An Action is what a filter wants to be done with a message.
type Action string

// The actions.
const (
	Accept   Action = "accept"
	Reject   Action = "reject"
	TempFail Action = "tempfail"
	Discard  Action = "discard"
)

// An Answer is what a filter says of a message.
type Answer struct {
	Action     Action
	Reply      mail.Reply // zero, or the one that it wants the client to hear
	Quarantine string     // why the message is to be set apart; empty: it is not
	Recipients int        // that it would refuse, while it takes the message for others
	Changes    []Change   // of the header, in order
	// Body is what stands in the place of the body; nil: it stays as it is. It
	// belongs to the caller, who closes it.
	Body *spool.Buffer
}

// An Op is a kind of Change.
type Op string

// The ops. Insert and Change say where.
const (
	Add    Op = "add"    // a field, anywhere
	Insert Op = "insert" // a field, before the field number Index of all, counted from 0
	// Change the field number Index of that Name, counted from 1: without a Value
	// it goes, and where there is none it is added.
	Alter Op = "change"
)

// A Change is one of the header.
type Change struct {
	Op    Op
	Index int
	Field
}

// defaultTimeout is how long a filter may take.
const defaultTimeout = 30 * time.Second

// Ask asks about m. Whatever the error is, the filter has not answered.
func (f *Filter) Ask(ctx context.Context, m Message) (Answer, error) {
	asked := time.Now()
	if f.breaker.spares(asked) {
		return Answer{}, fmt.Errorf("filter %s: %w", f.Name, errSilent)
	}
	within, cancel := context.WithTimeout(ctx, cmp.Or(f.Timeout, defaultTimeout))
	defer cancel()
	a, err := f.ask(within, m)
	switch {
	case err != nil && ctx.Err() != nil: // it did not get the time that it may take
	case err != nil && within.Err() != nil:
		if f.breaker.silence(asked, time.Now()) {
			f.log().Warn("filter hangs: until it answers, it is asked now and then", "filter", f.Name, "cause", err)
		}
	case f.breaker.heard(time.Now()):
		f.log().Info("filter answers again", "filter", f.Name)
	}
	return a, err
}

// Hangs reports whether f has been silent, so that messages are not shown to it.
func (f *Filter) Hangs() bool { return f.breaker.isOpen() }

func (f *Filter) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}

// ask asks about m until ctx ends.
func (f *Filter) ask(ctx context.Context, m Message) (Answer, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, f.Network, f.Address)
	if err != nil {
		return Answer{}, fmt.Errorf("filter %s: %w", f.Name, err)
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()
	q := newQuestion(nc, f.Spool)
	if err := q.ask(m); err != nil && !errors.Is(err, errDecided) {
		q.drop()
		return Answer{}, fmt.Errorf("filter %s: %w", f.Name, err)
	}
	_ = q.write(cmdQuit, nil) // it has said all
	_ = q.w.Flush()
	return q.answer, nil
}
