package mda

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postern/mail"
)

// A Ledger is a mail.Deliverer that remembers who has a message already, so that
// a client which tries again, because it lost our reply or because another
// recipient failed, causes no second copy.
//
// A message is the same if its sender, its recipient and the octets that the client sent
// are the same. A recipient is noted only after the delivery is durable, and without a
// sync of its own: an entry lost in a crash causes one copy too many, never one too few.
// It is forgotten when the client is known to have heard its 250, so that a message that
// is sent twice on purpose is delivered twice; and after five days, when clients give up.
//
// Of two equal messages at once the second waits for the first.
type Ledger struct {
	mail.Deliverer // who delivers what is new

	// Record is told of each recipient who has the message already; nil: nobody
	// wants to know.
	Record func(mail.Outcome)
	Log    *slog.Logger

	mu       sync.Mutex
	book     *book
	journal  *journal
	failing  bool                  // the file lacks something that the book has
	tried    time.Time             // when the file was last written, or could not be
	strikes  string                // lines that wait to be written along with something
	late     *time.Timer           // writes them if nothing comes along; nil: none wait
	underWay map[key]chan struct{} // deliveries, and what is closed when they end
}

var _ mail.Deliverer = (*Ledger)(nil)

// OpenLedger returns a ledger that is kept in the file at path, with what is in
// it. It remembers up to limit recipients, the newest. With limit 0 it remembers nobody,
// and every retry is delivered again. If the file cannot be read or written, the log says
// so, and the ledger does its work without it.
func OpenLedger(path string, limit int, next mail.Deliverer, log *slog.Logger) *Ledger {
	l := &Ledger{
		Deliverer: next, Log: log, underWay: make(map[key]chan struct{}),
		book: newBook(limit), journal: &journal{path: path},
	}
	if err := l.journal.load(l.book); err != nil {
		log.Warn("the delivered ledger cannot be read: senders that try again may cause second copies", "cause", err)
	}
	l.book.expire(time.Now())
	l.written(l.journal.rewrite(l.book)) // so that it ends in a whole line
	return l
}

// Close writes what is left and closes the file. No delivery may be under way, or
// begin later.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeStrikes()
	return l.journal.close()
}

// Len returns how many recipients are remembered.
func (l *Ledger) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.book.len()
}

// Deliver implements mail.Deliverer.
func (l *Ledger) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	keys, err := keysOf(env, msg)
	if err != nil {
		return env.Each(mail.ReplyTo(err))
	}
	if err := l.begin(ctx, keys); err != nil {
		return env.Each(mail.TryAgain.Because(err))
	}
	defer l.end(keys)
	replies := l.recall(env, msg, keys)
	l.deliverRest(ctx, env, msg, replies)
	l.enter(env.ID, keys, replies)
	return replies
}

// begin waits until nobody delivers for one of keys, and then reserves them.
func (l *Ledger) begin(ctx context.Context, keys []key) error {
	for {
		busy := l.reserve(keys)
		if busy == nil {
			return nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return fmt.Errorf("mda: wait for an equal message: %w", ctx.Err())
		}
	}
}

// reserve reserves all keys, unless one of them is reserved already: then it reserves
// none, and returns a channel that is closed when the other delivery ends.
func (l *Ledger) reserve(keys []key) (busy <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		if other, ok := l.underWay[k]; ok {
			return other
		}
	}
	done := make(chan struct{})
	for _, k := range keys {
		l.underWay[k] = done
	}
	return nil
}

// end gives keys back.
func (l *Ledger) end(keys []key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(keys) > 0 {
		close(l.underWay[keys[0]])
	}
	for _, k := range keys {
		delete(l.underWay, k)
	}
}

// recall returns a reply for each recipient who has the message, and the zero
// Reply for the others.
func (l *Ledger) recall(env *mail.Envelope, msg *mail.Message, keys []key) []mail.Reply {
	replies := make([]mail.Reply, len(keys))
	for i, k := range keys {
		id, found := l.find(k)
		if !found {
			continue
		}
		replies[i] = mail.Accepted.Saying("OK %s, delivered before", env.ID)
		if l.Record != nil {
			o := env.Outcome(mail.Delivery)
			o.To, o.Size, o.Reply = []mail.Address{env.To[i].Address}, msg.Size(), replies[i]
			o.Note = "delivered before as " + id
			l.Record(o)
		}
	}
	return replies
}

