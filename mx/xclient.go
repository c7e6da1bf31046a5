package mx

import (
	"cmp"
	"net/netip"

	"postern/mail"
	"postern/smtp"
)

// xclient answers XCLIENT (Postfix, XCLIENT_README), with which a proxy that is
// named for it says whose words it passes on. After it the session begins anew,
// for that client: with the greeting, and with what its own network may do. Until
// then a proxy has no share, for it is nobody's client.
func (s *session) xclient(arg string) mail.Reply {
	switch {
	case !s.peer.mayXClient:
		return mail.NotAuthorized
	case s.tx != nil:
		return mail.BadSequence
	}
	x, err := smtp.ParseXClient(arg)
	if err != nil {
		return mail.ReplyTo(err)
	}
	s.leave()
	s.offer, s.conduct.mistakes = smtp.Offer{}, 0
	s.client.Hello, s.client.ESMTP = x.Hello, x.ESMTP
	if x.HasAddr {
		s.client.IP, s.peer.introduced, s.peer.localIP = x.Addr, true, netip.Addr{}
	}
	s.peer.localIP = cmp.Or(x.Server, s.peer.localIP)
	if err := s.enter(); err != nil {
		s.record(mail.Outcome{Event: mail.Connection, Reply: mail.ReplyTo(err)})
		return mail.ReplyTo(err)
	}
	return s.greet()
}
