package mda

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"postern/mail"
	"postern/mailbox"
)

// A job is the delivery of one message into all mailboxes of its recipients.
type job struct {
	agent   *Agent
	env     *mail.Envelope
	msg     *mail.Message
	arrived time.Time

	rcpts      []recipient      // as in env.To
	deliveries []*delivery      // one for each mailbox, whoever named it
	same       mailbox.Delivery // the one whose file the others may share (Agent.Share); nil: none
}

// A recipient has either deliveries or an error.
type recipient struct {
	deliveries []*delivery
	err        error
}

// A delivery brings the message into one mailbox. It is under way until there is an
// error, or until it is done.
type delivery struct {
	job      *job
	target   Target
	delivery mailbox.Delivery // nil before it began
	err      error
	took     time.Duration // until it was done
	reply    mail.Reply    // set when all are done
}

func newJob(a *Agent, env *mail.Envelope, msg *mail.Message) *job {
	j := &job{agent: a, env: env, msg: msg, arrived: time.Now(), rcpts: make([]recipient, len(env.To))}
	byMailbox := make(map[string]*delivery, len(env.To))
	for i, rcpt := range env.To {
		targets, err := a.lookup(env, rcpt.Address)
		if err == nil && env.Folder != "" {
			err = intoFolder(targets, env.Folder)
		}
		if err != nil {
			j.rcpts[i].err = err
			continue
		}
		for _, t := range targets {
			d := byMailbox[t.Mailbox]
			if d == nil {
				d = &delivery{job: j, target: t}
				byMailbox[t.Mailbox] = d
				j.deliveries = append(j.deliveries, d)
			}
			j.rcpts[i].deliveries = append(j.rcpts[i].deliveries, d)
		}
	}
	return j
}

// intoFolder replaces each target that has folders by its folder of that name.
func intoFolder(targets []Target, name string) error {
	for i, t := range targets {
		if t.Folder == nil {
			continue
		}
		folder, err := t.Folder(name)
		if err != nil {
			return fmt.Errorf("mda: folder %q of %v: %w", name, t.Address, err)
		}
		targets[i] = folder
	}
	return nil
}

// prepare makes the message durable in all mailboxes, unseen.
func (j *job) prepare() {
	if !j.agent.Share || len(j.deliveries) < 2 {
		j.each((*delivery).prepare)
		return
	}
	first := j.deliveries[0]
	if first.do((*delivery).prepare); first.err == nil {
		j.same = first.delivery
	}
	j.each(func(d *delivery) error {
		if d == first {
			return nil
		}
		return d.prepare()
	})
}

// each calls f for every delivery that has not failed, for all at once: they wait for
// the disk, which serves many as fast as one.
func (j *job) each(f func(*delivery) error) {
	if len(j.deliveries) == 1 {
		j.deliveries[0].do(f)
		return
	}
	var all sync.WaitGroup
	for _, d := range j.deliveries {
		all.Go(func() { d.do(f) })
	}
	all.Wait()
}

// do calls f unless d has failed already. A panic is the failure of this
// delivery alone.
func (d *delivery) do(f func(*delivery) error) {
	if d.err != nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			d.err = fmt.Errorf("mda: panic delivering to %v: %v\n%s", d.target.Address, p, debug.Stack())
		}
	}()
	if err := f(d); err != nil {
		d.err = fmt.Errorf("mda: deliver to %v: %w", d.target.Address, err)
	}
}

// prepare makes the message durable in the mailbox, unseen.
func (d *delivery) prepare() error {
	box, err := d.target.Open()
	if err != nil {
		return err
	}
	d.delivery, err = box.Begin(mailbox.Arrival{Sender: d.job.env.From.String(), Time: d.job.arrived, Same: d.job.same})
	if err != nil {
		return err
	}
	if _, err := d.job.msg.WriteTo(d.delivery); err != nil {
		return err
	}
	defer d.job.agent.took("sync", time.Now())
	return d.delivery.Sync()
}

// commit makes the message visible.
func (d *delivery) commit() error {
	defer d.job.agent.took("commit", time.Now())
	err := d.delivery.Commit()
	d.took = time.Since(d.job.arrived)
	return err
}

// abort takes back what was not committed.
func (j *job) abort() {
	for _, d := range j.deliveries {
		if d.delivery != nil {
			d.delivery.Abort()
		}
	}
}

// conclude records what came of the deliveries, and returns the replies.
func (j *job) conclude() []mail.Reply {
	for _, d := range j.deliveries {
		d.reply = mail.Accepted.Saying("OK %s", j.env.ID)
		if d.err != nil {
			d.reply = j.agent.reply(d.err)
		}
		j.record(d.target.Address, d.reply, d.took)
	}
	replies := make([]mail.Reply, len(j.rcpts))
	for i, rcpt := range j.rcpts {
		if rcpt.err != nil {
			replies[i] = j.agent.reply(rcpt.err)
			j.record(j.env.To[i].Address, replies[i], 0)
			continue
		}
		each := make([]mail.Reply, len(rcpt.deliveries))
		for k, d := range rcpt.deliveries {
			each[k] = d.reply
		}
		replies[i] = mail.Worst(each)
	}
	return replies
}

func (j *job) record(to mail.Address, r mail.Reply, took time.Duration) {
	o := j.env.Outcome(mail.Delivery)
	o.To, o.Size, o.Reply, o.Took = []mail.Address{to}, j.msg.Size(), r, took
	j.agent.record(o)
}
