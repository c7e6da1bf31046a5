package smtp

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// proxyV2 returns a binary header.
func proxyV2(command, family byte, body string) string {
	b := []byte(proxySignature)
	b = append(b, command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(b) + body
}

func TestReadProxy(t *testing.T) {
	v4 := "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x00\x19"
	v6 := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x00", 15) + "\x02\x30\x39\x00\x19"
	mapped := strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x01" + strings.Repeat("\x00", 10) + "\xff\xff\xc6\x33\x64\x02\x30\x39\x00\x19"
	const bad = "bad"
	tests := []struct {
		name, in, want string // the client, and the server where it can be read; "": the proxy speaks for itself
	}{
		{"version 1, IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n", "192.0.2.1:12345 198.51.100.2:25"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n", "[2001:db8::1]:12345 [2001:db8::2]:25"},
		{"version 1, mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 12345 25\r\n", "192.0.2.1:12345 198.51.100.2:25"},
		{"version 1, no server", "PROXY TCP4 192.0.2.1 x 12345 25\r\n", "192.0.2.1:12345"},
		{"version 1, no server", "PROXY TCP4 192.0.2.1 ::1 12345 25\r\n", "192.0.2.1:12345"},
		{"version 1, no server", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 x\r\n", "192.0.2.1:12345"},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", ""},
		{"version 1, unknown with addresses", "PROXY UNKNOWN ffff:f...f:ffff x 65535 65535\r\n", ""},
		{"version 1, the longest line", "PROXY UNKNOWN " + strings.Repeat("x", maxProxyV1-16) + "\r\n", ""},
		{"version 1, too long a line", "PROXY UNKNOWN " + strings.Repeat("x", maxProxyV1-15) + "\r\n", bad},
		{"version 1, LF only", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\nx\r\n", bad},
		{"version 1, wrong family", "PROXY TCP6 192.0.2.1 198.51.100.2 12345 25\r\n", bad},
		{"version 1, wrong family", "PROXY TCP4 2001:db8::1 2001:db8::2 12345 25\r\n", bad},
		{"version 1, zone", "PROXY TCP6 fe80::1%eth0 fe80::2 12345 25\r\n", bad},
		{"version 1, port", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n", bad},
		{"version 1, port", "PROXY TCP4 192.0.2.1 198.51.100.2 -1 25\r\n", bad},
		{"version 1, a word too few", "PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n", bad},
		{"version 1, a space too many", "PROXY TCP4  192.0.2.1 198.51.100.2 12345 25\r\n", bad},
		{"version 1, other case", "proxy TCP4 192.0.2.1 198.51.100.2 12345 25\r\n", bad},
		{"version 1, other protocol", "PROXY UDP4 192.0.2.1 198.51.100.2 12345 25\r\n", bad},
		{"version 1, nothing", "PROXY         \r\n", bad},
		{"version 1, glued", "PROXYTCP4 192.0.2.1 198.51.100.2 12345 25\r\n", bad},
		{"version 2, IPv4", proxyV2(0x21, 0x11, v4), "192.0.2.1:12345 198.51.100.2:25"},
		{"version 2, IPv4 and more", proxyV2(0x21, 0x11, v4+"\x04\x00\x01x"), "192.0.2.1:12345 198.51.100.2:25"},
		{"version 2, IPv6", proxyV2(0x21, 0x21, v6), "[2001:db8::1]:12345 [::2]:25"},
		{"version 2, mapped", proxyV2(0x21, 0x21, mapped), "192.0.2.1:12345 198.51.100.2:25"},
		{"version 2, local", proxyV2(0x20, 0x00, ""), ""},
		{"version 2, local with addresses", proxyV2(0x20, 0x11, v4), ""},
		{"version 2, unspecified", proxyV2(0x21, 0x00, "xyz"), ""},
		{"version 2, the largest", proxyV2(0x21, 0x11, v4+strings.Repeat("\x04", maxProxyV2-12)), "192.0.2.1:12345 198.51.100.2:25"},
		{"version 2, too large", proxyV2(0x21, 0x11, v4+strings.Repeat("\x04", maxProxyV2-11)), bad},
		{"version 2, too short", proxyV2(0x21, 0x11, v4[:11]), bad},
		{"version 2, IPv6 too short", proxyV2(0x21, 0x21, v6[:35]), bad},
		{"version 2, UDP", proxyV2(0x21, 0x12, v4), bad},
		{"version 2, UNIX", proxyV2(0x21, 0x31, strings.Repeat("x", 216)), bad},
		{"version 2, command", proxyV2(0x22, 0x11, v4), bad},
		{"version 3", proxyV2(0x31, 0x11, v4), bad},
		{"SMTP", "EHLO client.example\r\n", bad},
		{"short SMTP", "QUIT\r\n", bad},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := range len(tt.in) + 1 {
				w := newWire(tt.in+"EHLO a\r\n", i)
				c := NewConn(w)
				got, err := c.ReadProxy()
				if tt.want == bad {
					if !errors.Is(err, ErrNoProxy) {
						t.Fatalf("cut at %d: got %v, %v", i, got, err)
					}
					continue
				}
				var want Proxied
				if client, server, ok := strings.Cut(tt.want, " "); client != "" {
					want.Client = netip.MustParseAddrPort(client)
					if ok {
						want.Server = netip.MustParseAddrPort(server)
					}
				}
				if err != nil || got != want || w.left(c) != "EHLO a\r\n" {
					t.Fatalf("cut at %d: got %v, rest %q, %v", i, got, w.left(c), err)
				}
			}
		})
	}
}

// A header that ends early is an error of the connection.
func TestReadProxyCutOff(t *testing.T) {
	whole := proxyV2(0x21, 0x11, "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x00\x19")
	for i := range whole {
		if got, err := NewConn(newWire(whole[:i])).ReadProxy(); !errors.Is(err, io.EOF) {
			t.Errorf("%d octets: %v, %v", i, got, err)
		}
	}
}

// However the octets arrive, the same is read; and a peer that is no proxy is told
// from one by its first octets.
func FuzzReadProxy(f *testing.F) {
	f.Add("PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\nEHLO a\r\n")
	f.Add(proxyV2(0x21, 0x11, "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x00\x19") + "EHLO a\r\n")
	f.Add(proxySignature)
	f.Fuzz(func(t *testing.T, s string) {
		w := newWire(s)
		c := NewConn(w)
		want, wantErr := c.ReadProxy()
		if wantErr == nil && (want.Client.Addr().Is4In6() || want.Server.Addr().Is4In6() || want.Server.IsValid() && !want.Client.IsValid()) {
			t.Fatalf("%q: %v", s, want)
		}
		slow := newWire(s, cutEvery(s, 1)...)
		d := NewConn(slow)
		got, err := d.ReadProxy()
		if got != want || (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, %v; octet by octet %v, %v", s, want, wantErr, got, err)
		}
		if err == nil && w.left(c) != slow.left(d) {
			t.Fatalf("%q: rest %q; octet by octet %q", s, w.left(c), slow.left(d))
		}
	})
}
