package dnstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	wire "github.com/miekg/dns"

	"postern/internal/dns"
)

// A question is what a query asks for, in the words of a Zone.
type question struct{ typ, name string }

func questionOf(query *wire.Msg) question {
	q := query.Question[0]
	name := dns.Unescape(strings.ToLower(strings.TrimSuffix(q.Name, ".")))
	if q.Qtype == wire.TypePTR {
		name = reversed(name)
	}
	return question{wire.TypeToString[q.Qtype], name}
}

// reversed returns the address that the name of a reverse zone stands for, and
// any other name as it is.
func reversed(name string) string {
	if labels, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		octets := strings.Split(labels, ".")
		slices.Reverse(octets)
		return strings.Join(octets, ".")
	}
	labels, ok := strings.CutSuffix(name, ".ip6.arpa")
	nibbles := strings.Split(labels, ".")
	if !ok || len(nibbles) != 32 {
		return name
	}
	slices.Reverse(nibbles)
	var b [16]byte
	for i := range b {
		v, _ := strconv.ParseUint(nibbles[2*i]+nibbles[2*i+1], 16, 8)
		b[i] = byte(v)
	}
	return netip.AddrFrom16(b).String()
}

// An answerer answers one query.
type answerer struct {
	mood         Mood
	tcp          bool
	zone         dns.Zone
	ttl, minimum uint32
}

// answers returns the messages to send, none for silence.
func (a answerer) answers(query *wire.Msg, asked question) [][]byte {
	m := a.honest(query, asked)
	if m == nil {
		return nil
	}
	switch a.mood {
	case Silent:
		return nil
	case ServFail:
		m = new(wire.Msg).SetRcode(query, wire.RcodeServerFailure)
	case Refused:
		m = new(wire.Msg).SetRcode(query, wire.RcodeRefused)
	case Lame:
		m = new(wire.Msg).SetReply(query)
	case NoSOA:
		m.Ns = nil
	case Truncating, TCPOnly:
		return a.truncated(query, m)
	case Malformed:
		octets := pack(m)
		return [][]byte{octets[:len(octets)-3]}
	case WrongID, WrongQuestion:
		return [][]byte{pack(a.lie(query, asked)), pack(m)}
	case Garbage:
		return [][]byte{[]byte("?"), []byte("this is not what it claims to be"), pack(m)}
	}
	if opt := query.IsEdns0(); !a.tcp && opt != nil && a.mood != Oversized {
		m.Truncate(int(opt.UDPSize()))
	}
	return [][]byte{pack(m)}
}

func (a answerer) truncated(query, m *wire.Msg) [][]byte {
	switch {
	case !a.tcp:
		m = new(wire.Msg).SetReply(query)
		m.Truncated = true
	case a.mood == TCPOnly:
		return nil
	}
	return [][]byte{pack(m)}
}

// honest returns what the zone has, and nil where it has silence.
func (a answerer) honest(query *wire.Msg, asked question) *wire.Msg {
	m := new(wire.Msg).SetReply(query)
	m.RecursionAvailable = true
	m.AuthenticatedData = query.AuthenticatedData
	if query.IsEdns0() != nil {
		m.SetEdns0(1232, false)
	}
	aliases, records, err := a.zone.Follow(asked.typ, asked.name)
	if len(records) > 0 && records[0] == "TIMEOUT" {
		return nil
	}
	for i, target := range aliases[1:] {
		m.Answer = append(m.Answer, a.record(owner(query, aliases, i), "CNAME", absolute(target)))
	}
	last := owner(query, aliases, len(aliases)-1)
	switch {
	case errors.Is(err, dns.ErrTemporary), len(records) > 0 && records[0] == "SERVFAIL":
		m.Answer = nil
		m.Rcode = wire.RcodeServerFailure
		return m
	case errors.Is(err, dns.ErrNXDomain):
		m.Rcode = wire.RcodeNameError
	}
	for _, r := range records {
		m.Answer = append(m.Answer, a.record(last, asked.typ, r))
	}
	if err != nil {
		m.Ns = append(m.Ns, a.record(".", "SOA", fmt.Sprintf(". . 1 2 3 4 %d", a.minimum)))
	}
	return m
}

// owner returns the name of the i-th alias. The first is that of the question,
// in the letters of the client.
func owner(query *wire.Msg, aliases []string, i int) string {
	if i == 0 {
		return query.Question[0].Name
	}
	return absolute(aliases[i])
}

func absolute(name string) string { return dns.Escape(name) + "." }

// record returns the record of type typ at name whose data a Zone gives as text.
func (a answerer) record(name, typ, text string) wire.RR {
	h := wire.RR_Header{Name: name, Rrtype: wire.StringToType[typ], Class: wire.ClassINET, Ttl: a.ttl}
	switch typ {
	case "TXT":
		return &wire.TXT{Hdr: h, Txt: characterStrings(text)}
	case "MX", "PTR", "CNAME":
		text = strings.TrimSuffix(text, ".") + "."
	}
	rr, err := wire.NewRR(fmt.Sprintf("x. %d IN %s %s", a.ttl, typ, text))
	if err != nil {
		return &wire.RFC3597{Hdr: h} // a record without data: the test that asks for it will see
	}
	rr.Header().Name = name
	return rr
}

// characterStrings returns text in pieces of at most 255 octets, each as the
// wire library wants it.
func characterStrings(text string) []string {
	var all []string
	for piece := range slices.Chunk([]byte(text), 255) {
		all = append(all, dns.Escape(string(piece)))
	}
	if all == nil {
		all = []string{""}
	}
	return all
}

// lie returns something that is not the answer to query, and says what is not
// so.
func (a answerer) lie(query *wire.Msg, asked question) *wire.Msg {
	m := new(wire.Msg).SetReply(query)
	m.RecursionAvailable = true
	text := map[string]string{"A": "192.0.2.66", "AAAA": "2001:db8::66", "MX": "0 lie.example", "PTR": "lie.example", "TXT": "lie"}
	m.Answer = []wire.RR{a.record(query.Question[0].Name, asked.typ, text[asked.typ])}
	switch a.mood {
	case WrongID:
		m.Id ^= 1
	case WrongQuestion:
		m.Question = []wire.Question{{Name: "lie.example.", Qtype: query.Question[0].Qtype, Qclass: wire.ClassINET}}
	}
	return m
}

// pack returns the octets of m. It stands in for them with a message that says
// SERVFAIL where the zone holds what no message can.
func pack(m *wire.Msg) []byte {
	m.Compress = true
	octets, err := m.Pack()
	if err != nil {
		m.Answer, m.Ns, m.Rcode = nil, nil, wire.RcodeServerFailure
		octets, _ = m.Pack()
	}
	return octets
}

// fromElsewhere sends octets to addr from a port of its own.
func fromElsewhere(addr net.Addr, octets []byte) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return
	}
	defer pc.Close()
	_, _ = pc.WriteTo(octets, addr)
}
