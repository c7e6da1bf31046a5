package mda

import (
	"context"
	"fmt"
	"sync"
	"time"

	"postern/mail"
)

// InStep is a mail.Deliverer in front of a delivery agent that reads the same recipient
// maps as an MX of ours. Each of the two notices an edit in its own time. If the MX was
// first, InStep has the maps loaded before it asks the agent. A recipient that the MX
// knows, and the agent still does not, is refused for now and never for good: the MX has
// told the client that it exists.
type InStep struct {
	mail.Deliverer
	Current func() string // the generation that serves
	// Knows reports whether a generation is still at hand, even if it no longer serves.
	// Nil: only the one that serves is.
	Knows   func(generation string) bool
	CatchUp func(generation string) error // loads the newest, which may be that one; it logs what is wrong itself

	mu    sync.Mutex
	told  string    // the generation that CatchUp was last called for
	tried time.Time // and when
}

var _ mail.Deliverer = (*InStep)(nil)

// retryReload is how long we do not look again for a generation that was not found: the
// MX may have other maps, or one that is refused here.
const retryReload = time.Minute

// Verify implements mail.Deliverer.
func (s *InStep) Verify(ctx context.Context, env *mail.Envelope, rcpt mail.Recipient) error {
	s.keepTo(env)
	err := s.Deliverer.Verify(ctx, env, rcpt)
	if err == nil {
		return nil
	}
	return inStep(rcpt, mail.ReplyTo(err))
}

// Deliver implements mail.Deliverer.
func (s *InStep) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	s.keepTo(env)
	replies := mail.Deliver(ctx, s.Deliverer, env, msg)
	for i, rcpt := range env.To {
		replies[i] = inStep(rcpt, replies[i])
	}
	return replies
}

// keepTo ties a transaction to one generation: the one that the MX named, or else the
// one that serves when keepTo is first called for it.
func (s *InStep) keepTo(env *mail.Envelope) {
	if env.Generation == "" {
		env.Generation = s.Current()
		return
	}
	s.catchUp(env.Generation)
}

// catchUp loads the maps if generation is not at hand here. Its name does not tell
// whether it is newer.
func (s *InStep) catchUp(generation string) {
	if generation == s.Current() || s.Knows != nil && s.Knows(generation) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation == s.Current() || generation == s.told && time.Since(s.tried) < retryReload {
		return
	}
	s.told, s.tried = generation, time.Now()
	_ = s.CatchUp(generation) // whoever is missing is refused for now
}

// inStep returns r, the agent's reply for rcpt, or a temporary one if r denies a
// recipient that the MX knows: the subject 1 is the address (RFC 3463, section
// 3.2).
func inStep(rcpt mail.Recipient, r mail.Reply) mail.Reply {
	if rcpt.Known && r.Final() && (r.Status[1] == 1 || r.Is(mail.NoRelay)) {
		return mail.TryAgain.Because(fmt.Errorf("mda: the MX knows %v: %w", rcpt.Address, r))
	}
	return r
}
