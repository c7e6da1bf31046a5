package smtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrNoProxy says that a PROXY header was required and something else came.
var ErrNoProxy = errors.New("smtp: no PROXY header")

const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxyV1     = 107     // CRLF included
	maxProxyV2     = 4 << 10 // addresses and whatever the proxy adds to them
)

// A Proxied is what a proxy says of the connection that it passes on. The zero
// Proxied means that it speaks for itself (LOCAL, or UNKNOWN).
type Proxied struct {
	Client netip.AddrPort
	Server netip.AddrPort // that the client connected to; zero where it cannot be read
}

// ReadProxy reads a PROXY header, version 1 or 2 (the HAProxy PROXY protocol,
// 2020). After an error the connection is good for nothing.
func (c *Conn) ReadProxy() (Proxied, error) {
	for c.Buffered() < len(proxySignature) {
		start := c.peek()
		if !strings.HasPrefix(proxySignature, string(start)) && !bytes.HasPrefix(start, []byte("PROXY")[:min(len(start), 5)]) {
			return Proxied{}, ErrNoProxy
		}
		if err := c.fill(); err != nil {
			return Proxied{}, err
		}
	}
	if string(c.peek()[:len(proxySignature)]) == proxySignature {
		return c.readProxyV2()
	}
	line, err := c.readLine(maxProxyV1, false)
	if err != nil {
		return Proxied{}, fmt.Errorf("%w: %w", ErrNoProxy, err)
	}
	return parseProxyV1(string(line))
}

// peek returns what was received and not yet used.
func (c *Conn) peek() []byte {
	if c.buf == nil {
		return nil
	}
	return c.buf[c.r:c.w]
}

// readFull fills p.
func (c *Conn) readFull(p []byte) error {
	for n := 0; n < len(p); {
		if c.Buffered() == 0 {
			if err := c.fill(); err != nil {
				return err
			}
		}
		took := copy(p[n:], c.peek())
		c.r += took
		n += took
	}
	return nil
}

// parseProxyV1 parses "PROXY TCP4 source destination port port".
func parseProxyV1(line string) (Proxied, error) {
	words := strings.Split(line, " ")
	if words[0] != "PROXY" || len(words) < 2 {
		return Proxied{}, ErrNoProxy
	}
	if words[1] == "UNKNOWN" {
		return Proxied{}, nil
	}
	bad := fmt.Errorf("%w: bad line %q", ErrNoProxy, line)
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return Proxied{}, bad
	}
	client, ok := parseProxyAddr(words[1], words[2], words[4])
	if !ok {
		return Proxied{}, bad
	}
	server, _ := parseProxyAddr(words[1], words[3], words[5])
	return Proxied{Client: client, Server: server}, nil
}

// parseProxyAddr parses an address of a family, TCP4 or TCP6, and its port.
func parseProxyAddr(family, address, port string) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" || addr.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}

// readProxyV2 reads the binary header, whose signature is in the buffer.
func (c *Conn) readProxyV2() (Proxied, error) {
	var head [16]byte
	if err := c.readFull(head[:]); err != nil {
		return Proxied{}, err
	}
	length := int(binary.BigEndian.Uint16(head[14:]))
	if head[12]>>4 != 2 || length > maxProxyV2 {
		return Proxied{}, fmt.Errorf("%w: version %d, %d octets", ErrNoProxy, head[12]>>4, length)
	}
	body := make([]byte, length)
	if err := c.readFull(body); err != nil {
		return Proxied{}, err
	}
	switch command := head[12] & 0xf; command {
	case 0: // LOCAL
		return Proxied{}, nil
	case 1: // PROXY
		return parseProxyV2(head[13], body)
	default:
		return Proxied{}, fmt.Errorf("%w: command %d", ErrNoProxy, command)
	}
}

func parseProxyV2(family byte, body []byte) (Proxied, error) {
	size := map[byte]int{0x11: 4, 0x21: 16}[family] // TCP over IPv4, over IPv6
	switch {
	case family>>4 == 0: // AF_UNSPEC
		return Proxied{}, nil
	case size == 0 || len(body) < 2*size+4:
		return Proxied{}, fmt.Errorf("%w: family %#x, %d octets", ErrNoProxy, family, len(body))
	}
	endpoint := func(addr, port []byte) netip.AddrPort {
		ip, _ := netip.AddrFromSlice(addr)
		return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(port))
	}
	return Proxied{
		Client: endpoint(body[:size], body[2*size:]),
		Server: endpoint(body[size:2*size], body[2*size+2:]),
	}, nil
}
