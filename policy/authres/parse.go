package authres

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of what is read. No honest field comes near them.
const (
	maxResults = 100
	maxProps   = 100
)

// What makes a field unreadable.
var (
	errComment  = errors.New("comment does not end")
	errQuoted   = errors.New("quoted string does not end")
	errNoID     = errors.New("no authserv-id")
	errSyntax   = errors.New("unexpected text")
	errTooLarge = errors.New("too many results or properties")
)

// Parse reads the value of an Authentication-Results field, folded or not.
// Keywords come back in lower case, values without their quotes, comments not at
// all. It understands more than RFC 8601 allows where fields in use demand it:
// values that should be quoted, properties without a ptype, an empty result
// between two semicolons. What it cannot read in whole it refuses in whole.
func Parse(value string) (Field, error) {
	p := parser{s: strings.ReplaceAll(value, "\r\n", "")}
	f, err := p.field()
	if err != nil {
		return Field{}, fmt.Errorf("Authentication-Results, octet %d: %w", p.at, err)
	}
	return f, nil
}

// A parser reads s from at.
type parser struct {
	s  string
	at int
}

func (p *parser) field() (Field, error) {
	id, err := p.id()
	if err != nil {
		return Field{}, err
	}
	f := Field{ID: id}
	if err := p.cfws(); err != nil {
		return Field{}, err
	}
	if p.until(" \t;(") != "" { // authres-version
		if err := p.cfws(); err != nil {
			return Field{}, err
		}
	}
	for p.at < len(p.s) {
		if !p.accept(';') {
			return Field{}, errSyntax
		}
		if len(f.Results) == maxResults {
			return Field{}, errTooLarge
		}
		r, err := p.result()
		if err != nil {
			return Field{}, err
		}
		if r.Method != "" {
			f.Results = append(f.Results, r)
		}
	}
	return f, nil
}

// id reads the authserv-id. White space around its dots, and words that are
// quoted in part, are no syntax of the RFC; whoever writes so means something.
func (p *parser) id() (string, error) {
	var id strings.Builder
	for {
		before := p.at
		if err := p.cfws(); err != nil {
			return "", err
		}
		if id.Len() > 0 && p.at > before && !strings.HasSuffix(id.String(), ".") && !p.next('.') {
			break
		}
		w, err := p.word(" \t;(\"=/")
		if err != nil {
			return "", err
		}
		if w == "" {
			break
		}
		id.WriteString(w)
	}
	if id.Len() == 0 || p.next('=') {
		return "", errNoID
	}
	if p.accept('/') { // a version, as in drafts of RFC 5451
		p.until(" \t;(")
	}
	return id.String(), nil
}

// result reads a resinfo after its ";". It is empty for "none" and for nothing.
func (p *parser) result() (Result, error) {
	var r Result
	name, err := p.name()
	switch {
	case err != nil:
		return r, err
	case !p.accept('='):
		if (name == "" || name == "none") && (p.next(';') || p.at == len(p.s)) {
			return Result{}, nil
		}
		return r, errSyntax
	}
	r.Method, _, _ = strings.Cut(name, "/")
	if err := p.cfws(); err != nil {
		return r, err
	}
	r.Value = strings.ToLower(p.until(" \t;(\"="))
	if r.Method == "" || r.Value == "" {
		return r, errSyntax
	}
	for {
		if err := p.cfws(); err != nil {
			return r, err
		}
		if p.next(';') || p.at == len(p.s) {
			return r, nil
		}
		if err := p.property(&r); err != nil {
			return r, err
		}
	}
}

// property reads a propspec or a reasonspec into r.
func (p *parser) property(r *Result) error {
	name, err := p.name()
	if err != nil {
		return err
	}
	if name == "" || !p.accept('=') {
		return errSyntax
	}
	if err := p.cfws(); err != nil {
		return err
	}
	var value strings.Builder
	for {
		w, err := p.word(" \t;(\"")
		if err != nil {
			return err
		}
		if w == "" && !p.next('"') {
			break
		}
		value.WriteString(w)
	}
	switch {
	case len(r.Props) == maxProps:
		return errTooLarge
	case name == "reason":
		r.Reason = value.String()
	default:
		r.Props = append(r.Props, Property{Name: name, Value: value.String()})
	}
	return nil
}

// name reads what stands before "=", in lower case, without the comments and
// white space that may surround "." and "/".
func (p *parser) name() (string, error) {
	var name strings.Builder
	for {
		if err := p.cfws(); err != nil {
			return "", err
		}
		joins := p.next('.') || p.next('/') || strings.HasSuffix(name.String(), ".") || strings.HasSuffix(name.String(), "/")
		w := ""
		if name.Len() == 0 || joins {
			w = p.until(" \t;(\"=")
		}
		if w == "" {
			return strings.ToLower(name.String()), nil
		}
		name.WriteString(w)
	}
}

// word reads a quoted string, and returns what it means, or else the octets up
// to one of stops.
func (p *parser) word(stops string) (string, error) {
	if !p.accept('"') {
		return p.until(stops), nil
	}
	var b strings.Builder
	for ; p.at < len(p.s); p.at++ {
		switch c := p.s[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.s):
			p.at++
		}
		b.WriteByte(p.s[p.at])
	}
	return "", errQuoted
}

// cfws skips comments and white space (RFC 5322, section 3.2.2).
func (p *parser) cfws() error {
	depth := 0
	for ; p.at < len(p.s); p.at++ {
		switch c := p.s[p.at]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			p.at++
		case depth == 0 && c != ' ' && c != '\t':
			return nil
		}
	}
	if depth > 0 {
		p.at = len(p.s)
		return errComment
	}
	return nil
}

func (p *parser) until(stops string) string {
	rest := p.s[p.at:]
	if i := strings.IndexAny(rest, stops); i >= 0 {
		rest = rest[:i]
	}
	p.at += len(rest)
	return rest
}

func (p *parser) next(c byte) bool { return p.at < len(p.s) && p.s[p.at] == c }

func (p *parser) accept(c byte) bool {
	if !p.next(c) {
		return false
	}
	p.at++
	return true
}
