package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"postern/config"
	"postern/mail"
	"postern/mda"
)

// A recollection is what a process without a state of its own knows of the recipients:
// the maps, what a server kept of them, and when it must not refuse anybody by either.
type recollection struct {
	now    *config.Generations
	kept   *config.Recipients // the generation of a server; nil: none was kept
	file   string             // which it is in
	secret error              // why what was kept cannot be read, if that is so
}

// recall makes the recipients those that a server would start with: the last good
// version where a map is broken or gone. It changes nothing.
//
// Both halves keep theirs, or one for both; the newest is that of a server which runs
// now or ran last.
func (p *parts) recall() (recollection, error) {
	var was recollection
	for _, half := range []halves{{mda: true}, {mx: true}} {
		q := *p
		q.state = filepath.Join(p.config.State, half.name())
		g, err := config.Recall(p.config.Recipients, q.recipientOptions())
		switch {
		case err == nil && (was.now == nil || g.Current().Loaded().After(was.kept.Loaded())):
			was.now, was.kept, was.file = g, g.Current(), q.kept("maps")
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			was.secret = err
		}
	}
	if was.now != nil {
		was.secret = nil    // of the other half, whose user is another
		_ = was.now.Check() // Doubt tells of it
		p.recipients = was.now
		return was, nil
	}
	var err error
	was.now, err = config.Open(p.config.Recipients, p.recipientOptions())
	p.recipients = was.now
	return was, err
}

// hesitant is lookup, but that nobody is refused for good who may be somebody.
func (was recollection) hesitant(lookup func(string, mail.Address) ([]mda.Target, error)) func(string, mail.Address) ([]mda.Target, error) {
	return func(generation string, addr mail.Address) ([]mda.Target, error) {
		targets, err := lookup(generation, addr)
		var refusal mail.Reply
		if !errors.As(err, &refusal) || refusal.Temporary() {
			return targets, err
		}
		if doubt := was.doubt(addr, refusal); doubt != nil {
			return nil, mail.TryAgain.Because(fmt.Errorf("it would be %q, but %w", refusal.String(), doubt))
		}
		return nil, err
	}
}

// doubt returns why a refusal of addr may be our own trouble, nil if it is final.
func (was recollection) doubt(addr mail.Address, refusal mail.Reply) error {
	if err := was.now.Doubt(addr.Domain); err != nil {
		return was.orForget(err)
	}
	if refusal.Is(mail.NoRelay) {
		return errors.New("whoever delivers here takes the domain for ours: is its recipient map gone?")
	}
	switch {
	case errors.Is(was.secret, fs.ErrPermission):
		return fmt.Errorf("%w: run as the user of the delivery agent", was.secret)
	case was.secret != nil:
		return fmt.Errorf("%w: remove it, or start a server, which writes it anew", was.secret)
	case was.kept == nil:
		return nil
	}
	if members, err := lookup(was.kept, addr); err == nil && len(members) > 0 {
		return was.orForget(fmt.Errorf("generation %s, which a server has kept in %s, has the recipient: postern reload makes it forget", was.kept.ID(), was.file))
	}
	return nil
}

// orForget returns err, which a server could be told to get over, with the way out
// where none is left.
func (was recollection) orForget(err error) error {
	if was.kept == nil {
		return err
	}
	return fmt.Errorf("%w; where no server runs any more, remove %s", err, was.file)
}
