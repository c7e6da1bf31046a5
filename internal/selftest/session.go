package selftest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A session is the dialogue of one check. Its first problem decides: after that
// no method says or hears anything any more, so that a check reads straight
// down without asking after each step.
type session struct {
	run    *Run
	check  *Check // nil while the server is only asked what it offers
	result Result

	wire  *wire
	done  <-chan struct{} // closed when nobody wants to hear any more
	last  Reply           // what was heard last
	rcpts int             // recipients of the transaction that were accepted
	mode  mode
	over  bool // the server has said goodbye or closed
}

func (s *session) decided() bool { return s.result.Status != "" }

// fail says that the rule is broken.
func (s *session) fail(format string, args ...any) {
	status := Failed
	if s.check != nil && s.check.Level == Should {
		status = Warning
	}
	s.decide(status, format, args...)
}

// skip says that the rule does not apply after all.
func (s *session) skip(format string, args ...any) { s.decide(Skipped, format, args...) }

// unclear says that the check cannot be made.
func (s *session) unclear(format string, args ...any) { s.decide(Unclear, format, args...) }

func (s *session) decide(status Status, format string, args ...any) {
	if !s.decided() {
		s.result.Status, s.result.Detail = status, fmt.Sprintf(format, args...)
	}
}

// connect connects and hears the greeting. The connection lasts until ctx ends, or
// until it is closed.
func (s *session) connect(ctx context.Context) {
	if s.run.absent >= maxAbsent {
		s.unclear("the server does not answer any more")
		return
	}
	s.run.absent++
	dialing, cancel := context.WithTimeout(ctx, s.run.target.Timeout)
	defer cancel()
	nc, err := s.run.target.Dial(dialing)
	if err != nil {
		s.unclear("connect: %v", err)
		return
	}
	s.wire = newWire(nc, s.run.target.Timeout)
	s.done = ctx.Done()
	s.wire.stop = context.AfterFunc(ctx, func() { _ = nc.Close() })
	if greeting := s.hear(); greeting.Code != 220 {
		s.unclear("it greets with %v", greeting)
		return
	}
	s.run.absent = 0
}

// close ends the connection without a word.
func (s *session) close() {
	if s.wire != nil {
		s.wire.close()
	}
}

// leave says QUIT, which must be what the server answers next: if it is not, then
// something was answered that nobody asked.
func (s *session) leave() {
	if s.decided() || s.wire == nil || s.over {
		return
	}
	if bye := s.ask("QUIT"); !bye.matches("221|421|closed") {
		s.result.Heard = strings.TrimPrefix(s.result.Heard+", "+bye.short(), ", ")
		s.fail("out of step: QUIT was answered with %v", bye)
	}
}

// send sends octets as they are.
func (s *session) send(octets string) {
	if !s.decided() {
		s.wire.send(octets)
	}
}

// hear hears one reply.
func (s *session) hear() Reply { return s.hearWithin(s.run.target.Timeout) }

func (s *session) hearWithin(limit time.Duration) Reply {
	if s.decided() {
		return Reply{}
	}
	r := s.wire.hear(limit)
	s.last = r
	s.over = r.Err == errClosed || r.Code == 221 || r.Code == 421
	s.observe(r)
	return r
}

// observe notes which rules of form a reply breaks.
func (s *session) observe(r Reply) {
	for _, rule := range rules {
		if _, known := s.run.broken[rule.id]; !known && len(r.raw) > 0 && rule.broken(r, s.mode) {
			s.run.broken[rule.id] = strings.TrimSpace(visible(strings.Join(r.raw, "")))
		}
	}
}

// ask says a line and hears the reply.
func (s *session) ask(line string) Reply {
	if s.decided() {
		return Reply{}
	}
	hello := isHello(line)
	if hello { // its own reply has no status
		s.mode = mode{}
	}
	s.send(line + "\r\n")
	r := s.hear()
	s.follow(line, r)
	if hello && r.OK() {
		s.mode.status = slices.ContainsFunc(r.Lines, func(l string) bool { return strings.EqualFold(l, "ENHANCEDSTATUSCODES") })
	}
	return r
}

