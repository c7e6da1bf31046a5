package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	wire "github.com/miekg/dns"
)

// maxRecords bounds the records of an answer that are looked at. Policies need
// a handful, and the fullest name that publishes TXT records has about a
// hundred.
const maxRecords = 1000

// How long an answer is kept at most, whatever its TTL; of an absence, RFC 2308,
// section 5, advises one to three hours. The last is for one that has no TTL.
const (
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour
	unstatedTTL    = 5 * time.Second
)

// An outcome is what a question ended with.
type outcome struct {
	records   []string      // as lookup gives them; nil with an error
	err       error         // nil, or it wraps one of the package's three
	ttl       time.Duration // how long it holds from when it was asked for; 0: for this once
	authentic bool          // the server says that DNSSEC proved it (RFC 4035, section 3.2.3)
}

// interpret reads the answer of a server to a question of type typ. The caller
// has seen that m answers its question. The error says why m decides nothing.
func interpret(m *wire.Msg, typ uint16) (outcome, error) {
	switch {
	case m.Rcode != wire.RcodeSuccess && m.Rcode != wire.RcodeNameError:
		return outcome{}, errors.New(failure(m))
	case m.Truncated || len(m.Question) != 1:
		return outcome{}, errors.New("incomplete answer")
	case len(m.Answer) > maxRecords:
		return outcome{}, fmt.Errorf("%d records in one answer", len(m.Answer))
	}
	name, ttl, err := follow(m)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{ttl: ttl, authentic: m.AuthenticatedData}
	if m.Rcode == wire.RcodeNameError {
		o.ttl, o.err = min(ttl, negativeTTL(m, name)), ErrNXDomain // of the last alias (RFC 6604, section 3)
		return o, nil
	}
	found := o.collect(m, typ, name)
	switch {
	case len(o.records) > 0:
		return o, nil
	case !found && isReferral(m):
		return outcome{}, errors.New("the server does no recursion")
	}
	o.ttl, o.err = min(o.ttl, negativeTTL(m, name)), ErrNoData
	return o, nil
}

// collect takes the records of type typ at name from m, with the shortest of
// their times to live (RFC 2181, section 5.2). It returns whether there are any.
func (o *outcome) collect(m *wire.Msg, typ uint16, name string) (found bool) {
	for _, rr := range m.Answer {
		if h := rr.Header(); h.Rrtype != typ || h.Class != wire.ClassINET || !strings.EqualFold(h.Name, name) {
			continue
		}
		found = true
		o.ttl = min(o.ttl, lifetime(rr.Header().Ttl))
		if record, ok := text(rr); ok {
			o.records = append(o.records, record)
		}
	}
	return found
}

// follow returns the name that the aliases in m lead to from the name in its
// question, and the shortest of their times to live.
func follow(m *wire.Msg) (name string, ttl time.Duration, err error) {
	name, ttl = m.Question[0].Name, maxTTL
	for range maxAliases {
		alias := aliasOf(m, name)
		if alias == nil {
			return name, ttl, nil
		}
		name, ttl = alias.Target, min(ttl, lifetime(alias.Hdr.Ttl))
	}
	return "", 0, fmt.Errorf("more than %d aliases", maxAliases)
}

func aliasOf(m *wire.Msg, name string) *wire.CNAME {
	for _, rr := range m.Answer {
		c, ok := rr.(*wire.CNAME)
		if ok && c.Hdr.Class == wire.ClassINET && strings.EqualFold(c.Hdr.Name, name) {
			return c
		}
	}
	return nil
}

// lifetime returns a TTL of the wire as a duration. One with the highest bit
// set is none (RFC 2181, section 8).
func lifetime(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxTTL)
}

// negativeTTL returns how long the absence that m reports holds: the lesser of
// the TTL and the MINIMUM of the SOA record in its authority section. Without one
// nothing says when it has ended, and it is not to be kept (RFC 2308, section 5);
// a moment is granted all the same, as Unbound does, for the servers that leave
// the record out would be asked the same thing by every message.
func negativeTTL(m *wire.Msg, name string) time.Duration {
	for _, rr := range m.Ns {
		soa, ok := rr.(*wire.SOA)
		if ok && wire.IsSubDomain(soa.Hdr.Name, name) {
			return min(lifetime(soa.Hdr.Ttl), lifetime(soa.Minttl), maxNegativeTTL)
		}
	}
	return unstatedTTL
}

// isReferral reports whether m, which has no records, only says who else might
// know (RFC 2308, section 2.2), or comes from a server that neither knows nor
// asks others: that is no answer.
func isReferral(m *wire.Msg) bool {
	ns := false
	for _, rr := range m.Ns {
		switch rr.(type) {
		case *wire.SOA:
			return false
		case *wire.NS:
			ns = true
		}
	}
	return !m.Authoritative && (ns || !m.RecursionAvailable)
}

// failure returns the response code of m, with what the server says of it in
// an extended error (RFC 8914): a failed validation is told apart so.
func failure(m *wire.Msg) string {
	code, ok := wire.RcodeToString[m.Rcode]
	if !ok {
		code = "RCODE " + strconv.Itoa(m.Rcode)
	}
	opt := m.IsEdns0()
	if opt == nil {
		return code
	}
	for _, o := range opt.Option {
		if ede, ok := o.(*wire.EDNS0_EDE); ok {
			return fmt.Sprintf("%s (%s, %.100q)", code, wire.ExtendedErrorCodeToString[ede.InfoCode], ede.ExtraText)
		}
	}
	return code
}

// text returns the data of rr as lookup gives it. Data that is empty, and hosts
// whose name cannot be one, are left out.
func text(rr wire.RR) (record string, ok bool) {
	switch rr := rr.(type) {
	case *wire.A:
		return address(rr.A)
	case *wire.AAAA:
		return address(rr.AAAA)
	case *wire.MX:
		host, ok := host(rr.Mx)
		return strconv.Itoa(int(rr.Preference)) + " " + host, ok
	case *wire.PTR:
		return host(rr.Ptr)
	case *wire.TLSA:
		return fmt.Sprintf("%d %d %d %s", rr.Usage, rr.Selector, rr.MatchingType, rr.Certificate), rr.Certificate != ""
	case *wire.TXT:
		return Unescape(strings.Join(rr.Txt, "")), len(rr.Txt) > 0
	}
	return "", false
}

func address(octets []byte) (string, bool) {
	ip, ok := netip.AddrFromSlice(octets)
	return ip.String(), ok
}

// host returns a name of the wire library without its final dot. A name with
// an escape in it holds an octet that no host name has, and could be mistaken
// for another one.
func host(name string) (string, bool) {
	return lower(trimDot(name)), name != "" && !strings.Contains(name, `\`)
}
