package mx

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"postern/mail"
)

const (
	// maxRefusals is how many refusals are remembered. One that is not costs the
	// client one more attempt.
	maxRefusals = 10_000
	// refusalAge is how long they are: the clients give up by then.
	refusalAge = 5 * 24 * time.Hour
)

// The refusals are final replies that their clients could not hear, because SMTP has
// one reply for all recipients of a message, and others were served, or may be
// later. The client was told to try again; when it does, it hears at RCPT
// what it could not hear before. The zero value is ready, and safe for use by many
// goroutines.
//
// A refusal that is lost, at a restart or because there are too many, is made
// again.
type refusals struct {
	mu    sync.Mutex
	byKey map[refusalKey]*list.Element
	byAge list.List // of refusal, the oldest first
}

type refusal struct {
	key   refusalKey
	reply mail.Reply
	at    time.Time
}

// A refusalKey says by what an attempt is known to be one more with the same
// message, before the message comes.
type refusalKey struct {
	network  netip.Prefix // of the client: large senders try again from another host
	from, to mail.Address
	size     int64 // SIZE=; 0: the client says none
}

// refusalKey returns the key for the recipient to of tx.
func (tx *transaction) refusalKey(to mail.Address) refusalKey {
	return refusalKey{tx.env.Client.Network(), tx.env.From, to, tx.env.Size}
}

// add remembers r.
func (r *refusals) add(key refusalKey, reply mail.Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey = make(map[refusalKey]*list.Element)
	}
	r.remove(r.byKey[key])
	r.byKey[key] = r.byAge.PushBack(refusal{key, reply, time.Now()})
	if len(r.byKey) > maxRefusals {
		r.remove(r.byAge.Front())
	}
}

// take returns the refusal for key, if there is one, and forgets it: should the
// message be another, with the same envelope and the same size, then no more than
// one can be refused in its place.
func (r *refusals) take(key refusalKey) (reply mail.Reply, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.byKey[key]
	if at == nil {
		return mail.Reply{}, false
	}
	taken := at.Value.(refusal)
	r.remove(at)
	return taken.reply, time.Since(taken.at) < refusalAge
}

// remove removes what is at a place in byAge; nil is none.
func (r *refusals) remove(at *list.Element) {
	if at != nil {
		delete(r.byKey, at.Value.(refusal).key)
		r.byAge.Remove(at)
	}
}
