package selftest

import "strings"

// helloChecks are of the opening of a session.
var helloChecks = []Check{
	{ID: "greeting.domain", Section: "RFC 5321, 4.2", Level: Must,
		Title: "The greeting begins with the server's name",
		run:   func(s *session) { s.beginsWithDomain() }},
	{ID: "port.not-25", Section: "RFC 2033, 5", Level: Must, on: LMTP, needs: "tcp",
		Title: "LMTP is not spoken on port 25",
		run: func(s *session) {
			if s.run.target.Port == "25" {
				s.fail("port 25 is for SMTP")
			}
		}},
	{ID: "hello.domain", Section: "RFC 5321, 4.1.1.1", Level: Must,
		Title: "The answer to EHLO/LHLO begins with its name",
		run:   func(s *session) { s.hello(); s.beginsWithDomain() }},
	{ID: "hello.keywords", Section: "RFC 5321, 4.1.1.1", Level: Must,
		Title: "Keywords and their parameters are well-formed",
		run:   func(s *session) { s.hello(); s.keywords() }},
	{ID: "hello.case", Section: "RFC 5321, 2.4", Level: Must,
		Title: "EHLO/LHLO may be written in any case",
		run:   func(s *session) { s.expect("250", strings.ToLower(s.helloWord())+" "+s.run.target.Hello) }},
	{ID: "hello.literal", Section: "RFC 5321, 4.1.1.1", Level: Must,
		Title: "An IPv4 address literal is a name for a client",
		play:  "$hello [127.0.0.1] => 250"},
	{ID: "hello.ipv6-literal", Section: "RFC 5321, 4.1.3", Level: Must,
		Title: "An IPv6 address literal is a name for a client",
		play:  "$hello [IPv6:::1] => 250"},
	{ID: "hello.unknown-name", Section: "RFC 5321, 4.1.4", Level: Should,
		Title: "A name that is not in the DNS is no obstacle",
		play:  "$hello no-such-host.invalid => 250\nmail"},
	{ID: "hello.no-argument", Section: "RFC 5321, 4.1.1.1", Level: Must,
		Title: "EHLO/LHLO without a name is refused",
		play:  "$hello => 5xx"},
	{ID: "hello.bad-keeps-state", Section: "RFC 5321, 4.1.4", Level: Must, needs: "to",
		Title: "A refused EHLO/LHLO leaves the transaction alone",
		run: func(s *session) {
			s.hello()
			s.mail()
			if s.ask(s.helloWord()).OK() {
				s.skip("%s without a name is taken", s.helloWord())
			}
			s.expect("250", s.expand("RCPT TO:<$to>"))
		}},
	{ID: "hello.again", Section: "RFC 5321, 4.1.4", Level: Must,
		Title: "EHLO/LHLO may come again",
		play:  "hello\n$hello $me => 250"},
	{ID: "hello.resets", Section: "RFC 5321, 4.1.4", Level: Must, needs: "to",
		Title: "EHLO/LHLO ends a transaction",
		play:  "hello\nmail\nrcpt\n$hello $me => 250\nRCPT TO:<$to> => 503"},
	{ID: "hello.mail-after-reset", Section: "RFC 5321, 4.1.4", Level: Must,
		Title: "After EHLO/LHLO a transaction may begin anew",
		play:  "hello\nmail\n$hello $me => 250\nMAIL FROM:<$from> => 250"},

	{ID: "helo.code", Section: "RFC 5321, 4.1.1.1", Level: Must, on: SMTP,
		Title: "HELO is answered with 250",
		play:  "HELO $me => 250"},
	{ID: "helo.no-keywords", Section: "RFC 5321, 4.1.1.1", Level: Must, on: SMTP,
		Title: "The answer to HELO lists no extensions",
		run: func(s *session) {
			s.need("250", "HELO "+s.run.target.Hello)
			s.keywordless()
		}},
	{ID: "helo.no-argument", Section: "RFC 5321, 4.1.1.1", Level: Must, on: SMTP,
		Title: "HELO without a name is refused",
		play:  "HELO => 5xx"},
	{ID: "helo.mail", Section: "RFC 5321, 3.2", Level: Must, on: SMTP,
		Title: "A transaction may follow HELO",
		play:  "HELO $me => 250\nMAIL FROM:<$from> => 250"},
	{ID: "helo.resets", Section: "RFC 5321, 4.1.1.1", Level: Must, on: SMTP, needs: "to",
		Title: "HELO ends a transaction",
		play:  "hello\nmail\nHELO $me => 250\nRCPT TO:<$to> => 503"},
	{ID: "helo.lhlo", Section: "RFC 2033, 4.1", Level: Must, on: SMTP,
		Title: "LHLO is no command of SMTP",
		play:  "LHLO $me => 500|502"},
}

// beginsWithDomain fails unless what was heard last begins with a Domain or an
// address literal (RFC 5321, section 4.1.2).
func (s *session) beginsWithDomain() {
	name, _, _ := strings.Cut(s.last.text(), " ")
	s.judge("2xx", "the reply", s.last)
	if !s.decided() && !isDomain(name) && !strings.HasPrefix(name, "[") {
		s.fail("%q is neither a domain nor an address literal", visible(name+"\r\n"))
	}
}

func isDomain(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Trim(label, alnum+"-") != "" || label[0] == '-' || strings.HasSuffix(label, "-") {
			return false
		}
	}
	return true
}

const alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// keywords fails unless each line but the first is an ehlo-line (RFC 5321,
// section 4.1.1.1), and each keyword comes once.
func (s *session) keywords() {
	s.judge("250", s.helloWord(), s.last)
	seen := make(map[string]bool)
	for i, line := range s.last.Lines {
		if i == 0 || s.decided() {
			continue
		}
		words := strings.Split(line, " ")
		key := strings.ToUpper(words[0])
		switch {
		case key == "" || strings.Trim(key, alnum+"-") != "" || key[0] == '-':
			s.fail("%q does not begin with a keyword", visible(line+"\r\n"))
		case seen[key]:
			s.fail("%s comes twice", key)
		}
		seen[key] = true
		for _, param := range words[1:] {
			if param == "" || strings.ContainsFunc(param, func(c rune) bool { return c <= ' ' || c > '~' }) {
				s.fail("%q has a parameter that is none", visible(line+"\r\n"))
			}
		}
	}
}

// keywordless fails if what was heard last names an extension.
func (s *session) keywordless() {
	s.judge("250", "HELO", s.last)
	for i, line := range s.last.Lines {
		word, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if _, offered := s.run.keywords[word]; i > 0 && offered {
			s.fail("HELO was answered with %s", word)
		}
	}
}
