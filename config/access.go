package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// An AccessRule is one that an administrator wrote, as package access reads it.
type AccessRule struct {
	Name    string // "partners.toml:12"
	Action  string // "allow", "deny" or "defer"
	Text    string // what the client hears; empty: a standard text
	Clients []netip.Prefix
	Hello   []string
	Senders []string
	To      []string
}

// The actions of an AccessRule, beside Defer.
const (
	Allow = "allow"
	Deny  = "deny"
)

// LoadAccess reads the access rules in the folder dir: those of its files called
// *.toml, in alphabetical order, each in order of its rules. The error is
// Mistakes, or of reading the folder; without a file in it there are no rules.
func LoadAccess(dir string) ([]AccessRule, error) {
	sources, err := readMaps(dir)
	if err != nil && !isNoMap(err) {
		return nil, err
	}
	return accessRules(sources)
}

// isNoMap reports whether err says that a folder is there, and has no file.
func isNoMap(err error) bool {
	var none Mistakes
	return errors.As(err, &none)
}

func accessRules(sources []source) ([]AccessRule, error) {
	var (
		rules []AccessRule
		found []*findings
	)
	for _, s := range sources {
		doc, top := s.parse()
		found = append(found, &doc.findings)
		if doc.broken {
			continue
		}
		tables := top.tables("rule", "[[rule]]")
		lines := linesOf(doc, len(tables))
		for i, t := range tables {
			r := t.accessRule()
			r.Name = fmt.Sprintf("%s:%d", filepath.Base(s.name), lines[i])
			rules = append(rules, r)
		}
		doc.unknown()
	}
	if err := locate(found...).sorted(); err != nil {
		return nil, err
	}
	return rules, nil
}

// linesOf returns in which lines the n rules of doc begin.
func linesOf(doc *document, n int) []int {
	index := make(map[path]int, n)
	for i := range n {
		index[path("").key("rule").index(i)] = i
	}
	lines := make([]int, n)
	line, at := 1, 0
	scan(doc.text, func(p []byte, s spot) {
		if i, isRule := index[path(p)]; isRule && s.key >= at {
			line += strings.Count(doc.text[at:s.key], "\n")
			at, lines[i] = s.key, line
		}
	})
	return lines
}

func (t *table) accessRule() AccessRule {
	var r AccessRule
	t.name = "rule"
	required(t, "action", `action = "deny"`)
	t.oneOf("action", &r.Action, Allow, Deny, Defer)
	parsed(t, "text", `text = "not welcome here"`, &r.Text, checkText)
	list(t, "client", `client = ["192.0.2.0/24"]`, &r.Clients, parseNetwork)
	for key, into := range map[string]*[]string{"helo": &r.Hello, "sender": &r.Senders, "recipient": &r.To} {
		t.each(key, key+` = ["example.com"]`, func(_ int, s string) error {
			*into = append(*into, s)
			return nil
		})
	}
	for _, key := range []string{"client", "helo", "sender", "recipient"} {
		if array, isArray := t.values[key].([]any); isArray && len(array) == 0 {
			t.complain(key, hinted{"an empty list would fit everybody", "remove it, or the rule"})
		}
	}
	return r
}

// Access keeps the access rules in service while their files are edited.
type Access struct {
	dir  string
	keep string
	log  *slog.Logger
	use  func([]AccessRule) error

	mu      sync.Mutex   // held while reloading
	rules   []AccessRule // those in service
	tried   string       // the digest of what was read last
	failure atomic.Pointer[Failure]
}

// OpenAccess reads the access rules in dir and calls use with them, and does so
// again whenever they were edited. What cannot be read, or is refused by use,
// changes nothing, and the log hears why.
//
// The file keep holds the newest good rules over a restart, if it has a name. If
// those in dir cannot be used, the kept ones are.
func OpenAccess(dir, keep string, log *slog.Logger, use func([]AccessRule) error) (*Access, error) {
	a := &Access{dir: dir, keep: keep, log: log, use: use}
	err := a.Reload()
	if err == nil || keep == "" {
		return a, err
	}
	sources, kerr := keptSources(keep)
	if kerr == nil {
		var rules []AccessRule
		if rules, kerr = accessRules(sources); kerr == nil {
			kerr, a.rules = use(rules), rules
		}
	}
	if kerr != nil {
		return nil, fmt.Errorf("%w\n%w", err, kerr)
	}
	return a, nil
}

// Failure returns why what the folder holds is not in use, nil if it is.
func (a *Access) Failure() *Failure { return a.failure.Load() }

// Reload reads the rules anew, and says why they are not used if they are not.
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
	sources, err := readMaps(a.dir)
	if isNoMap(err) {
		sources, err = nil, nil
	}
	id := digest(sources)
	if err == nil && id == a.tried && !force {
		return nil
	}
	var rules []AccessRule
	if err == nil {
		a.tried = id
		rules, err = accessRules(sources)
	}
	if err == nil {
		err = a.use(rules)
	}
	if err != nil {
		return a.failed(err)
	}
	a.rules = rules
	a.failure.Store(nil)
	a.log.Info("access rules loaded", "rules", len(rules))
	if a.keep != "" {
		if err := keep(a.keep, sources); err != nil {
			a.log.Warn("the access rules would not survive a restart", "cause", err)
		}
	}
	return nil
}

// failed notes why the rules are not used. It says so once.
func (a *Access) failed(err error) error {
	if old := a.failure.Load(); old != nil && old.Err.Error() == err.Error() {
		return err
	}
	a.failure.Store(&Failure{Err: err, Time: time.Now()})
	causes := []error{err}
	var ms Mistakes
	if errors.As(err, &ms) {
		causes = ms.Unwrap()
	}
	for _, cause := range causes {
		a.log.Error("access rules not loaded, the old ones go on serving", "cause", cause)
	}
	return err
}

// describe returns the rule about as one would say it.
func (r AccessRule) describe() string {
	var b strings.Builder
	b.WriteString(r.Action)
	clients := make([]string, len(r.Clients))
	for i, c := range r.Clients {
		clients[i] = c.String()
	}
	for _, part := range []struct {
		name   string
		values []string
	}{{"client", clients}, {"helo", r.Hello}, {"sender", r.Senders}, {"recipient", r.To}} {
		if len(part.values) > 0 {
			fmt.Fprintf(&b, ", %s %s", part.name, strings.Join(part.values, " or "))
		}
	}
	if r.Text != "" {
		fmt.Fprintf(&b, ": %q", r.Text)
	}
	return b.String()
}

// RuleChanges are the access rules that come and go, with their places.
type RuleChanges struct {
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// Changes compares the rules in the folder with those in service. The error is
// why they would not serve.
func (a *Access) Changes() (RuleChanges, error) {
	rules, err := LoadAccess(a.dir)
	if err != nil {
		return RuleChanges{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return RuleChanges{Added: without(rules, a.rules), Removed: without(a.rules, rules)}, nil
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