func (l *Ledger) find(k key) (id string, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.expire(time.Now())
	return l.book.find(k)
}

// deliverRest delivers to the recipients that have no reply.
func (l *Ledger) deliverRest(ctx context.Context, env *mail.Envelope, msg *mail.Message, replies []mail.Reply) {
	rest := *env
	rest.To = nil
	for i, r := range replies {
		if r.Code == 0 {
			rest.To = append(rest.To, env.To[i])
		}
	}
	if len(rest.To) == 0 {
		return
	}
	news := mail.Deliver(ctx, l.Deliverer, &rest, msg)
	for i := range replies {
		if replies[i].Code == 0 {
			replies[i], news = news[0], news[1:]
		}
	}
}

// enter notes who has the message, under the transaction id. Those who had it before are
// noted again: it is this reply that their client has to hear now.
func (l *Ledger) enter(id string, keys []key, replies []mail.Reply) {
	var served []key
	for i, r := range replies {
		if r.OK() {
			served = append(served, keys[i])
		}
	}
	if len(served) == 0 || l.book.limit == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := entry{id: id, at: time.Now(), keys: served}
	l.book.enter(e)
	l.write(e.lines())
}

// Heard forgets what was delivered in the transaction id, since its client is known to
// have heard so. The strike is written with the next entry, or after a second. If a crash
// takes it, an entry too many remains, which harms only somebody who sends the same
// message once more on purpose.
func (l *Ledger) Heard(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.book.strike(id) {
		return
	}
	l.strikes += strikeLine(id)
	switch {
	case len(l.strikes) > maxStrikes:
		l.writeStrikes()
	case l.late == nil:
		l.late = time.AfterFunc(strikeDelay, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.writeStrikes()
		})
	}
}

const (
	// strikeDelay is how long a strike waits for an entry to be written with.
	strikeDelay = time.Second
	// maxStrikes is how many octets of strikes wait at most.
	maxStrikes = 4 << 10
)

// writeStrikes writes the strikes that wait. It is called with the lock held.
func (l *Ledger) writeStrikes() {
	if l.strikes != "" {
		l.write("")
	}
}

// rewriteAfter is how long a file that could not be written is left alone.
const rewriteAfter = 10 * time.Second

// write appends the strikes that wait, and then lines, to the file, without a sync. It
// is called with the lock held. What cannot be written is remembered until the process
// ends, and written when that is possible again.
func (l *Ledger) write(lines string) {
	lines = l.strikes + lines
	l.strikes = ""
	if l.late != nil {
		l.late.Stop()
		l.late = nil
	}
	switch {
	case !l.failing && !l.journal.wasteful():
		l.written(l.journal.append(lines))
	case !l.failing || time.Since(l.tried) >= rewriteAfter:
		l.written(l.journal.rewrite(l.book))
	}
}

// written notes whether the file could be written, and logs when that changes.
func (l *Ledger) written(err error) {
	switch failing := err != nil; {
	case failing && !l.failing:
		l.Log.Warn("the delivered ledger cannot be written: after a crash, retries may cause second copies", "cause", err)
	case !failing && l.failing:
		l.Log.Info("the delivered ledger can be written again")
	}
	l.failing, l.tried = err != nil, time.Now()
}

// A key stands for a sender, a recipient and a message: half a SHA-256.
type key [sha256.Size / 2]byte

// keysOf returns the key for each recipient.
func keysOf(env *mail.Envelope, msg *mail.Message) ([]key, error) {
	digest := env.Digest
	if digest == (mail.Digest{}) {
		// A mail system that is not ours tries again with the octets that it sent
		// us the first time.
		h := sha256.New()
		if err := msg.Source().WriteRange(h, mail.Range{End: msg.Source().Size()}); err != nil {
			return nil, fmt.Errorf("mda: read the message: %w", err)
		}
		h.Sum(digest[:0])
	}
	keys := make([]key, len(env.To))
	for i, rcpt := range env.To {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", env.From, rcpt.Address, digest[:]))
		copy(keys[i][:], sum[:])
	}
	return keys, nil
}
