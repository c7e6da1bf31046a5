package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A linker makes a generation of maps that were each read alone: it finds the map for
// each name of a domain, and the mailboxes behind the aliases.
//
// If a map is part of the old generation, and its aliases lead where they led before,
// its domain is taken over as it is.
type linker struct {
	*Recipients
	old     *Recipients // nil: there is none
	partial bool        // a map did not say which domain it is for
	own     map[*domainMap]*domain
	fresh   map[*domainMap]bool // those of which the domain is made anew
	found   map[*domainMap]*findings
	chain   []step // the aliases that are being expanded, each a target of the one before
	through int    // the sum of that of the domains
	full    bool   // through became too large, which is noted: no more is expanded
}

// link makes a generation of the maps, which are in alphabetical order, and says
// what is wrong with them together.
func link(all []*domainMap, old *Recipients, hostname string, partial bool) (*Recipients, []*findings) {
	l := linker{
		Recipients: &Recipients{
			id:       identify(all),
			loaded:   time.Now(),
			maps:     all,
			domains:  make(map[string]*domain),
			hostname: string(foldDomain(nil, hostname)),
		},
		old:     old,
		partial: partial,
		own:     make(map[*domainMap]*domain, len(all)),
		found:   make(map[*domainMap]*findings),
	}
	l.claim()
	for _, m := range all {
		if l.fresh[m] && !m.nextHop {
			l.implied(m)
		}
		l.through += l.own[m].through
	}
	for _, m := range all {
		if l.fresh[m] {
			l.expandAll(m)
		}
		l.mailboxes += l.own[m].mailboxes
	}
	l.postmaster = l.closest()
	return l.Recipients, slices.Collect(maps.Values(l.found))
}

// identify names a generation by the contents of its files, and so the same in
// each process.
func identify(all []*domainMap) string {
	var d digester
	for _, m := range all {
		d.add(m.base(), m.sum)
	}
	return d.String()
}

// claim gives each map what it alone may have. The maps of the old generation come first,
// then new versions of the files whose domains it had, then the rest: a copy that
// somebody left in the folder must not take the domain when the original is edited.
func (l *linker) claim() {
	var before, edited, now []*domainMap
	for _, m := range l.maps {
		switch {
		case l.old != nil && l.old.has(m):
			before = append(before, m)
		case l.isEdited(m):
			edited = append(edited, m)
		default:
			now = append(now, m)
		}
	}
	now = append(edited, now...)
	names, paths := make(map[string]claimed), make(map[string]claimed)
	inOrder := append(before, now...)
	anyPath := slices.ContainsFunc(now, func(m *domainMap) bool { return len(m.paths) > 0 })
	for _, m := range inOrder {
		l.take(m, m.served, names, `the domain %q is there already`, "each domain has one map, and is an alias of one")
		if anyPath {
			l.take(m, m.paths, paths, "%s is the path of another mailbox", "for one mailbox with two names make one of them an alias")
		}
	}
	l.renew(now, names)
	for _, m := range inOrder {
		if l.fresh[m] {
			l.own[m] = m.instance()
		} else {
			l.own[m] = l.old.domains[m.name]
		}
	}
	for name, c := range names {
		l.domains[name] = l.own[c.by]
	}
}

// isEdited reports whether the same file had the domain of m before.
func (l *linker) isEdited(m *domainMap) bool {
	if l.old == nil {
		return false
	}
	was := l.old.mapOf(m.name)
	return was != nil && was.base() == m.base()
}

// claimed is something that a map has.
type claimed struct {
	by    *domainMap
	where place
}

func (l *linker) take(m *domainMap, wanted []claim, taken map[string]claimed, message, hint string) {
	for _, c := range wanted {
		if first, again := taken[c.what]; again {
			l.findings(m).flaw(flaw{where: c.where, message: fmt.Sprintf(message, c.what), other: first.where, hint: hint + l.winner(m, first.by)})
			continue
		}
		taken[c.what] = claimed{m, c.where}
	}
}

// winner says which of two maps that claim the same serves.
func (l *linker) winner(m, first *domainMap) string {
	switch {
	case m == first:
		return ""
	case l.old == nil:
		return "; at a first start neither serves"
	}
	return "; that file wins, and this one is ignored"
}

// findings is where to note what is wrong with m.
func (l *linker) findings(m *domainMap) *findings {
	if l.found[m] == nil {
		l.found[m] = &findings{doc: m.doc}
	}
	return l.found[m]
}

// renew finds the maps whose domain must be made anew: those that are new, those
// with aliases that lead to another map than before, and those with aliases that
// lead to one of these.
func (l *linker) renew(now []*domainMap, names map[string]claimed) {
	l.fresh = make(map[*domainMap]bool)
	referrers := make(map[*domainMap][]*domainMap)
	for _, m := range l.maps {
		for ref := range m.refs {
			to := names[ref].by
			referrers[to] = append(referrers[to], m)
			if l.old != nil && to != l.old.mapOf(ref) {
				now = append(now, m)
			}
		}
	}
	for len(now) > 0 {
		m := now[len(now)-1]
		now = now[:len(now)-1]
		if !l.fresh[m] {
			l.fresh[m] = true
			now = append(now, referrers[m]...)
		}
	}
}

// instance returns the domain of m with aliases that are not expanded yet.
func (m *domainMap) instance() *domain {
	d := m.domain
	d.source = m
	d.entries = maps.Clone(m.entries)
	for _, a := range m.aliases {
		own := *a
		if a == m.catchAll {
			d.catchAll = &own
		} else {
			d.entries[a.name] = &own
		}
	}
	return &d
}

// closest returns the domain of the host, or else the nearest one above it, or else the
// first.
func (r *Recipients) closest() *domain {
	for name := r.hostname; name != ""; _, name, _ = strings.Cut(name, ".") {
		if d := r.domains[name]; d != nil {
			return d
		}
	}
	if names := r.Domains(); len(names) > 0 {
		return r.domains[names[0]]
	}
	return nil
}
