package selftest

import "time"

// serverTimeout is how long a server should wait for the next command (RFC 5321,
// section 4.5.3.2.7).
const serverTimeout = 5 * time.Minute

// slowChecks take minutes.
var slowChecks = []Check{
	{ID: "slow.command", Section: "RFC 5321, 4.5.3.2.7", Level: Should, needs: "slow",
		Title: "The server waits 5 minutes for a command",
		run:   func(s *session) { s.hello(); s.wait(serverTimeout - 5*time.Second); s.expect("250", "NOOP") }},
	{ID: "slow.greeting", Section: "RFC 5321, 4.5.3.2.7", Level: Should, needs: "slow",
		Title: "The server waits 5 minutes for EHLO/LHLO",
		run: func(s *session) {
			s.wait(serverTimeout - 5*time.Second)
			s.expect("250", s.expand("$hello $me"))
		}},
	{ID: "slow.data", Section: "RFC 5321, 4.5.3.2.5", Level: Should, needs: "slow to",
		Title: "The server waits 3 minutes within a message",
		run: func(s *session) {
			s.data()
			s.send(s.message())
			s.wait(3*time.Minute - 5*time.Second)
			s.send("text\r\n.\r\n")
			s.judgeDelivery("2xx")
		}},
	{ID: "slow.421", Section: "RFC 5321, 3.8", Level: Should, needs: "slow",
		Title: "A server that has waited enough says 421",
		run: func(s *session) {
			s.hello()
			s.judge("421", "20 minutes of silence", s.hearWithin(20*time.Minute))
		}},
}

// wait lets time pass.
func (s *session) wait(d time.Duration) {
	if s.decided() {
		return
	}
	s.wire.remark("waiting for " + d.String())
	select {
	case <-time.After(d):
	case <-s.done:
		s.unclear("interrupted")
	}
}
