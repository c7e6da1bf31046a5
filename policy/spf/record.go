package spf

import "strings"

// No record that anybody publishes comes near these bounds. One that exceeds
// them is a permerror, as what cannot be parsed is.
const (
	maxRecord = 16 << 10 // octets
	maxTerms  = 1024
)

// A record is an SPF record that was parsed whole: a mistake anywhere in it is
// found before anything of it is evaluated (RFC 7208, section 4.6).
type record struct {
	directives []directive
	redirect   string // a domain-spec; empty: none
	exp        string // a domain-spec; empty: none
	modifiers  int    // of any name
}

// isRecord reports whether a TXT record is an SPF record (RFC 7208, section
// 4.5): its version ends with a space or the record.
func isRecord(txt string) bool {
	const version = "v=spf1"
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// parseRecord parses the text of an SPF record (RFC 7208, section 12), for which
// isRecord holds. Its errors are permerrors.
func parseRecord(text string) (record, error) {
	if len(text) > maxRecord {
		return record{}, permerror("record of %d octets is too long", len(text))
	}
	if !isVisible(text) {
		return record{}, permerror("record with octets that are not printable ASCII")
	}
	text = text[len("v=spf1"):]
	count := strings.Count(text, " ")
	if count > maxTerms {
		return record{}, permerror("record with more than %d terms", maxTerms)
	}
	rec := record{directives: make([]directive, 0, count)}
	for text != "" {
		var term string
		term, text, _ = strings.Cut(text, " ")
		if term == "" {
			continue
		}
		if err := rec.add(term); err != nil {
			return record{}, err
		}
	}
	return rec, nil
}

// onlyAll reports whether rec says -all and nothing else.
func (rec *record) onlyAll() bool {
	return len(rec.directives) == 1 && rec.modifiers == 0 &&
		rec.directives[0].mechanism == all && rec.directives[0].verdict == Fail
}

// add parses one term: a modifier if its name is followed by "=", before any ":"
// or "/" (RFC 7208, section 4.6.1), and else a directive.
func (rec *record) add(term string) error {
	if i := strings.IndexAny(term, ":/="); i >= 0 && term[i] == '=' {
		return rec.addModifier(term[:i], term[i+1:])
	}
	d, err := parseDirective(term)
	if err != nil {
		return permerror("%s: %v", term, err)
	}
	rec.directives = append(rec.directives, d)
	return nil
}

// addModifier parses a modifier (RFC 7208, section 6). A known one has a
// domain-spec, and appears once; an unknown one is ignored if it is well formed.
func (rec *record) addModifier(name, value string) error {
	rec.modifiers++
	var known *string
	switch strings.ToLower(name) {
	case "redirect":
		known = &rec.redirect
	case "exp":
		known = &rec.exp
	default:
		if !isModifierName(name) {
			return permerror("%s=%s: not a modifier's name", name, value)
		}
		if err := checkMacros(value, explainLetters); err != nil {
			return permerror("%s=%s: %v", name, value, err)
		}
		return nil
	}
	if *known != "" {
		return permerror("%s appears twice", name)
	}
	if err := checkDomainSpec(value); err != nil {
		return permerror("%s=%s: %v", name, value, err)
	}
	*known = value
	return nil
}

// isModifierName reports whether s is a name of RFC 7208, section 4.6.1.
func isModifierName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlpha(c) && (i == 0 || !isDigit(c) && c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != ""
}
