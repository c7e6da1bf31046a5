package config

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Recipients says who gets mail here: one generation of the recipient maps. It
// is immutable, and safe for concurrent use; a transaction uses one from MAIL to
// the end of data.
type Recipients struct {
	id         string
	loaded     time.Time
	maps       []*domainMap       // in alphabetical order of their files
	domains    map[string]*domain // by every name that is served
	postmaster *domain            // of a postmaster without a domain
	hostname   string
	mailboxes  int
}

// A Result is what the maps say about an address.
type Result struct {
	Status  Status
	Text    string   // of Refused: why, in ASCII, for the sender
	Members []Member // of Known: at least one, all distinct; not to be changed
}

// A Status says what is to become of a recipient. The zero Status is NotServed.
type Status int

// The statuses.
const (
	NotServed Status = iota // the domain is not ours
	Unknown                 // the domain is, but it has no such recipient
	Refused                 // somebody said so on purpose
	Known
)

// String implements fmt.Stringer.
func (s Status) String() string {
	return [...]string{"not served", "unknown", "refused", "known"}[s]
}

// A Member is one mailbox that mail for an address goes to.
type Member struct {
	// Local and Domain are the address as the next hop must see it: for a
	// mailbox that was addressed directly the local part as the client wrote it,
	// for an alias the name of the mailbox with the sub-address. The domain is
	// the one that the maps are written for, in A-labels, never an alias of it.
	Local, Domain string

	// User is the name of the mailbox as the maps have it, in lower case: safe
	// as a component of a path, as Domain is. It is empty if NextHop is set, for
	// then nobody has checked what Local holds.
	User string

	// Detail is the sub-address (RFC 5233) without its delimiter.
	Detail string

	// Account is the system user whose mail it is, and as whom it is written;
	// empty: the delivery agent's own user.
	Account string

	// Path is where the mailbox is, absolute; empty: at its place in the store, or in
	// the home of the Account.
	Path string

	// NextHop says that the maps leave it to the next hop whether it has such a
	// mailbox.
	NextHop bool

	Storage // zero if NextHop is set
}

// A domain is one of the maps.
type domain struct {
	name      string
	file      string // where it was read from
	delimiter byte   // before the sub-address; 0: there are none
	nextHop   bool   // whoever is not in the map may be known to the next hop
	names     *names
	entries   map[string]*entry // by folded name: all that have more to them than a name
	catchAll  *entry
	storage   Storage // of the mailboxes that have none of their own
	system    bool    // each mailbox is that of the system user of its name
	mailboxes int
	through   int // how many more mailboxes its aliases lead to than they name
	source    *domainMap
}

// An entry is a local part with settings. It is a mailbox, or an alias, and
// whichever it is may be refused.
type entry struct {
	name    string // folded
	mailbox bool
	path    string   // of a mailbox
	account string   // of a mailbox
	storage *Storage // of a mailbox; nil: that of the domain
	refusal string   // not empty: refused with this text

	alias   string // of an alias: how it is written
	targets []target
	members []Member // once it is expanded
	state   aliasState
}

// ID names the generation by the contents of the files: it is the same in each
// process that has read the same.
func (r *Recipients) ID() string { return r.id }

// Loaded returns when the maps were read.
func (r *Recipients) Loaded() time.Time { return r.loaded }

