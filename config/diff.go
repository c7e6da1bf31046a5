package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Difference is what tells one generation from another.
type Difference struct {
	Added   int                `json:"added"` // addresses
	Removed int                `json:"removed"`
	Changed int                `json:"changed"`
	Domains []DomainDifference `json:"domains,omitempty"`
}

// A DomainDifference is what has changed in one domain, or that it is new or gone.
type DomainDifference struct {
	Domain  string   `json:"domain"`
	File    string   `json:"file"`
	New     bool     `json:"new,omitempty"`
	Gone    bool     `json:"gone,omitempty"`
	Added   int      `json:"added"`
	Removed int      `json:"removed"`
	Changed int      `json:"changed"`
	Changes []Change `json:"changes,omitempty"` // sorted; perhaps not all of them
}

// A Change is what becomes of one address, "*@example.com" of all others, or
// "@example.com" of the domain.
type Change struct {
	Address string `json:"address"`
	Was     string `json:"was,omitempty"` // nothing: it was none
	Is      string `json:"is,omitempty"`
}

// Compare returns what is different in r, with at most so many changes for each
// domain.
func Compare(old, r *Recipients, changes int) Difference {
	var all Difference
	names := slices.Concat(old.Domains(), r.Domains())
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		d := compareDomain(old.primary(name), r.primary(name), changes)
		if d.Added+d.Removed+d.Changed == 0 && !d.New && !d.Gone {
			continue
		}
		all.Added, all.Removed, all.Changed = all.Added+d.Added, all.Removed+d.Removed, all.Changed+d.Changed
		all.Domains = append(all.Domains, d)
	}
	return all
}

// primary returns the domain that is called name and has no other name.
func (r *Recipients) primary(name string) *domain {
	if d := r.domains[name]; d != nil && d.name == name {
		return d
	}
	return nil
}

func compareDomain(was, is *domain, changes int) DomainDifference {
	c := comparison{most: changes}
	some := is
	switch {
	case was == nil:
		was, c.New = new(domain), true
	case is == nil:
		is, c.Gone, some = new(domain), true, was
	case was.source == is.source:
		return c.DomainDifference
	}
	c.Domain, c.File = some.name, some.file
	if !c.New && !c.Gone {
		c.note("", was.describeAll(), is.describeAll())
	}
	c.aliasDomains(was, is)
	c.note("*", was.describe("*"), is.describe("*"))
	for name := range was.known() {
		c.note(name, was.describe(name), is.describe(name))
	}
	for name := range is.known() {
		if before := was.describe(name); before == "" {
			c.note(name, "", is.describe(name))
		}
	}
	slices.SortFunc(c.Changes, func(a, b Change) int { return cmp.Compare(a.Address, b.Address) })
	c.Changes = c.Changes[:min(len(c.Changes), changes)]
	return c.DomainDifference
}

type comparison struct {
	DomainDifference
	most int
}

func (c *comparison) note(local, was, is string) {
	switch {
	case was == is:
		return
	case was == "":
		c.Added++
	case is == "":
		c.Removed++
	default:
		c.Changed++
	}
	if c.most > 0 {
		c.Changes = append(c.Changes, Change{local + "@" + c.Domain, was, is})
	}
}

// aliasDomains notes the other names of the domain.
func (c *comparison) aliasDomains(was, is *domain) {
	all := was.aliasDomains()
	maps.Copy(all, is.aliasDomains())
	for name := range all {
		before, after := "", ""
		if was.aliasDomains()[name] {
			before = "another name for " + c.Domain
		}
		if is.aliasDomains()[name] {
			after = "another name for " + c.Domain
		}
		at := c.Domain
		c.Domain = name
		c.note("", before, after)
		c.Domain = at
	}
}

func (d *domain) aliasDomains() map[string]bool {
	all := make(map[string]bool)
	if d.source != nil {
		for _, c := range d.source.served {
			if c.what != d.name {
				all[c.what] = true
			}
		}
	}
	return all
}

// describeAll says what holds for the whole of a domain.
func (d *domain) describeAll() string {
	parts := []string{"recipients from the map"}
	if d.nextHop {
		parts[0] = "recipients from the next hop"
	}
	if d.delimiter != 0 {
		parts = append(parts, fmt.Sprintf("delimiter %q", d.delimiter))
	}
	if d.system {
		parts = append(parts, "mailboxes of system users")
	}
	return strings.Join(append(parts, d.storage.describe()...), ", ")
}

func (s Storage) describe() []string {
	var parts []string
	if s.Format != Maildir {
		parts = append(parts, s.Format)
	}
	if s.Quota > 0 {
		parts = append(parts, "quota "+formatSize(s.Quota))
	}
	if s.Folders != NoFolders {
		parts = append(parts, "folders by "+s.Folders)
	}
	return parts
}

// describe says what name is in a domain, "" if it is nothing.
func (d *domain) describe(name string) string {
	f := d.exact([]byte(name))
	if name == "*" {
		f.entry = d.catchAll
	}
	switch e := f.entry; {
	case e == nil && f.name == "":
		return ""
	case e == nil:
		return "mailbox"
	case e.refusal != "":
		return "refused: " + e.refusal
	case e.alias != "":
		to := make([]string, len(e.targets))
		for i, t := range e.targets {
			to[i] = t.text
		}
		return "alias of " + strings.Join(to, ", ")
	default:
		parts := []string{"mailbox"}
		if e.path != "" {
			parts = append(parts, "in "+e.path)
		}
		switch {
		case e.account == d.ownAccount(f.name):
		case e.account == "":
			parts = append(parts, "of no system user")
		default:
			parts = append(parts, "of the system user "+e.account)
		}
		if e.storage != nil && *e.storage != d.storage {
			parts = append(parts, e.storage.describe()...)
		}
		return strings.Join(parts, ", ")
	}
}

// known yields the names of d, refused or not.
func (d *domain) known() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range d.entries {
			if !yield(name) {
				return
			}
		}
		for name := range d.names.all {
			if d.entries[name] == nil && !yield(name) {
				return
			}
		}
	}
}
