package config

import (
	"path/filepath"
	"regexp"
	"strings"
)

// Salvage reads the file at name as Load does, for those who only want to find a
// server that runs: the Config has the paths MX.Control, MDA.Control and State that
// the file names even where it is broken, or else their defaults. Nothing else of it
// is to be relied on if there is an error, which is that of Load.
//
// It is sure that the control paths are those of the file's own servers, unless one
// is a default although the file may name another: then that may be another site's.
func Salvage(name string) (c *Config, sure bool, err error) {
	c, doc, err := read(name)
	if err == nil || doc == nil {
		return c, err == nil, err
	}
	var named int
	if doc.broken {
		named = c.salvage(doc.text, filepath.Dir(doc.file))
	} else {
		named = namedControls(doc.tables[0].values)
	}
	return c, named == 2 || named >= mentions(doc.text), err
}

// namedControls counts the control paths in a document that can be decoded.
func namedControls(values map[string]any) (n int) {
	for _, half := range []string{"mx", "mda"} {
		table, _ := values[half].(map[string]any)
		control, isString := table["control"].(string)
		if _, err := parsePath(control, "/"); isString && err == nil {
			n++
		}
	}
	return n
}

// tableHeader is the beginning of a line that begins a table, right or not: what is
// below it belongs to no other.
var tableHeader = regexp.MustCompile(`^\[\[?\s*["']?([\w.-]+)`)

// salvage takes what it needs of a text that is no TOML, each line for itself: what
// is wrong is somewhere else, or the value stays as it is. It returns how many
// control paths there were.
func (c *Config) salvage(text, dir string) int {
	wanted := map[string]*string{"mx.control": &c.MX.Control, "mda.control": &c.MDA.Control, "state": &c.State}
	found := make(map[string]bool)
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := tableHeader.FindStringSubmatch(line); m != nil {
			table = m[1] + "."
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		name = table + strings.TrimSpace(name)
		into := wanted[name]
		if into == nil {
			continue
		}
		tree, _ := decode("value =" + value) // or else there is none
		if s, isString := tree["value"].(string); isString {
			if path, err := parsePath(s, dir); err == nil {
				*into, found[name] = path, true
			}
		}
	}
	delete(found, "state")
	return len(found)
}

// mention is what may be meant for a key.
var mention = regexp.MustCompile(`([A-Za-z_-]+)[^\w\s=.]?\s*[=:]|^\W*([A-Za-z_-]+)`)

// mentions counts what may be meant for a control path, misspelled or not. Who asks
// has a text that is wrong somewhere; one too many costs less than one too few.
func mentions(text string) (n int) {
	if wide(text) != "" {
		return 2 // nobody has read them
	}
	for line := range strings.Lines(strings.ReplaceAll(text, "\r", "\n")) {
		line, _, _ = strings.Cut(line, "#")
		for _, m := range mention.FindAllStringSubmatch(line, -1) {
			if word := strings.ToLower(m[1] + m[2]); strings.HasPrefix(word, "contr") || distance(word, "control") <= 2 {
				n++
			}
		}
	}
	return n
}
