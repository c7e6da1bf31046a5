package lmtp

import (
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"postern/internal/control"
	"postern/mail"
	"postern/smtp"
)

// Between the two halves of Postern an extension of LMTP carries what no header
// should. The server announces "XPOSTERN" and what it takes:
//
//	ID      XID=     of MAIL: the name of the transaction, which is then the same
//	                 in the logs of both halves and in both Received fields
//	CLIENT  XADDR= XHELO= XTLS= XESMTP
//	                 of MAIL: the SMTP client, for the log
//	DIGEST  XDIGEST= of MAIL: mail.Digest of the message, if it was read already
//	FOLDER  XFOLDER= of MAIL: the folder that the message is to be filed in
//	MAPS    XGENERATION=
//	                 of MAIL: the generation of the MX's recipient maps
//	        XKNOWN   of RCPT: the mailbox is in them
//	HEARD   XHEARD transaction...
//	                 a command: the SMTP clients of these heard their 250
//
// Without XID the other parameters of MAIL mean nothing. Texts are xtext (RFC
// 3461), and the name of a folder is UTF-8 in it.
//
// It is announced only to a peer that Server.Trusts, so that nobody else can pass
// its mail off as another transaction, and sent only where it is announced.
const (
	handover = "XPOSTERN"

	paramID         = "XID"
	paramAddr       = "XADDR"
	paramHello      = "XHELO"
	paramTLS        = "XTLS"
	paramESMTP      = "XESMTP"
	paramDigest     = "XDIGEST"
	paramFolder     = "XFOLDER"
	paramGeneration = "XGENERATION"
	paramKnown      = "XKNOWN"
	verbHeard       = "XHEARD"

	maxID   = 64  // octets
	maxFact = 255 // octets of a text
)

// A takes lists the parts of the extension that a server takes.
type takes struct{ id, client, digest, folder, maps, heard bool }

// announcement is what our own server takes.
const announcement = handover + " ID CLIENT DIGEST FOLDER MAPS HEARD"

// parseTakes reads the lines of an answer to LHLO.
func parseTakes(lines []string) (t takes) {
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != handover {
			continue
		}
		has := func(word string) bool { return slices.Contains(words[1:], word) }
		t = takes{id: has("ID"), client: has("CLIENT"), digest: has("DIGEST"), folder: has("FOLDER"), maps: has("MAPS"), heard: has("HEARD")}
	}
	return t
}

// remembers reports whether the server remembers who has a message.
func (t takes) remembers() bool { return t.id && t.digest && t.heard }

// facts returns the parameters to add to MAIL for a server that takes t, each with a
// space before it.
func (t takes) facts(env *mail.Envelope) string {
	if !t.id || !isID(env.ID) {
		return ""
	}
	facts := append(make([]byte, 0, 256), " "+paramID+"="+env.ID...)
	add := func(set bool, key, value string) {
		if set {
			facts = append(append(append(facts, ' '), key...), '=')
			facts = append(facts, smtp.EncodeXtext(mail.Printable(value, maxFact))...)
		}
	}
	c := env.Client
	add(t.client && c.IP.IsValid(), paramAddr, c.IP.WithZone("").String())
	add(t.client && c.Hello != "", paramHello, c.Hello)
	add(t.client && c.TLS != "", paramTLS, c.TLS)
	if t.client && c.ESMTP {
		facts = append(facts, " "+paramESMTP...)
	}
	if t.digest && env.Digest != (mail.Digest{}) {
		add(true, paramDigest, hex.EncodeToString(env.Digest[:]))
	}
	if t.folder && env.Folder != "" && len(env.Folder) <= maxFact {
		facts = append(facts, " "+paramFolder+"="+smtp.EncodeXtext(env.Folder)...)
	}
	add(t.maps && env.Generation != "", paramGeneration, env.Generation)
	return string(facts)
}

