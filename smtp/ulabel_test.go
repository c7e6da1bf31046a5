package smtp

import (
	"strings"
	"testing"

	"golang.org/x/net/idna"
)

func TestRFC5890_2_3_2_1_ULabels(t *testing.T) {
	for _, domain := range []string{
		"müller.example", "Müller.EXAMPLE", "MÜLLER.example", "例え.テスト", "straße.de", "faß.de", "한국.kr", "שלום.example", "Σίσυφος.gr", "σίσυφος.gr",
		"نامه\u200cای.com",               // a ZWNJ between joining letters (RFC 5892, appendix A.1)
		"क्\u200dष.com",                  // a ZWJ behind a virama (A.2)
		"l·l.cat", "א1.com", "ü.123.com", // the middle dot is not looked at in its context
		"ü.a_b.example", "ü._dmarc.example", "ü.r3---sn.example", "ü.xn--mller-kva.example",
		strings.Repeat("ü", 40) + ".com", // 63 octets are the bound of its A-label
	} {
		if !IsDomain(domain) || !HasULabels(domain) {
			t.Errorf("%q is refused", domain)
		}
	}
	for _, domain := range []string{
		"ex\u00adample.com", "ü.ex\u00adample.com", "\u00ad.com", // a soft hyphen, which goes
		"a\u202eb.com", "a\u200bb.com", "\u2060a.com", "a\ufe0f.com", // what is not seen
		"a\u200cb.com", "a\u200db.com", "\u200cا.com", // joiners with nothing to join
		"mu\u0308ller.example", "\u1112\u1161\u11ab.kr", // not NFC
		"\u0301a.com",                                    // begins with a combining mark
		"例え。テスト", "ｆｕｌｌ.com", "ﬁ.com", "ǆ.com", "²ü.com", // would be another
		"İstanbul.tr", "STRAẞE.de", "\u212aelvin.org", // and in lower case, too
		"1א.com",                         // in no one direction
		"ü.xn--abc.example",              // an A-label of nothing
		strings.Repeat("ü", 60) + ".com", // longer than a label in the DNS
		"\ufffd.com", "\ue000.com", "\U000e0041.com",
	} {
		if HasULabels(domain) {
			t.Errorf("%q is taken", domain)
		}
	}
}

// In lower case a domain that passes still does, and whoever reads its A-labels
// sees it again.
func FuzzHasULabels(f *testing.F) {
	for _, s := range []string{"müller.example", "MÜLLER.example", "ex\u00adample.com", "İ.tr", "STRAẞE.de", "نامه\u200cای.com", "\u212a.org", "例え。テスト", "\u2132.a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, domain string) {
		if !IsDomain(domain) || !HasULabels(domain) {
			return
		}
		lower := strings.ToLower(domain)
		alabels, err := idna.Punycode.ToASCII(lower)
		again, err2 := idna.Punycode.ToUnicode(alabels)
		if err != nil || err2 != nil || !HasULabels(lower) || again != lower && !strings.Contains(lower, "xn--") {
			t.Fatalf("%q: %q (%v), %q (%v)", domain, alabels, err, again, err2)
		}
	})
}
