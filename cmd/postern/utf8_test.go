package main

import "testing"

// An alias in ASCII has members that are not. Its sender need not know of SMTPUTF8
// (RFC 6531), whether or not the agent is asked at RCPT.
func TestAliasOfNonASCII(t *testing.T) {
	s := newSite(t, "policy: enforce = false")
	s.write("recipients.d/example.com.toml", "domain = 'example.com'\nmailboxes = ['u1', 'jörg']\n[aliases]\ngeorge = ['jörg']\nmixed = ['u1', 'jörg']\n")
	s.start("serve")
	c := s.dial()
	for _, to := range []string{"george@example.com", "u1@example.com", "george@example.com", "mixed@example.com"} {
		ask(t, c, "MAIL FROM:<a@sender.example>", "250")
		ask(t, c, "RCPT TO:<"+to+">", "250")
		ask(t, c, "DATA", "354")
		ask(t, c, letter(10)+".", "250")
	}
	for user, want := range map[string]int{"u1": 2, "jörg": 3} {
		if got := len(s.mailbox(user)); got != want {
			t.Errorf("%s: %d messages, want %d", user, got, want)
		}
	}
}
