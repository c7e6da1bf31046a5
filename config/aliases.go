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
	// maxNesting bounds the aliases that lead to one another.
	maxNesting = 100
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
	if a.table.doc.full() { // spare the search for who was meant, which nobody would read
		return nil, errors.New("nobody")
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
	known := func(yield func(string) bool) {
		for name := range d.entries {
			if !yield(name) {
				return
			}
		}
		for i := range min(d.names.len(), 10_000) {
			if !yield(d.names.name(uint32(i + 1))) {
				return
			}
		}
	}
	if near := nearest(string(foldLocal(nil, local)), known); near != "" {
		h.hint = fmt.Sprintf("did you mean %q?", near)
	}
	return h
}
