package postfixmap

import (
	"fmt"
	"slices"
	"strings"
)

// Parameters are those of main.cf that matter here, by name, as postconf -x
// prints them.
type Parameters map[string]string

// Names are the parameters that Read looks at.
var Names = []string{
	"virtual_mailbox_domains", "virtual_mailbox_maps", "virtual_mailbox_base",
	"virtual_alias_domains", "virtual_alias_maps", "recipient_delimiter",
}

// Tables are the virtual tables of a Postfix.
type Tables struct {
	domains            []string
	mailboxes, aliases []entry
	delimiter, base    string

	mailbox, alias map[string]string // by key: the first entry of each
}

// Read reads the tables that p names. The error tells of those that cannot be
// read.
func Read(p Parameters) (*Tables, error) {
	t := &Tables{delimiter: p["recipient_delimiter"], base: p["virtual_mailbox_base"]}
	var err error
	if t.mailboxes, err = readTables(p["virtual_mailbox_maps"]); err != nil {
		return nil, fmt.Errorf("virtual_mailbox_maps: %w", err)
	}
	if t.aliases, err = readTables(p["virtual_alias_maps"]); err != nil {
		return nil, fmt.Errorf("virtual_alias_maps: %w", err)
	}
	for _, name := range []string{"virtual_mailbox_domains", "virtual_alias_domains"} {
		if err := t.addDomains(p[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	t.mailbox, t.alias = index(t.mailboxes), index(t.aliases)
	return t, nil
}

// addDomains adds the domains that a parameter lists, by name or in a table.
func (t *Tables) addDomains(parameter string) error {
	for _, word := range words(parameter) {
		names := []entry{{key: strings.ToLower(word)}}
		if strings.Contains(word, ":") {
			var err error
			if names, err = readTables(word); err != nil {
				return err
			}
		}
		for _, n := range names {
			if strings.Contains(n.key, ".") && !strings.Contains(n.key, "@") && !slices.Contains(t.domains, n.key) {
				t.domains = append(t.domains, n.key) // an alias table is also one of domains, and of addresses
			}
		}
	}
	return nil
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

func index(entries []entry) map[string]string {
	all := make(map[string]string, len(entries))
	for _, e := range entries {
		if _, again := all[e.key]; !again {
			all[e.key] = e.value
		}
	}
	return all
}

// Addresses returns those that the tables name, and for each catch-all an
// address that is in none.
func (t *Tables) Addresses() []string {
	var all []string
	for _, e := range slices.Concat(t.mailboxes, t.aliases) {
		local, domain := split(e.key)
		if local == "" {
			local = "nobody-of-this-name"
		}
		if slices.Contains(t.domains, domain) {
			all = append(all, local+"@"+domain)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// maxExpansion is how often an address is looked up again (virtual_alias_recursion_limit).
const maxExpansion = 1000

// Lookup returns where Postfix delivers mail for addr: the paths of mailboxes,
// and the addresses that are not here, sorted.
func (t *Tables) Lookup(addr string) []string {
	var found []string
	seen := map[string]bool{}
	todo := []string{addr}
	for n := 0; len(todo) > 0 && n < maxExpansion; n++ {
		next := todo[0]
		todo = todo[1:]
		if seen[next] {
			continue
		}
		seen[next] = true
		targets := t.expand(next)
		if targets == nil {
			found = append(found, t.path(next))
		}
		for _, to := range targets {
			if to == next {
				found = append(found, t.path(next))
			} else {
				todo = append(todo, to)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// expand returns the targets of addr in virtual_alias_maps, nil if it is not there.
func (t *Tables) expand(addr string) []string {
	local, domain := split(addr)
	for _, key := range []string{addr, t.withoutDetail(local) + "@" + domain, "@" + domain} {
		if value, ok := t.alias[key]; ok {
			return words(strings.ToLower(value))
		}
	}
	return nil
}

// path returns the mailbox of addr, or addr itself if there is none.
func (t *Tables) path(addr string) string {
	local, domain := split(addr)
	for _, key := range []string{addr, t.withoutDetail(local) + "@" + domain, "@" + domain} {
		if path, ok := t.mailbox[key]; ok {
			return joined(t.base, path)
		}
	}
	return addr
}

func (t *Tables) withoutDetail(local string) string {
	if t.delimiter == "" {
		return local
	}
	if i := strings.IndexAny(local, t.delimiter); i > 0 {
		return local[:i]
	}
	return local
}
