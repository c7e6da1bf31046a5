package smtp

import (
	"strconv"
	"strings"

	"postern/mail"
)

// MailCommand returns the MAIL command for env, with the parameters that it has
// and the server takes, without its CRLF. The size is that of the message as it
// is sent.
func (o Offer) MailCommand(env *mail.Envelope, size int64) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:" + env.From.Path())
	add := func(set bool, param string) {
		if set {
			b.WriteString(" " + param)
		}
	}
	add(o.SizeOffered && size > 0, "SIZE="+strconv.FormatInt(size, 10))
	add(o.EightBit && env.Body != "", "BODY="+string(env.Body))
	add(o.UTF8 && env.UTF8, "SMTPUTF8")
	add(o.RequireTLS && env.RequireTLS, "REQUIRETLS")
	add(o.DSN && env.Ret != "", "RET="+string(env.Ret))
	add(o.DSN && env.EnvelopeID != "", "ENVID="+EncodeXtext(env.EnvelopeID))
	return b.String()
}

// RcptCommand returns the RCPT command for r, with the parameters that it has
// and the server takes, without its CRLF.
func (o Offer) RcptCommand(r mail.Recipient) string {
	command := "RCPT TO:" + r.Path()
	if o.DSN && r.Notify != 0 {
		command += " NOTIFY=" + formatNotify(r.Notify)
	}
	if o.DSN && r.OriginalType != "" {
		command += " ORCPT=" + r.OriginalType + ";" + encodeOriginal(r)
	}
	return command
}

// encodeOriginal encodes the address of ORCPT; one of type utf-8 has an encoding
// of its own (RFC 6533, section 3), and was kept as it came.
func encodeOriginal(r mail.Recipient) string {
	if strings.EqualFold(r.OriginalType, "utf-8") {
		return r.Original
	}
	return EncodeXtext(r.Original)
}
