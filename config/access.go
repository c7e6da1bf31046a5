package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
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

// A RuleCheck says what is wrong with a rule that this package does not know of.
type RuleCheck func(AccessRule) error

// LoadAccess reads the access rules in the folder dir: those of its files called
// *.toml, in alphabetical order, each in order of its rules. The error is
// Mistakes, or of reading the folder; without a file in it there are no rules.
func LoadAccess(dir string, check RuleCheck) ([]AccessRule, error) {
	sources, err := readMaps(dir)
	if err != nil && !isNoMap(err) {
		return nil, err
	}
	return accessRules(sources, check)
}

// isNoMap reports whether err says that a folder is there, and has no file.
func isNoMap(err error) bool {
	var none Mistakes
	return errors.As(err, &none)
}

func accessRules(sources []source, check RuleCheck) ([]AccessRule, error) {
	var (
		rules []AccessRule
		all   Mistakes
	)
	for _, s := range sources {
		of, ms := rulesOf(s, check)
		rules, all = append(rules, of...), append(all, ms...)
	}
	if err := all.sorted(); err != nil {
		return nil, err
	}
	return rules, nil
}

// rulesOf returns the rules of one file, and what is wrong in it.
func rulesOf(s source, check RuleCheck) (rules []AccessRule, wrong Mistakes) {
	doc, top := s.parse()
	if doc.broken {
		return nil, locate(&doc.findings)
	}
	tables := top.tables("rule", "[[rule]]")
	lines := linesOf(doc, len(tables))
	for i, t := range tables {
		before := len(doc.findings.found)
		r := t.accessRule()
		r.Name = fmt.Sprintf("%s:%d", filepath.Base(s.name), lines[i])
		rules = append(rules, r)
		if check == nil || len(doc.findings.found) > before {
			continue // a rule that could not be read is not to be judged
		}
		if err := check(r); err != nil {
			wrong = append(wrong, Mistake{File: s.name, Line: lines[i], Column: 1, Message: err.Error(), Text: lineOf(doc.text, lines[i])})
		}
	}
	doc.unknown()
	return rules, append(locate(&doc.findings), wrong...)
}

// lineOf returns the nth line of a text, counted from one, without its end.
func lineOf(text string, n int) string {
	for line := range strings.Lines(text) {
		if n--; n == 0 {
			return strings.TrimRight(line, "\r\n")
		}
	}
	return ""
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
