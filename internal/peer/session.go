package peer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// A Session is a user's program that has a mailbox open at a server: it reads what
// is new to it, and removes what it does not want.
type Session interface {
	// Messages returns those that are not in known, by their UIDs or unique-ids.
	Messages(known func(id string) bool) ([]Stored, error)
	// Remove removes messages that Messages of this session returned, for good.
	Remove(ids []string) error
	// End says goodbye, and closes the connection.
	End() error
}

// IMAPSession opens the INBOX at the IMAP server addr.
func IMAPSession(addr, user, password string) (Session, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return openIMAP(nc, user, password)
}

// openIMAP opens the INBOX over a connection. A server that greets with PREAUTH
// wants no name.
func openIMAP(nc io.ReadWriteCloser, user, password string) (_ Session, err error) {
	s := &imapSession{imap: imap{r: bufio.NewReader(nc), w: nc}, nc: nc}
	defer func() {
		if err != nil {
			nc.Close()
		}
	}()
	for { // a server may complain before it greets
		greeting, _, err := s.response()
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(greeting, "* PREAUTH") {
			break
		}
		if strings.HasPrefix(greeting, "* OK [ALERT]") {
			continue
		}
		if _, err := s.command("LOGIN %q %q", user, password); err != nil {
			return nil, err
		}
		break
	}
	_, err = s.command("SELECT INBOX")
	return s, err
}

type imapSession struct {
	imap
	nc io.Closer
}

func (s *imapSession) Messages(known func(string) bool) ([]Stored, error) {
	lines, err := s.command("UID SEARCH ALL")
	if err != nil {
		return nil, err
	}
	var all []Stored
	for _, line := range lines {
		ids, ok := strings.CutPrefix(line.text, "* SEARCH")
		if !ok {
			continue
		}
		for _, id := range strings.Fields(ids) {
			if known(id) {
				continue
			}
			m, err := s.one(id)
			if err != nil {
				return all, err
			}
			if m.Octets != nil { // else another has removed it
				all = append(all, m)
			}
		}
	}
	return all, nil
}

func (s *imapSession) one(id string) (m Stored, err error) {
	lines, err := s.command("UID FETCH %s (UID RFC822.SIZE INTERNALDATE FLAGS BODY.PEEK[])", id)
	for _, line := range lines {
		if f, ok := parseFetch(line.text, line.literal); ok && f.ID == id && f.Octets != nil {
			m = f
		}
	}
	return m, err
}

func (s *imapSession) Remove(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := s.command(`UID STORE %s +FLAGS.SILENT (\Deleted)`, strings.Join(ids, ",")); err != nil {
		return err
	}
	_, err := s.command("EXPUNGE")
	return err
}

func (s *imapSession) End() error {
	defer s.nc.Close()
	_, err := s.command("LOGOUT")
	return err
}

// POP3Session opens the mailbox of a user at the POP3 server addr.
func POP3Session(addr, user, password string) (Session, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return openPOP3(nc, "USER "+user, "PASS "+password)
}

func openPOP3(nc io.ReadWriteCloser, login ...string) (Session, error) {
	s := &pop3Session{pop3: pop3{textproto.NewConn(nc)}}
	err := s.ok("greeting")
	for _, cmd := range login {
		if err == nil {
			err = s.command(cmd)
		}
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return s, nil
}

type pop3Session struct {
	pop3
	numbers map[string]int
}

func (s *pop3Session) Messages(known func(string) bool) ([]Stored, error) {
	ids, err := s.listing("UIDL")
	if err != nil {
		return nil, err
	}
	s.numbers = make(map[string]int)
	var all []Stored
	for i, id := range ids {
		s.numbers[id] = i + 1
		if known(id) {
			continue
		}
		octets, err := s.retrieve(i + 1)
		if err != nil {
			if strings.Contains(err.Error(), "-ERR") {
				continue // another has removed it
			}
			return all, err
		}
		all = append(all, Stored{ID: id, Octets: octets})
	}
	return all, nil
}

func (s *pop3Session) Remove(ids []string) error {
	for _, id := range ids {
		if s.numbers[id] == 0 {
			return fmt.Errorf("remove %s: not listed", id)
		}
		if err := s.command("DELE " + strconv.Itoa(s.numbers[id])); err != nil {
			return err
		}
	}
	return nil
}

func (s *pop3Session) End() error {
	defer s.Close()
	return s.command("QUIT")
}
