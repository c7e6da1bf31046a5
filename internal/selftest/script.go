package selftest

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// words are the steps of a script that lead to what is checked.
var words = map[string]func(*session){
	"hello":   (*session).hello,
	"mail":    (*session).mail,
	"rcpt":    (*session).rcpt,
	"data":    (*session).data,
	"message": func(s *session) { s.deliver("2xx", "") },
	"closed":  (*session).closed,
}

// play plays a script. A line of it is one of
//
//	hello             a step of words
//	RSET => 250       a command, and what must be answered to it
//
// In commands $from, $to, $unknown, $me, $local and $domain stand for what the
// caller gave; the last two are the parts of $to.
func (s *session) play(script string) {
	for line := range strings.Lines(script) {
		line = strings.TrimRight(strings.TrimLeft(line, "\t"), "\n")
		command, want, asks := strings.Cut(line, " => ")
		step, known := words[line]
		switch {
		case asks:
			s.expect(want, s.expand(command))
		case known:
			step(s)
		case line != "":
			s.unclear("%q is no step", line)
		}
	}
}

// closed fails unless the server closes the connection.
func (s *session) closed() {
	if r := s.hear(); !s.decided() && r.Err != errClosed {
		s.fail("the connection stays open: %v", r)
	}
}

func (s *session) expand(line string) string {
	t := &s.run.target
	i := strings.LastIndexByte(t.To, '@')
	return strings.NewReplacer(
		"$from", t.From, "$to", t.To, "$unknown", t.Unknown, "$me", t.Hello,
		"$local", t.To[:max(i, 0)], "$domain", t.To[i+1:], "$hello", s.helloWord(),
	).Replace(line)
}

// message returns the header of a message that says what it is, and the start of
// its body.
func (s *session) message() string {
	from := s.run.target.From
	if from == "" {
		from = "selftest@" + s.run.target.Hello
	}
	now := time.Now()
	return fmt.Sprintf("From: Postern selftest <%s>\r\n"+
		"To: <%s>\r\n"+
		"Subject: [selftest] %s %s - please delete\r\n"+
		"Date: %s\r\n"+
		"Message-ID: <%s@selftest.invalid>\r\n"+
		"Auto-Submitted: auto-generated\r\n"+
		"\r\n"+
		"This is a test of the mail server by postern selftest. It checks that:\r\n"+
		"%s (%s).\r\n",
		from, s.run.target.To, s.run.target.Protocol, s.check.ID, now.Format(time.RFC1123Z), unique(now),
		s.check.Title, s.check.Section)
}

// unique returns what no other message has: a store that knows a message again
// need not take it twice.
func unique(now time.Time) string { return fmt.Sprintf("%d.%s", now.Unix(), rand.Text()) }
