package main

import (
	"sync"
	"time"

	"postern/mail"
)

// maxRecent is how many refusals a server can tell of: what fits on a screen.
const maxRecent = 20

// A Refusal is an outcome that was none for the client, as the status tells it.
type Refusal struct {
	Time   time.Time `json:"time"`
	Event  string    `json:"event"` // as in the log: "connection", "refused", "message", "delivery"
	ID     string    `json:"id,omitempty"`
	Client string    `json:"client"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"` // the first of several
	More   int       `json:"more,omitempty"`
	Code   int       `json:"code"`
	Status string    `json:"status"`
	Text   string    `json:"text"`           // what the client heard
	Why    string    `json:"why,omitempty"`  // what it was not told
	Note   string    `json:"note,omitempty"` // what was found about the message
}

// recent keeps the last refusals. The zero value has none.
type recent struct {
	mu   sync.Mutex
	ring [maxRecent]Refusal
	n    int // ever
}

// add notes o, if it is a refusal.
func (r *recent) add(o mail.Outcome) {
	if o.Reply.OK() {
		return
	}
	f := Refusal{
		Time: time.Now(), Event: o.Event.String(), ID: o.ID, Client: o.Client.LogValue().String(),
		Code: o.Reply.Code, Status: o.Reply.Status.String(), Text: mail.Printable(o.Reply.Text, 200), Note: mail.Printable(o.Note, 300),
	}
	if o.Event != mail.Connection {
		f.From = mail.Printable(o.From.Path(), 200)
	}
	if len(o.To) > 0 {
		f.To, f.More = mail.Printable(o.To[0].Path(), 200), len(o.To)-1
	}
	if o.Reply.Err != nil {
		f.Why = mail.Printable(o.Reply.Err.Error(), 300)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.n%maxRecent] = f
	r.n++
}

// last returns them, the newest first.
func (r *recent) last() []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Refusal, min(r.n, maxRecent))
	for i := range all {
		all[i] = r.ring[(r.n-1-i)%maxRecent]
	}
	return all
}
