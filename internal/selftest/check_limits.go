package selftest

import (
	"fmt"
	"strconv"
	"strings"
)

// limitChecks are of RFC 5321, section 4.5.3.1: what must be received is what a
// server may limit, and what is longer must not bring it out of step.
var limitChecks = []Check{
	{ID: "limit.local-part", Section: "RFC 5321, 4.5.3.1.1", Level: Must, needs: "to",
		Title: "A local part of 64 octets is no syntax error",
		run:   func(s *session) { s.longPath(strings.Repeat("x", 64) + s.expand("@$domain")) }},
	{ID: "limit.path", Section: "RFC 5321, 4.5.3.1.3", Level: Must,
		Title: "A path of 256 octets is no syntax error",
		run: func(s *session) {
			label := strings.Repeat("d", 61) + "."
			s.longPath(strings.Repeat("x", 60) + "@" + label + label + label + "example")
		}},
	{ID: "limit.local-part-beyond", Section: "RFC 5321, 4.5.3.1.9", Level: Must, needs: "to",
		Title: "A local part of 300 octets gets one refusal",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.expect("4xx|5xx", "RCPT TO:<"+strings.Repeat("x", 300)+s.expand("@$domain>"))
		}},
	{ID: "limit.label", Section: "RFC 1035, 2.3.4", Level: Should,
		Title: "A label of 64 octets is refused",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.expect("4xx|5xx", "RCPT TO:<selftest@"+strings.Repeat("d", 64)+".example>")
		}},
	{ID: "limit.domain-beyond", Section: "RFC 5321, 4.5.3.1.2", Level: Must,
		Title: "A domain of 600 octets gets one refusal",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.expect("4xx|5xx", "RCPT TO:<selftest@"+strings.Repeat(strings.Repeat("d", 59)+".", 10)+"example>")
		}},
	{ID: "limit.command", Section: "RFC 5321, 4.5.3.1.4", Level: Must,
		Title: "A command of 512 octets is understood",
		run:   func(s *session) { s.hello(); s.expect("250", "NOOP "+strings.Repeat("x", 512-len("NOOP \r\n"))) }},
	{ID: "limit.long-command", Section: "RFC 5321, 4.5.3.1.9", Level: Must,
		Title: "A command of 3000 octets gets one reply",
		run:   func(s *session) { s.hello(); s.expect("250|5xx", "NOOP "+strings.Repeat("x", 3000)) }},
	{ID: "limit.endless-command", Section: "RFC 5321, 4.5.3.1.9", Level: Must,
		Title: "A command of 100000 octets gets one reply",
		run:   func(s *session) { s.hello(); s.expect("250|5xx|421|closed", "NOOP "+strings.Repeat("x", 100000)) }},
	{ID: "limit.recipients", Section: "RFC 5321, 4.5.3.1.8", Level: Must, needs: "to",
		Title: "100 recipients are accepted",
		run:   hundredRecipients},
	{ID: "limit.text-line", Section: "RFC 5321, 4.5.3.1.6", Level: Must, needs: "to",
		Title: "A text line of 1000 octets is accepted",
		run:   func(s *session) { s.data(); s.deliver("2xx", strings.Repeat("x", 998)+"\r\n") }},
	{ID: "limit.text-line-dot", Section: "RFC 5321, 4.5.3.1.6", Level: Must, needs: "to",
		Title: "A text line of 1000 octets and a stuffed dot",
		run:   func(s *session) { s.data(); s.deliver("2xx", ".."+strings.Repeat("x", 997)+"\r\n") }},
	{ID: "limit.long-text-line", Section: "RFC 5321, 4.5.3.1", Level: Should, needs: "to",
		Title: "A text line of 5000 octets is accepted",
		run:   func(s *session) { s.data(); s.deliver("2xx", strings.Repeat("x", 5000)+"\r\n") }},
	{ID: "limit.huge-text-line", Section: "RFC 5321, 4.5.3.1.9", Level: Must, needs: "to",
		Title: "A text line of 200000 octets gets one reply",
		run:   func(s *session) { s.data(); s.deliver("2xx|4xx|5xx", strings.Repeat("x", 200000)+"\r\n") }},
	{ID: "limit.message", Section: "RFC 5321, 4.5.3.1.7", Level: Must, needs: "to",
		Title: "A message of 64K octets is accepted",
		run:   func(s *session) { s.data(); s.deliver("2xx", strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1024)) }},
	{ID: "limit.keyword", Section: "RFC 9422, 3", Level: Must, needs: "LIMITS",
		Title: "LIMITS names its limits as name=value",
		run:   limitsKeyword},
}

