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

func TestIn(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for ip, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "198.51.100.1": false, "2001:db9::1": false,
	} {
		if got := (Client{IP: netip.MustParseAddr(ip)}).In(networks); got != want {
			t.Errorf("%s: %v, want %v", ip, got, want)
		}
	}
	if (Client{}).In([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}) {
		t.Error("no address is in a network")
	}
}
