package selftest

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
)

// tlsChecks are of STARTTLS (RFC 3207). But for one check it does not matter
// whose certificate the server shows.
var tlsChecks = []Check{
	{ID: "tls.works", Section: "RFC 3207, 4", Level: Must, needs: "STARTTLS",
		Title: "TLS starts, and EHLO works under it",
		run:   func(s *session) { s.hello(); s.startTLS(); s.expect("250", s.helloWord()+" "+s.run.target.Hello) }},
	{ID: "tls.certificate", Section: "RFC 3207, 4.1", Level: Should, needs: "STARTTLS secure",
		Title: "The certificate is valid for this host",
		run: func(s *session) {
			s.hello()
			s.need("220", "STARTTLS")
			s.handshake(&tls.Config{ServerName: s.run.target.Host})
		}},
	{ID: "tls.version", Section: "RFC 8996, 2", Level: Should, needs: "STARTTLS",
		Title: "TLS 1.0 and 1.1 are not spoken", run: oldTLS},
	{ID: "tls.argument", Section: "RFC 3207, 4", Level: Must, needs: "STARTTLS",
		Title: "STARTTLS with an argument is refused",
		play:  "hello\nSTARTTLS now => 501"},
	{ID: "tls.injection", Section: "RFC 3207, 4.2", Level: Must, needs: "STARTTLS",
		Title: "What comes behind STARTTLS is not executed", run: injectCommand},
	{ID: "tls.forgets-mail", Section: "RFC 3207, 4.2", Level: Must, needs: "STARTTLS to",
		Title: "A transaction does not outlive STARTTLS", run: transactionOverTLS},
	{ID: "tls.forgets-hello", Section: "RFC 3207, 4.2", Level: Must, needs: "STARTTLS",
		Title: "EHLO does not outlive STARTTLS", run: helloOverTLS},
	{ID: "tls.not-offered-again", Section: "RFC 3207, 4.2", Level: Must, needs: "STARTTLS",
		Title: "STARTTLS is not offered under TLS",
		run: func(s *session) {
			s.hello()
			s.startTLS()
			s.expect("250", s.helloWord()+" "+s.run.target.Hello)
			if s.offersNow("STARTTLS") {
				s.fail("STARTTLS is offered")
			}
		}},
	{ID: "tls.again", Section: "RFC 3207, 4.2", Level: Must, needs: "STARTTLS",
		Title: "STARTTLS under TLS is refused",
		run: func(s *session) {
			s.hello()
			s.startTLS()
			s.need("250", s.helloWord()+" "+s.run.target.Hello)
			s.expect("5xx", "STARTTLS")
		}},
	{ID: "tls.garbage", Section: "RFC 3207, 4.1", Level: Must, needs: "STARTTLS",
		Title: "After 220 nothing in the clear is executed", run: clearTextForTLS},
	{ID: "tls.message", Section: "RFC 3207, 4", Level: Must, needs: "STARTTLS to",
		Title: "A message may be sent under TLS",
		run: func(s *session) {
			s.hello()
			s.startTLS()
			s.data()
			s.deliver("2xx", "")
		}},
	{ID: "requiretls.clear", Section: "RFC 8689, 2", Level: Must, on: SMTP,
		Title: "REQUIRETLS is not offered in the clear",
		run: func(s *session) {
			if s.run.lacks("REQUIRETLS") == "" {
				s.fail("REQUIRETLS is offered in the clear")
			}
		}},
	{ID: "requiretls.parameter", Section: "RFC 8689, 2", Level: Must, needs: "STARTTLS", on: SMTP,
		Title: "REQUIRETLS is a parameter of MAIL",
		run:   func(s *session) { s.requireTLS(); s.expect("250", s.expand("MAIL FROM:<$from> REQUIRETLS")) }},
	{ID: "requiretls.value", Section: "RFC 8689, 2", Level: Must, needs: "STARTTLS", on: SMTP,
		Title: "REQUIRETLS with a value is refused",
		run:   func(s *session) { s.requireTLS(); s.expect("5xx", s.expand("MAIL FROM:<$from> REQUIRETLS=yes")) }},
	{ID: "tls.not-offered", Section: "RFC 5321, 4.2.4", Level: Must, needs: "!STARTTLS",
		Title: "STARTTLS that was not offered is refused",
		play:  "hello\nSTARTTLS => 5xx|454"},
}

