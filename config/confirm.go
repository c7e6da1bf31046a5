package config

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// A probation is what serves until somebody has confirmed it, or else is taken
// back.
type probation struct {
	undo  *Recipients           // what served before
	files map[string]*domainMap // what was before, of each file that is on probation; nil: there was none
	until time.Time
}

// hold returns held, and with it what the files on probation hold now, which must not
// serve once it was taken back.
func (p *probation) hold(now *Recipients, held map[string]string) map[string]string {
	all := maps.Clone(held)
	if all == nil {
		all = make(map[string]string)
	}
	for file := range p.files {
		all[file] = ""
	}
	for _, m := range now.maps {
		if _, on := p.files[m.base()]; on {
			all[m.base()] = m.sum
		}
	}
	return all
}

// ErrNothingToConfirm says that what is there serves already, and for good.
var ErrNothingToConfirm = errors.New("there is nothing to confirm")

// onProbation puts what is new in next on probation. If next serves already, it gives
// what is on probation more time, or else puts on probation what was new in next.
func (g *Generations) onProbation(old, next *Recipients, within time.Duration) error {
	base := old
	if recent := g.recent.Load(); next.id == old.id && g.probation == nil {
		switch {
		case recent == nil:
			return fmt.Errorf("%w: generation %s has served since the start", ErrNothingToConfirm, old.id)
		case g.confirmed == old.id:
			return fmt.Errorf("%w: generation %s was confirmed already", ErrNothingToConfirm, old.id)
		}
		base = (*recent)[0]
	}
	if g.probation == nil {
		g.probation = &probation{undo: base, files: make(map[string]*domainMap)}
	}
	p := g.probation
	p.until = time.Now().Add(within)
	before := make(map[string]*domainMap)
	for _, m := range base.maps {
		before[m.base()] = m
	}
	for _, m := range next.maps {
		was := before[m.base()]
		delete(before, m.base())
		if _, on := p.files[m.base()]; was != m && !on {
			p.files[m.base()] = was
		}
	}
	for file, was := range before { // these are gone
		if _, on := p.files[file]; !on {
			p.files[file] = was
		}
	}
	g.log.Info("recipient maps on probation", "generation", next.id, "before", p.undo.id, "until", p.until)
	return nil
}

// Probation returns until when somebody has to confirm what serves, and which
// generation serves if nobody does. The zero time: nothing waits for that.
func (g *Generations) Probation() (until time.Time, undo string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probation == nil {
		return time.Time{}, ""
	}
	return g.probation.until, g.probation.undo.id
}

// Confirm lets what is on probation serve for good.
func (g *Generations) Confirm() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probation == nil {
		return errors.New("nothing waits to be confirmed: it was taken back in time, or confirmed already")
	}
	g.probation, g.confirmed = nil, g.Current().id
	g.log.Info("recipient maps confirmed", "generation", g.Current().id)
	g.save(g.Current())
	return nil
}

// takeBack makes the maps serve again that served before those on probation.
func (g *Generations) takeBack() {
	p, now := g.probation, g.Current()
	var back []*domainMap
	for _, m := range now.maps {
		if _, on := p.files[m.base()]; !on {
			back = append(back, m)
		}
	}
	for _, m := range p.files {
		if m != nil {
			back = append(back, m)
		}
	}
	next, found := link(byFile(back), now, g.options.Hostname, false)
	if len(found) > 0 { // something that came later needs what is taken back
		next = p.undo
	}
	g.held, g.probation = p.hold(now, g.held), nil
	g.log.Error("recipient maps taken back, since nobody confirmed them", "generation", next.id, "taken back", now.id)
	g.publish(next)
	g.tried = "" // what the folder holds is not what serves
	_ = g.check(noticed)
}

// rouse tells Run that there is another time to wait for.
func (g *Generations) rouse() {
	select {
	case g.wake <- struct{}{}:
	default: // it is told already
	}
}

// next returns when something is due, whatever is heard until then; zero: never.
func (g *Generations) next() (at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at = g.again
	if p := g.probation; p != nil && (at.IsZero() || p.until.Before(at)) {
		at = p.until
	}
	return at
}

// due does what is to be done by now.
func (g *Generations) due() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.probation; p != nil && !time.Now().Before(p.until) {
		g.takeBack()
	}
	if !g.again.IsZero() && !time.Now().Before(g.again) {
		g.again = time.Time{}
		g.tried = ""
		_ = g.check(noticed) // it is logged
	}
}
