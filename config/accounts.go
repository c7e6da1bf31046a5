package config

import (
	"fmt"
	"strings"
)

// Whose the mailboxes of a domain are.
const (
	VirtualUsers = "virtual" // the delivery agent's
	SystemUsers  = "system"  // each that of the system user of its name
)

// maxAccount bounds the name of a system user (LOGIN_NAME_MAX is 256, useradd
// takes 32).
const maxAccount = 64

// readUsers reads whose the mailboxes of a domain are if they do not say.
func (m *domainMap) readUsers() {
	users := VirtualUsers
	m.top.oneOf("users", &users, VirtualUsers, SystemUsers)
	m.system = users == SystemUsers && !m.nextHop
	m.users = m.top.at("users").value()
	if m.nextHop && m.top.has("users") {
		m.top.complain("users", hinted{"the mailboxes of this domain are the next hop's", "remove it"})
	}
}

// ownAccount returns the system user of a mailbox that does not say.
func (d *domain) ownAccount(name string) string {
	if d.system {
		return name
	}
	return ""
}

// readAccount reads whose a mailbox is.
func (m *domainMap) readAccount(t *table, e *entry) {
	parsed(t, "user", `user = "bob"`, &e.account, parseAccount)
	if t.has("user") {
		m.owners[e.account] = t.at("user").value()
	}
}

// checkRoot notes a mailbox that would be root's by its name.
func (m *domainMap) checkRoot() {
	const root = "root"
	e, where := m.entries[root], m.places[root]
	if _, listed := m.names.find([]byte(root)); e == nil && listed && m.system {
		where = m.listedAt(root)
	} else if e == nil || e.account != root {
		return
	}
	m.doc.flaw(flaw{where: where, message: `the mailbox "root" would be root's, who gets no mail: nothing is ever written as root`, hint: "make it an alias of somebody"})
}

// parseAccount reads the name of a system user; "" is the delivery agent's own.
// Whether there is such a user is known where the mailbox is.
func parseAccount(s string) (string, error) {
	switch {
	case s == "root":
		return "", hinted{"root gets no mail: nothing is ever written as root", "make it an alias of somebody"}
	case len(s) > maxAccount || strings.HasPrefix(s, "-") || strings.ContainsFunc(s, isNoAccount):
		return "", hinted{fmt.Sprintf("%q cannot be the name of a system user", s), `write it as in /etc/passwd, as "bob"; or "" for the delivery agent's own`}
	}
	return s, nil
}

func isNoAccount(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`:/\,`, r) }

// AccountsNot returns a Mistake for each system user to whom wrong has an objection,
// with the way out, where a mailbox names him, or where the map says that its
// mailboxes are system users'. Each is asked about once for each map.
func (r *Recipients) AccountsNot(wrong func(account string) (message, hint string)) Mistakes {
	var all []*findings
	for _, m := range r.maps {
		all = append(all, m.accountsNot(r.domains[m.name], wrong))
	}
	return locate(all...)
}

func (m *domainMap) accountsNot(d *domain, wrong func(account string) (message, hint string)) *findings {
	fs, seen := &findings{doc: m.doc}, map[string]bool{"": true}
	d.each(func(to Member) bool {
		if seen[to.Account] {
			return true
		}
		seen[to.Account] = true
		if message, hint := wrong(to.Account); message != "" {
			where, named := m.owners[to.Account]
			if !named {
				where = m.users
			}
			fs.flaw(flaw{where: where, message: fmt.Sprintf("mailbox %q: %s", to.User, message), hint: hint})
		}
		return !fs.full()
	})
	return fs
}
