package dkim

import (
	"encoding/base64"
	"errors"
	"strings"
)

// Tags is a tag-list (RFC 6376, section 3.2): of a signature, of a seal, of a
// key record.
type Tags struct {
	list []tag
	text string
}

type tag struct {
	name       string
	start, end int // of the value in text, with the white space around it
}

// maxTags is more than any standard has names for.
const maxTags = 100

var (
	errTagSyntax    = errors.New("syntax error in tag list")
	errTagDuplicate = errors.New("tag appears twice")
	errTagCount     = errors.New("too many tags")
)

// ParseTags reads a tag-list, folded or not. A tag whose name appears twice
// makes the list invalid; unknown tags do not.
func ParseTags(text string) (Tags, error) {
	t := Tags{text: text}
	for start := 0; start <= len(text); {
		end := len(text)
		if i := strings.IndexByte(text[start:], ';'); i >= 0 {
			end = start + i
		}
		spec := text[start:end]
		if trimFWS(spec) == "" && end == len(text) && start > 0 {
			break // after the last ";"
		}
		eq := strings.IndexByte(spec, '=')
		if eq < 0 || !isTagName(trimFWS(spec[:eq])) {
			return Tags{}, errTagSyntax
		}
		name := trimFWS(spec[:eq])
		switch {
		case t.Has(name):
			return Tags{}, errTagDuplicate
		case len(t.list) == maxTags:
			return Tags{}, errTagCount
		}
		t.list = append(t.list, tag{name: name, start: start + eq + 1, end: end})
		start = end + 1
	}
	return t, nil
}

// Has reports whether there is a tag of that name.
func (t Tags) Has(name string) bool {
	_, ok := t.find(name)
	return ok
}

// Get returns the value of a tag without the white space around it, and "" if
// there is none.
func (t Tags) Get(name string) string {
	if found, ok := t.find(name); ok {
		return trimFWS(t.text[found.start:found.end])
	}
	return ""
}

// Compact returns the value of a tag without any white space: where white space
// has no meaning, lines may be folded within a word.
func (t Tags) Compact(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n':
			return -1
		}
		return r
	}, t.Get(name))
}

// Bytes returns the octets that the value of a tag stands for in base64, which may
// lack what fills it up (RFC 6376, section 2.10).
func (t Tags) Bytes(name string) ([]byte, error) {
	text := t.Compact(name)
	if len(text)%4 == 0 {
		return base64.StdEncoding.DecodeString(text)
	}
	return base64.RawStdEncoding.DecodeString(text)
}

// Without returns the text of the list with the value of one tag, and the white
// space around it, taken out, and nothing else changed (RFC 6376, section 3.7).
func (t Tags) Without(name string) string {
	found, ok := t.find(name)
	if !ok {
		return t.text
	}
	return t.text[:found.start] + t.text[found.end:]
}

func (t Tags) find(name string) (tag, bool) {
	for _, tag := range t.list {
		if tag.name == name {
			return tag, true
		}
	}
	return tag{}, false
}

// isTagName reports whether s is a tag-name: a letter, then letters, digits and
// underscores.
func isTagName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// trimFWS returns s without the folding white space around it.
func trimFWS(s string) string { return strings.Trim(s, " \t\r\n") }

// list returns the members of a list that colons separate, in lower case.
func list(s string) []string {
	members := strings.Split(strings.ToLower(s), ":")
	for i := range members {
		members[i] = trimFWS(members[i])
	}
	return members
}
