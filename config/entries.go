package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// maxRefusal bounds the text of a refusal, so that with its code it fits a reply
// line of 512 octets (RFC 5321, section 4.5.3.1.5).
const maxRefusal = 400

// readMailboxTables reads the mailboxes that have settings.
func (m *domainMap) readMailboxTables() {
	all := m.top.sub("mailbox")
	for _, key := range all.keys() {
		values, isTable := all.values[key].(map[string]any)
		if !isTable {
			all.wrongType(key, all.values[key], fmt.Sprintf("[%s]", all.full(tomlKey(key))))
			m.doubtful = true
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
		e := &entry{name: name, mailbox: true, account: m.ownAccount(name)}
		m.readAccount(t, e)
		parsed(t, "path", `path = "/home/bob/Maildir"`, &e.path, parseMailboxPath)
		if e.path != "" {
			m.paths = append(m.paths, claim{e.path, t.at("path").value(), e.account})
		}
		own := m.storage
		m.readStorage(t, &own)
		e.storage = &own
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
		err = hinted{"the root is no mailbox", "write the path of a Maildir, or of an mbox"}
	}
	return s, err
}

// readAliases reads who is another name for whom.
func (m *domainMap) readAliases() {
	t := m.top.sub("aliases")
	for _, key := range t.keys() {
		if isTable(t.values[key]) {
			t.doc.flaw(flaw{where: t.at(key), message: fmt.Sprintf("aliases.%s must not be a table", tomlKey(key)), hint: dotHint})
			continue
		}
		a := &entry{alias: key}
		t.each(key, fmt.Sprintf(`%s = ["alice"]`, tomlKey(key)), func(i int, s string) error {
			a.targets = append(a.targets, target{i, s})
			m.refer(s)
			return nil
		})
		if array, ok := t.values[key].([]any); ok && len(array) == 0 {
			t.complain(key, hinted{"an alias must lead somewhere", "name a mailbox, or remove the alias"})
		}
		if m.place(t, a) {
			m.aliases = append(m.aliases, a)
		}
	}
}

// refer notes the domain of an alias's target.
func (m *domainMap) refer(target string) {
	if i := strings.LastIndexByte(target, '@'); i >= 0 {
		m.refs[string(foldDomain(nil, target[i+1:]))] = true
	}
}

// place gives a its place in the map.
func (m *domainMap) place(t *table, a *entry) bool {
	if a.alias == "*" {
		if a.name = a.alias; m.nextHop {
			t.doc.flaw(flaw{where: t.at("*"), message: `the catch-all "*" has no effect, because the next hop is asked about whoever is not in the map`, hint: `remove it, or mailboxes = "next-hop"`})
		}
		m.catchAll = a
		return true
	}
	name, err := checkLocal(a.alias)
	if err != nil {
		t.complainAt(t.at(a.alias), "aliases: ", err)
		return false
	}
	if other := m.exact([]byte(name)); other.name != "" {
		f := flaw{where: t.at(a.alias), other: m.places[name], message: fmt.Sprintf("the alias %q is there already", name), hint: "remove one of them; case does not tell names apart"}
		if other.entry == nil || other.entry.mailbox {
			f.message, f.hint = fmt.Sprintf("%q is a mailbox and cannot be an alias too", name), "remove one of them"
		}
		t.doc.flaw(f)
		return false
	}
	a.name = name
	m.entries[name], m.places[name] = a, t.at(a.alias)
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
		name, err := checkRefused(key)
		if err != nil {
			t.complainAt(t.at(key), "refuse: ", err)
			continue
		}
		if first, again := refused[name]; again {
			t.doc.flaw(flaw{where: t.at(key), other: first, message: fmt.Sprintf("%q is refused already", name), hint: "remove one of them; case does not tell names apart"})
		}
		refused[name] = t.at(key)
		m.refuse(name, text)
	}
}

// checkRefused returns the folded form of a name that may be refused.
func checkRefused(key string) (string, error) {
	if key == "*" {
		return "", hinted{`"*" cannot be refused`, "whoever is not in the map is refused anyway"}
	}
	name, err := checkLocal(key)
	if name == "postmaster" {
		err = hinted{"a postmaster must not be refused (RFC 5321, section 4.5.1)", "make it an alias of somebody"}
	}
	return name, err
}

func (m *domainMap) refuse(name, text string) {
	e := m.entries[name]
	if e == nil {
		_, isMailbox := m.names.find([]byte(name))
		e = &entry{name: name, mailbox: isMailbox}
		if isMailbox {
			e.account = m.ownAccount(name)
		}
		m.entries[name] = e
	}
	e.refusal = text
}

func parseRefusal(s string) (string, error) {
	switch {
	case strings.TrimSpace(s) == "":
		return "", hinted{"the sender needs a reason", `write old = "moved to new@example.com"`}
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", hinted{"must be printable ASCII, for any sender must be able to read it", "write it on one line without accents"}
	case len(s) > maxRefusal:
		return "", fmt.Errorf("is longer than %d characters, and does not fit a reply", maxRefusal)
	}
	return s, nil
}
