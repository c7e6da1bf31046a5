package selftest

import "strings"

// orderChecks are of the order of commands (RFC 5321, section 4.1.4).
var orderChecks = []Check{
	{ID: "order.mail-first", Section: "RFC 5321, 4.1.1.1", Level: Should,
		Title: "MAIL before EHLO/LHLO is refused",
		play:  "MAIL FROM:<$from> => 503"},
	{ID: "order.noop-first", Section: "RFC 5321, 4.1.4", Level: Should,
		Title: "NOOP works before EHLO/LHLO",
		play:  "NOOP => 250"},
	{ID: "order.rset-first", Section: "RFC 5321, 4.1.4", Level: Should,
		Title: "RSET works before EHLO/LHLO",
		play:  "RSET => 250"},
	{ID: "order.vrfy-first", Section: "RFC 5321, 4.1.4", Level: Should,
		Title: "VRFY before EHLO/LHLO is not out of order",
		play:  "VRFY postmaster => 2xx|500|502|550|551|553|554"},
	{ID: "order.help-first", Section: "RFC 5321, 4.1.4", Level: Should,
		Title: "HELP before EHLO/LHLO is not out of order",
		play:  "HELP => 2xx|500|502"},
	{ID: "order.quit-first", Section: "RFC 5321, 4.1.1.10", Level: Must,
		Title: "QUIT may be the first command",
		play:  "QUIT => 221\nclosed"},
	{ID: "order.rcpt-first", Section: "RFC 5321, 4.1.4", Level: Must, needs: "to",
		Title: "RCPT without MAIL is out of order",
		play:  "hello\nRCPT TO:<$to> => 503"},
	{ID: "order.data-first", Section: "RFC 5321, 4.1.4", Level: Must,
		Title: "DATA without MAIL is out of order",
		play:  "hello\nDATA => 503|554"},
	{ID: "order.data-without-rcpt", Section: "RFC 5321, 3.3", Level: Must,
		Title: "DATA without RCPT is out of order",
		play:  "hello\nmail\nDATA => 503|554"},
	{ID: "order.nested-mail", Section: "RFC 5321, 4.1.4", Level: Must,
		Title: "MAIL within a transaction is out of order",
		play:  "hello\nmail\nMAIL FROM:<$from> => 503"},
	{ID: "order.nested-mail-keeps", Section: "RFC 5321, 4.1.4", Level: Must, needs: "to",
		Title: "A refused nested MAIL leaves the transaction alone",
		run: func(s *session) {
			s.hello()
			s.mail()
			if s.ask(s.expand("MAIL FROM:<$from>")).OK() {
				s.skip("nested MAIL is taken")
			}
			s.expect("2xx", s.expand("RCPT TO:<$to>"))
		}},
	{ID: "order.nested-mail-late", Section: "RFC 5321, 4.1.4", Level: Must, needs: "to",
		Title: "MAIL after RCPT is out of order",
		play:  "hello\nmail\nrcpt\nMAIL FROM:<$from> => 503"},
	{ID: "order.data-refused-keeps", Section: "RFC 5321, 4.1.4", Level: Must, needs: "to",
		Title: "A DATA out of order leaves the transaction alone",
		play:  "hello\nmail\nDATA => 503|554\nRCPT TO:<$to> => 2xx"},

	{ID: "rset.code", Section: "RFC 5321, 4.1.1.5", Level: Must,
		Title: "RSET is answered with 250, whenever it comes",
		play:  "hello\nRSET => 250\nmail\nRSET => 250\nRSET => 250"},
	{ID: "rset.ends", Section: "RFC 5321, 4.1.1.5", Level: Must, needs: "to",
		Title: "RSET ends a transaction",
		play:  "hello\nmail\nrcpt\nRSET => 250\nRCPT TO:<$to> => 503"},
	{ID: "rset.forgets-rcpt", Section: "RFC 5321, 4.1.1.5", Level: Must, needs: "to",
		Title: "RSET forgets the recipients",
		play:  "hello\nmail\nrcpt\nRSET => 250\nmail\nDATA => 503|554"},
	{ID: "rset.keeps-hello", Section: "RFC 5321, 4.1.1.5", Level: Must,
		Title: "RSET keeps the session open: MAIL may follow",
		play:  "hello\nRSET => 250\nMAIL FROM:<$from> => 250"},
	{ID: "quit.code", Section: "RFC 5321, 4.1.1.10", Level: Must,
		Title: "QUIT is answered with 221, and the server closes",
		play:  "hello\nQUIT => 221\nclosed"},
	{ID: "quit.in-transaction", Section: "RFC 5321, 4.1.1.10", Level: Must, needs: "to",
		Title: "QUIT may end a transaction",
		play:  "hello\nmail\nrcpt\nQUIT => 221\nclosed"},
}

