package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Generations holds the recipient maps that serve, and replaces them by newer
// ones while mail flows. A generation is checked before it serves, as a whole. A
// map that is broken, that is gone, or that looks like an accident stays as it
// was, and the others go on.
type Generations struct {
	dir     string
	options Options
	log     *slog.Logger
	journal *journal // nil: nothing survives a restart
	current atomic.Pointer[Recipients]
	failure atomic.Pointer[Failure]
	recent  atomic.Pointer[[]*Recipients] // those before, the newest first
	lent    atomic.Pointer[Recipients]    // serves elsewhere, and not here; nil: none does
	wake    chan struct{}                 // tells Run that there is another time to wait for

	mu        sync.Mutex            // held while reloading
	tried     string                // what was read last, whether it was good or not
	compiled  map[string]*domainMap // the newest of each file, whether it is good or not
	again     time.Time             // when to look again whatever is heard; zero: never
	held      map[string]string     // what each file holds that must not serve: it was taken back
	probation *probation            // nil: nothing waits to be confirmed
	confirmed string                // the generation that was confirmed last
}

// Options say how recipients are kept in service.
type Options struct {
	Hostname string // whose postmaster answers without a domain
	Keep     string // the file that holds the newest good generation over a restart; "": nothing is kept
	Log      *slog.Logger
	// Forbidden says why files may be forbidden to this process whatever their
	// permissions, and the way out; "", or nil: they are not.
	Forbidden func() string

	// A map that loses more names than LoseNames, and more than LosePercent of all
	// that it has, is taken for an accident.
	LoseNames, LosePercent int
}

// A Failure is why not all that is in the folder serves, and since when.
type Failure struct {
	Err  error // Mistakes, or of reading the folder
	Time time.Time
	Old  []string // the domains of which an old version serves
}

// A Request says how the maps are to be read anew.
type Request struct {
	// Force says that what looks like an accident is meant: that domains are gone, or
	// many of their names, or that files are empty, or are no files.
	Force bool
	// Confirm is how long what is new may serve before it is taken back, unless
	// somebody confirms it. Zero: for good.
	Confirm time.Duration
	// Patient says that nobody waits for the answer: a map that somebody may still be
	// writing does not serve yet, and is looked at again.
	Patient bool
}

// Open reads the recipient maps in dir, as LoadRecipients does, and returns them
// as the first generation. The log hears of each later one, and why one was
// refused.
//
// What was kept serves in the place of whatever is broken in dir now, and Failure
// says why. If nothing was, that is an error.
func Open(dir string, o Options) (*Generations, error) {
	g, err := newGenerations(dir, o)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	kerr := g.recall()
	if errors.Is(kerr, fs.ErrNotExist) {
		kerr = nil // it is the first start
	}
	err = g.start()
	if g.Current() == nil {
		return nil, errors.Join(err, kerr)
	}
	if kerr != nil {
		g.log.Warn("what was kept of the recipient maps is lost, and is kept anew", "cause", kerr)
	}
	if err != nil {
		g.log.Error("started with the last good recipient maps, for the newest are broken", "generation", g.Current().id, "kept", g.Current().loaded)
	}
	return g, nil
}

// start makes what is in the folder serve, or has what was kept go on.
func (g *Generations) start() error {
	sources, err := g.read()
	switch kept := g.Current() != nil; {
	case err != nil && kept:
		return g.failed("", Failure{Err: err})
	case err != nil:
		return err
	case kept:
		return g.try(sources, Request{}, noticed)
	}
	return g.first(sources)
}

func newGenerations(dir string, o Options) (*Generations, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("read recipient maps: %w", err)
	}
	g := &Generations{dir: dir, options: o, log: o.Log, wake: make(chan struct{}, 1), compiled: make(map[string]*domainMap)}
	if o.Keep != "" {
		g.journal = &journal{name: o.Keep}
	}
	return g, nil
}

// recall makes what was kept the generation that serves.
func (g *Generations) recall() error {
	if g.journal == nil {
		return nil
	}
	k, err := g.journal.open(g.dir)
	if err != nil {
		return err
	}
	var maps []*domainMap
	for _, s := range k.sources {
		m := compile(s)
		g.compiled[m.base()] = m
		maps = append(maps, m)
	}
	r, found := link(maps, nil, g.options.Hostname, false)
	for _, m := range maps {
		found = append(found, &m.doc.findings)
	}
	if err := locate(found...).sorted(); err != nil {
		return fmt.Errorf("what was kept is broken: %w", err)
	}
	r.loaded, g.held = k.time, k.held
	g.current.Store(r)
	return nil
}

// first makes the maps the first generation if all of them are good.
func (g *Generations) first(sources []source) error {
	r, err := build(sources, g.options.Hostname)
	if err != nil {
		return err
	}
	for _, m := range r.maps {
		g.compiled[m.base()] = m
	}
	g.current.Store(r)
	g.tried = digest(sources)
	g.save(r)
	return nil
}

// Current returns the generation that serves. Whoever has several questions about one
// transaction asks them of one generation.
func (g *Generations) Current() *Recipients { return g.current.Load() }

// maxRecent is how many generations are remembered for transactions that began
// with them. They share the maps that are the same.
const maxRecent = 8

