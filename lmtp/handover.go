package lmtp

import (
	"slices"
	"strings"

	"postern/mail"
	"postern/smtp"
)

// Between the two halves of Postern an extension of LMTP carries what no header
// should. The server announces "XPOSTERN" and what it takes; of that the client
// adds parameters to MAIL:
//
//	ID    XID=    the name of the transaction, which is then the same in the logs
//	              of both halves and in both Received fields
//
// It is announced only to a peer that Server.Trusts, so that nobody else can pass
// his mail off as another transaction, and sent only where it is announced.
const (
	handover   = "XPOSTERN"
	handoverID = "ID"
	idParam    = "XID"
	maxID      = 64 // octets
)

// takesID reports whether the lines of an answer to LHLO announce that the name
// of the transaction is taken.
func takesID(lines []string) bool {
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) > 0 && words[0] == handover && slices.Contains(words[1:], handoverID) {
			return true
		}
	}
	return false
}

// mailCommand returns the MAIL command for a message of size octets; 0 is
// unknown.
func (cn *conn) mailCommand(env *mail.Envelope, size int64) string {
	command := cn.offer.MailCommand(env, size)
	if cn.takesID && isID(env.ID) {
		command += " " + idParam + "=" + env.ID
	}
	return command
}

// cutID takes the name of the transaction out of the parameters of MAIL, if the
// client is one that may give it. The errors are replies.
func (s *session) cutID(params []smtp.Param) (id string, rest []smtp.Param, err error) {
	if !s.trusted {
		return "", params, nil
	}
	i := slices.IndexFunc(params, func(p smtp.Param) bool { return p.Key == idParam })
	if i < 0 {
		return "", params, nil
	}
	if id = params[i].Value; !isID(id) {
		return "", nil, mail.BadArgument
	}
	return id, slices.Delete(params, i, i+1), nil
}

// isID reports whether s can name a transaction: letters and digits, which need
// no quoting anywhere.
func isID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= maxID
}
