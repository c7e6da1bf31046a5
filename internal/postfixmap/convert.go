package postfixmap

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// A Domain is what Postfix's tables say of one domain.
type Domain struct {
	Name      string
	Delimiter string              // before a sub-address, or ""
	Mailboxes map[string]Mailbox  // by local part
	Aliases   map[string][]string // by local part, "*" for all others; the targets as ours are written
}

// A Mailbox is where Postfix's virtual(8) puts mail.
type Mailbox struct {
	Path string // absolute
	Mbox bool   // a file, not a Maildir
}

// A Left is an entry that a recipient map cannot say, or not yet.
type Left struct{ Where, Entry, Why string }

// String returns l on one line.
func (l Left) String() string { return fmt.Sprintf("%s: %s: %s", l.Where, l.Entry, l.Why) }

// Convert returns what the tables say by domain, sorted by name, and what of it
// could not be taken over.
func (t *Tables) Convert() (domains []*Domain, left []Left) {
	c := converter{Tables: t, domains: make(map[string]*Domain)}
	for _, name := range t.domains {
		c.domains[name] = &Domain{
			Name: name, Delimiter: t.delimiter,
			Mailboxes: make(map[string]Mailbox), Aliases: make(map[string][]string),
		}
	}
	for _, e := range t.mailboxes {
		c.mailbox(e)
	}
	for _, e := range t.aliases {
		c.alias(e)
	}
	for _, name := range slices.Sorted(maps.Keys(c.domains)) {
		c.domains[name].tellApart()
		domains = append(domains, c.domains[name])
	}
	return domains, c.left
}

// tellApart gives a mailbox another name if there is an alias of its own, for
// here a name is one of the two. The mail stays where it is.
func (d *Domain) tellApart() {
	for name := range d.Aliases {
		box, both := d.Mailboxes[name]
		if !both {
			continue
		}
		delete(d.Mailboxes, name)
		other := name + "-mailbox"
		d.Mailboxes[other] = box
		for i, target := range d.Aliases[name] {
			if target == name {
				d.Aliases[name][i] = other
			}
		}
	}
}

type converter struct {
	*Tables
	domains map[string]*Domain
	left    []Left
}

func (c *converter) leave(e entry, why string) {
	c.left = append(c.left, Left{e.where, e.key + " " + e.value, why})
}

// mailbox takes over an entry of virtual_mailbox_maps: an address, and a path
// below virtual_mailbox_base that ends in a slash if it is a Maildir.
func (c *converter) mailbox(e entry) {
	local, domain := split(e.key)
	d := c.domains[domain]
	switch {
	case d == nil:
		c.leave(e, "its domain is not in virtual_mailbox_domains")
	case local == "":
		c.leave(e, `one mailbox for a whole domain: write a mailbox and "*" = ["its name"] below [aliases]`)
	case !usableName(local):
		c.leave(e, "a mailbox cannot have this name; give it another, and an alias")
	default:
		if _, again := d.Mailboxes[local]; !again {
			d.Mailboxes[local] = Mailbox{Path: joined(c.base, e.value), Mbox: !strings.HasSuffix(e.value, "/")}
		}
	}
}

// joined returns the path of a mailbox, without the slash that says that it is a
// Maildir.
func joined(base, path string) string { return filepath.Join("/", base, path) }

// usableName reports whether a mailbox may be called so: what is no component of
// a path must not become one.
func usableName(local string) bool {
	return local != "." && local != ".." && !strings.ContainsAny(local, "/\x00\" ") && local[0] != '.' && local[0] != '-'
}

// alias takes over an entry of virtual_alias_maps: an address, or "@domain" for
// all others, and addresses.
func (c *converter) alias(e entry) {
	local, domain := split(e.key)
	d := c.domains[domain]
	if local == "" {
		local = "*"
	}
	switch {
	case domain == "":
		c.leave(e, "a name without a domain stands for the host's own: write it into the map of that domain")
		return
	case d == nil:
		c.leave(e, "its domain is in neither virtual_mailbox_domains nor virtual_alias_domains")
		return
	case d.Aliases[local] != nil:
		return // the first counts
	}
	var targets []string
	for _, t := range words(e.value) {
		t = strings.ToLower(t)
		if why := c.foreign(t); why != "" {
			c.leave(entry{e.key, t, e.where}, why)
		} else if t != e.key { // to itself: the mailbox of that name
			targets = append(targets, shorten(t, domain))
		} else {
			targets = append(targets, local)
		}
	}
	if len(targets) == 1 && targets[0] == local && local != "*" {
		return // nothing but the mailbox itself
	}
	if len(targets) > 0 {
		d.Aliases[local] = targets
	}
}

// foreign returns why mail for t does not end in a mailbox here, or "".
func (c *converter) foreign(t string) string {
	local, domain := split(t)
	switch {
	case domain == "" || strings.ContainsAny(t, "|/:"):
		return "a target without a domain, a command or a file"
	case local == "":
		return "one domain for another: write it into alias_domains of that domain's map"
	case c.domains[domain] == nil:
		return "mail for it would have to be forwarded, which comes later"
	}
	return ""
}

// shorten returns t as it is written in the map of domain.
func shorten(t, domain string) string {
	if local, of := split(t); of == domain {
		return local
	}
	return t
}