// At returns the generation with that ID if it serves, was one of the last to serve, or
// was found by CatchUp, and else the one that serves.
func (g *Generations) At(id string) *Recipients {
	r := g.Current()
	if id == r.id || id == "" {
		return r
	}
	if lent := g.lent.Load(); lent != nil && lent.id == id {
		return lent
	}
	if recent := g.recent.Load(); recent != nil {
		if i := slices.IndexFunc(*recent, func(r *Recipients) bool { return r.id == id }); i >= 0 {
			return (*recent)[i]
		}
	}
	return r
}

// Failure returns why what the folder holds does not serve, nil if it does.
func (g *Generations) Failure() *Failure { return g.failure.Load() }

// Reload reads the maps anew. What is good serves when it returns. What is not
// leaves its old version serving, and the error, Mistakes or of reading the
// folder, says why.
//
// If nothing is new, the generation stays the same.
func (g *Generations) Reload(q Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	sources, err := g.read()
	if err != nil {
		return g.failed("", Failure{Err: err})
	}
	return g.try(sources, q, asked)
}

// Check is Reload for a caller that has only heard that there may be something new: it
// tries nothing twice.
func (g *Generations) Check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.check(noticed)
}

// CatchUp is Check for a caller that has heard of another process with a generation that
// is not at hand here. It does not wait for an overwritten map to stay unchanged: what was
// good enough for the other process is good enough here.
//
// What was taken back here, or has waited to be confirmed since before the start, does
// not serve because of that. But if the maps with it are the generation of the other
// process, At returns that from now on.
func (g *Generations) CatchUp(generation string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.held) > 0 && g.lend(generation) {
		return nil
	}
	return g.check(behind)
}

// lend lets At return generation, if the folder would make it with nothing held, and
// reports whether it does.
func (g *Generations) lend(generation string) bool {
	sources, err := g.read()
	if err != nil {
		return false
	}
	next, err := g.choose(sources, Request{}, nil, false).settle()
	if err != nil || next.id != generation {
		return false
	}
	g.lent.Store(next)
	return true
}

// read reads the maps in the folder. What is forbidden comes with the reason.
func (g *Generations) read() ([]source, error) {
	sources, err := readMaps(g.dir)
	if g.options.Forbidden == nil || g.options.Forbidden() == "" {
		return sources, err
	}
	why := g.options.Forbidden()
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; %s", err, why)
	}
	for i, s := range sources {
		if errors.Is(s.err, fs.ErrPermission) {
			sources[i].err = fileError{s.err.Error(), why, s.err}
		}
	}
	return sources, err
}

func (g *Generations) check(why occasion) error {
	sources, err := g.read()
	switch {
	case err != nil:
		return g.failed("", Failure{Err: err})
	case digest(sources) != g.tried || !g.again.IsZero():
		return g.try(sources, Request{}, why)
	}
	return nil
}

// An occasion is why maps are read.
type occasion int

// The occasions.
const (
	noticed occasion = iota // there may be something new
	behind                  // another process serves it
	asked                   // somebody wants it, who knows what was taken back
)

// try makes what is good in sources serve.
func (g *Generations) try(sources []source, q Request, why occasion) error {
	old := g.Current()
	if why == asked {
		g.held = nil
	}
	c := g.choose(sources, q, g.held, why == noticed || q.Patient)
	next, err := c.settle()
	if err != nil { // nothing is left
		return g.failed(digest(sources), Failure{Err: err})
	}
	f := c.failure()
	if q.Confirm > 0 && (f == nil || next.id != old.id) { // else what was asked for does not serve
		if err := g.onProbation(old, next, q.Confirm); err != nil {
			return err
		}
		g.save(next)
	}
	g.again = c.again
	g.publish(next)
	defer g.rouse()
	if f != nil {
		return g.failed(digest(sources), *f)
	}
	g.tried = digest(sources)
	if g.failure.Swap(nil) != nil {
		g.log.Info("all recipient maps are good again", "generation", g.Current().id)
	}
	return nil
}

// publish makes next the generation that serves, if it is another.
func (g *Generations) publish(next *Recipients) {
	old := g.Current()
	if next.id != old.id {
		g.current.Store(next)
		recent := []*Recipients{old}
		if before := g.recent.Load(); before != nil {
			recent = append(recent, (*before)[:min(len(*before), maxRecent-1)]...)
		}
		g.recent.Store(&recent)
		n := Compare(old, next, 0)
		g.log.Info("recipient maps loaded", "generation", next.id, "before", old.id, "domains", len(next.Domains()), "mailboxes", next.mailboxes,
			"added", n.Added, "removed", n.Removed, "changed", n.Changed)
	}
	g.save(next)
}

// save keeps r, which serves or is about to, over a restart; while something is on
// probation, it keeps what served before that.
func (g *Generations) save(r *Recipients) {
	if g.journal == nil {
		return
	}
	held := g.held
	if p := g.probation; p != nil {
		r, held = p.undo, p.hold(r, held)
	}
	if err := g.journal.save(r, held); err != nil {
		g.log.Warn("the recipient maps would not survive a restart: is the state folder full, or not ours?", "cause", err)
	}
}

// failed notes why what was read does not serve. It logs the same failure once.
func (g *Generations) failed(tried string, f Failure) error {
	g.tried = tried
	if old := g.failure.Load(); old != nil && old.Err.Error() == f.Err.Error() {
		return f.Err
	}
	f.Time = time.Now()
	if f.Old == nil {
		f.Old = g.Current().Domains()
	}
	g.failure.Store(&f)
	for _, cause := range causes(f.Err) {
		g.log.Error("recipient map not loaded, what served before goes on", "generation", g.Current().id, "cause", cause)
	}
	return f.Err
}
