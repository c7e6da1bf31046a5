package mail

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// An Envelope is what MAIL and RCPT said (RFC 5321, section 2.3.1).
type Envelope struct {
	// ID names the transaction in the logs of both halves, in Received and in
	// the reply to the client.
	ID     string
	Client Client
	From   Address
	To     []Recipient
	Params

	// Upstream is what a mail system that is not ours calls the message, for the
	// log; empty where it did not say.
	Upstream string

	// What an MX of ours tells a delivery agent of ours; see Digest, and zero
	// where there is neither.
	FromMX     bool // it is an MX of ours that hands the message over
	Digest     Digest
	Generation string // of the recipient maps that Known speaks of; the agent's own, where no MX of ours named one
	Folder     string // that the message is to be filed in; empty: where it would be without
}

// Addresses returns those of the recipients.
func (env *Envelope) Addresses() []Address {
	addrs := make([]Address, len(env.To))
	for i, rcpt := range env.To {
		addrs[i] = rcpt.Address
	}
	return addrs
}

// Each returns r as the reply for each recipient.
func (env *Envelope) Each(r Reply) []Reply { return slices.Repeat([]Reply{r}, len(env.To)) }

// A Digest is the SHA-256 of a message's octets as the client sent them: after
// dots were unstuffed, and before anything was put on top or cut. A client that
// tries again sends the same. The zero Digest is that of a message which was
// not read yet, or whose octets nobody told.
type Digest [sha256.Size]byte

// A Recipient is a forward-path with what its RCPT command said of it.
type Recipient struct {
	Address
	Notify       Notify // NOTIFY= (RFC 3461, section 4.1)
	OriginalType string // ORCPT= (section 4.2): the address type, as "rfc822"; "" for none
	Original     string // ORCPT=: the address, decoded

	// Known says that a map of our own names the mailbox: a next hop that has the
	// same maps and does not know it is behind, or ahead.
	Known bool
	// Unbounded says that it is Known, and that the map gives the mailbox no quota,
	// no path and no system user: the next hop refuses it only if it would refuse
	// all such mailboxes.
	Unbounded bool
}

// Notify says when the sender wants to be told of a recipient's fate. The zero
// Notify leaves it to the servers.
type Notify uint8

// The values of NOTIFY, to be combined; NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Params are the ESMTP parameters of a MAIL command. The zero value says
// nothing.
type Params struct {
	Size       int64    // SIZE=, octets that the client announced (RFC 1870); 0: it did not
	Body       BodyType // BODY= (RFC 6152, RFC 3030)
	UTF8       bool     // SMTPUTF8 (RFC 6531)
	Ret        Ret      // RET= (RFC 3461, section 4.3)
	EnvelopeID string   // ENVID= (section 4.4), decoded
	RequireTLS bool     // REQUIRETLS (RFC 8689)
	PRDR       bool     // PRDR: the client wants to hear a reply for each recipient
}

// A BodyType is the value of the BODY parameter.
type BodyType string

// The body types of RFC 6152 and RFC 3030.
const (
	Body7Bit   BodyType = "7BIT"
	Body8Bit   BodyType = "8BITMIME"
	BodyBinary BodyType = "BINARYMIME"
)

// A Ret says how much of a message a failure notice should return.
type Ret string

// The values of RET.
const (
	RetFull    Ret = "FULL"
	RetHeaders Ret = "HDRS"
)

// A Client is the peer that a message came from, as the session knows it.
type Client struct {
	IP    netip.Addr // unmapped; the zero Addr where there is none, as over a UNIX socket
	Hello string     // the argument of HELO or EHLO, not to be trusted; empty before it
	ESMTP bool       // it said EHLO or LHLO
	TLS   string     // version and cipher suite, as "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty: none
}

// Network returns the network whose members count as one client, for whoever has one
// of its addresses may have them all: a /24 of IPv4, a /64 of IPv6 (RFC 6177). It
// is the zero Prefix where there is no address.
func (c Client) Network() netip.Prefix {
	ip := c.IP.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 24
	}
	network, _ := ip.Prefix(bits) // fails for the zero Addr alone
	return network
}

// In reports whether c has an address in one of networks.
func (c Client) In(networks []netip.Prefix) bool {
	for _, n := range networks {
		if n.Contains(c.IP) {
			return true
		}
	}
	return false
}

// LogValue implements slog.LogValuer.
func (c Client) LogValue() slog.Value {
	if !c.IP.IsValid() {
		return slog.StringValue("local")
	}
	return slog.StringValue(c.IP.String())
}

// idEncoding keeps the order of the octets that it encodes, is free of letters
// that look alike, and needs no quoting anywhere.
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID returns a name for a transaction that began at now: unique, of 16
// letters and digits, and sorted by time.
func NewID(now time.Time) string {
	var b [10]byte
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixMicro())<<8) // 56 bits of microseconds last until 4253
	_, _ = rand.Read(b[7:])                                      // never fails (crypto/rand)
	return idEncoding.EncodeToString(b[:])
}

// Printable returns s with everything but printable ASCII replaced by "?", cut
// to at most n octets: what a stranger said, made fit for a header field, a
// reply or a log line.
func Printable(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(n, len(s))]
}
