package config

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// A syntaxError says at which octet a text ceases to be TOML.
type syntaxError struct {
	octet   int
	message string
	hint    string
	first   int // the octet, counted from one, of what is there already; 0: nothing is
}

func (e syntaxError) Error() string { return e.message }

func decode(text string) (tree map[string]any, err error) {
	if err := errors.Join(plain(text), shallow(text)); err != nil {
		return nil, err
	}
	_, err = toml.Decode(text, &tree)
	var perr toml.ParseError
	if errors.As(err, &perr) {
		return nil, explain(text, max(0, perr.Position.Start), perr.Message)
	}
	if err != nil {
		return nil, syntaxError{message: err.Error()}
	}
	return tree, nil
}

// maxDepth bounds the arrays and tables within one another, and the parts of a
// key. The library would follow them until the stack is used up, which ends the
// process.
const maxDepth = 50

// shallow finds where a text nests deeper than that.
func shallow(text string) error {
	depth, parts := 0, 0
	for pos, c := range marks(text) {
		switch c {
		case '[', '{':
			depth, parts = depth+1, 0
		case ']', '}':
			depth, parts = depth-1, 0
		case '=', ',':
			parts = 0
		case '.':
			parts++
		}
		if max(depth, parts) > maxDepth {
			return syntaxError{octet: pos, message: fmt.Sprintf("nested more than %d deep", maxDepth), hint: "write a table as [a.b], and a list in one pair of brackets"}
		}
	}
	return nil
}

// marks yields the octets of text that are in no string, comment or white space, and
// where they stand. It ends at a string that does not, of which the library tells.
func marks(text string) iter.Seq2[int, byte] {
	return func(yield func(int, byte) bool) {
		s := scanner{text: text}
		for s.blank(); s.pos < len(text); s.blank() {
			switch c := text[s.pos]; {
			case c == '"' || c == '\'':
				if !s.value() {
					return
				}
			case !yield(s.pos, c):
				return
			default:
				s.pos++
			}
		}
	}
}

// plain finds the characters that TOML has nowhere. The library would too, but
// is one off when it says where.
func plain(text string) error {
	if from := wide(text); from != "" {
		return syntaxError{message: fmt.Sprintf("is %.6s, and TOML must be UTF-8", strings.ToUpper(from)), hint: "save it as UTF-8, or: iconv -f " + from + " -t utf-8"}
	}
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			return syntaxError{octet: i, message: fmt.Sprintf("the octet 0x%02X is not UTF-8, perhaps Latin-1", text[i]), hint: "save it as UTF-8, or: iconv -f latin1 -t utf-8"}
		case r == '\t' || r == '\n' || r == '\r' && strings.HasPrefix(text[i:], "\r\n"):
		case r == '\r':
			return syntaxError{octet: i, message: "a CR without LF ends no line of TOML", hint: `save it with line ends of LF, or: tr '\r' '\n'`}
		case r == 0 && strings.Trim(text[i:min(len(text), i+16)], "\x00") == "" && len(text) >= i+16:
			return syntaxError{octet: i, message: "goes on with NUL octets, as a file does that a crash damaged", hint: "restore it"}
		case r < ' ' || r == 0x7f:
			return syntaxError{octet: i, message: fmt.Sprintf("TOML has no control character %#02x", r), hint: fmt.Sprintf(`remove it, or in double quotes write \u%04x`, r)}
		}
	}
	return nil
}

// wide returns what iconv calls the encoding of a text in UTF-16 or UTF-32, "" if it is
// in neither: it has a mark of its own, or each other octet of its first letters is a
// NUL.
func wide(text string) string {
	switch {
	case strings.HasPrefix(text, "\xff\xfe\x00\x00"), strings.HasPrefix(text, "\x00\x00\xfe\xff"):
		return "utf-32"
	case strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"):
		return "utf-16"
	case len(text) < 4:
	case text[0] != 0 && text[1] == 0 && text[2] != 0 && text[3] == 0:
		return "utf-16le"
	case text[0] == 0 && text[1] != 0 && text[2] == 0 && text[3] != 0:
		return "utf-16be"
	}
	return ""
}

// explain returns what the library says of an octet, with the way out; in other words
// where it speaks of what is behind the mistake, and not of the mistake.
func explain(text string, at int, message string) syntaxError {
	e := syntaxError{octet: at, message: message}
	_, _, start := lineAndColumn(text, at)
	line, _, _ := strings.Cut(text[start:], "\n")
	r, _ := utf8.DecodeRuneInString(text[min(at, len(text)):])
	switch {
	case slices.ContainsFunc([]string{"<<<<<<<", "=======", ">>>>>>>", "|||||||"}, func(mark string) bool { return strings.HasPrefix(line, mark) }):
		e = syntaxError{octet: start, message: "is a mark of a conflict that git left", hint: "keep one side, and remove the lines <<<<<<<, ======= and >>>>>>>"}
	case strings.HasSuffix(message, "has already been defined."):
		e.twice(text)
	case strings.Contains(message, "cannot be used as an array"):
		e.message, e.hint = strings.TrimSuffix(message, "."), "a table is written with one pair of brackets, as [aliases]"
	case strings.ContainsRune(typographic, r):
		e.quotationMark(r)
	case r > '~' && !unicode.IsLetter(r) && !unicode.IsPrint(r):
		e.message, e.hint = wrongSpace(r)
	case strings.HasPrefix(message, "strings cannot contain newlines") && strings.ContainsRune(typographic, lastRune(line)):
		e.octet = start + strings.LastIndexAny(line, typographic)
		e.quotationMark(lastRune(line))
	case e.unclosed(text, line, start):
	default:
		e.hint = cmp.Or(unquoted(line, max(0, at-start), message), waysOut(message))
	}
	return e
}

