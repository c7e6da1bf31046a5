package smtp

import (
	"strconv"
	"strings"

	"postern/mail"
)

// An Offer is what a server announced in its answer to EHLO or LHLO, and so
// what may be used. The zero Offer is that of a server that was greeted with
// HELO: nothing.
type Offer struct {
	Pipelining  bool  // RFC 2920
	EightBit    bool  // 8BITMIME, RFC 6152
	Status      bool  // ENHANCEDSTATUSCODES, RFC 2034
	StartTLS    bool  // RFC 3207
	SizeOffered bool  // SIZE, RFC 1870
	Size        int64 // the largest message; 0: no limit was named
}

// Keywords returns the lines that announce o, in a fixed order.
func (o Offer) Keywords() []string {
	var lines []string
	add := func(set bool, keyword string) {
		if set {
			lines = append(lines, keyword)
		}
	}
	add(o.Pipelining, "PIPELINING")
	add(o.SizeOffered, "SIZE "+strconv.FormatInt(o.Size, 10))
	add(o.StartTLS, "STARTTLS")
	add(o.EightBit, "8BITMIME")
	add(o.Status, "ENHANCEDSTATUSCODES")
	return lines
}

// MailParams understands the parameters of MAIL. One that was not offered is
// refused with 555, one that comes twice or makes no sense with 501 (RFC 5321,
// section 4.1.1.11), and a size above the limit with 552 (RFC 1870, section 6.1).
func (o Offer) MailParams(params []Param) (mail.Params, error) {
	var p mail.Params
	seen := make(map[string]bool, len(params))
	for _, param := range params {
		if seen[param.Key] {
			return p, mail.BadArgument
		}
		seen[param.Key] = true
		if err := o.mailParam(&p, param); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (o Offer) mailParam(p *mail.Params, param Param) error {
	switch {
	case param.Key == "SIZE" && o.SizeOffered:
		size, err := parseSize(param.Value)
		if err != nil {
			return err
		}
		if o.Size > 0 && size > o.Size {
			return mail.TooBig
		}
		p.Size = size
	case param.Key == "BODY" && o.EightBit:
		return parseBody(p, param.Value)
	default:
		return mail.BadParameter
	}
	return nil
}

// parseSize parses 1*20DIGIT (RFC 1870, section 6). A number that does not fit
// is a size all the same, and too big.
func parseSize(s string) (int64, error) {
	if len(s) == 0 || len(s) > 20 {
		return 0, mail.BadArgument
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, mail.BadArgument
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, mail.TooBig
	}
	return n, nil
}

func parseBody(p *mail.Params, value string) error {
	for _, body := range []mail.BodyType{mail.Body7Bit, mail.Body8Bit} {
		if strings.EqualFold(value, string(body)) {
			p.Body = body
			return nil
		}
	}
	return mail.BadArgument
}

// RcptParams understands the parameters of RCPT: none is offered.
func (o Offer) RcptParams(params []Param) error {
	if len(params) > 0 {
		return mail.BadParameter
	}
	return nil
}

// ParseOffer reads the lines of an answer to EHLO or LHLO, after the first.
func ParseOffer(lines []string) Offer {
	var o Offer
	for _, line := range lines {
		o.parseKeyword(line)
	}
	return o
}

func (o *Offer) parseKeyword(line string) {
	word, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(word) {
	case "PIPELINING":
		o.Pipelining = true
	case "8BITMIME":
		o.EightBit = true
	case "ENHANCEDSTATUSCODES":
		o.Status = true
	case "STARTTLS":
		o.StartTLS = true
	case "SIZE":
		o.SizeOffered = true
		o.Size, _ = strconv.ParseInt(arg, 10, 64) // "SIZE" alone names no limit
	}
}
