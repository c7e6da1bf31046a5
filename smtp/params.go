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
	Chunking    bool  // RFC 3030, section 2
	UTF8        bool  // SMTPUTF8, RFC 6531
	DSN         bool  // RFC 3461
	PRDR        bool  // draft-hall-prdr: a reply for each recipient
	RequireTLS  bool  // RFC 8689
	XClient     bool  // XCLIENT (Postfix), for proxies
	Help        bool  // RFC 5321, section 4.1.1.8
	RcptMax     int   // LIMITS RCPTMAX, RFC 9422; 0: none was named
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
	add(o.RequireTLS, "REQUIRETLS")
	add(o.EightBit, "8BITMIME")
	add(o.UTF8, "SMTPUTF8")
	add(o.Chunking, "CHUNKING")
	add(o.DSN, "DSN")
	add(o.PRDR, "PRDR")
	add(o.XClient, "XCLIENT "+XClientAttributes)
	add(o.RcptMax > 0, "LIMITS RCPTMAX="+strconv.Itoa(o.RcptMax))
	add(o.Help, "HELP")
	add(o.Status, "ENHANCEDSTATUSCODES")
	return lines
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
	switch upper(word) {
	case "PIPELINING":
		o.Pipelining = true
	case "8BITMIME":
		o.EightBit = true
	case "ENHANCEDSTATUSCODES":
		o.Status = true
	case "STARTTLS":
		o.StartTLS = true
	case "SIZE":
		size, _ := strconv.ParseUint(arg, 10, 63) // "SIZE" alone names no limit
		o.SizeOffered, o.Size = true, int64(size)
	case "CHUNKING":
		o.Chunking = true
	case "SMTPUTF8":
		o.UTF8 = true
	case "DSN":
		o.DSN = true
	case "PRDR":
		o.PRDR = true
	case "REQUIRETLS":
		o.RequireTLS = true
	case "XCLIENT":
		o.XClient = true
	case "HELP":
		o.Help = true
	case "LIMITS":
		o.parseLimits(arg)
	}
}

func (o *Offer) parseLimits(arg string) {
	for limit := range strings.FieldsFuncSeq(arg, isWSP) {
		key, value, _ := strings.Cut(limit, "=")
		if n, err := strconv.Atoi(value); err == nil && n > 0 && upper(key) == "RCPTMAX" {
			o.RcptMax = n
		}
	}
}

// MailParams understands the parameters of MAIL. One that was not offered is
// refused with 555, one that comes twice or makes no sense with 501 (RFC 5321,
// section 4.1.1.11), and a size above the limit with 552 (RFC 1870, section 6.1).
func (o Offer) MailParams(params []Param) (mail.Params, error) {
	var p mail.Params
	if hasTwins(params) {
		return p, mail.BadArgument
	}
	for _, param := range params {
		if err := o.mailParam(&p, param); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (o Offer) mailParam(p *mail.Params, param Param) (err error) {
	switch {
	case param.Key == "SIZE" && o.SizeOffered:
		p.Size, err = o.parseSize(param.Value)
	case param.Key == "BODY" && o.EightBit:
		p.Body, err = parseBody(param.Value)
	case param.Key == "SMTPUTF8" && o.UTF8:
		p.UTF8, err = flag(param)
	case param.Key == "RET" && o.DSN:
		p.Ret, err = oneOf(param.Value, mail.RetFull, mail.RetHeaders)
	case param.Key == "ENVID" && o.DSN:
		p.EnvelopeID, err = parseEnvelopeID(param.Value)
	case param.Key == "REQUIRETLS" && o.RequireTLS:
		p.RequireTLS, err = flag(param)
	case param.Key == "PRDR" && o.PRDR:
		p.PRDR, err = flag(param)
	default:
		err = mail.BadParameter
	}
	return err
}

// parseBody reads the value of BODY. BINARYMIME is one (RFC 3030, section 3) that
// no server of ours offers.
func parseBody(s string) (mail.BodyType, error) {
	body, err := oneOf(s, mail.Body7Bit, mail.Body8Bit, mail.BodyBinary)
	if body == mail.BodyBinary {
		return "", mail.BodyNotSupported
	}
	return body, err
}

// RcptParams understands the parameters of RCPT, as MailParams does those of
// MAIL, and stores them in r.
func (o Offer) RcptParams(params []Param, r *mail.Recipient) (err error) {
	if hasTwins(params) {
		return mail.BadArgument
	}
	for _, param := range params {
		switch {
		case param.Key == "NOTIFY" && o.DSN:
			r.Notify, err = parseNotify(param.Value)
		case param.Key == "ORCPT" && o.DSN:
			r.OriginalType, r.Original, err = parseOriginal(param.Value)
		default:
			err = mail.BadParameter
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hasTwins reports whether a parameter comes twice. One that says the same again is
// none: Python's smtplib adds SMTPUTF8 to what its caller gave. Those of RFC 3461 may
// not come twice whatever they say (section 4).
func hasTwins(params []Param) bool {
	for i, p := range params {
		for _, before := range params[:i] {
			if p.Key == before.Key && (p.Value != before.Value || isDSN(p.Key)) {
				return true
			}
		}
	}
	return false
}

func isDSN(key string) bool {
	return key == "RET" || key == "ENVID" || key == "NOTIFY" || key == "ORCPT"
}

// parseSize parses 1*20DIGIT (RFC 1870, section 6). A number that does not fit
// is a size all the same, and too big.
func (o Offer) parseSize(s string) (int64, error) {
	if len(s) == 0 || len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return 0, mail.BadArgument
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || o.Size > 0 && n > o.Size {
		return 0, mail.TooBig
	}
	return n, nil
}

// oneOf returns the value that s is, whatever its case. The values are in upper
// case.
func oneOf[T ~string](s string, values ...T) (T, error) {
	for _, v := range values {
		if upper(s) == string(v) {
			return v, nil
		}
	}
	return "", mail.BadArgument
}

// flag reads a parameter that has no value.
func flag(p Param) (bool, error) {
	if p.HasValue {
		return false, mail.BadArgument
	}
	return true, nil
}
