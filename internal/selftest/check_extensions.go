package selftest

// bodyChecks are of 8BITMIME (RFC 6152).
var bodyChecks = []Check{
	{ID: "body.7bit", Section: "RFC 6152, 3", Level: Must, needs: "8BITMIME",
		Title: "BODY=7BIT is accepted",
		play:  "hello\nMAIL FROM:<$from> BODY=7BIT => 250"},
	{ID: "body.8bitmime", Section: "RFC 6152, 3", Level: Must, needs: "8BITMIME",
		Title: "BODY=8BITMIME is accepted, in any case",
		play:  "hello\nMAIL FROM:<$from> BODY=8BITMIME => 250\nRSET => 250\nMAIL FROM:<$from> body=8bitMime => 250"},
	{ID: "body.message", Section: "RFC 6152, 3", Level: Must, needs: "8BITMIME to",
		Title: "An 8-bit message is accepted",
		run: func(s *session) {
			s.hello()
			s.need("250", s.expand("MAIL FROM:<$from> BODY=8BITMIME"))
			s.rcpt()
			s.need("354", "DATA")
			s.deliver("2xx", "\xc3\xa4\xc3\xb6\xc3\xbc \xe4\xf6\xfc\r\n")
		}},
	{ID: "body.unknown", Section: "RFC 6152, 3", Level: Must, needs: "8BITMIME",
		Title: "An unknown body type is refused",
		play:  "hello\nMAIL FROM:<$from> BODY=9BIT => 5xx"},
	{ID: "body.empty", Section: "RFC 6152, 3", Level: Must, needs: "8BITMIME",
		Title: "BODY without a type is refused",
		play:  "hello\nMAIL FROM:<$from> BODY= => 5xx\nMAIL FROM:<$from> BODY => 5xx"},
	{ID: "body.binary-not-offered", Section: "RFC 3030, 3", Level: Must, needs: "8BITMIME !BINARYMIME",
		Title: "BODY=BINARYMIME that was not offered is refused",
		play:  "hello\nMAIL FROM:<$from> BODY=BINARYMIME => 5xx"},
}

