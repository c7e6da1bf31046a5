package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Access keeps the access rules in service while their files are edited. A file
// that is broken keeps its old version, and the others go on.
type Access struct {
	dir   string
	keep  string
	log   *slog.Logger
	check RuleCheck
	use   func([]AccessRule) error

	mu      sync.Mutex   // held while reloading
	files   []accessFile // those in service, by their names
	serves  string       // the digest of those
	tried   string       // the digest of what was read last; "": it is to be read again
	failure atomic.Pointer[Failure]
}

// An accessFile is one version of a file of access rules.
type accessFile struct {
	source
	rules []AccessRule
}

// OpenAccess reads the access rules in dir and calls use with them, and does so
// again whenever they were edited. A file that cannot be read, or of whose rules
// check says that one is wrong, changes nothing about its own rules, and the log
// hears why. A file that is gone takes its rules with it.
//
// The file keep holds the rules that serve over a restart, if it has a name. They
// serve in the place of whatever is broken in dir; if nothing was kept, that is an
// error.
func OpenAccess(dir, keep string, log *slog.Logger, check RuleCheck, use func([]AccessRule) error) (*Access, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("read access rules: %w", err)
	}
	a := &Access{dir: dir, keep: keep, log: log, check: check, use: use}
	kerr := a.recall()
	err = a.Reload()
	if err != nil && kerr != nil {
		return nil, fmt.Errorf("%w\n%w", err, kerr)
	}
	return a, nil
}

// recall makes what was kept the rules that serve. What was kept of another folder
// is of no use.
func (a *Access) recall() error {
	if a.keep == "" {
		return errors.New("nothing is kept of access rules")
	}
	sources, err := keptSources(a.keep)
	if err != nil {
		return err
	}
	var files []accessFile
	for _, s := range sources {
		rules, wrong := rulesOf(s, a.check)
		if filepath.Dir(s.name) != a.dir || len(wrong) > 0 {
			return fmt.Errorf("what was kept of %s does not serve", s.name)
		}
		files = append(files, accessFile{s, rules})
	}
	if err := a.use(allRules(files)); err != nil {
		return err
	}
	a.files = files
	return nil
}

func allRules(files []accessFile) (all []AccessRule) {
	for _, f := range files {
		all = append(all, f.rules...)
	}
	return all
}

// Failure returns why not all that the folder holds is in use, nil if it is. Its
// Old are files.
func (a *Access) Failure() *Failure { return a.failure.Load() }

// Reload reads the rules anew, and says of which files they are not used, and why.
func (a *Access) Reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reload(true)
}

// Watch reloads the rules when they change, until ctx ends. It returns nil then.
func (a *Access) Watch(ctx context.Context) error {
	return watch(ctx, watcher{folder: a.dir}, a.log, pollInterval, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = a.reload(false) // it is logged
	})
}

// reload reads the rules, and uses them unless they are those of the last time,
// or force says so.
func (a *Access) reload(force bool) error {
	sources, err := a.read()
	if err != nil {
		return a.failed(Failure{Err: err, Old: a.names()})
	}
	id := digest(sources)
	if id == a.tried && !force {
		return nil
	}
	files, f := a.choose(sources)
	if err := a.use(allRules(files)); err != nil {
		return a.failed(Failure{Err: err, Old: a.names()})
	}
	a.publish(files)
	if f != nil {
		return a.failed(*f)
	}
	a.tried = id
	if a.failure.Swap(nil) != nil {
		a.log.Info("all access rules are good again")
	}
	return nil
}

// read reads the folder. One without a file has no rules.
func (a *Access) read() ([]source, error) {
	sources, err := readMaps(a.dir)
	if isNoMap(err) {
		return nil, nil
	}
	return sources, err
}

