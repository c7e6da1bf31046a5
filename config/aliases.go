package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxMembers bounds the mailboxes that one address leads to.
	maxMembers = 10_000
	// maxNesting bounds the aliases that lead to one another.
	maxNesting = 100
	// maxRefusal bounds the text of a refusal, so that with its code it fits a
	// reply line of 512 octets (RFC 5321, section 4.5.3.1.5).
	maxRefusal = 400
)

// An alias is an entry whose members are not known yet.
type alias struct {
	*entry
	domain  *domain
	table   *table
	key     string // as it is written
	targets []target
	state   aliasState
}

// A target is what an alias leads to, as it is written in element i.
type target struct {
	i    int
	text string
}

type aliasState int

const (
	untouched aliasState = iota
	expanding
	expanded
)

func (a *alias) String() string { return a.name + "@" + a.domain.name }

// readMailboxTables reads the mailboxes that have settings.
func (b *builder) readMailboxTables(m *domainMap) {
	all := m.top.sub("mailbox")
	for _, key := range all.keys() {
		values, isTable := all.values[key].(map[string]any)
		if !isTable {
			all.wrongType(key, all.values[key], fmt.Sprintf("[%s]", all.full(tomlKey(key))))
			continue
		}
		t := all.doc.table(all.path.key(key), all.full(tomlKey(key)), values)
		t.chosen = true
		name, err := checkMailbox(key)
		switch first, taken := m.places[name]; {
		case err != nil:
			all.complainAt(all.at(key), "mailbox: ", err)
		case taken:
			all.doc.flaw(flaw{where: all.at(key), other: first, message: fmt.Sprintf("the mailbox %q is there already", name), hint: "case does not tell names apart"})
		case m.nextHop:
			all.doc.flaw(flaw{where: all.at(key), message: fmt.Sprintf("mailbox %q: the mailboxes of this domain are the next hop's", key), hint: `list them instead of mailboxes = "next-hop"`})
		}
		e := &entry{name: name, mailbox: true}
		parsed(t, "path", `path = "/home/bob/Maildir"`, &e.path, parseMailboxPath)
		b.claim(t, e.path)
		m.entries[name], m.places[name] = e, all.at(key)
		if _, listed := m.names.find([]byte(name)); !listed {
			m.mailboxes++
		}
	}
}

// tomlKey returns key as one writes it in TOML.
func tomlKey(key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r > '~' || !isBare(byte(r)) }) {
		return fmt.Sprintf("%q", key)
	}
	return key
}

func parseMailboxPath(s string) (string, error) {
	if !filepath.IsAbs(s) {
		return "", hinted{fmt.Sprintf("%q is not an absolute path", s), `write it from the root, as "/home/bob/Maildir"`}
	}
	s, err := parsePath(s, "/")
	if s == "/" {
		err = errors.New("the root is no mailbox")
	}
	return s, err
}

// claim notes that path is a mailbox, of which each needs a place of its own.
func (b *builder) claim(t *table, path string) {
	if path == "" {
		return
	}
	where := t.at("path").value()
	if first, taken := b.paths[path]; taken {
		t.doc.flaw(flaw{where: where, other: first, message: fmt.Sprintf("%s is the path of another mailbox", path), hint: "for one mailbox with two names make one of them an alias"})
		return
	}
	b.paths[path] = where
}

// readAliases reads who is another name for whom.
func (m *domainMap) readAliases() {
	t := m.top.sub("aliases")
	for _, key := range t.keys() {
		if isTable(t.values[key]) {
			t.doc.flaw(flaw{where: t.at(key), message: fmt.Sprintf("aliases.%s must not be a table", tomlKey(key)), hint: dotHint})
			continue
		}
		a := &alias{entry: new(entry), domain: m.domain, table: t, key: key}
		t.each(key, fmt.Sprintf(`%s = ["alice"]`, tomlKey(key)), func(i int, s string) error {
			a.targets = append(a.targets, target{i, s})
			return nil
		})
		if array, ok := t.values[key].([]any); ok && len(array) == 0 {
			t.complain(key, hinted{"an alias must lead somewhere", "name a mailbox, or remove the alias"})
		}
		if m.place(a) {
			m.aliases = append(m.aliases, a)
		}
	}
}