// utf8Checks are of SMTPUTF8 (RFC 6531).
var utf8Checks = []Check{
	{ID: "utf8.parameter", Section: "RFC 6531, 3.4", Level: Must, needs: "SMTPUTF8",
		Title: "SMTPUTF8 is a parameter of MAIL",
		play:  "hello\nMAIL FROM:<$from> SMTPUTF8 => 250"},
	{ID: "utf8.value", Section: "RFC 6531, 3.4", Level: Must, needs: "SMTPUTF8",
		Title: "SMTPUTF8 with a value is refused",
		play:  "hello\nMAIL FROM:<$from> SMTPUTF8=yes => 5xx"},
	{ID: "utf8.local-part", Section: "RFC 6531, 3.3", Level: Must, needs: "SMTPUTF8 to",
		Title: "A local part in UTF-8 is no syntax error",
		play:  "hello\nMAIL FROM:<$from> SMTPUTF8 => 250\nRCPT TO:<no-süch-user@$domain> => 2xx|4xx|550|551|553|554"},
	{ID: "utf8.domain", Section: "RFC 6531, 3.3", Level: Must, needs: "SMTPUTF8",
		Title: "A domain in UTF-8 is no syntax error",
		play:  "hello\nMAIL FROM:<$from> SMTPUTF8 => 250\nRCPT TO:<selftest@bücher.example> => 2xx|4xx|550|551|553|554"},
	{ID: "utf8.sender", Section: "RFC 6531, 3.5", Level: Must, needs: "SMTPUTF8 to",
		Title: "A sender in UTF-8 without SMTPUTF8 is refused",
		play:  "hello\nMAIL FROM:<süch@$domain> => 5xx"},
	{ID: "utf8.recipient", Section: "RFC 6531, 3.5", Level: Must, needs: "SMTPUTF8 to",
		Title: "A recipient in UTF-8 without it is refused",
		play:  "hello\nmail\nRCPT TO:<süch@$domain> => 5xx"},
	{ID: "utf8.status", Section: "RFC 6531, 3.5", Level: Should, needs: "SMTPUTF8 ENHANCEDSTATUSCODES to",
		Title: "UTF-8 without SMTPUTF8 is status 5.6.7",
		run: func(s *session) {
			s.hello()
			s.judgeStatus("5.6.7", s.ask(s.expand("MAIL FROM:<süch@$domain>")))
			s.mail()
			s.judgeStatus("5.6.7", s.ask(s.expand("RCPT TO:<süch@$domain>")))
		}},
	{ID: "utf8.invalid", Section: "RFC 6531, 3.3", Level: Must, needs: "SMTPUTF8 to",
		Title: "An address in invalid UTF-8 is refused",
		play:  "hello\nMAIL FROM:<$from> SMTPUTF8 => 250\nRCPT TO:<s\xfcch@$domain> => 5xx"},
	{ID: "utf8.overlong", Section: "RFC 3629, 3", Level: Must, needs: "SMTPUTF8 to",
		Title: "An address with an overlong @ is refused",
		play:  "hello\nMAIL FROM:<$from> SMTPUTF8 => 250\nRCPT TO:<s\xc1\x80$to> => 5xx"},
	{ID: "utf8.8bitmime", Section: "RFC 6531, 3.1", Level: Must, needs: "SMTPUTF8",
		Title: "Who offers SMTPUTF8 offers 8BITMIME",
		run: func(s *session) {
			if lack := s.run.lacks("8BITMIME"); lack != "" {
				s.fail("%s", lack)
			}
		}},
	{ID: "utf8.message", Section: "RFC 6531, 3.4", Level: Must, needs: "SMTPUTF8 to",
		Title: "A message with a header in UTF-8 is accepted",
		run: func(s *session) {
			s.hello()
			s.need("250", s.expand("MAIL FROM:<$from> SMTPUTF8"))
			s.rcpt()
			s.need("354", "DATA")
			s.send("Comments: grüße\r\n" + s.message() + ".\r\n")
			s.judgeDelivery("2xx")
		}},
	{ID: "utf8.not-offered", Section: "RFC 5321, 4.1.1.11", Level: Must, needs: "!SMTPUTF8",
		Title: "SMTPUTF8 that was not offered is refused",
		play:  "hello\nMAIL FROM:<$from> SMTPUTF8 => 5xx"},
}

