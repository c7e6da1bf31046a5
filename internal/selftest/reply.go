package selftest

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Reply is what the server answered (RFC 5321, section 4.2), in whatever form:
// what can be understood of it is.
type Reply struct {
	Code  int      // of the last line; 0 where nothing was heard
	Lines []string // the texts
	Err   error    // why there is no reply, or none that can be understood

	raw []string // the lines, with their ends
}

// add reads a line, and reports whether it is the last. One that does not begin
// with a code is no reply.
func (r *Reply) add(line string) (last bool) {
	r.raw = append(r.raw, line)
	text := strings.TrimRight(line, "\r\n")
	if len(text) < 3 || strings.Trim(text[:3], "0123456789") != "" {
		r.Code, r.Err = 0, errMalformed
		return true
	}
	r.Code = int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')
	more := len(text) > 3 && text[3] == '-'
	r.Lines = append(r.Lines, text[min(4, len(text)):])
	return !more
}

// OK reports whether the reply is positive.
func (r Reply) OK() bool { return r.Code/100 == 2 }

// text returns the first line's text.
func (r Reply) text() string {
	if len(r.Lines) == 0 {
		return ""
	}
	return r.Lines[0]
}

// status returns the enhanced status code (RFC 3463) of a text, or "".
func status(text string) string {
	word, _, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(parts[0]) != 1 {
		return ""
	}
	for _, p := range parts {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return ""
		}
	}
	return word
}

// short returns what programs read of the reply: the code and the status.
func (r Reply) short() string {
	switch {
	case r.Err == errClosed:
		return "closed"
	case r.Err != nil:
		return r.Err.Error()
	}
	return strings.TrimSpace(fmt.Sprint(r.Code, " ", status(r.text())))
}

// String returns the reply on one line.
func (r Reply) String() string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return fmt.Sprint(r.Code, " ", visible(strings.Join(r.Lines, " / ")+"\r\n"))
}

// matches reports whether the reply is one of want: codes such as "250" and
// "5xx", or "closed", with "|" between them.
func (r Reply) matches(want string) bool {
	for pattern := range strings.SplitSeq(want, "|") {
		code := fmt.Sprint(r.Code)
		if r.Err == errClosed {
			code = "closed"
		}
		if code == pattern || r.Err == nil && len(pattern) == 3 && pattern[1:] == "xx" && code[0] == pattern[0] {
			return true
		}
	}
	return false
}

// hasWord reports whether word is one of words, which have "|" between them.
func hasWord(words, word string) bool {
	return slices.Contains(strings.Split(words, "|"), word)
}

// A rule is what holds for the form of every reply. Its ID is that of the check
// that tells whether it was broken in any session.
type rule struct {
	id     string
	broken func(r Reply, in mode) bool
}

// A mode is what was agreed on when a reply was said.
type mode struct {
	status bool // enhanced status codes are due
	utf8   bool // the text may be UTF-8 (RFC 6531, section 3.7.4.2)
}

// rules are those of RFC 5321, section 4.2, of RFC 2034 and of RFC 3463.
var rules = []rule{
	{"reply.line-end", eachLine(func(_, _, line string) bool { return !strings.HasSuffix(line, "\r\n") })},
	{"reply.code", eachLine(func(_, code, _ string) bool {
		return len(code) != 3 || code[0] < '2' || code[0] > '5' || code[1] > '5'
	})},
	{"reply.same-code", eachLine(func(first, code, _ string) bool { return code != first })},
	{"reply.separator", eachLine(func(_, _, line string) bool {
		text := strings.TrimRight(line, "\r\n")
		return len(text) > 3 && text[3] != ' ' && text[3] != '-'
	})},
	{"reply.length", eachLine(func(_, _, line string) bool { return len(line) > 512 })},
	{"reply.ascii", func(r Reply, in mode) bool {
		return slices.ContainsFunc(r.Lines, func(text string) bool { return !isText(text, in.utf8) })
	}},
	{"status.each-line", eachStatus(func(_, _, status string) bool { return status == "" })},
	{"status.class", eachStatus(func(_, code, status string) bool { return status != "" && status[0] != code[0] })},
	{"status.same", eachStatus(func(first, _, status string) bool { return status != first })},
}

// eachLine holds a rule against each line: the code of the first one, that of the
// line, and the line.
func eachLine(broken func(first, code, line string) bool) func(Reply, mode) bool {
	return func(r Reply, _ mode) bool {
		for _, line := range r.raw {
			if broken(codeOf(r.raw[0]), codeOf(line), line) {
				return true
			}
		}
		return false
	}
}

// isText reports whether text is a textstring: printable ASCII and tabs.
func isText(text string, inUTF8 bool) bool {
	if inUTF8 && !utf8.ValidString(text) {
		return false
	}
	return !strings.ContainsFunc(text, func(c rune) bool {
		return c < ' ' && c != '\t' || c == 0x7f || c > 0x7f && !inUTF8
	})
}

func codeOf(line string) string { return line[:min(3, len(strings.TrimRight(line, "\r\n")))] }

// eachStatus holds a rule against the status of each line, where there has to be
// one (RFC 2034, section 4): 2xx, 4xx and 5xx, but not the answer to EHLO.
func eachStatus(broken func(first, code, status string) bool) func(Reply, mode) bool {
	return func(r Reply, in mode) bool {
		if !in.status || r.Err != nil || r.Code/100 == 3 {
			return false
		}
		for i, text := range r.Lines {
			if broken(status(r.Lines[0]), codeOf(r.raw[i]), status(text)) {
				return true
			}
		}
		return false
	}
}
