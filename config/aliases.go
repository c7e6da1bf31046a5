package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxMembers bounds the mailboxes that one address leads to.
	maxMembers = 10_000
	// maxThrough bounds the mailboxes that all addresses together lead to through
	// aliases of aliases: even a small map can make each alias stand for all others.
	maxThrough = 1_000_000
	// maxNesting bounds how many aliases may follow one another on the way to a mailbox.
	maxNesting = 100
)

// A target is what an alias leads to, as it is written in element i.
type target struct {
	i    int
	text string
}

type aliasState byte

const (
	untouched aliasState = iota
	expanding
	expanded
)

// A step is an alias of a map.
type step struct {
	m *domainMap
	a *entry
}

func (s step) String() string { return s.a.name + "@" + s.m.name }

// implied adds postmaster (RFC 5321, section 4.5.1) and abuse (RFC 2142) to a map that
// lacks them. The postmaster is whom the catch-all leads to, unless that leads back to
// the postmaster: then it is a mailbox. Abuse is an alias of the postmaster. Where the
// next hop has the mailboxes, it has these too.
func (l *linker) implied(m *domainMap) {
	d := l.own[m]
	if d.exact([]byte("postmaster")).name == "" {
		d.entries["postmaster"] = &entry{name: "postmaster", mailbox: true}
		if a := d.catchAll; a != nil && !l.leadsTo(a, d, d) {
			d.entries["postmaster"] = &entry{name: "postmaster", alias: a.alias, targets: a.targets}
		} else {
			d.mailboxes++
		}
	}
	if d.exact([]byte("abuse")).name == "" {
		d.entries["abuse"] = &entry{name: "abuse", alias: "abuse", targets: []target{{text: "postmaster"}}}
	}
}

// leadsTo reports whether a, an alias of from, leads to the postmaster of d.
func (l *linker) leadsTo(a *entry, from, d *domain) bool {
	type at struct {
		a  *entry
		of *domain
	}
	seen := map[*entry]bool{a: true}
	for todo := []at{{a, from}}; len(todo) > 0; {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, to := range next.a.targets {
			of, local, _ := l.target(next.of, to.text)
			if of == nil {
				continue
			}
			f := of.find(local)
			if of == d && f.name == "postmaster" {
				return true
			}
			if f.entry != nil && !seen[f.entry] {
				seen[f.entry] = true
				todo = append(todo, at{f.entry, of})
			}
		}
	}
	return false
}

// target returns the domain that a target of an alias of d is in, and its local
// part there.
func (l *linker) target(d *domain, target string) (*domain, string, error) {
	i := strings.LastIndexByte(target, '@')
	if i < 0 {
		return d, target, nil
	}
	if d := l.domains[string(foldDomain(nil, target[i+1:]))]; d != nil {
		return d, target[:i], nil
	}
	return nil, "", hinted{fmt.Sprintf("%q is not in a domain that is served here", target), "forwarding to others comes in a later version"}
}

// expandAll finds the mailboxes behind the aliases of m.
func (l *linker) expandAll(m *domainMap) {
	d := l.own[m]
	for _, a := range m.aliases {
		if a == m.catchAll {
			l.expand(step{m, d.catchAll})
		} else {
			l.expand(step{m, d.entries[a.name]})
		}
	}
	for _, name := range []string{"postmaster", "abuse"} {
		if e := d.entries[name]; e != nil && e.alias != "" {
			l.expand(step{m, e})
		}
	}
}

// expand finds the members of an alias, once.
func (l *linker) expand(s step) {
	a := s.a
	if a.state == expanded || l.full {
		return
	}
	a.state = expanding
	l.chain = append(l.chain, s)
	where := path("").key("aliases").key(a.alias)
	var all []Member
	for _, to := range a.targets {
		members, err := l.members(s, to.text)
		if err != nil {
			l.findings(s.m).complainAt(place{doc: s.m.doc, path: where.index(to.i), atValue: true}, fmt.Sprintf("alias %q: ", a.alias), err)
			l.findings(s.m).blames(err)
		}
		if all = append(all, members...); len(all) > 2*maxMembers {
			if all = distinct(all); len(all) > maxMembers {
				break
			}
		}
	}
	a.members = distinct(all)
	through := max(0, len(a.members)-len(a.targets))
	var err error
	switch {
	case len(a.members) > maxMembers:
		err = fmt.Errorf("the alias leads to more than %d mailboxes", maxMembers)
	case l.through+through > maxThrough:
		err = hinted{fmt.Sprintf("with this one, all aliases lead to more than %d mailboxes through one another", maxThrough), "name large aliases in fewer others"}
		l.full = true
	}
	if err != nil {
		l.findings(s.m).complainAt(place{doc: s.m.doc, path: where, atValue: true}, fmt.Sprintf("aliases.%s: ", a.alias), err)
		a.members, through = nil, 0
	}
	l.through += through
	l.own[s.m].through += through
	l.chain = l.chain[:len(l.chain)-1]
	a.state = expanded
}

