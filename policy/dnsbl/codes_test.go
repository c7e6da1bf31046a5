package dnsbl

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestCodes(t *testing.T) {
	for _, test := range []struct {
		patterns []string
		match    string
		other    string
	}{
		{[]string{"127.0.0.2"}, "127.0.0.2", "127.0.0.1 127.0.0.3 127.0.1.2 127.1.0.2 126.0.0.2"},
		{[]string{"127.0.0.2", "127.0.0.4"}, "127.0.0.2 127.0.0.4", "127.0.0.3"},
		{[]string{"127.0.0.[2..4]"}, "127.0.0.2 127.0.0.3 127.0.0.4", "127.0.0.1 127.0.0.5"},
		{[]string{"127.0.0.[2;4..5;9]"}, "127.0.0.2 127.0.0.4 127.0.0.5 127.0.0.9", "127.0.0.3 127.0.0.6"},
		{[]string{"127.[0;2].[0..255].[1..3]"}, "127.0.0.1 127.2.255.3", "127.1.0.1 127.0.0.4"},
		{[]string{"[127].0.0.2"}, "127.0.0.2", "127.0.0.1"},
	} {
		codes, err := ParseCodes(test.patterns...)
		if err != nil {
			t.Errorf("%q: %v", test.patterns, err)
			continue
		}
		for addr := range strings.FieldsSeq(test.match) {
			if !codes.match(netip.MustParseAddr(addr)) {
				t.Errorf("%q does not match %s", test.patterns, addr)
			}
		}
		for addr := range strings.FieldsSeq(test.other) {
			if codes.match(netip.MustParseAddr(addr)) {
				t.Errorf("%q matches %s", test.patterns, addr)
			}
		}
	}
	for _, bad := range []string{
		"", "127", "127.0.0", "127.0.0.", "127.0.0.2.", "127.0.0.2.3", "127.0.0.256", "127.0.0.x", "127.0.0.-1", "127.0.0.+2",
		"127.0.0.[2..]", "127.0.0.[..2]", "127.0.0.[4..2]", "127.0.0.[2", "127.0.0.2]", "127.0.0.[]", "127.0.0.[2;]", "127.0.0.[2..3..4]",
		"10.0.0.2", "[126..127].0.0.2", "127.0.0. 2", "127.0.0.2 127.0.0.3", "127..0.2", "127.0.0.[[2]]",
	} {
		if _, err := ParseCodes(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// FuzzCodes writes sets of octets as a pattern, and expects them back; and
// whatever else is taken for a pattern has nothing outside of 127.0.0.0/8.
func FuzzCodes(f *testing.F) {
	f.Add([]byte{0}, []byte{1, 2, 3, 9}, []byte{0, 255}, "127.0.[0..3].[1;2]")
	f.Fuzz(func(t *testing.T, second, third, fourth []byte, text string) {
		sets := [4][]byte{{127}, second, third, fourth}
		var want pattern
		var octets []string
		for i, set := range sets {
			if len(set) == 0 {
				return
			}
			octets = append(octets, write(set))
			for _, v := range set {
				want[i][v] = true
			}
		}
		written := strings.Join(octets, ".")
		got, err := ParseCodes(written)
		if err != nil || got[0] != want {
			t.Errorf("%s was not read back: %v", written, err)
		}
		codes, err := ParseCodes(text)
		if err != nil {
			return
		}
		for v, taken := range codes[0][0] {
			if taken != (v == 127) {
				t.Errorf("%q: the first octet %d: %v", text, v, taken)
			}
		}
	})
}

// write returns set in brackets, neighbours as ranges.
func write(set []byte) string {
	var items []string
	for i := 0; i < len(set); i++ {
		first := set[i]
		for i+1 < len(set) && set[i] < 255 && set[i+1] == set[i]+1 {
			i++
		}
		if set[i] == first {
			items = append(items, fmt.Sprint(first))
		} else {
			items = append(items, fmt.Sprintf("%d..%d", first, set[i]))
		}
	}
	return "[" + strings.Join(items, ";") + "]"
}