// commandChecks are of commands that are no part of a transaction, and of what is
// no command.
var commandChecks = []Check{
	{ID: "noop.code", Section: "RFC 5321, 4.1.1.9", Level: Must,
		Title: "NOOP is answered with 250",
		play:  "hello\nNOOP => 250"},
	{ID: "noop.argument", Section: "RFC 5321, 4.1.1.9", Level: Should,
		Title: "The argument of NOOP is ignored",
		play:  "hello\nNOOP an-argument => 250"},
	{ID: "noop.keeps", Section: "RFC 5321, 4.1.1.9", Level: Must, needs: "to",
		Title: "NOOP leaves the transaction alone",
		play:  "hello\nmail\nNOOP => 250\nRCPT TO:<$to> => 2xx\nNOOP => 250\nDATA => 354\nmessage"},
	{ID: "vrfy.supported", Section: "RFC 5321, 4.5.1", Level: Must, on: SMTP,
		Title: "VRFY is supported, even if only to say 252",
		play:  "hello\nVRFY postmaster => 250|251|252|550|551|553"},
	{ID: "vrfy.no-argument", Section: "RFC 5321, 4.1.1.6", Level: Should,
		Title: "VRFY without an argument is refused",
		play:  "hello\nVRFY => 5xx"},
	{ID: "vrfy.keeps", Section: "RFC 5321, 4.1.1.6", Level: Must, needs: "to",
		Title: "VRFY leaves the transaction alone",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.ask("VRFY postmaster")
			s.expect("2xx", s.expand("RCPT TO:<$to>"))
		}},
	{ID: "expn.answer", Section: "RFC 5321, 3.5.2", Level: Must,
		Title: "EXPN is answered, if only with 502",
		play:  "hello\nEXPN postmaster => 250|252|500|502|504|550"},
	{ID: "help.supported", Section: "RFC 5321, 4.1.1.8", Level: Should,
		Title: "HELP is supported",
		play:  "hello\nHELP => 211|214"},
	{ID: "unknown.code", Section: "RFC 5321, 4.2.4", Level: Must,
		Title: "An unknown command is answered with 500",
		play:  "hello\nXYZZY => 500|502"},
	{ID: "unknown.exactly-500", Section: "RFC 5321, 4.2.4", Level: Should,
		Title: "502 is for commands that are known",
		play:  "hello\nXYZZY => 500"},
	{ID: "unknown.keeps", Section: "RFC 5321, 4.1.4", Level: Must, needs: "to",
		Title: "An unknown command leaves the transaction alone",
		play:  "hello\nmail\nXYZZY => 5xx\nRCPT TO:<$to> => 2xx"},
	{ID: "unknown.empty", Section: "RFC 5321, 4.2", Level: Must,
		Title: "An empty line is answered with 5xx, once",
		run:   func(s *session) { s.hello(); s.expect("5xx", "") }},
	{ID: "unknown.long", Section: "RFC 5321, 4.2.4", Level: Must,
		Title: "A verb of 300 letters is an unknown command",
		run:   func(s *session) { s.hello(); s.expect("500|502", strings.Repeat("x", 300)) }},
	{ID: "unknown.http", Section: "RFC 5321, 4.2.4", Level: Must,
		Title: "A request of HTTP is an unknown command",
		play:  "hello\nGET / HTTP/1.1 => 5xx|221|421|closed"},
	{ID: "unknown.space", Section: "RFC 5321, 4.1.1", Level: Must,
		Title: "A space before a verb: one reply",
		play:  "hello\n NOOP => 2xx|5xx"},
	{ID: "unknown.prefix", Section: "RFC 5321, 4.2.4", Level: Must,
		Title: "A command with more letters is another one",
		play:  "hello\nRSETX => 500|502"},
	{ID: "unknown.turn", Section: "RFC 5321, F.1", Level: Should,
		Title: "TURN is not implemented",
		play:  "hello\nTURN => 500|502"},
	{ID: "unknown.send", Section: "RFC 5321, F.6", Level: Should,
		Title: "SEND is not implemented",
		play:  "hello\nSEND FROM:<$from> => 500|502"},
	{ID: "case.verb", Section: "RFC 5321, 2.4", Level: Must,
		Title: "Verbs may be written in any case",
		play:  "hello\nrSeT => 250\nnoop => 250\nquit => 221"},
	{ID: "case.keyword", Section: "RFC 5321, 2.4", Level: Must, needs: "to",
		Title: "FROM: and TO: may be written in any case",
		play:  "hello\nmail from:<$from> => 250\nRcpt tO:<$to> => 2xx"},
	{ID: "space.trailing", Section: "RFC 5321, 4.1.1", Level: Should,
		Title: "White space at the end of a line is tolerated",
		run:   func(s *session) { s.hello(); s.expect("250", "RSET \t ") }},
	{ID: "argument.rset", Section: "RFC 5321, 4.1.1", Level: Should,
		Title: "RSET with an argument is refused",
		play:  "hello\nRSET now => 501"},
	{ID: "argument.data", Section: "RFC 5321, 4.1.1", Level: Should, needs: "to",
		Title: "DATA with an argument is refused",
		run:   dataWithArgument},
	{ID: "argument.quit", Section: "RFC 5321, 4.1.1", Level: Should,
		Title: "QUIT with an argument is refused",
		play:  "hello\nQUIT now => 501"},
	{ID: "line.bare-lf", Section: "RFC 5321, 2.3.8", Level: Should,
		Title: "A bare LF does not end a command",
		run: func(s *session) {
			s.hello()
			s.send("NOOP\nNOOP\r\n")
			s.judge("2xx|5xx|closed", "NOOP LF NOOP", s.hear())
		}},
	{ID: "line.bare-cr", Section: "RFC 5321, 2.3.8", Level: Must,
		Title: "A bare CR does not end a command",
		run: func(s *session) {
			s.hello()
			s.send("NOOP\rNOOP\r\n")
			s.judge("2xx|5xx|closed", "NOOP CR NOOP", s.hear())
		}},
	{ID: "line.nul", Section: "RFC 5321, 4.1.2", Level: Must,
		Title: "NUL in a path is refused",
		run:   func(s *session) { s.hello(); s.mail(); s.expect("5xx|closed", s.expand("RCPT TO:<\x00$to>")) }},
	{ID: "line.8bit", Section: "RFC 5321, 2.4", Level: Must,
		Title: "A command of 8-bit octets gets one reply",
		run:   func(s *session) { s.hello(); s.expect("5xx|closed", "\xe4\xf6\xfc\xff") }},
	{ID: "line.in-pieces", Section: "RFC 5321, 4.1.1", Level: Must,
		Title: "A command may come in pieces",
		run: func(s *session) {
			s.hello()
			for _, piece := range []string{"NO", "OP", "\r", "\n"} {
				s.send(piece)
				s.pause()
			}
			s.judge("250", "NOOP in pieces", s.hear())
		}},
}

// dataWithArgument says DATA with an argument. A server that takes it gets its
// message.
func dataWithArgument(s *session) {
	s.hello()
	s.mail()
	s.rcpt()
	r := s.ask("DATA now")
	if r.Code == 354 {
		s.deliver("2xx", "")
	}
	s.judge("501", "DATA now", r)
}