// choose returns which version of each file is to serve: the new one, unless
// something is wrong with it, and else the old one, if there is one.
func (a *Access) choose(sources []source) (files []accessFile, f *Failure) {
	var (
		all Mistakes
		old []string
	)
	for _, s := range sources {
		was := a.serving(s.base())
		if was != nil && was.sum() == s.sum() {
			files = append(files, *was)
			continue
		}
		rules, wrong := a.rulesOf(s, was)
		if len(wrong) == 0 {
			files = append(files, accessFile{s, rules})
			continue
		}
		all = append(all, wrong...)
		if was != nil {
			files, old = append(files, *was), append(old, s.base())
		}
	}
	if err := all.sorted(); err != nil {
		f = &Failure{Err: err, Old: old}
	}
	return files, f
}

// rulesOf returns the rules of a file, and why they do not serve. One that is only
// the beginning of what serves is taken when it has lain still.
func (a *Access) rulesOf(s source, was *accessFile) (rules []AccessRule, wrong Mistakes) {
	rules, wrong = rulesOf(s, a.check)
	if len(wrong) == 0 && was != nil && isCutShort(s, was.text) && s.isYounger(cutShort) {
		wrong = Mistakes{{
			File: s.name, Message: "is cut off, as a file is that is being written",
			Hint: fmt.Sprintf("if that is meant: it serves once it has lain still for %v", cutShort),
		}}
	}
	return rules, wrong
}

// serving returns the version of a file that serves, nil if none does.
func (a *Access) serving(base string) *accessFile {
	i := slices.IndexFunc(a.files, func(f accessFile) bool { return f.base() == base })
	if i < 0 {
		return nil
	}
	return &a.files[i]
}

func (a *Access) names() []string {
	names := make([]string, len(a.files))
	for i, f := range a.files {
		names[i] = f.base()
	}
	return names
}

// publish notes which files serve, and keeps them over a restart.
func (a *Access) publish(files []accessFile) {
	sources := make([]source, len(files))
	for i, f := range files {
		sources[i] = f.source
	}
	id := digest(sources)
	if id == a.serves {
		return
	}
	a.files, a.serves = files, id
	a.log.Info("access rules loaded", "rules", len(allRules(files)), "files", len(files))
	if a.keep == "" {
		return
	}
	if err := keep(a.keep, sources); err != nil {
		a.log.Warn("the access rules would not survive a restart: is the state folder full, or not ours?", "cause", err)
		a.serves = "" // the next reload tries it again
	}
}

// failed notes why not all rules are used. It says so once. They are read again
// even if they stay the same: the folder may be back, or what is cut off be good.
func (a *Access) failed(f Failure) error {
	a.tried = ""
	if old := a.failure.Load(); old != nil && old.Err.Error() == f.Err.Error() {
		return f.Err
	}
	f.Time = time.Now()
	a.failure.Store(&f)
	for _, cause := range causes(f.Err) {
		a.log.Error("access rules not loaded, what served before goes on", "cause", cause)
	}
	return f.Err
}

// RuleChanges are the access rules that come and go, with their places.
type RuleChanges struct {
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Old     []string `json:"old_versions,omitempty"` // files of which an old version goes on
}

// Changes compares the rules in the folder with those in service. The error is
// why not all of them would serve.
func (a *Access) Changes() (RuleChanges, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	sources, err := a.read()
	if err != nil {
		return RuleChanges{Old: a.names()}, err
	}
	files, f := a.choose(sources)
	next, now := allRules(files), allRules(a.files)
	changes := RuleChanges{Added: without(next, now), Removed: without(now, next)}
	if f != nil {
		changes.Old, err = f.Old, f.Err
	}
	return changes, err
}

// without returns the rules that are not among others.
func without(rules, others []AccessRule) []string {
	there := make(map[string]int)
	for _, r := range others {
		there[r.describe()]++
	}
	var rest []string
	for _, r := range rules {
		if there[r.describe()]--; there[r.describe()] < 0 {
			rest = append(rest, r.Name+": "+r.describe())
		}
	}
	return rest
}
