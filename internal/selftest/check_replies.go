package selftest

import "strconv"

// replyChecks are of the form of replies. Each has a look at some of every kind;
// what was heard in the checks before counts, too, so these come last.
var replyChecks = []Check{
	{ID: "reply.line-end", Section: "RFC 5321, 4.2", Level: Must,
		Title: "Each line ends with CRLF", run: rounds},
	{ID: "reply.code", Section: "RFC 5321, 4.2", Level: Must,
		Title: "Codes are three digits: 2-5, 0-5, 0-9", run: rounds},
	{ID: "reply.same-code", Section: "RFC 5321, 4.2.1", Level: Must,
		Title: "All lines of a reply have the same code", run: rounds},
	{ID: "reply.separator", Section: "RFC 5321, 4.2.1", Level: Must,
		Title: "Behind the code comes - or a space", run: rounds},
	{ID: "reply.length", Section: "RFC 5321, 4.5.3.1.5", Level: Must,
		Title: "No line is longer than 512 octets", run: rounds},
	{ID: "reply.ascii", Section: "RFC 5321, 4.2", Level: Must,
		Title: "Replies are printable ASCII", run: rounds},
	{ID: "status.each-line", Section: "RFC 2034, 4", Level: Must, needs: "ENHANCEDSTATUSCODES",
		Title: "Each line has a status, as was offered", run: rounds},
	{ID: "status.class", Section: "RFC 2034, 4", Level: Must, needs: "ENHANCEDSTATUSCODES",
		Title: "The class of the status is that of the code", run: rounds},
	{ID: "status.same", Section: "RFC 2034, 4", Level: Should, needs: "ENHANCEDSTATUSCODES",
		Title: "All lines of a reply have the same status", run: rounds},
	{ID: "status.unknown-user", Section: "RFC 3463, 3.2", Level: Should, needs: "ENHANCEDSTATUSCODES unknown",
		Title: "An unknown user is status 5.1.1",
		run: func(s *session) {
			s.hello()
			s.mail()
			if r := s.ask(s.expand("RCPT TO:<$unknown>")); r.OK() {
				s.skip("the unknown user is accepted")
			} else {
				s.judgeStatus("5.1.1|5.1.0|5.1.10|4.1.1", r)
			}
		}},
	{ID: "status.relay", Section: "RFC 3463, 3.8", Level: Should, on: SMTP, needs: "ENHANCEDSTATUSCODES",
		Title: "Relaying that is refused is status 5.7.1",
		run: func(s *session) {
			s.hello()
			s.mail()
			if r := s.ask("RCPT TO:<selftest@example.org>"); r.OK() {
				s.skip("it relays")
			} else {
				s.judgeStatus("5.7.1|4.7.1", r)
			}
		}},
	{ID: "status.greeting", Section: "RFC 2034, 4", Level: Should, needs: "ENHANCEDSTATUSCODES",
		Title: "The answer to EHLO/LHLO has no status",
		run: func(s *session) {
			if r := s.ask(s.expand("$hello $me")); status(r.text()) != "" {
				s.fail("it has one: %v", r)
			}
		}},
	{ID: "status.order", Section: "RFC 5248, 2.4", Level: Should, needs: "ENHANCEDSTATUSCODES",
		Title: "A command out of order is status 5.5.1",
		run:   func(s *session) { s.hello(); s.judgeStatus("5.5.1|5.5.0", s.ask("RCPT TO:<postmaster>")) }},
	{ID: "status.accepted", Section: "RFC 3463, 3", Level: Should, needs: "ENHANCEDSTATUSCODES",
		Title: "A sender that is accepted is status 2.1.0",
		run:   func(s *session) { s.hello(); s.judgeStatus("2.1.0|2.0.0", s.ask(s.expand("MAIL FROM:<$from>"))) }},
	{ID: "status.too-large", Section: "RFC 1870, 6.1", Level: Should, needs: "ENHANCEDSTATUSCODES SIZE",
		Title: "A size above the limit is status 5.3.4",
		run: func(s *session) {
			limit, err := strconv.ParseInt(s.run.keywords["SIZE"], 10, 64)
			if err != nil || limit == 0 {
				s.skip("SIZE names no limit")
				return
			}
			s.hello()
			s.judgeStatus("5.3.4|5.2.3", s.ask(s.expand("MAIL FROM:<$from> SIZE="+strconv.FormatInt(limit+1, 10))))
		}},
	{ID: "status.unknown-command", Section: "RFC 3463, 3.6", Level: Should, needs: "ENHANCEDSTATUSCODES",
		Title: "An unknown command is status 5.5.1 or 5.5.2",
		run:   func(s *session) { s.hello(); s.judgeStatus("5.5.1|5.5.2", s.ask("XYZZY")) }},
}

// rounds has replies of every kind said, and fails if the rule that the check is
// named after was ever broken.
func rounds(s *session) {
	s.ask(s.helloWord())
	s.hello()
	for _, line := range []string{"NOOP", "HELP", "VRFY postmaster", "XYZZY", "DATA", "MAIL FROM:<", "MAIL FROM:<$from>",
		"MAIL FROM:<$from>", "RCPT TO:<>", "RCPT TO:<selftest@example.org>", "RSET", "QUIT"} {
		if s.over {
			break // some end a session over so many errors
		}
		s.ask(s.expand(line))
	}
	s.over = true
	if reply, broken := s.run.broken[s.check.ID]; broken {
		s.fail("broken by %s", reply)
	}
}

// judgeStatus fails unless the status of r is one of want.
func (s *session) judgeStatus(want string, r Reply) {
	if s.decided() {
		return
	}
	s.result.Expected, s.result.Heard = want, r.short()
	if got := status(r.text()); !hasWord(want, got) {
		s.fail("expected the status %s, heard %v", want, r)
	}
}