// afterArray is what stands in no array: the header of a table, or a key.
var afterArray = regexp.MustCompile(`^\s*(\[\[?\s*[A-Za-z_][\w.-]*\s*\]|["']?[\w.-]+["']?\s*=)`)

// unclosed says of an array that it is not closed before the line that begins at start,
// if it is not and ought to be: for the library what follows is in the array.
func (e *syntaxError) unclosed(text, line string, start int) bool {
	switch {
	case strings.HasPrefix(e.message, "unexpected EOF"), strings.HasSuffix(e.message, "end of file"):
		start = len(text)
	case !afterArray.MatchString(line):
		return false
	}
	open, ok := openArray(text[:start])
	if !ok {
		return false
	}
	n, _, _ := lineAndColumn(text, start)
	e.octet, e.message, e.hint = open, fmt.Sprintf("this array is not closed before line %d", n), "put a ] behind its last element"
	if start == len(text) {
		e.message, e.hint = "this array is not closed", "put a ] behind its last element; or is the file cut off?"
	}
	return true
}

// openArray returns where the outermost array begins that is open at the end of text.
func openArray(text string) (at int, ok bool) {
	var open []int
	for pos, c := range marks(text) {
		switch c {
		case '[':
			open = append(open, pos)
		case ']':
			open = open[:max(0, len(open)-1)]
		}
	}
	if len(open) == 0 {
		return 0, false
	}
	return open[0], true
}

// typographic are quotation marks that word processors write.
const typographic = "“”„‟‘’‚‛«»´`"

// lastRune returns what a line ends in, but for white space.
func lastRune(line string) rune {
	r, _ := utf8.DecodeLastRuneInString(strings.TrimSpace(line))
	return r
}

func (e *syntaxError) quotationMark(r rune) {
	e.message, e.hint = fmt.Sprintf("%q is no quotation mark of TOML", string(r)), `write " in its place`
}

// wrongSpace says of a character that looks like a space, or like nothing, what it is.
func wrongSpace(r rune) (message, hint string) {
	kind, hint := "which cannot be seen", "remove it"
	if unicode.IsSpace(r) {
		kind, hint = "which looks like a space", "write a space in its place"
	}
	if r == '\u00a0' || r == '\u202f' {
		kind = "a non-breaking space"
	}
	return fmt.Sprintf("%U, %s, is no white space of TOML", r, kind), hint
}

// waysOut returns the way out of what the library says, "" if that says all.
func waysOut(message string) string {
	for _, w := range []struct{ message, hint string }{
		{"expected value but found '#'", "the value is missing"},
		{"expected value but found '\\n'", "the value is missing"},
		{"unexpected EOF", "something is missing at the end: is the file cut off?"},
		{"strings cannot contain newlines", "the quotation mark at its end is missing"},
		{"expected a comma", "put a comma between the elements"},
		{"expected a top-level item to end", "one key stands on a line, and a comment begins with #"},
		{"expected '.' or '='", "a line is: key = value"},
		{"expected '.' or ']'", "put a ] behind the name of the table"},
		{"Invalid integer", "write a whole number, as 10"},
		{"invalid escaped Unicode", "write the character itself"},
		{"invalid escape", `write \\ for a backslash, or the text in single quotes`},
	} {
		if strings.HasPrefix(message, w.message) {
			return w.hint
		}
	}
	return ""
}

// twice says of a key that is there already where that is. The library has its place,
// or that of its inside where it is in quotes, or has a table in braces as its value.
func (e *syntaxError) twice(text string) {
	at, first, header := seen(text, func(at, best int) bool { return at >= e.octet-1 && (best < 0 || at < best) })
	if first == at {
		at, first, header = seen(text, func(at, best int) bool { return at < e.octet && at > best })
	}
	if e.hint = "remove one of them"; first == at {
		return
	}
	key := strings.TrimSuffix(strings.TrimPrefix(e.message, "Key '"), "' has already been defined.")
	e.octet = min(e.octet, at)
	e.message, e.first = key+" is there already", first+1
	if header {
		e.hint = "write what is below both of them below one"
	}
}

// seen returns where a key stands that is the best one, where it has been before, if
// it has, and whether it is the header of a table. Without a best one both are -1.
func seen(text string, better func(at, best int) bool) (at, first int, header bool) {
	var found path
	at = -1
	scan(text, func(p []byte, s spot) {
		if s.named && better(s.key, at) {
			found, at, header = path(p), s.key, s.value == s.key
		}
	})
	first = at
	scan(text, func(p []byte, s spot) {
		if s.key < first && string(p) == string(found) {
			first = s.key
		}
	})
	return at, first, header
}
