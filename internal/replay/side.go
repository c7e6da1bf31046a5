package replay

import (
	"postern/mail"
	"postern/policy"
)

// A Side judges what was recorded by one configuration.
type Side struct {
	Name  string        // of its file
	Judge *policy.Judge // one that replays
	// Find returns what the recipient maps say of an address; nil: that they know it.
	// It is asked once about an address, or nearly so.
	Find func(mail.Address) error

	known map[mail.Address]error // what Find said
}

// maxKnown bounds the addresses that Find is not asked about again.
const maxKnown = 100_000

// find returns what the maps say of an address; nil: that they know it.
func (s *Side) find(addr mail.Address) error {
	err, asked := s.known[addr]
	if !asked {
		err = s.Find(addr)
		if len(s.known) >= maxKnown || s.known == nil {
			s.known = make(map[mail.Address]error)
		}
		s.known[addr] = err
	}
	return err
}

// An ending is how a transaction ends: what is answered to each recipient, what
// becomes of the message ("" if nobody looks at it), and why.
type ending struct {
	recipients []rejudged
	message    string
	why        string
	unknown    []string // the kinds of what nobody asked then
}

type rejudged struct {
	reply mail.Reply
	why   string
}

// answered returns how a transaction ended.
func answered(then *policy.Record) ending {
	var e ending
	for _, rcpt := range then.Recipients {
		e.recipients = append(e.recipients, rejudged{reply: rcpt.Reply})
	}
	if then.Verdict != nil {
		e.message = fateOf(then.Verdict.Decision)
	}
	return e
}

// judges returns how it would end by this configuration.
func (s *Side) judges(then *policy.Record) ending {
	again := s.Judge.Replay(then, func(i int) bool { return s.find(then.Recipients[i].To) == nil })
	e := ending{unknown: compact(again.Unknown)}
	for i, rcpt := range then.Recipients {
		e.recipients = append(e.recipients, s.answer(rcpt, again.Recipients[i]))
	}
	if again.Message != nil {
		e.message, e.why = fateOf(*again.Message), note(*again.Message)
	}
	return e
}

// answer returns what the client would hear of a recipient, and why. The session
// and the next hop say what they said.
func (s *Side) answer(rcpt policy.RecipientRecord, d policy.Decision) rejudged {
	if rcpt.By == policy.BySession || rcpt.By == policy.ByMemory {
		return rejudged{rcpt.Reply, ""}
	}
	if err := d.Refusal(); err != nil {
		return rejudged{mail.ReplyTo(err), note(d)}
	}
	if err := s.find(rcpt.To); err != nil {
		return rejudged{mail.ReplyTo(err), "the recipient maps"}
	}
	if rcpt.By == policy.ByNextHop {
		return rejudged{rcpt.Reply, ""}
	}
	return rejudged{mail.RecipientOK, "nothing refuses it any more; what would become of the message is not known"}
}

// differences returns what ends otherwise.
func differences(then *policy.Record, was, now ending) []Change {
	var changes []Change
	add := func(of, was, is, why string) {
		changes = append(changes, Change{
			ID: then.ID, Time: then.Facts.Time, Generation: then.Generation, From: then.Facts.From.Path(), Of: of, Then: was, Now: is, Why: why, Times: 1,
		})
	}
	for i, rcpt := range then.Recipients {
		old, is := was.recipients[i].reply, now.recipients[i]
		if is.reply.Code != old.Code || is.reply.Status != old.Status {
			add(rcpt.To.Path(), old.String(), is.reply.String(), is.why)
		}
	}
	if was.message != "" && now.message != "" && was.message != now.message {
		add(theMessage, was.message, now.message, now.why)
	}
	return changes
}

// fateOf says what becomes of a message, in words that are compared.
func fateOf(d policy.Decision) string {
	switch {
	case d.Refusal() != nil:
		return d.Reply.String()
	case d.Action == policy.Quarantine:
		return "set apart"
	}
	return "taken"
}

// note says what decided, or what would have but for a pardon.
func note(d policy.Decision) string {
	if d.Note() == "" {
		return "nothing refuses it any more"
	}
	return d.Note()
}
