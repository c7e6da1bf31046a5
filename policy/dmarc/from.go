package dmarc

import "strings"

// A kind of token in a From field.
type kind byte

const (
	end     kind = iota
	word         // an atom, or anything else that is neither special nor white space
	quoted       // a quoted-string
	literal      // a domain-literal
	special      // one of <>,:;@.
)

// A token is a piece of a structured field (RFC 5322, section 3.2). Comments and
// white space are none.
type token struct {
	kind
	text string // of a word or literal, as written; of a special, itself
}

func (t token) is(char string) bool { return t.kind == special && t.text == char }

// A lexer cuts a field into tokens.
type lexer struct {
	rest string
	open bool // the field ended within a comment, a string or a literal
}

const (
	specials = `<>,:;@.`
	blanks   = " \t\r\n"
)

// next returns the next token, and one of kind end after the last.
func (l *lexer) next() token {
	for {
		l.rest = strings.TrimLeft(l.rest, blanks)
		if l.rest == "" {
			return token{}
		}
		switch c := l.rest[0]; {
		case c == '(':
			l.comment()
		case c == '"':
			return token{quoted, l.until('"')}
		case c == '[':
			return token{literal, l.until(']')}
		case strings.IndexByte(specials, c) >= 0:
			return l.take(special, 1)
		default:
			n := strings.IndexAny(l.rest, specials+blanks+`("[`)
			if n < 0 {
				n = len(l.rest)
			}
			return l.take(word, n)
		}
	}
}

func (l *lexer) take(k kind, n int) token {
	t := token{k, l.rest[:n]}
	l.rest = l.rest[n:]
	return t
}

// until takes what ends with the octet last, which a backslash makes ordinary.
func (l *lexer) until(last byte) string {
	for i := 1; i < len(l.rest); i++ {
		switch l.rest[i] {
		case '\\':
			i++
		case last:
			return l.take(word, i+1).text
		}
	}
	l.open = true
	return l.take(word, len(l.rest)).text
}

// comment skips a comment, in which there may be others.
func (l *lexer) comment() {
	depth := 0
	for i := 0; i < len(l.rest); i++ {
		switch l.rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				l.rest = l.rest[i+1:]
				return
			}
		}
	}
	l.open, l.rest = true, ""
}

// A fromParser finds the addresses of a From field. It reads on after a mistake:
// a comma, a semicolon and the end of a group's name always begin anew.
type fromParser struct {
	author *Author
	lexer

	tokens []token // since the last address, or the last beginning
	found  bool    // the present list element has an address in brackets
	group  bool    // it is in a group
}

func (p *fromParser) parse() {
	if strings.Trim(p.rest, blanks) == "" {
		p.author.malformed("it is empty")
	}
	for {
		t := p.next()
		switch {
		case t.kind == end:
			if p.open || p.group {
				p.author.malformed("it ends within a comment, a quoted string or a group")
			}
			p.endElement()
			return
		case t.is(","):
			p.endElement()
		case t.is(";"):
			p.endElement()
			p.setGroup(false)
		case t.is(":"):
			p.name()
			p.setGroup(true)
		case t.is("<"):
			p.name()
			p.angle()
		case t.is(">"):
			p.author.malformed(`">" without "<"`)
		default:
			p.tokens = append(p.tokens, t)
		}
	}
}

// setGroup begins or ends a group (RFC 5322, section 3.4). Groups are not nested.
func (p *fromParser) setGroup(group bool) {
	if p.group == group {
		p.author.malformed("a group within a group, or the end of none")
	}
	p.group = group
}

// endElement ends a list element: what had no brackets was an address, or the
// element was empty, as the obsolete syntax allows.
func (p *fromParser) endElement() {
	if len(p.tokens) > 0 && (!p.found || p.hasAt()) {
		p.address()
	}
	if len(p.tokens) > 0 && p.found {
		p.author.malformed("something after an address")
	}
	p.tokens, p.found = p.tokens[:0], false
}

// name ends the name of what has an address in brackets, or of a group.
func (p *fromParser) name() {
	if p.found {
		p.author.malformed("no comma after an address")
	}
	if p.hasAt() {
		p.author.malformed(`unquoted "@" in a name`)
	}
	p.tokens = p.tokens[:0]
}

// angle reads an address in brackets, after the first. A route before it means
// nothing any more (RFC 5322, section 4.4).
func (p *fromParser) angle() {
	for {
		t := p.next()
		switch {
		case t.is(">"), t.kind == end:
			if t.kind == end {
				p.author.malformed(`"<" without ">"`)
			}
			p.address()
			p.tokens, p.found = p.tokens[:0], true
			return
		case t.is(":") && len(p.tokens) > 0 && p.tokens[0].is("@"):
			p.tokens = p.tokens[:0]
		case t.is(",") && len(p.tokens) > 0 && p.tokens[0].is("@"):
		default:
			p.tokens = append(p.tokens, t)
		}
	}
}

func (p *fromParser) hasAt() bool {
	for _, t := range p.tokens {
		if t.is("@") {
			return true
		}
	}
	return false
}

// address takes the tokens for an addr-spec: local-part "@" domain. Where there
// is more than one "@", a reader might be shown each of the domains.
func (p *fromParser) address() {
	local, ats := 0, 0
	for i, t := range p.tokens {
		if t.is("@") {
			ats++
			p.author.add(p.domain(p.tokens[i+1:]))
		} else if ats == 0 {
			local++
		}
	}
	switch {
	case ats == 0:
		p.author.malformed("a name without an address")
	case ats > 1:
		p.author.malformed(`more than one "@" in an address`)
	case !isLocalPart(p.tokens[:local]):
		p.author.malformed("bad local part")
	}
}

// domain returns what the tokens begin with as a domain: words with dots
// between, or a literal.
func (p *fromParser) domain(tokens []token) string {
	var b strings.Builder
	for i, t := range tokens {
		dot := t.is(".")
		if t.is("@") {
			break
		}
		if !dot && (t.kind != word && t.kind != literal || i > 0 && !tokens[i-1].is(".")) {
			p.author.malformed("something after a domain")
			break
		}
		b.WriteString(t.text)
	}
	return b.String()
}

// isLocalPart reports whether tokens are words or quoted strings with dots
// between (RFC 5322, sections 3.4.1 and 4.4).
func isLocalPart(tokens []token) bool {
	for i, t := range tokens {
		if dot := i%2 == 1; dot != t.is(".") || !dot && t.kind != word && t.kind != quoted {
			return false
		}
	}
	return len(tokens)%2 == 1
}
