package dialogue

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A step is one line of a script.
type step struct {
	line  int // in the script, from 1
	side  byte
	kind  kind
	text  string // octets; of a line that is sent with its CRLF
	stars []int  // where in text an asterisk stands for any octets
	pause time.Duration
}

type kind int

const (
	line kind = iota // S: and C:
	raw              // C| and S|
	skip             // S: ...
	end              // S. and C.
	wait             // WAIT
)

// parse reads a script.
func parse(script string) ([]step, error) {
	var steps []step
	n := 0
	for text := range strings.SplitSeq(script, "\n") {
		n++
		text = strings.TrimLeft(text, " \t")
		if text == "" || text[0] == '#' {
			continue
		}
		s, err := parseStep(text)
		if err != nil {
			return nil, fmt.Errorf("line %d of the script: %w: %q", n, err, text)
		}
		s.line = n
		steps = append(steps, s)
	}
	return steps, nil
}

func parseStep(text string) (step, error) {
	if pause, ok := strings.CutPrefix(text, "WAIT "); ok {
		d, err := time.ParseDuration(pause)
		return step{kind: wait, pause: d}, err
	}
	if len(text) < 2 || text[0] != 'S' && text[0] != 'C' {
		return step{}, fmt.Errorf("not a step")
	}
	s := step{side: text[0]}
	rest := strings.TrimPrefix(text[2:], " ")
	switch text[1] {
	case '.':
		s.kind = end
		return s, nil
	case '|':
		s.kind = raw
	case ':':
		if rest == "..." {
			s.kind = skip
			return s, nil
		}
	default:
		return step{}, fmt.Errorf("not a step")
	}
	var err error
	s.text, s.stars, err = unescape(rest)
	if s.kind == line {
		s.text += "\r\n"
	}
	return s, err
}

// show returns the text of a line for a message.
func (s step) show() string { return escape(strings.TrimSuffix(s.text, "\r\n")) }

// unescape resolves the escapes of a text, and says where its wildcards are.
func unescape(s string) (text string, stars []int, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '*' {
			stars = append(stars, b.Len())
		}
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch rest := s[i:]; {
		case strings.HasPrefix(rest, "r"):
			b.WriteByte('\r')
		case strings.HasPrefix(rest, "n"):
			b.WriteByte('\n')
		case strings.HasPrefix(rest, "t"):
			b.WriteByte('\t')
		case strings.HasPrefix(rest, "*"), strings.HasPrefix(rest, `\`):
			b.WriteByte(rest[0])
		case strings.HasPrefix(rest, "x") && len(rest) >= 3:
			c, err := strconv.ParseUint(rest[1:3], 16, 8)
			if err != nil {
				return "", nil, err
			}
			b.WriteByte(byte(c))
			i += 2
		default:
			return "", nil, fmt.Errorf("unknown escape")
		}
	}
	return b.String(), stars, nil
}

// match reports whether got, a line without its CRLF, is what pattern, a line
// with its CRLF and wildcards at stars, says.
func match(pattern string, stars []int, got string) bool {
	pattern = strings.TrimSuffix(pattern, "\r\n")
	if len(stars) == 0 {
		return got == pattern
	}
	first, last := stars[0], stars[len(stars)-1]
	if !strings.HasPrefix(got, pattern[:first]) {
		return false
	}
	got = got[first:]
	for i, star := range stars[1:] {
		part := pattern[stars[i]+1 : star]
		_, rest, found := strings.Cut(got, part)
		if !found {
			return false
		}
		got = rest
	}
	return strings.HasSuffix(got, pattern[last+1:])
}
