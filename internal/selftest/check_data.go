package selftest

import (
	"strings"
	"time"
)

// dataChecks are of DATA and of what is between 354 and the dot.
var dataChecks = []Check{
	{ID: "data.354", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "DATA is answered with 354, the message with 250",
		play:  "hello\nmail\nrcpt\nDATA => 354\nmessage"},
	{ID: "data.after-helo", Section: "RFC 5321, 3.2", Level: Must, needs: "to", on: SMTP,
		Title: "A client that says HELO may send a message",
		play:  "HELO $me => 250\nmail\nrcpt\nDATA => 354\nmessage"},
	{ID: "data.ends", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "The message ends the transaction",
		play:  "data\nmessage\nRCPT TO:<$to> => 503"},
	{ID: "data.second", Section: "RFC 5321, 3.3", Level: Must, needs: "to",
		Title: "A second message may follow in the session",
		play:  "data\nmessage\nMAIL FROM:<$from> => 250\nRCPT TO:<$to> => 2xx\nDATA => 354\nmessage"},
	{ID: "data.empty", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "A dot right behind 354 ends an empty message",
		run: func(s *session) {
			s.data()
			s.send(".\r\n")
			s.judgeDelivery("2xx|4xx|5xx")
		}},
	{ID: "data.commands", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "Commands in a message are text",
		run:   func(s *session) { s.data(); s.deliver("2xx", "RSET\r\nNOOP\r\nQUIT\r\n") }},
	{ID: "data.two-dots", Section: "RFC 5321, 4.5.2", Level: Must, needs: "to",
		Title: "A line of two dots does not end the message",
		run:   func(s *session) { s.data(); s.deliver("2xx", "..\r\nNOOP\r\n...\r\nNOOP\r\n") }},
	{ID: "data.dot-text", Section: "RFC 5321, 4.5.2", Level: Must, needs: "to",
		Title: "A dot with text behind it ends no message",
		run:   func(s *session) { s.data(); s.deliver("2xx", ".x\r\nNOOP\r\n. \r\nNOOP\r\n") }},
	{ID: "data.first-line-dot", Section: "RFC 5321, 4.5.2", Level: Must, needs: "to",
		Title: "The first line may begin with a dot",
		run: func(s *session) {
			s.data()
			s.send("..first: line\r\n" + s.message() + ".\r\n")
			s.judgeDelivery("2xx|4xx|5xx")
		}},
	{ID: "data.end-in-pieces", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "The end of the message may come in pieces",
		run: func(s *session) {
			s.data()
			s.send(s.message() + "text")
			for _, piece := range []string{"\r", "\n", ".", "\r", "\n"} {
				s.pause()
				s.send(piece)
			}
			s.judgeDelivery("2xx")
		}},
	{ID: "data.no-empty-line", Section: "RFC 5322, 2.1", Level: Must, needs: "to",
		Title: "A message may have no body",
		run: func(s *session) {
			s.data()
			header, _, _ := strings.Cut(s.message(), "\r\n\r\n")
			s.send(header + "\r\n.\r\n")
			s.judgeDelivery("2xx")
		}},
	{ID: "data.nul", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "NUL in a message does not end it",
		run:   func(s *session) { s.data(); s.deliver("2xx|5xx", "a\x00b\r\n\x00\r\nNOOP\r\n") }},
	{ID: "data.control", Section: "RFC 5321, 4.5.2", Level: Must, needs: "to",
		Title: "All other ASCII characters are accepted",
		run:   func(s *session) { s.data(); s.deliver("2xx", "\x01\x02\x07\x08\t\x0b\x0c\x1a\x1b\x7f\r\n") }},
	{ID: "data.8bit", Section: "RFC 5321, 2.4", Level: Must, needs: "to",
		Title: "8-bit text that was not announced: one reply",
		run:   func(s *session) { s.data(); s.deliver("2xx|5xx", "\xe4\xf6\xfc \xff\xfe\r\n") }},
	{ID: "data.bare-lf", Section: "RFC 5321, 2.3.8", Level: Must, needs: "to",
		Title: "A bare LF in a message: one reply",
		run:   func(s *session) { s.data(); s.deliver("2xx|5xx|closed", "one\ntwo\r\n") }},
	{ID: "data.bare-cr", Section: "RFC 5321, 2.3.8", Level: Must, needs: "to",
		Title: "A bare CR in a message: one reply",
		run:   func(s *session) { s.data(); s.deliver("2xx|5xx|closed", "one\rtwo\r\n") }},
}

