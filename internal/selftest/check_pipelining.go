package selftest

import (
	"slices"
	"strings"
)

// pipeliningChecks are of RFC 2920.
var pipeliningChecks = []Check{
	{ID: "pipe.order", Section: "RFC 2920, 3.2", Level: Must, needs: "PIPELINING to",
		Title: "A batch of commands is answered in order",
		run:   pipelined("250 2xx 250 503 250", "MAIL FROM:<$from>", "RCPT TO:<$to>", "RSET", "RCPT TO:<$to>", "NOOP")},
	{ID: "pipe.data", Section: "RFC 2920, 3.1", Level: Must, needs: "PIPELINING to",
		Title: "DATA may end a batch",
		run: func(s *session) {
			s.hello()
			s.judgeAll("250 2xx 354", s.batch(s.expand("MAIL FROM:<$from>"), s.expand("RCPT TO:<$to>"), "DATA"))
			s.deliver("2xx", "")
		}},
	{ID: "pipe.one-batch", Section: "RFC 2920, 3.2", Level: Should, needs: "PIPELINING",
		Title: "The replies to a batch come in one piece",
		run:   inOnePiece},
	{ID: "pipe.error", Section: "RFC 2920, 3.2", Level: Must, needs: "PIPELINING to",
		Title: "An error in a batch does not lose the rest",
		run: pipelined("250 5xx 2xx 250", "MAIL FROM:<$from>", "RCPT TO:<>",
			"RCPT TO:<$to>", "RSET")},
	{ID: "pipe.unknown-command", Section: "RFC 2920, 3.2", Level: Must, needs: "PIPELINING",
		Title: "An unknown command does not lose the rest",
		run:   pipelined("250 5xx 250", "MAIL FROM:<$from>", "XYZZY", "RSET")},
	{ID: "pipe.mail-refused", Section: "RFC 2920, 3.1", Level: Must, needs: "PIPELINING to",
		Title: "After a refused MAIL the whole batch is refused",
		run: func(s *session) {
			s.hello()
			s.judgeAll("5xx 5xx 5xx", s.batch("MAIL TO:<>", s.expand("RCPT TO:<$to>"), "DATA"))
		}},
	{ID: "pipe.rcpt-refused", Section: "RFC 2920, 3.1", Level: Must, needs: "PIPELINING",
		Title: "With no recipient no message is taken",
		run:   dataWithoutRecipient},
	{ID: "pipe.data-refused", Section: "RFC 2920, 3.1", Level: Must, needs: "PIPELINING",
		Title: "What follows a refused DATA is a command",
		run:   commandAfterRefusedData},
	{ID: "pipe.behind-message", Section: "RFC 2920, 3.1", Level: Must, needs: "PIPELINING to",
		Title: "Commands may come right behind the dot",
		run: func(s *session) {
			s.data()
			s.send(s.message() + ".\r\nRSET\r\n" + s.expand("MAIL FROM:<$from>\r\n"))
			s.judgeDelivery("2xx")
			s.judge("250", "RSET", s.hear())
			s.judge("250", "MAIL", s.hear())
		}},
	{ID: "pipe.quit", Section: "RFC 2920, 3.1", Level: Must, needs: "PIPELINING",
		Title: "All is answered before QUIT is",
		run: func(s *session) {
			s.hello()
			s.judgeAll("250 250 221", s.batch("RSET", "RSET", "QUIT"))
			s.closed()
		}},
	{ID: "pipe.many", Section: "RFC 2920, 3.2", Level: Must, needs: "PIPELINING to",
		Title: "A batch of 60 commands is answered in whole",
		run:   func(s *session) { s.hello(); s.sixty() }},
	{ID: "pipe.line-in-pieces", Section: "RFC 2920, 3.2", Level: Must, needs: "PIPELINING",
		Title: "A command may be split over two batches",
		run: func(s *session) {
			s.hello()
			s.send("RSET\r\nMAIL FR")
			s.pause()
			s.send(s.expand("OM:<$from>\r\nRSET\r\n"))
			s.judgeAll("250 250 250", []Reply{s.hear(), s.hear(), s.hear()})
		}},
}

// pipelined sends lines as one batch, after EHLO.
func pipelined(want string, lines ...string) func(*session) {
	return func(s *session) {
		s.hello()
		batch := make([]string, len(lines))
		for i, line := range lines {
			batch[i] = s.expand(line)
		}
		s.judgeAll(want, s.batch(batch...))
	}
}

// inOnePiece sends commands that a server answers without asking anybody. Replies
// that were written in one go come with one read; others may do so by chance, and
// so there are some rounds.
func inOnePiece(s *session) {
	s.hello()
	mail := s.expand("MAIL FROM:<$from>")
	for range 3 {
		if s.decided() {
			return
		}
		before := s.wire.reads
		s.judgeAll("250 250 250 250", s.batch(mail, "RSET", mail, "RSET"))
		if reads := s.wire.reads - before; reads > 1 {
			s.fail("the replies came in %d pieces", reads)
		}
	}
}

// dataWithoutRecipient may be answered with 354. The client then sends an empty
// message, and must not hear that it was accepted.
func dataWithoutRecipient(s *session) {
	s.hello()
	replies := s.batch(s.expand("MAIL FROM:<$from>"), "RCPT TO:<>", "DATA")
	s.judgeAll("250 5xx 354|503|554", replies)
	if s.last.Code == 354 {
		s.expect("5xx", ".")
	}
}

// commandAfterRefusedData sends what would be a message, had DATA been taken.
func commandAfterRefusedData(s *session) {
	s.hello()
	s.need("250", s.expand("MAIL FROM:<$from>"))
	if r := s.ask("DATA"); r.Code == 354 {
		s.send(".\r\n")
		s.hear()
		s.skip("DATA without a recipient is answered with 354")
	}
	s.expect("250", "RSET")
}

// sixty sends a batch that no limit on recipients, or on commands that are no
// part of a transaction, has to refuse.
func (s *session) sixty() {
	lines := slices.Repeat([]string{s.expand("RCPT TO:<$to>")}, 60)
	lines[0], lines[59] = s.expand("MAIL FROM:<$from>"), "RSET"
	s.judgeAll(strings.Repeat(" 2xx", 60), s.batch(lines...))
	if !s.decided() {
		s.result.Expected, s.result.Heard = "2xx, 60 times", "2xx"
	}
}
