package selftest

// lmtpChecks are of what LMTP has that SMTP has not (RFC 2033).
var lmtpChecks = []Check{
	{ID: "lhlo.code", Section: "RFC 2033, 4.1", Level: Must, on: LMTP,
		Title: "LHLO is answered with 250",
		play:  "LHLO $me => 250"},
	{ID: "lhlo.ehlo", Section: "RFC 2033, 4.1", Level: Must, on: LMTP,
		Title: "EHLO is no command of LMTP",
		play:  "EHLO $me => 5xx"},
	{ID: "lhlo.helo", Section: "RFC 2033, 4.1", Level: Must, on: LMTP,
		Title: "HELO is no command of LMTP",
		play:  "HELO $me => 5xx"},
	{ID: "lhlo.ehlo-500", Section: "RFC 2033, 4.1", Level: Should, on: LMTP,
		Title: "EHLO and HELO are answered with 500",
		play:  "EHLO $me => 500\nHELO $me => 500"},
	{ID: "lhlo.ehlo-keeps", Section: "RFC 2033, 4.1", Level: Must, on: LMTP, needs: "to",
		Title: "EHLO leaves the transaction alone",
		play:  "hello\nmail\nEHLO $me => 5xx\nRCPT TO:<$to> => 2xx"},
	{ID: "lhlo.pipelining", Section: "RFC 2033, 5", Level: Must, on: LMTP,
		Title: "PIPELINING is offered",
		run:   offered("PIPELINING")},
	{ID: "lhlo.status", Section: "RFC 2033, 5", Level: Must, on: LMTP,
		Title: "ENHANCEDSTATUSCODES is offered",
		run:   offered("ENHANCEDSTATUSCODES")},
	{ID: "lhlo.8bitmime", Section: "RFC 2033, 5", Level: Should, on: LMTP,
		Title: "8BITMIME is offered",
		run:   offered("8BITMIME")},
	{ID: "each.none", Section: "RFC 2033, 4.2", Level: Must, on: LMTP,
		Title: "DATA without a recipient: 503",
		play:  "hello\nmail\nDATA => 503"},
	{ID: "each.none-accepted", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "unknown",
		Title: "DATA after only refused recipients: 503",
		play:  "hello\nmail\nRCPT TO:<$unknown> => 5xx\nDATA => 503"},
	{ID: "each.one", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "to",
		Title: "One recipient: one reply",
		run:   func(s *session) { s.recipients("$to"); s.deliver("2xx", "") }},
	{ID: "each.three", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "to",
		Title: "A recipient that comes thrice: three replies",
		run:   func(s *session) { s.recipients("$to", "$to", "$to"); s.deliver("2xx", "") }},
	{ID: "each.refused-first", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "to unknown",
		Title: "No reply for a refused recipient, come first",
		run:   func(s *session) { s.recipients("$unknown", "$to"); s.deliver("2xx", "") }},
	{ID: "each.refused-between", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "to unknown",
		Title: "No reply for a refused recipient in between",
		run:   func(s *session) { s.recipients("$to", "$unknown", "$to"); s.deliver("2xx", "") }},
	{ID: "each.syntax-error", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "to",
		Title: "No reply for a recipient that is none",
		run:   func(s *session) { s.recipients("$to", "", "$to"); s.deliver("2xx", "") }},
	{ID: "each.second-message", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "to",
		Title: "The second message counts its own recipients",
		run: func(s *session) {
			s.recipients("$to", "$to")
			s.deliver("2xx", "")
			s.mail()
			s.rcpt()
			s.need("354", "DATA")
			s.deliver("2xx", "")
		}},
	{ID: "each.after-rset", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "to",
		Title: "Recipients before RSET do not count",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.rcpt()
			s.rcpt()
			s.expect("250", "RSET")
			s.mail()
			s.rcpt()
			s.need("354", "DATA")
			s.deliver("2xx", "")
		}},
	{ID: "each.pipelined", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "PIPELINING to",
		Title: "A batch gets its replies, then each recipient",
		run: func(s *session) {
			s.hello()
			rcpt := s.expand("RCPT TO:<$to>")
			s.judgeAll("250 2xx 5xx 2xx 354", s.batch(s.expand("MAIL FROM:<$from>"), rcpt, "RCPT TO:<>", rcpt, "DATA"))
			s.send(s.message() + ".\r\nRSET\r\n")
			s.judgeDelivery("2xx")
			s.judge("250", "RSET", s.hear())
		}},
	{ID: "each.hundred", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "to",
		Title: "100 recipients: 100 replies",
		run: func(s *session) {
			s.hello()
			s.mail()
			for range 100 {
				s.rcpt()
			}
			s.need("354", "DATA")
			s.deliver("2xx", "")
		}},
	{ID: "each.too-large", Section: "RFC 2033, 4.2", Level: Must, on: LMTP, needs: "SIZE to",
		Title: "Too much data: a refusal for each recipient",
		run: func(s *session) {
			if text := s.tooMuch(); !s.decided() {
				s.recipients("$to", "$to")
				s.deliver("552", text)
			}
		}},
	{ID: "each.chunk", Section: "RFC 2033, 4.3", Level: Must, on: LMTP, needs: "CHUNKING to",
		Title: "After BDAT LAST each recipient has a reply",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.rcpt()
			s.rcpt()
			s.chunk("250", s.message())
			s.lastChunk("2xx", "the second\r\n")
		}},
}

// offered fails unless the server offers keyword.
func offered(keyword string) func(*session) {
	return func(s *session) {
		if lack := s.run.lacks(keyword); lack != "" {
			s.fail("%s", lack)
		}
	}
}

// recipients goes to where the message is due, with these recipients. Those that
// do not exist are refused.
func (s *session) recipients(addrs ...string) {
	s.hello()
	s.mail()
	for _, addr := range addrs {
		want := "250|251|252"
		if addr != "$to" {
			want = "5xx"
		}
		s.need(want, s.expand("RCPT TO:<"+addr+">"))
	}
	s.need("354", "DATA")
}