// place gives a its place in the map.
func (m *domainMap) place(a *alias) bool {
	t := a.table
	if a.key == "*" {
		if a.name = a.key; m.nextHop {
			t.doc.flaw(flaw{where: t.at("*"), message: `the catch-all "*" has no effect, because the next hop is asked about whoever is not in the map`, hint: `remove it, or mailboxes = "next-hop"`})
		}
		m.catchAll = a.entry
		return true
	}
	name, err := checkLocal(a.key)
	if err != nil {
		t.complainAt(t.at(a.key), "aliases: ", err)
		return false
	}
	if other := m.exact([]byte(name)); other.name != "" {
		f := flaw{where: t.at(a.key), other: m.places[name], message: fmt.Sprintf("the alias %q is there already", name), hint: "remove one of them; case does not tell names apart"}
		if other.entry == nil || other.entry.mailbox {
			f.message, f.hint = fmt.Sprintf("%q is a mailbox and cannot be an alias too", name), "remove one of them"
		}
		t.doc.flaw(f)
		return false
	}
	a.name = name
	m.entries[name], m.places[name] = a.entry, t.at(a.key)
	return true
}

// readRefusals reads who is refused, and why.
func (m *domainMap) readRefusals() {
	t, refused := m.top.sub("refuse"), make(map[string]place)
	for _, key := range t.keys() {
		if isTable(t.values[key]) {
			t.doc.flaw(flaw{where: t.at(key), message: fmt.Sprintf("refuse.%s must not be a table", tomlKey(key)), hint: dotHint})
			continue
		}
		text := "refused"
		parsed(t, key, fmt.Sprintf(`%s = "moved to new@example.com"`, tomlKey(key)), &text, parseRefusal)
		name, err := checkLocal(key)
		switch {
		case err == nil && name == "postmaster":
			err = hinted{"a postmaster must not be refused (RFC 5321, section 4.5.1)", "make it an alias of somebody"}
		case key == "*":
			err = hinted{`"*" cannot be refused`, "whoever is not in the map is refused anyway"}
		}
		if err != nil {
			t.complainAt(t.at(key), "refuse: ", err)
			continue
		}
		e := m.entries[name]
		if e == nil {
			_, isMailbox := m.names.find([]byte(name))
			e = &entry{name: name, mailbox: isMailbox}
			m.entries[name] = e
		}
		if first, again := refused[name]; again {
			t.doc.flaw(flaw{where: t.at(key), other: first, message: fmt.Sprintf("%q is refused already", name), hint: "remove one of them; case does not tell names apart"})
		}
		e.refusal, refused[name] = text, t.at(key)
	}
}

func parseRefusal(s string) (string, error) {
	switch {
	case strings.TrimSpace(s) == "":
		return "", errors.New("the sender needs a reason")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", hinted{"must be printable ASCII, for any sender must be able to read it", "write it on one line without accents"}
	case len(s) > maxRefusal:
		return "", fmt.Errorf("is longer than %d characters, and does not fit a reply", maxRefusal)
	}
	return s, nil
}

// resolve finds the mailboxes behind all aliases.
func (b *builder) resolve() {
	r := resolver{builder: b, aliases: make(map[*entry]*alias)}
	for _, m := range b.maps {
		for _, a := range m.aliases {
			r.aliases[a.entry] = a
		}
	}
	for _, m := range b.maps {
		r.implied(m)
	}
	for _, m := range b.maps {
		for _, a := range m.aliases {
			r.expand(a)
		}
	}
}

type resolver struct {
	*builder
	aliases map[*entry]*alias
	chain   []*alias // being expanded, each a target of the one before
}

// implied adds the postmaster (RFC 5321, section 4.5.1) and abuse (RFC 2142)
// where the map has none. A postmaster is whom the catch-all leads to, or else a
// mailbox; abuse is the postmaster. Where the next hop has the mailboxes, it has
// these too.
func (r *resolver) implied(m *domainMap) {
	if m.nextHop {
		return
	}
	if m.exact([]byte("postmaster")).name == "" {
		m.entries["postmaster"] = &entry{name: "postmaster", mailbox: true}
		if a := r.aliases[m.catchAll]; a != nil && !r.leadsTo(a, m.domain, map[*alias]bool{}) {
			r.add(m, &alias{table: a.table, key: a.key, targets: a.targets}, "postmaster")
		} else {
			m.mailboxes++
			r.mailboxes++
		}
	}
	if m.exact([]byte("abuse")).name == "" {
		r.add(m, &alias{table: m.top, targets: []target{{text: "postmaster"}}}, "abuse")
	}
}