// mailCommand returns the MAIL command for a message of size octets; 0 is
// unknown.
func (cn *conn) mailCommand(env *mail.Envelope, size int64) string {
	return cn.offer.MailCommand(env, size) + cn.takes.facts(env)
}

// rcptCommand returns the RCPT command for r.
func (cn *conn) rcptCommand(r mail.Recipient) string {
	command := cn.offer.RcptCommand(r)
	if cn.takes.maps && r.Known {
		command += " " + paramKnown
	}
	return command
}

// takeFacts stores in env what the parameters of our extension say, if the client is
// trusted, and returns the other parameters of MAIL. Its errors are replies.
func (s *session) takeFacts(env *mail.Envelope, params []smtp.Param) (rest []smtp.Param, err error) {
	if !s.trusted {
		return params, nil
	}
	told := *env
	told.ID, told.Client = "", mail.Client{}
	for i, p := range params {
		twice := slices.ContainsFunc(params[:i], func(other smtp.Param) bool { return other.Key == p.Key })
		switch known, ok := takeFact(&told, p); {
		case !known:
			rest = append(rest, p)
		case !ok || twice:
			return nil, mail.BadArgument
		}
	}
	if told.ID != "" {
		*env = told
	}
	return rest, nil
}

// takeFact stores p in env, if p is known and its value is ok.
func takeFact(env *mail.Envelope, p smtp.Param) (known, ok bool) {
	switch p.Key {
	case paramID:
		env.ID, env.FromMX, ok = p.Value, true, isID(p.Value)
	case paramAddr:
		env.Client.IP, ok = parseAddr(p.Value)
	case paramHello:
		env.Client.Hello, ok = smtp.DecodeXtext(p.Value)
	case paramTLS:
		env.Client.TLS, ok = smtp.DecodeXtext(p.Value)
	case paramESMTP:
		env.Client.ESMTP, ok = true, !p.HasValue
	case paramDigest:
		env.Digest, ok = parseDigest(p.Value)
	case paramFolder:
		env.Folder, ok = smtp.DecodeXtext(p.Value)
		ok = ok && env.Folder != "" && utf8.ValidString(env.Folder)
	case paramGeneration:
		env.Generation, ok = smtp.DecodeXtext(p.Value)
	default:
		return false, false
	}
	return true, ok
}

func parseAddr(s string) (netip.Addr, bool) {
	text, ok := smtp.DecodeXtext(s)
	addr, err := netip.ParseAddr(text)
	return addr, ok && err == nil
}

func parseDigest(s string) (d mail.Digest, ok bool) {
	if len(s) != hex.EncodedLen(len(d)) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(s))
	return d, err == nil
}

// takeKnown stores in r whether the client's maps have the mailbox, and returns
// the other parameters of RCPT.
func (s *session) takeKnown(r *mail.Recipient, params []smtp.Param) []smtp.Param {
	if !s.trusted {
		return params
	}
	return slices.DeleteFunc(params, func(p smtp.Param) bool {
		if p.Key != paramKnown {
			return false
		}
		r.Known = true
		return true
	})
}

// xheard answers XHEARD, with which the client says which clients of its own have heard
// their 250.
func (s *session) xheard(arg string) mail.Reply {
	if !s.trusted {
		return mail.BadCommand
	}
	for id := range strings.FieldsSeq(arg) {
		if !isID(id) {
			return mail.BadArgument
		}
		if s.srv.Heard != nil {
			s.srv.Heard(id)
		}
	}
	return mail.Accepted.Saying("noted")
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

// TrustUsers returns a function for Server.Trusts. It trusts a peer on a UNIX socket
// that, as the kernel says, runs as root, as our own user, or as one of users.
func TrustUsers(users ...int) func(net.Conn) bool {
	return func(nc net.Conn) bool {
		socket, ok := nc.(*net.UnixConn)
		if !ok {
			return false
		}
		uid, err := control.PeerUID(socket)
		return err == nil && (uid == 0 || uid == os.Geteuid() || slices.Contains(users, uid))
	}
}
