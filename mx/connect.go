package mx

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/serve"
	"postern/mail"
	"postern/smtp"
)

// session returns the session of a connection that came over l.
func (srv *Server) session(c *smtp.Conn, l Listener) *session {
	timeouts := srv.Timeouts.orDefault()
	s := &session{srv: srv, conn: c, peer: peer{listener: l}, client: mail.Client{IP: serve.RemoteIP(c.NetConn())}}
	s.conn.Host, s.hearing.Tell = srv.Hostname, srv.Heard
	s.conn.ReadTimeout, s.conn.WriteTimeout = timeouts.Handshake, timeouts.Write
	return s
}

// Client implements serve.Session.
func (s *session) Client() mail.Client { return s.client }

// Serve implements serve.Session.
func (s *session) Serve(ctx context.Context) error {
	if s.conduct.lastMessage.IsZero() {
		if ok, err := s.welcome(); !ok {
			return err
		}
		s.conduct.lastMessage = time.Now()
		if end, err := s.Say(ctx, s.greet()); end || err != nil {
			return err
		}
	}
	return serve.Converse(ctx, s.conn, &s.hearing, s)
}

// Leave implements serve.Session.
func (s *session) Leave() {
	defer s.leave()
	s.end()
}

// welcome finds out who the client is, and whether its network may have one more
// connection. It reports false if the client was refused. The client has then been told
// why; but a proxy that is not trusted, or sends no good PROXY header, is told nothing.
func (s *session) welcome() (ok bool, err error) {
	if s.peer.listener.Proxy {
		if err := s.readProxy(); err != nil {
			s.record(mail.Outcome{Event: mail.Connection, Reply: mail.TransactionLost.Because(err)})
			return false, nil
		}
	}
	s.peer.mayXClient = s.client.In(s.srv.XClient)
	if err := s.enter(); err != nil {
		s.Refuse(mail.ReplyTo(err))
		return false, nil
	}
	s.conn.ReadTimeout = s.srv.Timeouts.orDefault().Command
	if reply, err := s.delayGreeting(); err != nil || reply.Refuses() {
		s.Refuse(reply)
		return false, err
	}
	return true, nil
}

// delayGreeting waits for GreetDelay, and refuses a client that speaks before the
// greeting (RFC 5321, section 3.1). No mail server does that, only a program that sends
// all its commands at once. Exempt clients do not have to wait. Nor do clients behind a
// proxy, which may connect to us only after the client's first words.
func (s *session) delayGreeting() (mail.Reply, error) {
	if s.srv.GreetDelay <= 0 || s.peer.listener.Proxy || !s.peer.share.IsValid() {
		return mail.Accepted, nil
	}
	quiet, err := s.conn.Quiet(s.srv.GreetDelay)
	switch {
	case err != nil:
		return mail.ClientLost.Because(err), err
	case !quiet:
		s.offend()
		return mail.EarlyTalker.Because(errEarlyTalker), nil
	}
	return mail.Accepted, nil
}

// errEarlyTalker says that a client did not wait for the greeting.
var errEarlyTalker = errors.New("mx: the client spoke before the greeting")

// Refuse implements serve.Session.
func (s *session) Refuse(r mail.Reply) {
	s.record(mail.Outcome{Event: mail.Connection, Reply: r})
	serve.Refuse(s.conn, r)
}

// readProxy takes the client's address from a trusted proxy.
func (s *session) readProxy() error {
	if !s.client.In(s.peer.listener.Trusted) {
		return fmt.Errorf("mx: proxy %v is not among the trusted ones (mx.trusted_proxies)", s.client.IP)
	}
	proxied, err := s.conn.ReadProxy()
	if err == nil && proxied.Client.IsValid() {
		s.client.IP, s.peer.introduced = proxied.Client.Addr(), true
		s.peer.localIP = proxied.Server.Addr()
	}
	return err
}

// ourPostmaster returns addr without its domain if it is the postmaster at the IP
// address that the client connected to, and else addr as it is. Such an address can only
// mean our own postmaster (RFC 5321, sections 2.3.5 and 4.5.1); nobody else has mail
// there.
func (s *session) ourPostmaster(addr mail.Address) mail.Address {
	ip, ok := smtp.ParseLiteral(addr.Domain)
	if !ok || !addr.IsPostmaster() {
		return addr
	}
	local := s.peer.localIP
	if !local.IsValid() {
		local = serve.LocalIP(s.conn.NetConn())
	}
	if ip == local {
		addr.Domain = ""
	}
	return addr
}