// Domains returns the domains that the maps are written for, sorted. Their
// aliases are not among them.
func (r *Recipients) Domains() []string {
	var all []string
	for name, d := range r.domains {
		if name == d.name {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// Serves returns the form of domain by which we call it, lower-case A-labels, and
// whether mail for it is taken: a map is for it, or has it as an alias.
func (r *Recipients) Serves(domain string) (name string, ok bool) {
	var buf [maxDomain + 1]byte
	name = string(foldDomain(buf[:0], domain))
	return name, r.domains[name] != nil
}

// has reports whether m is one of the maps.
func (r *Recipients) has(m *domainMap) bool {
	d := r.domains[m.name]
	return d != nil && d.source == m
}

// mapOf returns the map of a domain, nil if there is none.
func (r *Recipients) mapOf(name string) *domainMap {
	if d := r.domains[name]; d != nil {
		return d.source
	}
	return nil
}

// Mailboxes returns how many mailboxes the maps have.
func (r *Recipients) Mailboxes() int { return r.mailboxes }

// All yields every mailbox that the maps have, refused or not, in no order.
func (r *Recipients) All() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for name, d := range r.domains {
			if name == d.name && !d.each(yield) {
				return
			}
		}
	}
}

// PathsNot returns a Mistake, with message, of which %s is the path, and hint, for
// each path of a mailbox of ours that is not good, where it stands in the maps.
func (r *Recipients) PathsNot(good func(path string) bool, message, hint string) Mistakes {
	var all []*findings
	for _, m := range r.maps {
		fs := &findings{doc: m.doc}
		for _, c := range m.paths {
			if c.account == "" && !good(c.what) {
				fs.flaw(flaw{where: c.where, message: fmt.Sprintf(message, c.what), hint: hint})
			}
		}
		all = append(all, fs)
	}
	return locate(all...)
}

// each yields the mailboxes of d, until yield reports false.
func (d *domain) each(yield func(Member) bool) bool {
	for name, e := range d.entries {
		if e.mailbox && !yield(d.member(name, match{entry: e, name: name})) {
			return false
		}
	}
	for name := range d.names.all {
		if d.entries[name] == nil && !yield(d.member(name, match{name: name})) {
			return false
		}
	}
	return true
}

// Lookup says what is to become of mail for local@domain, both as the client
// wrote them, the local part without quotes (mail.Address). A postmaster without
// a domain is that of the domain of the host (RFC 5321, section 4.5.1).
//
// The first of these decides: the whole local part, the local part before the
// first delimiter, the catch-all. Case does not matter, nor whether a domain is
// written in A-labels or U-labels.
func (r *Recipients) Lookup(local, domain string) Result {
	d := r.domain(local, domain)
	if d == nil {
		return Result{Status: NotServed}
	}
	f := d.find(local)
	switch {
	case f.entry != nil && f.entry.refusal != "":
		return Result{Status: Refused, Text: f.entry.refusal}
	case f.entry != nil && !f.entry.mailbox:
		return Result{Status: Known, Members: r.withDetail(f.entry.members, f.detail)}
	case f.entry != nil || f.name != "" || d.nextHop:
		return Result{Status: Known, Members: []Member{d.member(local, f)}}
	case d.catchAll != nil:
		return Result{Status: Known, Members: r.withDetail(d.catchAll.members, f.detail)}
	}
	return Result{Status: Unknown}
}

// domain returns the map for an address, nil if there is none.
func (r *Recipients) domain(local, domain string) *domain {
	var buf [maxDomain + 1]byte
	folded := foldDomain(buf[:0], domain)
	if d := r.domains[string(folded)]; d != nil {
		return d
	}
	if (domain == "" || string(folded) == r.hostname) && strings.EqualFold(local, "postmaster") {
		return r.postmaster
	}
	return nil
}

// A match is what a domain has for a local part.
type match struct {
	entry  *entry // nil: no more than a name
	name   string // of a mailbox; empty: there is none
	detail string
}

// find looks for local, and then for what stands before its sub-address. Without
// a match it returns the detail alone.
func (d *domain) find(local string) match {
	var buf [maxLocal]byte
	m := d.exact(foldLocal(buf[:0], local))
	if m.entry != nil || m.name != "" {
		return m
	}
	base, detail, ok := d.split(local)
	if ok {
		m = d.exact(foldLocal(buf[:0], base))
	}
	m.detail = detail
	return m
}

func (d *domain) exact(folded []byte) match {
	if e := d.entries[string(folded)]; e != nil {
		return match{entry: e, name: e.name}
	}
	name, _ := d.names.find(folded)
	return match{name: name}
}

// split parts local at the first delimiter, unless nothing stands before it.
func (d *domain) split(local string) (base, detail string, ok bool) {
	i := strings.IndexByte(local, d.delimiter)
	if d.delimiter == 0 || i <= 0 {
		return local, "", false
	}
	return local[:i], local[i+1:], true
}

// member returns the mailbox of d that m has found for local. Where it has found
// none, the next hop is to know.
func (d *domain) member(local string, m match) Member {
	to := Member{Local: local, Domain: d.name, User: m.name, Detail: m.detail, NextHop: m.name == ""}
	if !to.NextHop {
		to.Storage = d.storage
	}
	if m.entry == nil && d.system {
		to.Account = m.name
	}
	if m.entry != nil {
		to.Path, to.Account = m.entry.path, m.entry.account
		if m.entry.storage != nil {
			to.Storage = *m.entry.storage
		}
	}
	return to
}

// withDetail returns members with the detail of an alias for those that have
// none of their own.
func (r *Recipients) withDetail(members []Member, detail string) []Member {
	if detail == "" {
		return members
	}
	all := make([]Member, len(members))
	for i, m := range members {
		all[i] = r.domains[m.Domain].withDetail(m, detail)
	}
	return distinct(all)
}

// withDetail returns m with detail, or as it is if it has one of its own, cannot
// have any, or would become another recipient by it.
func (d *domain) withDetail(m Member, detail string) Member {
	if detail == "" || m.Detail != "" || d.delimiter == 0 || strings.IndexByte(m.Local, d.delimiter) >= 0 ||
		len(m.Local)+1+len(detail) > maxLocal {
		return m
	}
	n := m
	n.Local, n.Detail = m.Local+string(d.delimiter)+detail, detail
	if f := d.find(n.Local); f.detail != detail || f.name != m.User {
		return m
	}
	return n
}

// distinct returns members without those that were there before.
func distinct(members []Member) []Member {
	if len(members) < 2 {
		return members
	}
	type key struct{ local, domain, detail string }
	seen := make(map[key]bool, len(members))
	return slices.DeleteFunc(members, func(m Member) bool {
		k := key{m.User, m.Domain, m.Detail}
		if m.NextHop {
			k.local = string(foldLocal(nil, m.Local))
		}
		again := seen[k]
		seen[k] = true
		return again
	})
}
