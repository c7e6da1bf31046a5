package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	wire "github.com/miekg/dns"
)

// maxUDP is the size of the answers that we take over UDP: it passes everywhere
// without being fragmented (RFC 9715, section 3.2).
const maxUDP = 1232

// maxTCP bounds the answers that we take over TCP.
const maxTCP = 32 << 10

// patience is how long a server may be silent before the same datagram is sent
// again. One of the two may have been lost, and a second costs a server little that
// is still at work on the first; a message waits for the answer.
const patience = 500 * time.Millisecond

const headerSize = 12 // RFC 1035, section 4.1.1

// errMalformed says that the server did answer, and that the answer cannot be
// read.
var errMalformed = errors.New("malformed answer")

// A transport carries one question to one server, over "udp" or "tcp", and
// returns what it answers. It takes nothing for the answer that is not one to
// this very question, and waits on until ctx ends.
type transport func(ctx context.Context, network string, server netip.AddrPort, q question) (*wire.Msg, error)

// send is the transport over sockets. Each question has a socket of its own,
// with a port that the kernel picks at random, and connected, so that datagrams
// from others do not reach it (RFC 5452, section 9.2).
func send(ctx context.Context, network string, server netip.AddrPort, q question) (*wire.Msg, error) {
	query, err := pack(q, server.Addr().IsLoopback())
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()
	conn := &wire.Conn{Conn: nc, UDPSize: maxUDP}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	if network == "udp" {
		again := time.AfterFunc(patience, func() { _, _ = conn.Write(query) }) // if that fails, nothing is worse than before
		defer again.Stop()
	}
	reply, err := receive(conn, query)
	if err != nil {
		return nil, err
	}
	m := new(wire.Msg)
	if err := m.Unpack(reply); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return m, nil
}

// pack returns the octets that ask q. Who is trusted is asked what DNSSEC has
// to say (RFC 6840, section 5.7).
func pack(q question, trusted bool) ([]byte, error) {
	m := new(wire.Msg)
	m.SetQuestion(q.presentation(), q.typ) // with a random ID, and RD set
	m.SetEdns0(maxUDP, false)
	m.AuthenticatedData = trusted
	query, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack the question: %w", err)
	}
	return query, nil
}

// receive returns the first message that answers query.
func receive(conn *wire.Conn, query []byte) ([]byte, error) {
	for {
		reply, err := conn.ReadMsgHeader(nil)
		switch {
		case errors.Is(err, wire.ErrShortRead):
			continue // a datagram of less than a header
		case err != nil:
			return nil, err
		case len(reply) > maxTCP:
			return nil, fmt.Errorf("answer of %d octets", len(reply))
		case answers(reply, query):
			return reply, nil
		}
	}
}

// answers reports whether reply is a response to query: the same ID and the
// same question, whatever the case of its letters. A server that refuses may
// leave the question out.
func answers(reply, query []byte) bool {
	const (
		qr, opcode = 0x80, 0x78 // in the third octet
		rcode      = 0x0f       // in the fourth
	)
	if len(reply) < headerSize || !bytes.Equal(reply[:2], query[:2]) || reply[2]&(qr|opcode) != qr {
		return false
	}
	if len(reply) == headerSize {
		code := int(reply[3] & rcode)
		return code != wire.RcodeSuccess && code != wire.RcodeNameError
	}
	asked := questionSection(query)
	got := questionSection(reply)
	return asked != nil && len(asked) == len(got) && equalFold(asked[:len(asked)-4], got[:len(got)-4]) &&
		bytes.Equal(asked[len(asked)-4:], got[len(got)-4:])
}

// questionSection returns the octets of the one question in msg: a name without
// compression, which has nothing to point to, a type and a class; nil if there
// is not just one.
func questionSection(msg []byte) []byte {
	if len(msg) < headerSize || msg[4] != 0 || msg[5] != 1 {
		return nil
	}
	i := headerSize
	for i < len(msg) && msg[i] != 0 {
		if msg[i] > 63 {
			return nil
		}
		i += 1 + int(msg[i])
	}
	if end := i + 1 + 4; end <= len(msg) {
		return msg[headerSize:end]
	}
	return nil
}

// equalFold reports whether a and b, of one length, are the same but for the
// case of ASCII letters. The octets that count the letters are below 64.
func equalFold(a, b []byte) bool {
	for i, c := range a {
		d := b[i]
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}
