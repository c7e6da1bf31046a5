package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxMistakes bounds the mistakes that are reported of one file.
const maxMistakes = 100

// A document is a decoded TOML file, and collects what is wrong with it.
type document struct {
	file   string
	text   string // without a byte order mark
	broken bool   // it does not decode
	tables []*table
	findings
}

// Findings are what is wrong with one document.
type findings struct {
	doc   *document
	found []flaw
	more  int // flaws beyond maxMistakes

	missedIn []*domainMap // the maps that lack what aliases of this one lead to
}

// A flaw is a mistake before one has looked where it stands.
type flaw struct {
	where   place
	message string
	hint    string
	other   place // what it is at odds with; its line is told too
	err     error // of the file system

	of    *table   // where something is missing:
	lacks []string // one of these keys
}

// A place is a key of a document, or the value that belongs to it. Without a
// path it is an octet of the text, counted from one, or else the whole document.
type place struct {
	doc     *document
	path    path
	atValue bool
	octet   int
}

func (p place) value() place { p.atValue = true; return p }

// parse decodes text. A document that does not decode is one with a mistake,
// and has no keys.
func parse(file, text string) (*document, *table) {
	d := newDocument(file, text)
	tree, err := decode(d.text)
	var at syntaxError
	if d.broken = errors.As(err, &at); d.broken {
		d.flaw(flaw{where: place{octet: at.octet + 1}, message: at.message, hint: at.hint, other: place{doc: d, octet: at.first}})
	}
	return d, d.table("", "", tree)
}

func newDocument(file, text string) *document {
	d := &document{file: file, text: strings.TrimPrefix(text, byteOrderMark)}
	d.doc = d
	return d
}

// unreadable returns a document with one mistake: that it could not be read.
func unreadable(file string, err error) *document {
	d := newDocument(file, "")
	d.broken = true
	f := flaw{message: err.Error(), err: err}
	var known fileError
	if errors.As(err, &known) {
		f.hint = known.hint
	}
	d.flaw(f)
	return d
}

// full reports whether further flaws are only counted.
func (fs *findings) full() bool { return len(fs.found) == maxMistakes }

// flaw notes something wrong.
func (fs *findings) flaw(f flaw) {
	if fs.full() {
		fs.more++
		return
	}
	f.where.doc, f.message, f.hint = fs.doc, brief(f.message), brief(f.hint)
	fs.found = append(fs.found, f)
}

// complainAt notes that err, of which prefix says what it is about, is wrong at a
// place.
func (fs *findings) complainAt(where place, prefix string, err error) {
	f := flaw{where: where, message: prefix + err.Error()}
	var h hinted
	if errors.As(err, &h) {
		f.message, f.hint = prefix+h.message, h.hint
	}
	fs.flaw(f)
}

// A table is one of a document, while it is read. Who reads asks for each key
// that he knows; what nobody asked for is a mistake.
type table struct {
	doc    *document
	path   path
	name   string // as it is told: "mx", and "" for the top
	values map[string]any
	known  map[string]bool
	inner  map[string]bool // those of known that are tables

	// keys of which there may be more than could be read: one is misspelled, or of a
	// wrong type
	doubtful map[string]bool

	open   bool // its keys are names that the administrator chose
	chosen bool // its own key is such a name
}

func (d *document) table(p path, name string, values map[string]any) *table {
	t := &table{doc: d, path: p, name: name, values: values, known: make(map[string]bool)}
	d.tables = append(d.tables, t)
	return t
}

// keys returns the keys of a table that may have any.
func (t *table) keys() []string {
	t.open = true
	return slices.Sorted(maps.Keys(t.values))
}

func (t *table) at(key string) place { return place{doc: t.doc, path: t.path.key(key)} }

// element returns the place of one element of the array called key.
func (t *table) element(key string, i int) place {
	return place{doc: t.doc, path: t.path.key(key).index(i), atValue: true}
}

// full returns key with the name of its table.
func (t *table) full(key string) string {
	if t.name == "" {
		return key
	}
	return t.name + "." + key
}

// complain notes that the value of key is wrong.
func (t *table) complain(key string, err error) {
	t.complainAt(t.at(key).value(), fmt.Sprintf("%s: ", t.full(key)), err)
}

func (t *table) complainAt(where place, prefix string, err error) {
	t.doc.complainAt(where, prefix, err)
}

// get returns the value of key if it is there and of type T, and complains if
// it is of another. For example, example is how a right one looks.
func get[T any](t *table, key, example string) (v T, ok bool) {
	t.known[key] = true
	raw, there := t.values[key]
	if !there {
		return v, false
	}
	v, ok = raw.(T)
	if !ok {
		t.wrongType(key, raw, example)
	}
	return v, ok
}

func (t *table) wrongType(key string, raw any, example string) {
	where := t.at(key)
	if !isTable(raw) {
		where = where.value() // else it may have no value, but a header
	}
	t.doubt(key)
	t.doc.flaw(flaw{where: where,
		message: fmt.Sprintf("%s must not be %s", t.full(key), kind(raw)),
		hint:    cmp.Or(t.instead(key, raw), "write it as "+example)})
}

// doubt notes that t may have more at key than could be read.
func (t *table) doubt(key string) { note(&t.doubtful, key) }

func note(set *map[string]bool, key string) {
	if *set == nil { // as for most of a million tables
		*set = make(map[string]bool)
	}
	(*set)[key] = true
}

// missing notes that t has none of some keys.
func (t *table) missing(message, hint string, keys ...string) {
	t.doc.flaw(flaw{where: place{path: t.path}, message: message, hint: hint, of: t, lacks: keys})
}

func isTable(v any) bool {
	switch v.(type) {
	case map[string]any, []map[string]any:
		return true
	}
	return false
}

// kind says what a value of TOML is.
func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case time.Time:
		return "a date"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	}
	return fmt.Sprintf("a %T", v)
}

// sub returns the table called key. An absent one is empty.
func (t *table) sub(key string) *table {
	note(&t.inner, key)
	values, _ := get[map[string]any](t, key, fmt.Sprintf("[%s]", t.full(key)))
	return t.doc.table(t.path.key(key), t.full(key), values)
}

// tables returns the tables in the array called key, written as [[key]] or as an
// array of tables in braces. What is no table is noted.
func (t *table) tables(key, example string) []*table {
	t.known[key] = true
	note(&t.inner, key)
	var values []any
	switch v := t.values[key].(type) {
	case nil:
	case []any:
		values = v
	case []map[string]any:
		for _, m := range v {
			values = append(values, m)
		}
	default:
		t.wrongType(key, v, example)
	}
	var all []*table
	for i, v := range values {
		if m, isTable := v.(map[string]any); isTable {
			all = append(all, t.doc.table(t.path.key(key).index(i), t.full(key), m))
		} else {
			t.complainAt(t.element(key, i), t.full(key)+": ", hinted{"must not be " + kind(v), "write it as " + example})
		}
	}
	return all
}

// has reports whether key is there, whatever its value.
func (t *table) has(key string) bool {
	_, ok := t.values[key]
	return ok
}

// each calls do for the elements of the array of strings called key, and
// reports whether key is there at all. What do returns is noted at the element.
func (t *table) each(key, example string, do func(i int, s string) error) bool {
	array, ok := get[[]any](t, key, example)
	for i, v := range array {
		var err error
		if s, isString := v.(string); isString {
			err = do(i, s)
		} else {
			err = hinted{"must not be " + kind(v), "write a string in quotes"}
		}
		if err != nil {
			t.complainAt(t.element(key, i), t.full(key)+": ", err)
		}
	}
	return ok
}
