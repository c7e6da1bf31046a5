package config

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// unknown notes the keys that nobody asked for, and forgets what is missing only
// because its key is one of these, misspelled.
func (d *document) unknown() {
	for _, t := range d.tables {
		for _, key := range slices.Sorted(maps.Keys(t.values)) {
			if t.open || t.known[key] {
				continue
			}
			if d.full() { // spare the search for what it could mean
				d.more++
				continue
			}
			message := fmt.Sprintf("unknown key %q", key)
			if t.name != "" {
				message += fmt.Sprintf(" in [%s]", t.name)
			}
			hint, meant := d.suggest(t, key)
			t.doubt(meant)
			d.flaw(flaw{where: t.at(key), message: message, hint: hint})
		}
	}
	d.found = slices.DeleteFunc(d.found, func(f flaw) bool {
		return slices.ContainsFunc(f.lacks, func(key string) bool { return f.of.doubtful[key] })
	})
}

// suggest returns what may have been meant by a key that t does not know, and which
// key of t that is, if it is one.
func (d *document) suggest(t *table, key string) (hint, meant string) {
	for k := range t.known {
		if strings.EqualFold(k, key) {
			return fmt.Sprintf("it is written %q", k), k
		}
	}
	if hint := d.elsewhere(t, key); hint != "" {
		return hint, ""
	}
	word := strings.ReplaceAll(strings.ToLower(key), "-", "_")
	if t.known["aliases"] && slices.Contains([]string{"*", "catchall", "catch_all"}, word) {
		return `a catch-all is "*" = ["alice"] below [aliases]`, ""
	}
	k := otherWords[word]
	if !t.known[k] {
		k = t.nearestKey(key)
	}
	_, isArray := t.values[key].([]any)
	switch {
	case k == "domain" && isArray:
		return `did you mean "domain"? Each has a file, and its other names are alias_domains`, k
	case k != "":
		return fmt.Sprintf("did you mean %q?", k), k
	case t.chosen && isTable(t.values[key]):
		return dotHint, ""
	}
	return "known here: " + strings.Join(slices.Sorted(maps.Keys(t.known)), ", "), ""
}

// elsewhere says to which other table key belongs, if to any.
func (d *document) elsewhere(t *table, key string) string {
	for _, other := range d.tables {
		switch {
		case other == t || !other.known[key]:
		case other.name == "":
			return "it belongs at the top, before the first [table]"
		default:
			return fmt.Sprintf("it belongs in [%s]", other.name)
		}
	}
	return ""
}

// nearestKey returns the key of t that key may be a misspelling of, rather one of a
// table if it is one of a table.
func (t *table) nearestKey(key string) string {
	alike := func(yield func(string) bool) {
		for k := range t.known {
			if t.inner[k] == isTable(t.values[key]) && !yield(k) {
				return
			}
		}
	}
	return cmp.Or(nearest(key, alike), nearest(key, maps.Keys(t.known)))
}

// otherWords are those by which other systems call our keys, and what is too far
// from them to be taken for a misspelling.
var otherWords = map[string]string{
	"alias": "aliases", "forward": "aliases", "forwards": "aliases", "virtual": "aliases",
	"recipients": "mailboxes", "accounts": "mailboxes", "addresses": "mailboxes", "boxes": "mailboxes",
	"name": "domain", "domain_aliases": "alias_domains", "aliases_domains": "alias_domains",
	"recipient_delimiter": "delimiter", "separator": "delimiter",
	"reject": "refuse", "rejects": "refuse", "blocked": "refuse",
	"myhostname": "hostname", "smtp": "mx", "lmtp": "mda", "certificate": "cert", "private_key": "key",
}

// instead returns what may have been meant by a key that has a value of a wrong type.
func (t *table) instead(key string, raw any) string {
	names := namesIn(raw)
	switch {
	case t.name != "":
	case (key == "mailbox" || key == "users") && len(names) > 0 && !t.has("mailboxes"):
		t.doubt("mailboxes")
		return fmt.Sprintf("did you mean mailboxes = %s?", array(names))
	case key == "mailboxes" && isTable(raw):
		return "did you mean [mailbox.alice]?"
	}
	return ""
}

// namesIn returns a few names that an array, or a string that is to be one, holds.
func namesIn(raw any) (names []string) {
	all, _ := raw.([]any)
	for _, v := range all[:min(len(all), 3)] {
		if name, ok := v.(string); ok {
			names = append(names, name)
		}
	}
	if s, ok := raw.(string); ok {
		names = strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" ,;", r) })
	}
	return names
}

// dotHint is for a name such as first.last, which TOML takes for two.
const dotHint = `a name with a dot needs quotes, as "first.last"`

// nearest returns the one of known that key may be a misspelling of, if any.
func nearest(key string, known iter.Seq[string]) string {
	best, least := "", 1+min(max(1, len(key)/3), len(key)-1)
	for k := range known {
		if d := distance(key, k); d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance returns how many octets must be put in, taken out, replaced or
// swapped with the next one to turn a into b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, row[j-1]+1, last[j]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