// endChecks are of the end of a message, which is CRLF "." CRLF and nothing else
// (RFC 5321, section 4.1.1.4). Where two servers do not agree about that, one
// message smuggles in another.
var endChecks = []Check{
	{ID: "end.lf-dot-lf", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "LF . LF does not end a message", run: smuggle("\n.\n")},
	{ID: "end.lf-dot-crlf", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "LF . CRLF does not end a message", run: smuggle("\n.\r\n")},
	{ID: "end.crlf-dot-lf", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "CRLF . LF does not end a message", run: smuggle("\r\n.\n")},
	{ID: "end.cr-dot-cr", Section: "RFC 5321, 2.3.8", Level: Must, needs: "to",
		Title: "CR . CR does not end a message", run: smuggle("\r.\r")},
	{ID: "end.cr-dot-crlf", Section: "RFC 5321, 2.3.8", Level: Must, needs: "to",
		Title: "CR . CRLF does not end a message", run: smuggle("\r.\r\n")},
	{ID: "end.crlf-dot-cr", Section: "RFC 5321, 2.3.8", Level: Must, needs: "to",
		Title: "CRLF . CR does not end a message", run: smuggle("\r\n.\r")},
	{ID: "end.crlf-dot-crcrlf", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "CRLF . CR CRLF does not end a message", run: smuggle("\r\n.\r\r\n")},
	{ID: "end.lf-dot-crcrlf", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "LF . CR CRLF does not end a message", run: smuggle("\n.\r\r\n")},
	{ID: "end.lf-dot-cr", Section: "RFC 5321, 2.3.8", Level: Must, needs: "to",
		Title: "LF . CR does not end a message", run: smuggle("\n.\r")},
	{ID: "end.crlf-nul-dot", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "CRLF NUL . CRLF does not end a message", run: smuggle("\r\n\x00.\r\n")},
	{ID: "end.crlf-dot-nul", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "CRLF . NUL CRLF does not end a message", run: smuggle("\r\n.\x00\r\n")},
	{ID: "end.crlf-dot-space", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "CRLF . SP CRLF does not end a message", run: smuggle("\r\n. \r\n")},
	{ID: "end.crcrlf-dot-crlf", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "CR CRLF . CRLF ends a message", run: endsWith("text\r\r\n.\r\n")},
	{ID: "end.cr-crcrlf-dot-crlf", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "CR CR CRLF . CRLF ends a message", run: endsWith("text\r\r\r\n.\r\n")},
	{ID: "end.lf-crlf-dot-crlf", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "LF CRLF . CRLF ends a message", run: endsWith("text\n\r\n.\r\n")},
	{ID: "end.almost", Section: "RFC 5321, 4.1.1.4", Level: Must, needs: "to",
		Title: "CRLF . CR x CRLF . CRLF ends a message",
		run:   endsWith("text\r\n.\rx\r\n.\r\n")},
}

// smuggle sends a message that has an ending in it that is none. Behind that comes
// a command; if it is answered, anything could have stood there. A server may
// refuse such a message, or hang up on it.
func smuggle(ending string) func(*session) {
	return func(s *session) {
		s.data()
		s.send(s.message() + "text" + ending + "NOOP\r\n.\r\n")
		s.judge("2xx|4xx|5xx|closed", "the message", s.hear())
		if s.decided() || s.over {
			return
		}
		s.result.Expected = "one reply"
		if next := s.ask("QUIT"); !next.matches("221|421|closed") {
			s.result.Heard += ", " + next.short()
			s.fail("what stands behind an ending that is none was executed: QUIT was answered with %v", next)
		}
	}
}

// endsWith sends a message that ends as text does. A server that does not see
// this waits for more.
func endsWith(text string) func(*session) {
	return func(s *session) {
		s.data()
		s.send(s.message() + text)
		s.judge("2xx|4xx|5xx|closed", "the message", s.hear())
	}
}

// pause lets what was sent arrive by itself.
func (s *session) pause() {
	if s.decided() {
		return
	}
	s.wire.sending.Wait()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-s.done:
	}
}
