package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"postern/config"
	"postern/internal/control"
	"postern/internal/header"
	"postern/internal/record"
	"postern/mail"
	"postern/policy"
	"postern/policy/rate"
)

const (
	// recordFolder is where decisions are recorded, in the state folder of a half.
	recordFolder = "records"
	// maxStray is how many connections and commands, refused before there was a
	// transaction, are recorded of one network in an hour: who hammers at the
	// door is not to drive out what happened to mail.
	maxStray = 30
)

// recordSample is the record of a common message.
//
//go:embed decisions.sample.json
var recordSample []byte

// A decision is a policy.Record that is kept.
type decision struct{ *policy.Record }

// When implements record.Entry.
func (d decision) When() time.Time { return d.Facts.Time }

// MarshalJSON implements json.Marshaler. What was put on top of the message and
// taken out of it follows from the rest.
func (d decision) MarshalJSON() ([]byte, error) {
	r := *d.Record
	r.Facts.Filters = slices.Clone(r.Facts.Filters)
	for i := range r.Facts.Filters {
		r.Facts.Filters[i].Changes = nil // of any size
	}
	if r.Verdict != nil {
		v := *r.Verdict
		v.Fields, v.Cut, v.Note = "", nil, ""
		r.Verdict = &v
	}
	return json.Marshal(r)
}

// decisions are the decision records of a half. Nil keeps none.
type decisions struct {
	*record.Store
	stray *rate.Limiter[netip.Prefix]
	stop  context.CancelFunc
	ended sync.WaitGroup
}

// startDecisions returns the decision records of the half that p was loaded for, nil
// if none are wanted. They are written until close.
func (p *parts) startDecisions() *decisions {
	c := p.config.Records
	if c.Keep == 0 || p.state == "" {
		return nil
	}
	d := &decisions{
		Store: record.Open(p.kept(recordFolder), record.Options{Keep: c.Keep, Size: c.Size, Sample: recordSample, Log: p.log}),
		stray: rate.New[netip.Prefix](maxStray, time.Hour, maxCounted),
	}
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background())
	d.ended.Go(func() { d.Run(ctx) })
	return d
}

// close writes what is left. Nothing may be added after it.
func (d *decisions) close() {
	if d != nil {
		d.stop()
		d.ended.Wait()
	}
}

// counts returns how many were recorded, and how many could not be.
func (d *decisions) counts() (recorded, dropped int64) {
	if d == nil {
		return 0, 0
	}
	return d.Counts()
}

// transaction records one that ended.
func (d *decisions) transaction(t *policy.Record) {
	if d != nil {
		d.Add(decision{t})
	}
}

// outcome records what was refused before there was a transaction. All else is in
// the record of one.
func (d *decisions) outcome(o mail.Outcome) {
	if d == nil || o.ID != "" || o.Event != mail.Connection && o.Event != mail.Refused {
		return
	}
	network := o.Client.Network()
	if d.stray.Full(network) {
		return
	}
	d.stray.Add(network, 1)
	now, what := time.Now(), "the connection"
	if o.Event == mail.Refused {
		what = "MAIL"
	}
	d.Add(decision{&policy.Record{
		ID: mail.NewID(now), Refused: what, Facts: policy.Facts{Time: now, Client: o.Client, From: o.From, To: o.To},
		Size: o.Size, Reply: o.Reply, Took: o.Took, Note: o.Note,
	}})
}

// A recording Deliverer records what a foreign mail transfer agent hands over. What
// comes from our MX is in the record that the MX makes.
type recording struct {
	mail.Deliverer
	*parts
}

// Verify implements mail.Deliverer.
func (d recording) Verify(ctx context.Context, env *mail.Envelope, rcpt mail.Recipient) error {
	err := d.Deliverer.Verify(ctx, env, rcpt)
	if err != nil && !env.FromMX {
		d.note(env, &policy.Record{Size: env.Size, Recipients: []policy.RecipientRecord{
			{To: rcpt.Address, By: policy.ByMaps, Reply: mail.ReplyTo(err)},
		}})
	}
	return err
}

// Deliver implements mail.Deliverer.
func (d recording) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	replies := mail.Deliver(ctx, d.Deliverer, env, msg)
	if env.FromMX {
		return replies
	}
	r := &policy.Record{Size: msg.Size(), Reply: mail.Merge(replies)}
	if h, err := header.Read(msg.Source(), header.Limits{}); err == nil {
		r.Describe(h)
	}
	for i, rcpt := range env.To[:min(len(env.To), maxDelivered)] {
		r.Deliveries = append(r.Deliveries, policy.Delivery{To: rcpt.Address, Reply: replies[i]})
	}
	r.Cut = len(env.To) > maxDelivered
	d.note(env, r)
	return replies
}

// maxDelivered bounds the mailboxes of a record.
const maxDelivered = 1000

func (d recording) note(env *mail.Envelope, r *policy.Record) {
	r.ID, r.Generation = env.ID, cmp.Or(env.Generation, d.recipients.Current().ID())
	r.Facts = policy.Facts{Time: time.Now(), Client: env.Client, From: env.From, UTF8: env.UTF8}
	d.decisions.transaction(r)
}

// verbRecords is what the control socket is asked for to read the records. The
// argument is a record.Query, the answer a record.Page.
const verbRecords = "records"

func (p *parts) readRecords(_ context.Context, arg json.RawMessage) (any, error) {
	var q record.Query
	if err := json.Unmarshal(arg, &q); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	return record.Read(p.kept(recordFolder), q)
}

// An archive is where the records of a half are read: from the server if it runs,
// else from its folder.
type archive struct {
	half   string
	socket string // empty: nobody is asked
	folder string
}

// archives returns those of both halves.
func archives(c *config.Config) []archive {
	var all []archive
	for _, half := range []struct{ name, socket string }{{"mx", c.MX.Control}, {"mda", c.MDA.Control}} {
		all = append(all, archive{half.name, half.socket, filepath.Join(c.State, half.name, recordFolder)})
	}
	return all
}

// each calls do with every record that q asks for, the oldest first, and returns
// in how many places something could not be read.
func (a archive) each(ctx context.Context, q record.Query, do func(text []byte) error) (damaged int, err error) {
	for {
		p, err := a.page(ctx, q)
		if err != nil {
			return damaged, err
		}
		damaged += p.Damaged
		if err := p.Each(do); err != nil {
			return damaged, err
		}
		if q.After = p.Next; p.Next == "" {
			return damaged, nil
		}
	}
}

// page returns one page.
func (a archive) page(ctx context.Context, q record.Query) (record.Page, error) {
	var p record.Page
	if a.socket == "" {
		return record.Read(a.folder, q)
	}
	err := control.Call(ctx, a.socket, verbRecords, q, &p)
	switch {
	case control.NotRunning(err):
		if _, err := os.Stat(a.folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("%s does not run, and its records cannot be read: %w; ask as root", a.half, err)
		}
		return record.Read(a.folder, q)
	case errors.Is(err, fs.ErrPermission):
		return p, fmt.Errorf("%s: %w; ask as root, or as the user that it runs as", a.half, err)
	case err != nil:
		return p, fmt.Errorf("%s: %w", a.half, err)
	}
	return p, nil
}
