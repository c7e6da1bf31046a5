package config

import (
	"errors"
	"slices"
)

// A Preview is what would come of a reload.
type Preview struct {
	Now, Next *Recipients
	Failure   *Failure // why not all that is in the folder would serve; nil: it would
	Held      Mistakes // what would serve, and waits for Reload, since it was taken back
}

// Preview says what Reload would do, and does nothing.
func (g *Generations) Preview(q Request) (Preview, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := Preview{Now: g.Current(), Next: g.Current()}
	sources, err := g.read()
	if err != nil {
		return p, err
	}
	c := g.choose(sources, q, nil, false)
	if p.Next, err = c.settle(); err != nil {
		return p, err
	}
	p.Failure = c.failure()
	for _, s := range sources {
		if g.held[s.base()] == s.sum() {
			p.Held = append(p.Held, takenBack(s))
		}
	}
	return p, nil
}

// Recall returns what was kept as Open would, if there were no maps in dir. It
// changes nothing, nor does what it returns keep anything.
func Recall(dir string, o Options) (*Generations, error) {
	g, err := newGenerations(dir, o)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	err = g.recall()
	g.journal = nil
	return g, err
}

// Doubt returns why what is said of a domain may not be what the folder holds: an old
// version of its map serves, or what was read is waited for to lie still. Nil: there is
// no doubt.
func (g *Generations) Doubt(domain string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.Current()
	name, served := r.Serves(domain)
	f := g.Failure()
	switch {
	case f != nil && (!served || slices.Contains(f.Old, r.domains[name].name)):
		return f.Err
	case !g.again.IsZero():
		return errors.New("a recipient map was written just now, and may not be whole")
	}
	return nil
}