// members returns the mailboxes that one target of an alias stands for.
func (l *linker) members(s step, target string) ([]Member, error) {
	d, local, err := l.target(l.own[s.m], target)
	switch {
	case d == nil && l.partial:
		return nil, nil // the domain may be that of a file that was not understood
	case d == nil:
		return nil, missed{err, l.had(target)}
	}
	if _, err := checkLocal(local); err != nil {
		return nil, err
	}
	f := d.find(local)
	switch next := (step{d.source, f.entry}); {
	case f.entry != nil && f.entry.refusal != "":
		return nil, missed{hinted{fmt.Sprintf("%q is refused", target), "remove it here or below [refuse]"}, d.source}
	case f.isAlias() && f.entry.state == expanding:
		return nil, l.loop(next)
	case f.isAlias() && len(l.chain) > maxNesting:
		return nil, fmt.Errorf("more than %d aliases lead to one another", maxNesting)
	case f.isAlias():
		l.expand(next)
		return l.withDetail(f.entry.members, f.detail), nil
	case f.name != "":
		return []Member{d.withDetail(d.member(f.name, match{entry: f.entry, name: f.name}), f.detail)}, nil
	case d.nextHop:
		return []Member{d.member(local, f)}, nil
	}
	if d.source.doubtful { // the mistakes of its file say why
		return nil, nil
	}
	if l.findings(s.m).full() { // spare the search for who was meant, which nobody would read
		return nil, missed{errors.New("nobody"), d.source}
	}
	return nil, missed{dangling(d, local, target), d.source}
}

// missed says that a target of an alias is not in the map where it was looked for.
type missed struct {
	error
	in *domainMap // nil: there is none
}

func (e missed) Unwrap() error { return e.error }

// blames notes the map in which err missed something.
func (fs *findings) blames(err error) {
	var e missed
	if errors.As(err, &e) && e.in != nil && !slices.Contains(fs.missedIn, e.in) {
		fs.missedIn = append(fs.missedIn, e.in)
	}
}

// had returns the map that had the domain of a target before; nil: none.
func (l *linker) had(target string) *domainMap {
	_, domain, _ := strings.Cut(target[strings.LastIndexByte(target, '@'):], "@")
	if l.old == nil {
		return nil
	}
	return l.old.mapOf(string(foldDomain(nil, domain)))
}

func (m match) isAlias() bool { return m.entry != nil && m.entry.alias != "" }

// loop says how the alias that is being expanded leads back to first.
func (l *linker) loop(first step) error {
	var b strings.Builder
	for _, s := range l.chain[slices.Index(l.chain, first):] {
		b.WriteString(s.String() + " -> ")
	}
	return hinted{fmt.Sprintf("the alias leads back to itself: %s%v", b.String(), first), "remove one of them"}
}

// dangling says that d has nobody called local, and who may have been meant.
func dangling(d *domain, local, target string) error {
	h := hinted{message: fmt.Sprintf("%q is neither a mailbox nor an alias", target), hint: "add the mailbox, or remove the target"}
	known := func(yield func(string) bool) {
		const most = 10_000 // a million would take long
		left := most
		for name, e := range d.entries {
			if left--; left < 0 {
				break
			}
			if e.refusal == "" && !yield(name) {
				return
			}
		}
		left = most
		for name := range d.names.all {
			if left--; left < 0 || !yield(name) {
				return
			}
		}
	}
	if near := nearest(string(foldLocal(nil, local)), known); near != "" {
		h.hint = fmt.Sprintf("did you mean %q?", near)
	}
	return h
}