// longPath says RCPT with an address that is long, but not too long. Whatever is
// wrong with it, it is not its syntax.
func (s *session) longPath(addr string) {
	s.hello()
	s.mail()
	s.expect("2xx|4xx|550|551|553|554", "RCPT TO:<"+addr+">")
}

func hundredRecipients(s *session) {
	s.hello()
	s.mail()
	for range 100 {
		s.expect("2xx", s.expand("RCPT TO:<$to>"))
	}
	s.expect("250", "RSET")
}

func limitsKeyword(s *session) {
	for limit := range strings.FieldsSeq(s.run.keywords["LIMITS"]) {
		name, value, _ := strings.Cut(limit, "=")
		if strings.Trim(name, alnum+"-") != "" || name == "" || value == "" {
			s.fail("LIMITS says %q", visible(limit+"\r\n"))
		}
		if n, err := strconv.Atoi(value); name == "RCPTMAX" && (err != nil || n < 1) {
			s.fail("LIMITS says %q", visible(limit+"\r\n"))
		}
	}
}

// sizeChecks are of RFC 1870.
var sizeChecks = []Check{
	{ID: "size.keyword", Section: "RFC 1870, 4", Level: Must, needs: "SIZE",
		Title: "SIZE has at most one parameter, a number",
		run: func(s *session) {
			param := s.run.keywords["SIZE"]
			if len(param) > 20 || strings.Trim(param, "0123456789") != "" {
				s.fail("SIZE says %q", visible(param+"\r\n"))
			}
		}},
	{ID: "size.small", Section: "RFC 1870, 6.1", Level: Must, needs: "SIZE",
		Title: "A size within the limit is accepted",
		play:  "hello\nMAIL FROM:<$from> SIZE=1000 => 250"},
	{ID: "size.zero", Section: "RFC 1870, 6", Level: Must, needs: "SIZE",
		Title: "SIZE=0 is accepted",
		play:  "hello\nMAIL FROM:<$from> SIZE=0 => 250"},
	{ID: "size.exact", Section: "RFC 1870, 6.1", Level: Must, needs: "SIZE",
		Title: "The limit itself is within the limit",
		run:   func(s *session) { s.declare("250|452", 0) }},
	{ID: "size.too-large", Section: "RFC 1870, 6.1", Level: Must, needs: "SIZE",
		Title: "One octet above the limit is refused with 552",
		run:   func(s *session) { s.declare("552", 1) }},
	{ID: "size.twenty-digits", Section: "RFC 1870, 6", Level: Should, needs: "SIZE",
		Title: "A size of 20 digits is no syntax error",
		play:  "hello\nMAIL FROM:<$from> SIZE=99999999999999999999 => 250|452|552"},
	{ID: "size.word", Section: "RFC 1870, 6", Level: Must, needs: "SIZE",
		Title: "A size that is no number is refused",
		play:  "hello\nMAIL FROM:<$from> SIZE=large => 5xx"},
	{ID: "size.negative", Section: "RFC 1870, 6", Level: Must, needs: "SIZE",
		Title: "A negative size is refused",
		play:  "hello\nMAIL FROM:<$from> SIZE=-1 => 5xx"},
	{ID: "size.empty", Section: "RFC 1870, 6", Level: Must, needs: "SIZE",
		Title: "SIZE= without a number is refused",
		play:  "hello\nMAIL FROM:<$from> SIZE= => 5xx"},
	{ID: "size.data", Section: "RFC 1870, 6.3", Level: Must, needs: "SIZE to",
		Title: "Data above the limit is refused after its end",
		run:   tooMuchData},
}

// sizeLimit returns the limit that the server names, or 0.
func (s *session) sizeLimit() int64 {
	limit, err := strconv.ParseInt(s.run.keywords["SIZE"], 10, 64)
	if err != nil {
		return 0
	}
	return limit
}

// declare says MAIL with the limit and some more.
func (s *session) declare(want string, more int64) {
	limit := s.sizeLimit()
	if limit == 0 {
		s.skip("no limit is named")
	}
	s.hello()
	s.expect(want, s.expand(fmt.Sprintf("MAIL FROM:<$from> SIZE=%d", limit+more)))
}

// tooMuch returns lines that are longer than the limit, or says why the check
// cannot be made.
func (s *session) tooMuch() string {
	limit := s.sizeLimit()
	switch {
	case limit == 0:
		s.skip("no limit is named")
	case limit > s.run.target.MaxSend:
		s.skip("needs --max-send %d", limit)
	default:
		line := strings.Repeat("x", 62) + "\r\n"
		return strings.Repeat(line, int(limit)/len(line)+1000)
	}
	return ""
}

func tooMuchData(s *session) {
	text := s.tooMuch()
	if s.decided() {
		return
	}
	s.data()
	s.deliver("552", text)
}
