package selftest

import (
	"strconv"
	"strings"
)

// otherChecks are of extensions with few rules, and of what a server that does
// not offer one says to it.
var otherChecks = []Check{
	{ID: "helo.no-parameters", Section: "RFC 5321, 3.2", Level: Should, on: SMTP,
		Title: "After HELO there are no parameters",
		play:  "HELO $me => 250\nMAIL FROM:<$from> SIZE=100 => 5xx\nMAIL FROM:<$from> => 250"},
	{ID: "limit.recipients-named", Section: "RFC 9422, 4.2", Level: Must, needs: "LIMITS to",
		Title: "As many recipients as LIMITS names are accepted",
		run: func(s *session) {
			if n := s.namedRecipients(); n > 0 {
				s.named(n)
				s.expect("250", "RSET")
			}
		}},
	{ID: "limit.recipients-beyond", Section: "RFC 5321, 4.5.3.1.10", Level: Should, needs: "LIMITS to",
		Title: "One recipient too many is refused for now",
		run: func(s *session) {
			if n := s.namedRecipients(); n > 0 {
				s.named(n)
				s.expect("452|450|451", s.expand("RCPT TO:<$to>"))
			}
		}},
	{ID: "prdr.parameter", Section: "draft-hall-prdr-00, 3", Level: Must, on: SMTP, needs: "PRDR",
		Title: "PRDR is a parameter of MAIL",
		play:  "hello\nMAIL FROM:<$from> PRDR => 250"},
	{ID: "prdr.value", Section: "draft-hall-prdr-00, 3", Level: Should, on: SMTP, needs: "PRDR",
		Title: "PRDR with a value is refused",
		play:  "hello\nMAIL FROM:<$from> PRDR=yes => 5xx"},
	{ID: "prdr.message", Section: "draft-hall-prdr-00, 4", Level: Must, on: SMTP, needs: "PRDR to",
		Title: "A message with PRDR is accepted",
		run: func(s *session) {
			s.hello()
			s.need("250", s.expand("MAIL FROM:<$from> PRDR"))
			s.rcpt()
			s.rcpt()
			s.need("354", "DATA")
			s.send(s.message() + ".\r\n")
			if r := s.hear(); r.Code == 353 {
				s.hear()
				s.hear()
				s.judgeDelivery("2xx")
			} else {
				s.judge("2xx", "the message", r)
			}
		}},
	{ID: "prdr.not-offered", Section: "RFC 5321, 4.1.1.11", Level: Must, needs: "!PRDR",
		Title: "PRDR that was not offered is refused",
		play:  "hello\nMAIL FROM:<$from> PRDR => 5xx"},
	{ID: "auth.not-offered", Section: "RFC 5321, 4.2.4", Level: Must, needs: "!AUTH",
		Title: "AUTH that was not offered is refused",
		play:  "hello\nAUTH PLAIN AHgAeA== => 5xx"},
	{ID: "auth.mail-not-offered", Section: "RFC 5321, 4.1.1.11", Level: Should, needs: "!AUTH",
		Title: "AUTH= of MAIL, not offered, is refused",
		play:  "hello\nMAIL FROM:<$from> AUTH=<> => 5xx"},
	{ID: "etrn.not-offered", Section: "RFC 5321, 4.2.4", Level: Must, needs: "!ETRN",
		Title: "ETRN that was not offered is refused",
		play:  "hello\nETRN example.org => 5xx"},
	{ID: "xclient.not-offered", Section: "RFC 5321, 4.2.4", Level: Must, needs: "!XCLIENT",
		Title: "XCLIENT of a stranger is refused",
		play:  "hello\nXCLIENT ADDR=192.0.2.1 => 5xx"},
	{ID: "utf8.forgotten", Section: "RFC 6531, 3.4", Level: Must, needs: "SMTPUTF8 to",
		Title: "SMTPUTF8 does not outlive its transaction",
		play:  "hello\nMAIL FROM:<$from> SMTPUTF8 => 250\nRSET => 250\nmail\nRCPT TO:<süch@$domain> => 5xx"},
	{ID: "utf8.vrfy", Section: "RFC 6531, 3.7.4.2", Level: Must, needs: "SMTPUTF8",
		Title: "VRFY with SMTPUTF8 gets one reply",
		play:  "hello\nVRFY süch SMTPUTF8 => 2xx|4xx|5xx"},
}

// namedRecipients returns how many recipients LIMITS promises, and skips the
// check where that is not said, or is too much to try.
func (s *session) namedRecipients() int {
	for limit := range strings.FieldsSeq(s.run.keywords["LIMITS"]) {
		if value, named := strings.CutPrefix(limit, "RCPTMAX="); named {
			if n, err := strconv.Atoi(value); err == nil && n <= 2000 {
				return n
			}
		}
	}
	s.skip("LIMITS names no RCPTMAX up to 2000")
	return 0
}

// named begins a transaction with n recipients.
func (s *session) named(n int) {
	s.hello()
	s.mail()
	for range n {
		s.need("2xx", s.expand("RCPT TO:<$to>"))
	}
}