func verbOf(line string) string {
	verb, _, _ := strings.Cut(line, " ")
	return strings.ToUpper(strings.TrimSpace(verb))
}

func isHello(line string) bool {
	verb := verbOf(line)
	return verb == "EHLO" || verb == "LHLO" || verb == "HELO"
}

// follow keeps count of the recipients, and in mind what the transaction is of.
func (s *session) follow(line string, r Reply) {
	verb := verbOf(line)
	if verb == "MAIL" && r.OK() {
		s.mode.utf8 = strings.HasSuffix(strings.ToUpper(line), " SMTPUTF8")
	}
	switch {
	case !r.OK():
	case verb == "RCPT":
		s.rcpts++
	case verb == "MAIL", verb == "RSET", isHello(line):
		s.rcpts = 0
	}
}

// expect says a line and fails unless the reply is one of want (see
// Reply.matches).
func (s *session) expect(want, line string) Reply {
	r := s.ask(line)
	s.judge(want, visible(line+"\r\n"), r)
	return r
}

// judge fails unless r, the answer to what, is one of want.
func (s *session) judge(want, what string, r Reply) {
	if s.decided() {
		return
	}
	s.result.Expected, s.result.Heard = want, r.short()
	if !r.matches(want) {
		s.fail("%s: expected %s, heard %v", what, want, r)
	}
}

// need says a line that only leads to what is checked, and gives up unless the
// reply is one of want.
func (s *session) need(want, line string) Reply {
	r := s.ask(line)
	if !s.decided() && !r.matches(want) {
		s.unclear("%s was answered with %v", visible(line+"\r\n"), r)
	}
	return r
}

// batch says several lines in one write, and returns the replies to them.
func (s *session) batch(lines ...string) []Reply {
	s.send(strings.Join(lines, "\r\n") + "\r\n")
	replies := make([]Reply, len(lines))
	for i, line := range lines {
		replies[i] = s.hear()
		s.follow(line, replies[i])
	}
	return replies
}

// judgeAll holds each reply against its part of want, which has a space between
// them.
func (s *session) judgeAll(want string, replies []Reply) {
	heard := make([]string, len(replies))
	for i, r := range replies {
		heard[i] = r.short()
	}
	for i, w := range strings.Fields(want) {
		s.judge(w, fmt.Sprintf("reply %d of %d", i+1, len(replies)), replies[i])
	}
	s.result.Expected, s.result.Heard = want, strings.Join(heard, ", ")
}

// helloWord returns the verb that opens a session.
func (s *session) helloWord() string {
	if s.run.target.Protocol == LMTP {
		return "LHLO"
	}
	return "EHLO"
}

// hello opens a session.
func (s *session) hello() {
	s.need("250", s.helloWord()+" "+s.run.target.Hello)
}

// mail begins a transaction.
func (s *session) mail() { s.need("250", s.expand("MAIL FROM:<$from>")) }

// rcpt adds the recipient.
func (s *session) rcpt() { s.need("250|251|252", s.expand("RCPT TO:<$to>")) }

// data goes from the start to where the message is due.
func (s *session) data() {
	s.hello()
	s.mail()
	s.rcpt()
	s.need("354", "DATA")
}

// deliver ends the data behind text, and holds the replies against want: one by
// SMTP, and one for each recipient by LMTP.
func (s *session) deliver(want, text string) {
	s.send(s.message() + text + ".\r\n")
	s.judgeDelivery(want)
}

func (s *session) judgeDelivery(want string) {
	replies := 1
	if s.run.target.Protocol == LMTP {
		replies = s.rcpts
	}
	for range replies {
		s.judge(want, "the message", s.hear())
	}
	s.rcpts = 0
}
