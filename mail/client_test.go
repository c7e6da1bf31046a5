package mail

import (
	"net/netip"
	"testing"
)

func TestNetwork(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.77":                    "192.0.2.0/24",
		"::ffff:192.0.2.77":             "192.0.2.0/24",
		"2001:db8:1:2:3:4:5:6":          "2001:db8:1:2::/64",
		"fe80::1%eth0":                  "fe80::/64",
		"0.0.0.0":                       "0.0.0.0/24",
		"2001:db8:1:2:ffff:ffff:ffff:0": "2001:db8:1:2::/64",
	} {
		if got := (Client{IP: netip.MustParseAddr(ip)}).Network(); got.String() != want {
			t.Errorf("%s: %v, want %s", ip, got, want)
		}
	}
	if n := (Client{}).Network(); n.IsValid() {
		t.Errorf("no address: %v", n)
	}
}
