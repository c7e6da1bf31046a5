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
func Salvage(name string) (*Config, error) {
	c, doc, err := read(name)
	if doc != nil && doc.broken {
		c.salvage(doc.text, filepath.Dir(doc.file))
	}
	return c, err
}

// tableHeader is a line that begins a table.
var tableHeader = regexp.MustCompile(`^\[\[?\s*([\w.-]+)\s*\]\]?\s*(?:#.*)?$`)

// salvage takes what it needs of a text that is no TOML, each line for itself: what
// is wrong is somewhere else, or the value stays as it is.
func (c *Config) salvage(text, dir string) {
	wanted := map[string]*string{"mx.control": &c.MX.Control, "mda.control": &c.MDA.Control, "state": &c.State}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := tableHeader.FindStringSubmatch(line); m != nil {
			table = m[1] + "."
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		into := wanted[table+strings.TrimSpace(key)]
		if into == nil {
			continue
		}
		tree, _ := decode("value =" + value) // or else there is none
		if s, isString := tree["value"].(string); isString {
			if path, err := parsePath(s, dir); err == nil {
				*into = path
			}
		}
	}
}
