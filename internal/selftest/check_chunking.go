package selftest

import (
	"fmt"
	"strconv"
	"strings"
)

// chunkChecks are of CHUNKING and BINARYMIME (RFC 3030). The octets behind a
// BDAT command are never commands, whatever the answer to it.
var chunkChecks = []Check{
	{ID: "bdat.message", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "A message may be one chunk",
		run:   func(s *session) { s.envelope(); s.lastChunk("2xx", s.message()) }},
	{ID: "bdat.two", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "A message may be two chunks",
		run:   func(s *session) { s.envelope(); s.chunk("250", s.message()); s.lastChunk("2xx", "the second\r\n") }},
	{ID: "bdat.zero-last", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "BDAT 0 LAST ends a message",
		run:   func(s *session) { s.envelope(); s.chunk("250", s.message()); s.lastChunk("2xx", "") }},
	{ID: "bdat.zero", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "BDAT 0 in the middle changes nothing",
		run:   func(s *session) { s.envelope(); s.chunk("250", ""); s.lastChunk("2xx", s.message()) }},
	{ID: "bdat.case", Section: "RFC 5321, 2.4", Level: Must, needs: "CHUNKING to",
		Title: "BDAT and LAST may be written in any case",
		run: func(s *session) {
			s.envelope()
			text := s.message()
			s.send(fmt.Sprintf("bdat %d last\r\n%s", len(text), text))
			s.judgeDelivery("2xx")
		}},
	{ID: "bdat.split-crlf", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "A chunk may end between CR and LF",
		run: func(s *session) {
			s.envelope()
			s.chunk("250", s.message()+"text\r")
			s.lastChunk("2xx", "\nmore\r\n")
		}},
	{ID: "bdat.dots", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "A dot in a chunk does not end the message",
		run:   func(s *session) { s.envelope(); s.lastChunk("2xx", s.message()+"\r\n.\r\nRSET\r\nQUIT\r\n") }},
	{ID: "bdat.ends", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "The last chunk ends the transaction",
		run: func(s *session) {
			s.envelope()
			s.lastChunk("2xx", s.message())
			s.expect("503", s.expand("RCPT TO:<$to>"))
		}},
	{ID: "bdat.rset", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "RSET between chunks ends the transaction",
		run: func(s *session) {
			s.envelope()
			s.chunk("250", s.message())
			s.expect("250", "RSET")
			s.expect("503", s.expand("RCPT TO:<$to>"))
		}},
	{ID: "bdat.pipelined", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING PIPELINING to",
		Title: "Chunks may be pipelined",
		run:   pipelinedChunks},
	{ID: "bdat.data-after", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "DATA after BDAT is out of order",
		run:   func(s *session) { s.envelope(); s.chunk("250", s.message()); s.expect("503", "DATA") }},
	{ID: "bdat.rcpt-after", Section: "RFC 5321, 4.1.4", Level: Should, needs: "CHUNKING to",
		Title: "RCPT after BDAT is out of order",
		run: func(s *session) {
			s.envelope()
			s.chunk("250", s.message())
			s.expect("503", s.expand("RCPT TO:<$to>"))
		}},
	{ID: "bdat.mail-after", Section: "RFC 5321, 4.1.4", Level: Must, needs: "CHUNKING to",
		Title: "MAIL after BDAT is out of order",
		run: func(s *session) {
			s.envelope()
			s.chunk("250", s.message())
			s.expect("503", s.expand("MAIL FROM:<$from>"))
		}},

	{ID: "bdat.no-mail", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING",
		Title: "A chunk without MAIL is refused, not executed",
		run:   func(s *session) { s.hello(); s.drained("BDAT 6 LAST", "NOOP\r\n") }},
	{ID: "bdat.no-rcpt", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING",
		Title: "A chunk without RCPT is refused, not executed",
		run:   func(s *session) { s.hello(); s.mail(); s.drained("BDAT 6 LAST", "NOOP\r\n") }},
	{ID: "bdat.rcpt-refused", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING",
		Title: "A chunk without good RCPT is not executed",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.need("5xx", "RCPT TO:<>")
			s.drained("BDAT 6 LAST", "NOOP\r\n")
		}},
	{ID: "bdat.not-last-drained", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING",
		Title: "A first chunk without MAIL is not executed",
		run:   func(s *session) { s.hello(); s.drained("BDAT 6", "NOOP\r\n") }},
	{ID: "bdat.each-drained", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING PIPELINING",
		Title: "Each chunk of a refused message is refused",
		run: func(s *session) {
			s.hello()
			s.send("BDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\n")
			s.judge("5xx|closed", "the first chunk", s.hear())
			if !s.over {
				s.judge("5xx|closed", "the second chunk", s.hear())
			}
		}},
	{ID: "bdat.bad-end", Section: "RFC 3030, 2", Level: Should, needs: "CHUNKING",
		Title: "A chunk behind a syntax error is not executed",
		run:   func(s *session) { s.hello(); s.drained("BDAT 6 FIRST", "NOOP\r\n") }},
	{ID: "bdat.no-size", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "BDAT without a size is refused",
		run:   func(s *session) { s.envelope(); s.expect("5xx|closed", "BDAT") }},
	{ID: "bdat.word", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "A size that is no number is refused",
		run:   func(s *session) { s.envelope(); s.expect("5xx|closed", "BDAT six LAST") }},
	{ID: "bdat.negative", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "A negative size is refused",
		run:   func(s *session) { s.envelope(); s.expect("5xx|closed", "BDAT -6 LAST") }},
	{ID: "bdat.overflow", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "A size beyond 64 bits is not a small one",
		run: func(s *session) {
			s.envelope()
			s.send("BDAT 18446744073709551622 LAST\r\n") // 2^64 + 6
			s.judge("5xx|closed", "BDAT of 2^64 octets", s.hear())
			s.over = true // the octets that were announced do not come
		}},
	{ID: "bdat.in-pieces", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "A chunk may come in pieces",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.rcpt()
			text := s.message()
			s.send("BDAT " + strconv.Itoa(len(text)) + " LA")
			s.send("ST\r\n" + text[:10])
			s.send(text[10:])
			s.judgeDelivery("2xx")
		}},
	{ID: "bdat.then-data", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "After a message in chunks one may come by DATA",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.rcpt()
			text := s.message()
			s.send("BDAT " + strconv.Itoa(len(text)) + " LAST\r\n" + text)
			s.judgeDelivery("2xx")
			s.mail()
			s.rcpt()
			s.need("354", "DATA")
			s.deliver("2xx", "")
		}},
	{ID: "bdat.quit", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING to",
		Title: "QUIT may come between chunks",
		run: func(s *session) {
			s.hello()
			s.mail()
			s.rcpt()
			s.send("BDAT 6\r\na: b\r\n")
			s.judge("2xx", "the chunk", s.hear())
			s.expect("221", "QUIT")
		}},
	{ID: "bdat.too-large", Section: "RFC 3030, 2", Level: Must, needs: "CHUNKING SIZE to",
		Title: "A chunk above the limit is refused in whole",
		run: func(s *session) {
			text := s.tooMuch()
			if !s.decided() {
				s.envelope()
				s.lastChunk("552|closed", s.message()+text)
			}
		}},
	{ID: "binary.data", Section: "RFC 3030, 3", Level: Must, needs: "BINARYMIME to",
		Title: "DATA after BODY=BINARYMIME is out of order",
		play:  "hello\nMAIL FROM:<$from> BODY=BINARYMIME => 250\nrcpt\nDATA => 503"},
	{ID: "binary.message", Section: "RFC 3030, 3", Level: Must, needs: "BINARYMIME to",
		Title: "A binary message is accepted",
		run: func(s *session) {
			s.hello()
			s.need("250", s.expand("MAIL FROM:<$from> BODY=BINARYMIME"))
			s.rcpt()
			s.lastChunk("2xx", s.message()+"\x00\xff\n\r\x00\r\n")
		}},
	{ID: "binary.chunking", Section: "RFC 3030, 3", Level: Must, needs: "BINARYMIME",
		Title: "Who offers BINARYMIME offers CHUNKING",
		run: func(s *session) {
			if lack := s.run.lacks("CHUNKING"); lack != "" {
				s.fail("%s", lack)
			}
		}},
	{ID: "bdat.not-offered", Section: "RFC 5321, 4.2.4", Level: Must, needs: "!CHUNKING",
		Title: "BDAT that was not offered is refused",
		play:  "hello\nBDAT 0 LAST => 5xx"},
}

// envelope goes from the start to where the message is due.
func (s *session) envelope() {
	s.hello()
	s.mail()
	s.rcpt()
}

// chunk sends a chunk that is not the last one.
func (s *session) chunk(want, text string) {
	s.send(fmt.Sprintf("BDAT %d\r\n%s", len(text), text))
	s.judge(want, "the chunk", s.hear())
}

// lastChunk sends the last chunk.
func (s *session) lastChunk(want, text string) {
	s.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
	s.judgeDelivery(want)
}

// drained sends a chunk that must be refused, and must not be executed: that
// shows in what QUIT is answered with.
func (s *session) drained(command, chunk string) {
	s.send(command + "\r\n" + chunk)
	s.judge("5xx|closed", command, s.hear())
}

func pipelinedChunks(s *session) {
	s.hello()
	text := s.message()
	s.send(strings.Join([]string{
		s.expand("MAIL FROM:<$from>"), s.expand("RCPT TO:<$to>"), fmt.Sprintf("BDAT %d", len(text)), text,
	}, "\r\n") + "BDAT 6 LAST\r\ntext\r\nRSET\r\n")
	s.judgeAll("250 2xx 250 2xx 250", []Reply{s.hear(), s.hear(), s.hear(), s.hear(), s.hear()})
}