func (r *resolver) add(m *domainMap, a *alias, name string) {
	a.entry, a.domain = &entry{name: name}, m.domain
	m.entries[name] = a.entry
	m.aliases = append(m.aliases, a)
	r.aliases[a.entry] = a
}

// leadsTo reports whether a leads to the postmaster of d.
func (r *resolver) leadsTo(a *alias, d *domain, seen map[*alias]bool) bool {
	if seen[a] {
		return false
	}
	seen[a] = true
	return slices.ContainsFunc(a.targets, func(to target) bool {
		at, local, _ := r.target(a, to.text)
		if at == nil {
			return false
		}
		f := at.find(local)
		if at == d && f.name == "postmaster" {
			return true
		}
		next := r.aliases[f.entry]
		return next != nil && r.leadsTo(next, d, seen)
	})
}

// target returns the map that a target of a is in, and its local part there.
func (r *resolver) target(a *alias, target string) (*domain, string, error) {
	i := strings.LastIndexByte(target, '@')
	if i < 0 {
		return a.domain, target, nil
	}
	if d := r.domains[string(foldDomain(nil, target[i+1:]))]; d != nil {
		return d, target[:i], nil
	}
	return nil, "", hinted{fmt.Sprintf("%q is not in a domain that is served here", target), "forwarding to others comes in a later version"}
}

// expand finds the members of a, once.
func (r *resolver) expand(a *alias) {
	if a.state == expanded {
		return
	}
	a.state = expanding
	r.chain = append(r.chain, a)
	var all []Member
	for _, to := range a.targets {
		members, err := r.members(a, to.text)
		if err != nil {
			a.table.complainAt(a.table.element(a.key, to.i), fmt.Sprintf("alias %q: ", a.key), err)
		}
		if all = append(all, members...); len(all) > 2*maxMembers {
			if all = distinct(all); len(all) > maxMembers {
				break
			}
		}
	}
	if a.members = distinct(all); len(a.members) > maxMembers {
		a.table.complain(a.key, fmt.Errorf("the alias leads to more than %d mailboxes", maxMembers))
		a.members = nil
	}
	r.chain = r.chain[:len(r.chain)-1]
	a.state = expanded
}

// members returns whom one target of a stands for.
func (r *resolver) members(a *alias, target string) ([]Member, error) {
	d, local, err := r.target(a, target)
	if d == nil {
		if r.partial && err != nil {
			err = nil // the domain may be that of a file that was not understood
		}
		return nil, err
	}
	if _, err := checkLocal(local); err != nil {
		return nil, err
	}
	f := d.find(local)
	switch next := r.aliases[f.entry]; {
	case f.entry != nil && f.entry.refusal != "":
		return nil, hinted{fmt.Sprintf("%q is refused", target), "remove it here or below [refuse]"}
	case next != nil && next.state == expanding:
		return nil, r.loop(next)
	case next != nil && len(r.chain) > maxNesting:
		return nil, fmt.Errorf("more than %d aliases lead to one another", maxNesting)
	case next != nil:
		r.expand(next)
		return r.withDetail(next.members, f.detail), nil
	case f.name != "":
		return []Member{d.withDetail(d.member(f.name, match{entry: f.entry, name: f.name}), f.detail)}, nil
	case d.nextHop:
		return []Member{d.member(local, f)}, nil
	}
	if a.table.doc.full() {
		return nil, errors.New("more of the same")
	}
	return nil, dangling(d, local, target)
}

// loop says how the alias that is being expanded leads back to first.
func (r *resolver) loop(first *alias) error {
	var b strings.Builder
	for _, a := range r.chain[slices.Index(r.chain, first):] {
		b.WriteString(a.String() + " -> ")
	}
	return hinted{fmt.Sprintf("the alias leads back to itself: %s%v", b.String(), first), "remove one of them"}
}

// dangling says that d has nobody called local, and who may have been meant.
func dangling(d *domain, local, target string) error {
	h := hinted{message: fmt.Sprintf("%q is neither a mailbox nor an alias", target), hint: "add the mailbox, or remove the target"}
	var known []string
	for name := range d.entries {
		known = append(known, name)
	}
	slices.Sort(known)
	for i := range min(d.names.len(), 10_000) {
		known = append(known, d.names.name(uint32(i+1)))
	}
	if near := nearest(string(foldLocal(nil, local)), known); near != "" {
		h.hint = fmt.Sprintf("did you mean %q?", near)
	}
	return h
}