// dsnChecks are of DSN (RFC 3461).
var dsnChecks = []Check{
	{ID: "dsn.ret", Section: "RFC 3461, 4.3", Level: Must, needs: "DSN",
		Title: "RET=FULL and RET=HDRS are accepted",
		play:  "hello\nMAIL FROM:<$from> RET=FULL => 250\nRSET => 250\nMAIL FROM:<$from> ret=hdrs => 250"},
	{ID: "dsn.ret-unknown", Section: "RFC 3461, 4.3", Level: Must, needs: "DSN",
		Title: "RET with another value is refused",
		play:  "hello\nMAIL FROM:<$from> RET=SOME => 5xx"},
	{ID: "dsn.ret-twice", Section: "RFC 3461, 4.3", Level: Must, needs: "DSN",
		Title: "RET comes once",
		play:  "hello\nMAIL FROM:<$from> RET=FULL RET=HDRS => 5xx"},
	{ID: "dsn.envid", Section: "RFC 3461, 4.4", Level: Must, needs: "DSN",
		Title: "ENVID is accepted",
		play:  "hello\nMAIL FROM:<$from> ENVID=QQ314159 => 250"},
	{ID: "dsn.envid-xtext", Section: "RFC 3461, 4", Level: Must, needs: "DSN",
		Title: "ENVID in xtext is accepted",
		play:  "hello\nMAIL FROM:<$from> ENVID=QQ+2B314+3D159 => 250"},
	{ID: "dsn.envid-bad-xtext", Section: "RFC 3461, 4", Level: Should, needs: "DSN",
		Title: "A + without two digits behind it is refused",
		play:  "hello\nMAIL FROM:<$from> ENVID=QQ+XY => 5xx\nMAIL FROM:<$from> ENVID=QQ+ => 5xx"},
	{ID: "dsn.envid-empty", Section: "RFC 3461, 4.4", Level: Should, needs: "DSN",
		Title: "An empty ENVID is refused",
		play:  "hello\nMAIL FROM:<$from> ENVID= => 5xx"},
	{ID: "dsn.envid-100", Section: "RFC 3461, 4.4", Level: Must, needs: "DSN",
		Title: "ENVID may have 100 octets",
		play:  "hello\nMAIL FROM:<$from> ENVID=" + tenTimes10 + " => 250"},
	{ID: "dsn.notify", Section: "RFC 3461, 4.1", Level: Must, needs: "DSN to",
		Title: "NOTIFY with several conditions is accepted",
		play:  "hello\nmail\nRCPT TO:<$to> NOTIFY=SUCCESS,FAILURE,DELAY => 2xx"},
	{ID: "dsn.notify-never", Section: "RFC 3461, 4.1", Level: Must, needs: "DSN to",
		Title: "NOTIFY=NEVER is accepted",
		play:  "hello\nmail\nRCPT TO:<$to> NOTIFY=NEVER => 2xx"},
	{ID: "dsn.notify-case", Section: "RFC 3461, 4.1", Level: Must, needs: "DSN to",
		Title: "NOTIFY may be written in any case",
		play:  "hello\nmail\nRCPT TO:<$to> notify=Failure => 2xx"},
	{ID: "dsn.never-alone", Section: "RFC 3461, 4.1", Level: Must, needs: "DSN to",
		Title: "NEVER with another condition is refused",
		play:  "hello\nmail\nRCPT TO:<$to> NOTIFY=NEVER,FAILURE => 5xx"},
	{ID: "dsn.notify-unknown", Section: "RFC 3461, 4.1", Level: Must, needs: "DSN to",
		Title: "An unknown condition is refused",
		play:  "hello\nmail\nRCPT TO:<$to> NOTIFY=SOMETIMES => 5xx"},
	{ID: "dsn.notify-empty", Section: "RFC 3461, 4.1", Level: Must, needs: "DSN to",
		Title: "NOTIFY without a condition is refused",
		play:  "hello\nmail\nRCPT TO:<$to> NOTIFY= => 5xx"},
	{ID: "dsn.orcpt", Section: "RFC 3461, 4.2", Level: Must, needs: "DSN to",
		Title: "ORCPT in xtext is accepted",
		play:  "hello\nmail\nRCPT TO:<$to> ORCPT=rfc822;ann+2Blist@example.org => 2xx"},
	{ID: "dsn.orcpt-no-type", Section: "RFC 3461, 4.2", Level: Must, needs: "DSN to",
		Title: "ORCPT without a type is refused",
		play:  "hello\nmail\nRCPT TO:<$to> ORCPT=ann@example.org => 5xx"},
	{ID: "dsn.orcpt-bad-xtext", Section: "RFC 3461, 4", Level: Should, needs: "DSN to",
		Title: "ORCPT that is no xtext is refused",
		play:  "hello\nmail\nRCPT TO:<$to> ORCPT=rfc822;ann+list@example.org => 5xx"},
	{ID: "dsn.both", Section: "RFC 3461, 4", Level: Must, needs: "DSN to",
		Title: "All parameters go together",
		play: "hello\nMAIL FROM:<$from> RET=HDRS ENVID=QQ314159 => 250\n" +
			"RCPT TO:<$to> NOTIFY=FAILURE ORCPT=rfc822;ann@example.org => 2xx"},
	{ID: "dsn.not-offered", Section: "RFC 5321, 4.1.1.11", Level: Should, needs: "!DSN to",
		Title: "Parameters of DSN, not offered, are refused",
		play:  "hello\nMAIL FROM:<$from> RET=FULL => 555\nmail\nRCPT TO:<$to> NOTIFY=NEVER => 555"},
}

const tenTimes10 = "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
