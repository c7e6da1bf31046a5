package policy

import (
	"slices"
	"strings"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
)

// A Record is all about one transaction: what it was judged by, what was asked,
// and what came of it; or about a connection or a command that was refused before
// there was one. It is plain enough for JSON, of a size that is bounded, and has
// nothing of the body.
type Record struct {
	ID         string // of the transaction
	Refused    string // "the connection" or "MAIL", if it did not come to one; the ID is then its own
	Generation string // of the recipients that it was judged by
	Limits     Limits // the rates that held
	Facts      Facts
	Size       int64  // octets of the message; of one that did not come, what the client announced
	MessageID  string // without its brackets
	Author     string // what the From field says
	Recipients []RecipientRecord
	Verdict    *Verdict // nil: there was no message, or it was not looked at
	Asked      []dns.Exchange
	Deliveries []Delivery // what the next hop said of each mailbox
	Reply      mail.Reply // what the client heard of the message; zero: there was none
	Took       time.Duration
	Note       string // what the client said, where that was not understood
	Kept       bool   // the message was refused, and is kept
	Released   bool   // it was kept, and this is what came of delivering it
	Cut        bool   // there was more of recipients, mailboxes or answers than a record holds
}

// Limits are how many messages a client's network, and a recipient, may have in an
// hour; 0: any number.
type Limits struct{ Client, Recipient int }

// A RecipientRecord is what became of a recipient that the client named.
type RecipientRecord struct {
	To       mail.Address
	Over     []Rate     // that mail for it would exceed
	Decision Decision   // of the policy, before it was looked for
	By       Answerer   // whose answer Reply is
	Reply    mail.Reply // what the client heard
}

// An Answerer is a part of the server that may refuse a recipient.
type Answerer string

// The answerers, in the order in which they are asked.
const (
	BySession Answerer = "session"  // the limits of the protocol
	ByPolicy  Answerer = "policy"   // the Decision
	ByMemory  Answerer = "memory"   // a refusal of an earlier attempt, which could not be told then
	ByMaps    Answerer = "maps"     // the recipient maps
	ByNextHop Answerer = "next hop" // the delivery agent, or what stands in its place
)

// A Delivery is what the next hop said of the message for one mailbox.
type Delivery struct {
	To    mail.Address
	Reply mail.Reply
}

// What a record holds at most. A client may name as many recipients as it likes
// that do not exist, and a domain may publish texts without end.
const (
	maxRecorded = 1000
	maxAnswers  = 128 << 10 // octets of what the DNS said
	maxField    = 320       // octets of what the message says in a field
)

// Answered notes what the client heard of the recipient to, and from whom. It is
// called after Recipient, if that was, and before it is called for another one.
func (c *Case) Answered(to mail.Address, by Answerer, reply mail.Reply) {
	if c == nil {
		return
	}
	all := &c.record.Recipients
	if n := len(*all); n > 0 && (*all)[n-1].To == to && (*all)[n-1].Reply.Code == 0 {
		(*all)[n-1].By, (*all)[n-1].Reply = by, reply
		return
	}
	c.named(RecipientRecord{To: to, By: by, Reply: reply})
}

// named notes a recipient.
func (c *Case) named(r RecipientRecord) {
	if len(c.record.Recipients) >= maxRecorded {
		c.record.Cut = true
		return
	}
	c.record.Recipients = append(c.record.Recipients, r)
}

// Received notes the message: its size in octets, and what its header says it
// is. The header is zero if it was not read.
func (c *Case) Received(size int64, h header.Header) {
	if c == nil {
		return
	}
	c.record.Size = size
	c.record.Describe(h)
}

// Describe notes what the header of the message says it is.
func (r *Record) Describe(h header.Header) {
	for f := range h.All("Message-ID") {
		r.MessageID = MessageID(string(f.Value()))
		break
	}
	for f := range h.All("From") {
		r.Author = mail.Printable(strings.Join(strings.Fields(string(f.Value())), " "), maxField)
		break
	}
}

// MessageID returns a message's name as records have it, from how it stands in a
// field.
func MessageID(field string) string {
	return mail.Printable(strings.Trim(strings.TrimSpace(field), "<>"), maxField)
}

// Delivered notes what the next hop said of each mailbox.
func (c *Case) Delivered(to []mail.Recipient, replies []mail.Reply) {
	if c == nil {
		return
	}
	for i, r := range replies[:min(len(replies), len(to))] {
		if i == maxRecorded {
			c.record.Cut = true
			return
		}
		c.record.Deliveries = append(c.record.Deliveries, Delivery{to[i].Address, r})
	}
}

// Kept notes that the message was refused and is kept.
func (c *Case) Kept() {
	if c != nil {
		c.record.Kept = true
	}
}

// Misunderstood notes what the client said that was not understood.
func (c *Case) Misunderstood(note string) {
	if c != nil && c.record.Note == "" {
		c.record.Note = note
	}
}

// finish gives the record what is known at the end.
func (c *Case) finish() *Record {
	r := &c.record
	r.Took = time.Since(r.Facts.Time)
	r.Asked = c.resolver.Exchanges()
	octets := 0
	for i, e := range r.Asked {
		for _, a := range e.Answers {
			octets += len(a)
		}
		if octets > maxAnswers {
			r.Asked, r.Cut = r.Asked[:i], true
			break
		}
	}
	return r
}

// Keys are the words that the record is found by: the name of the transaction and
// of the message, the client's address, and the addresses of sender, author,
// recipients and mailboxes; lower case, each once.
func (r *Record) Keys() []string {
	keys := []string{r.ID, r.MessageID, folded(r.Facts.From)}
	if ip := r.Facts.Client.IP; ip.IsValid() {
		keys = append(keys, ip.String())
	}
	for _, word := range strings.FieldsFunc(r.Author, func(c rune) bool { return strings.ContainsRune(` <>,;:"()`, c) }) {
		if strings.Contains(word, "@") {
			keys = append(keys, word)
		}
	}
	for _, to := range r.Recipients {
		keys = append(keys, folded(to.To))
	}
	for _, d := range r.Deliveries {
		keys = append(keys, folded(d.To))
	}
	for i, k := range keys {
		keys[i] = strings.ToLower(k)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	return slices.DeleteFunc(keys, func(k string) bool { return k == "" || k == "@" })
}