// startTLS goes on under TLS, whoever the server is.
func (s *session) startTLS() {
	s.need("220", "STARTTLS")
	s.handshake(&tls.Config{InsecureSkipVerify: true})
}

// offersNow reports whether what was heard last, the answer to EHLO, has keyword.
func (s *session) offersNow(keyword string) bool {
	return slices.ContainsFunc(s.last.Lines, func(l string) bool { return strings.EqualFold(l, keyword) })
}

// requireTLS goes to where REQUIRETLS is offered, or says that it is not.
func (s *session) requireTLS() {
	s.hello()
	s.startTLS()
	s.need("250", s.helloWord()+" "+s.run.target.Hello)
	if !s.offersNow("REQUIRETLS") {
		s.skip("not offered: REQUIRETLS")
	}
}

func (s *session) handshake(config *tls.Config) {
	if s.decided() {
		return
	}
	if err := s.wire.handshake(config); err != nil {
		s.fail("TLS: %v", err)
		return
	}
	s.mode, s.rcpts = mode{}, 0
}

// oldTLS offers the server nothing newer than TLS 1.1.
func oldTLS(s *session) {
	s.hello()
	s.need("220", "STARTTLS")
	if s.decided() {
		return
	}
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if err := s.wire.handshake(config); err == nil {
		s.fail("the server speaks it")
	}
	s.over = true // there is nothing to say under a TLS that was not started
}

// injectCommand sends a command in the clear behind STARTTLS, as somebody between
// client and server could. Under TLS it would look as if the client had said it.
// A server may as well hang up on it, or take it for a broken handshake.
func injectCommand(s *session) {
	s.hello()
	s.send("STARTTLS\r\nNOOP\r\n")
	if r := s.hear(); r.Code != 220 {
		s.judge("4xx|5xx|closed", "STARTTLS with something behind it", r)
		s.over = true
		return
	}
	if s.decided() {
		return
	}
	if err := s.wire.handshake(&tls.Config{InsecureSkipVerify: true}); err != nil {
		var header tls.RecordHeaderError
		if errors.As(err, &header) {
			s.fail("the command was answered in the clear: %v", err)
		}
		s.over = true
		return
	}
	s.mode = mode{}
	s.judge("221|closed", "QUIT under TLS", s.ask("QUIT"))
	s.result.Expected = "221|4xx|5xx|closed"
}

func transactionOverTLS(s *session) {
	s.hello()
	s.mail()
	s.rcpt()
	if r := s.ask("STARTTLS"); r.Code != 220 {
		s.judge("503|554", "STARTTLS within a transaction", r)
		return
	}
	s.handshake(&tls.Config{InsecureSkipVerify: true})
	s.expect("503|554", "DATA")
}

// helloOverTLS can tell only where MAIL needs an EHLO before it.
func helloOverTLS(s *session) {
	if s.ask(s.expand("MAIL FROM:<$from>")).OK() {
		s.skip("MAIL needs no EHLO")
	}
	s.hello()
	s.startTLS()
	s.expect("503", s.expand("MAIL FROM:<$from>"))
}

// clearTextForTLS goes on in the clear. What the server says then may be a TLS
// alert, but no reply.
func clearTextForTLS(s *session) {
	s.hello()
	s.need("220", "STARTTLS")
	s.send("NOOP\r\nNOOP\r\nNOOP\r\n")
	if s.decided() {
		return
	}
	if r := s.wire.hear(s.run.target.Timeout); r.Err == nil {
		s.fail("a command in the clear was answered with %v", r)
	} else if r.Err == errSilent {
		s.fail("the connection stays open")
	}
	s.over = true
}
