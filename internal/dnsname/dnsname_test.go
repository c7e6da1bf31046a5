package dnsname

import (
	"strings"
	"testing"
)

// wide is a name whose 180 letters take three octets each, and one each in the
// DNS.
var wide = strings.Repeat(strings.Repeat("ａ", 60)+".", 3)

func TestCanonical(t *testing.T) {
	label := strings.Repeat("a", maxLabel)
	longest := strings.Repeat(label+".", 3) + label[:61]
	for _, tt := range []struct{ name, want string }{ // "": it is none
		{"Mail.Example.COM", "mail.example.com"},
		{"example.com.", "example.com"},
		{"localhost", "localhost"},
		{"192.0.2.1", "192.0.2.1"},
		{"_dmarc.example.com", "_dmarc.example.com"},
		{"-a-.example.com", "-a-.example.com"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"bücher.example.", "xn--bcher-kva.example"},
		{"bücher。example", "xn--bcher-kva.example"}, // an ideographic full stop
		{"XN--Bcher-KVA.example", "xn--bcher-kva.example"},
		{"xn--a.example", "xn--a.example"}, // no A-label, and nothing but ASCII
		{"xn--a.bücher.example", ""},
		{"bücher_1.example", "xn--bcher_1-n2a.example"},
		{"Ⴀ.example", "xn--rkj.example"}, // a capital that the mapping refuses
		{"İ.example", "i.example"},       // whose lower case would be "i̇" by it
		{"ex\u00adample.com", "example.com"},
		{wide, strings.Repeat(strings.Repeat("a", 60)+".", 3)[:182]},
		{longest, longest},
		{longest + ".", longest},
		{longest + "a", ""},
		{label + "a.example", ""},
		{strings.Repeat("\u00ad", MaxWritten/2) + "a", ""},
		{"", ""},
		{".", ""},
		{"example.com..", ""},
		{"bücher.example。", ""}, // only an ASCII one is the final dot
		{".example.com", ""},
		{"a..example.com", ""},
		{"a b.example", ""},
		{"a@example.com", ""},
		{"[192.0.2.1]", ""},
		{"*.example.com", ""},
		{"-ü.example", ""},
		{"\xff.example", ""},
		{"\ufffd.example", ""},
		{"bücher\x00.example", ""},
	} {
		got, ok := Canonical(tt.name)
		if ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.name, got, ok, tt.want)
		}
		if again, ok := Canonical(got); tt.want != "" && (!ok || again != got) {
			t.Errorf("%q: %q is %q, %v itself", tt.name, got, again, ok)
		}
	}
}

func TestToASCII(t *testing.T) {
	for _, tt := range []struct{ name, want string }{ // "": it is none
		{"BÜCHER.example.", "xn--bcher-kva.example."},
		{"ü_1..example", "xn--_1-wka..example"},
		{"Ⴀ.example", ""},
		{"-ü.example", ""},
	} {
		if got, err := ToASCII(tt.name); (err == nil) != (tt.want != "") || err == nil && got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}
