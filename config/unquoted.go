package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// unquoted returns the way out where message is about a text without quotation marks,
// which stands at an octet of line, "" if it is about something else. The library
// speaks of the first part of it that is no number, or no value.
func unquoted(line string, at int, message string) string {
	about := func(m string) bool { return strings.HasPrefix(message, m) }
	value := bareValue(line)
	switch {
	case about("expected a top-level item to end"): // after a number, as 2 of 2GiB
		if !strings.ContainsFunc(value, unicode.IsLetter) {
			return ""
		}
	case about("expected value but found"), about("Invalid float value"), about("invalid datetime"), about("expected a digit"), about("floats must start"):
		if value == "" {
			value = bareWord(line, at)
		} else if is, ok := boolean(value); ok {
			return fmt.Sprintf("write %v", is)
		}
	default:
		return ""
	}
	if !strings.ContainsFunc(value, unicode.IsLetter) && !strings.ContainsAny(value, ":/~*@") && strings.Count(value, ".") < 2 {
		return "" // a number, or nothing
	}
	return fmt.Sprintf("a text stands in quotes, as %q", value)
}

// bareValue returns the value of a line that has one, without quotation marks and
// alone; or else "".
func bareValue(line string) string {
	_, value, _ := strings.Cut(line, "=")
	value, _, _ = strings.Cut(value, "#")
	if strings.ContainsAny(value, `"',=[]{}`) {
		return ""
	}
	return strings.TrimSpace(value)
}

// bareWord returns the word at an octet of line, among others.
func bareWord(line string, at int) string {
	const between = " \t\r,=[]{}\"'#"
	at = min(at, len(line))
	begin := strings.LastIndexAny(line[:at], between) + 1
	if end := strings.IndexAny(line[at:], between); end >= 0 {
		return line[begin : at+end]
	}
	return line[begin:]
}

// boolean returns what is meant by a word that other programs take for true or false.
func boolean(word string) (is, ok bool) {
	word = strings.ToLower(word)
	is = slices.Contains([]string{"yes", "on", "true", "enabled"}, word)
	return is, is || slices.Contains([]string{"no", "off", "false", "disabled"}, word)
}
