package config

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// unknown notes the keys that nobody asked for.
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
			d.flaw(flaw{where: t.at(key), message: message, hint: d.suggest(t, key)})
		}
	}
}

// suggest returns what may have been meant by a key that t does not know.
func (d *document) suggest(t *table, key string) string {
	known := slices.Sorted(maps.Keys(t.known))
	for _, k := range known {
		if strings.EqualFold(k, key) {
			return fmt.Sprintf("it is written %q", k)
		}
	}
	for _, other := range d.tables {
		switch {
		case other == t || !other.known[key]:
		case other.name == "":
			return "it belongs at the top, before the first [table]"
		default:
			return fmt.Sprintf("it belongs in [%s]", other.name)
		}
	}
	if k := nearest(key, maps.Keys(t.known)); k != "" {
		return fmt.Sprintf("did you mean %q?", k)
	}
	if t.chosen && isTable(t.values[key]) {
		return dotHint
	}
	return "known here: " + strings.Join(known, ", ")
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
