package config

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Generations holds the recipient maps that serve, and replaces them by newer
// ones while mail flows. A generation is built whole and checked before it
// serves; what cannot be read or has mistakes changes nothing.
type Generations struct {
	dir      string
	hostname string
	keep     string // the file that holds the newest good one; may be empty
	log      *slog.Logger
	current  atomic.Pointer[Recipients]

	mu      sync.Mutex // held while reloading
	saved   string     // the ID of what is kept
	tried   string     // the ID of what was read last, whether it was good or not
	failure atomic.Pointer[Failure]
}

// A Failure is why the newest maps do not serve, and since when.
type Failure struct {
	Err  error
	Time time.Time
}

// Open reads the recipient maps in dir, as LoadRecipients does, and returns them
// as the first generation. Log hears of each later one, and why one was refused.
//
// The file keep holds the newest good generation over a restart. If the maps in
// dir cannot be loaded, that one serves, and Failure says why. Without a name
// nothing is kept.
func Open(dir, hostname, keep string, log *slog.Logger) (*Generations, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("read recipient maps: %w", err)
	}
	g := &Generations{dir: dir, hostname: hostname, keep: keep, log: log}
	sources, err := readMaps(dir)
	if err == nil {
		err = g.first(sources)
	}
	switch {
	case err == nil:
		return g, nil
	case keep == "":
		return nil, err
	}
	r, kerr := kept(keep, hostname)
	if kerr != nil {
		return nil, fmt.Errorf("%w\n%w", err, kerr)
	}
	g.current.Store(r)
	_ = g.failed("", err) // it is logged
	return g, nil
}

func (g *Generations) first(sources []source) error {
	r, err := build(sources, g.hostname)
	if err != nil {
		return err
	}
	g.current.Store(r)
	g.serve(r, sources)
	return nil
}

// Current returns the generation that serves. Who has several questions about
// one transaction asks them of one generation.
func (g *Generations) Current() *Recipients { return g.current.Load() }

// Failure returns why what the folder holds does not serve, nil if it does.
func (g *Generations) Failure() *Failure { return g.failure.Load() }

// Reload reads the maps anew. If they are good, they serve when it returns. If
// not, the old ones go on serving, and the error says why.
//
// Maps that lack a domain which is served, or more than half of a domain's
// names, are refused, for they look like an accident; with force they are not.
// What is the same as before stays the generation that it is.
func (g *Generations) Reload(force bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	sources, err := readMaps(g.dir)
	if err != nil {
		return g.failed("", err)
	}
	return g.try(sources, force)
}

// check is Reload for the watcher: it tries nothing twice.
func (g *Generations) check() {
	g.mu.Lock()
	defer g.mu.Unlock()
	sources, err := readMaps(g.dir)
	switch {
	case err != nil:
		_ = g.failed("", err) // it is logged
	case digest(sources) != g.tried:
		_ = g.try(sources, false)
	}
}

func (g *Generations) try(sources []source, force bool) error {
	old, id := g.Current(), digest(sources)
	if id == old.id {
		g.serve(old, sources)
		return nil
	}
	r, err := build(sources, g.hostname)
	if err == nil && !force {
		err = lost(old, r)
	}
	if err != nil {
		return g.failed(id, err)
	}
	g.serve(r, sources)
	return nil
}

// serve makes r, which is built of sources, the one that serves.
func (g *Generations) serve(r *Recipients, sources []source) {
	news := g.current.Swap(r) != r
	mended := g.failure.Swap(nil) != nil
	if news || mended {
		g.log.Info("recipient maps loaded", "generation", r.id, "domains", len(r.Domains()), "mailboxes", r.mailboxes)
	}
	if g.keep != "" && r.id != g.saved {
		if err := keep(g.keep, sources); err != nil {
			g.log.Warn("the recipient maps would not survive a restart", "cause", err)
		} else {
			g.saved = r.id
		}
	}
	g.tried = r.id
}

// failed notes that what is called id cannot serve. It says so once.
func (g *Generations) failed(id string, err error) error {
	g.tried = id
	if old := g.failure.Load(); old != nil && old.Err.Error() == err.Error() {
		return err
	}
	g.failure.Store(&Failure{Err: err, Time: time.Now()})
	causes := []error{err}
	var ms Mistakes
	if errors.As(err, &ms) {
		causes = ms.Unwrap()
	}
	for _, cause := range causes {
		g.log.Error("recipient maps not loaded, the old ones go on serving", "generation", g.Current().id, "cause", cause)
	}
	return err
}

// fewNames is how small a domain may be for half of its names to go at once
// without a question.
const fewNames = 20

// lost says what old has that a new generation should not lack by accident.
func lost(old, r *Recipients) error {
	const hint = "if that is meant, reload with --force"
	var ms Mistakes
	for _, name := range old.Domains() {
		was, is := old.domains[name], r.domains[name]
		switch {
		case is == nil:
			ms = append(ms, Mistake{File: was.file, Message: fmt.Sprintf("the domain %s would no longer be served", name), Hint: hint})
		case was.size() >= fewNames && is.size() < (was.size()+1)/2 && !is.nextHop:
			ms = append(ms, Mistake{File: is.file, Message: fmt.Sprintf("the domain %s would have %d names where it has %d", name, is.size(), was.size()), Hint: hint})
		}
	}
	return ms.sorted()
}

// size returns how many names d knows.
func (d *domain) size() int { return d.names.len() + len(d.entries) }
