package smtp

import (
	"fmt"
	"strconv"
	"strings"

	"postern/mail"
)

const (
	// maxReplyText is the longest text of a reply line: with code, status and
	// CRLF it stays within the 512 octets of RFC 5321, section 4.5.3.1.5.
	maxReplyText = 480
	// maxReplyLine and maxReplyLines bound what a server may answer to us.
	maxReplyLine  = 4096
	maxReplyLines = 128
)

// AppendReply appends r to b as it is sent: the code on each line, "-" behind
// it on all but the last (RFC 5321, section 4.2.1), the status on each line (RFC
// 2034, section 4). What is not printable ASCII in its text becomes "?". What is
// no reply at all, as the zero Reply, is sent as LocalError.
func AppendReply(b []byte, r mail.Reply) []byte {
	if r.Code < 200 || r.Code > 599 {
		r = mail.LocalError
	}
	for text := r.Text; ; {
		line, rest, more := strings.Cut(text, "\n")
		b = strconv.AppendInt(b, int64(r.Code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if r.Status != (mail.Status{}) {
			b = appendStatus(b, r.Status)
			b = append(b, ' ')
		}
		b = append(b, mail.Printable(line, maxReplyText)...)
		b = append(b, '\r', '\n')
		if !more {
			return b
		}
		text = rest
	}
}

func appendStatus(b []byte, s mail.Status) []byte {
	b = strconv.AppendInt(b, int64(s[0]), 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(s[1]), 10)
	b = append(b, '.')
	return strconv.AppendInt(b, int64(s[2]), 10)
}

// ReadReply waits for a reply and returns it, the texts of its lines joined by
// "\n". It sends first what was gathered. An error that is no error of the
// connection says that the server does not speak SMTP; it is out of step then.
func (c *Conn) ReadReply() (mail.Reply, error) {
	var (
		reply mail.Reply
		texts []string
	)
	for range maxReplyLines {
		line, err := c.readLine(maxReplyLine, false)
		if err != nil {
			return mail.Reply{}, err
		}
		code, text, more, err := parseReplyLine(string(line))
		switch {
		case err != nil:
			return mail.Reply{}, err
		case reply.Code != 0 && code != reply.Code:
			return mail.Reply{}, fmt.Errorf("smtp: code changed in reply: %q", line)
		}
		reply.Code = code
		status, text := cutStatus(code, text)
		if status != (mail.Status{}) {
			reply.Status = status
		}
		switch {
		case more:
			texts = append(texts, text)
		case texts == nil:
			reply.Text = text
			return reply, nil
		default:
			reply.Text = strings.Join(append(texts, text), "\n")
			return reply, nil
		}
	}
	return mail.Reply{}, fmt.Errorf("smtp: reply of more than %d lines", maxReplyLines)
}

func parseReplyLine(line string) (code int, text string, more bool, err error) {
	digits := line[:min(3, len(line))]
	code, err = strconv.Atoi(digits)
	switch {
	case err != nil, code < 200, code > 599:
	case len(line) == 3:
		return code, "", false, nil
	case line[3] == '-', line[3] == ' ':
		return code, line[4:], line[3] == '-', nil
	}
	return 0, "", false, fmt.Errorf("smtp: bad reply line %q", line)
}

// cutStatus takes an enhanced status code off the start of text, if there is one
// of code's class (RFC 2034, section 4): success, or a failure for now or ever.
func cutStatus(code int, text string) (mail.Status, string) {
	word, rest, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return mail.Status{}, text
	}
	var s mail.Status
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 10)
		if err != nil || n > 999 {
			return mail.Status{}, text
		}
		s[i] = int(n)
	}
	if s[0] != code/100 || s[0] == 3 {
		return mail.Status{}, text
	}
	return s, rest
}
