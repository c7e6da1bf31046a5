package dmarc

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// show writes a record as its tags, those at their default left out.
func show(rec record) string {
	var b strings.Builder
	add := func(set bool, format string, args ...any) {
		if set {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	add(rec.p != "", "p=%s", rec.p)
	add(rec.sp != "", "sp=%s", rec.sp)
	add(rec.np != "", "np=%s", rec.np)
	add(rec.psd != psdUnknown, "psd=%c", rec.psd)
	add(rec.testing, "t=y")
	add(rec.strictDKIM, "adkim=s")
	add(rec.strictSPF, "aspf=s")
	add(rec.repaired, "repaired")
	add(!rec.usable, "unusable")
	return strings.TrimPrefix(b.String(), " ")
}

// Sections 4.7 and 4.8: the version comes first, in its own case.
func TestSection47Version(t *testing.T) {
	tests := []struct {
		text string
		want bool
	}{
		{"v=DMARC1;p=none", true},
		{"v=DMARC1; p=none;", true},
		{"v = \tDMARC1 \t; p=none", true},
		{"V=DMARC1;p=none", true}, // names are case-insensitive in ABNF, the value is not
		{"v=DMARC1", true},
		{"v=DMARC1;", true},
		{"v=dmarc1;p=none", false},
		{"v=DMARC1 p=none", false},
		{"v=DMARC10;p=none", false},
		{"v=DMARC;p=none", false},
		{"p=none;v=DMARC1", false},
		{" v=DMARC1;p=none", false},
		{"\tv=DMARC1;p=none", false},
		{";v=DMARC1;p=none", false},
		{"v:DMARC1;p=none", false},
		{"v=DMARC1\x00;p=none", false},
		{"v=spf1 -all", false},
		{"", false},
	}
	for _, tt := range tests {
		if _, ok := parseRecord(tt.text); ok != tt.want {
			t.Errorf("%q: %t", tt.text, ok)
		}
	}
}

// Sections 4.7 and 4.8: tags; and section 4.10.1 where a policy is not valid.
func TestSection47Tags(t *testing.T) {
	tests := []struct{ tags, want string }{
		{"p=none", "p=none"},
		{"p=quarantine;sp=reject;np=none", "p=quarantine sp=reject np=none"},
		{"P = Reject ; SP=NONE", "p=reject sp=none"},
		{"rua=mailto:a@b.example; p=reject", "p=reject"},
		{"p=none;adkim=s;aspf=s;t=y;psd=y", "p=none psd=y t=y adkim=s aspf=s"},
		{"p=none;adkim=r;aspf=r;t=n;psd=n", "p=none psd=n"},
		{"p=none;adkim=S;aspf=S;t=Y;psd=N", "p=none psd=n t=y adkim=s aspf=s"},
		{"p=none;psd=u", "p=none"},
		{"p=none;adkim=strict;aspf=;t=yes;psd=x", "p=none"}, // defaults
		{"p=reject;pct=0;rf=afrf;ri=1;x=y;fo=1", "p=reject"},
		{"p=reject;;;=;x;p-p=none;\x01;sp2=none", "p=reject"},
		{"p=reject;\x80=y;x=\x80", "p=reject"},
		// No valid policy, and nobody to report to.
		{"", "unusable"},
		{"p=", "unusable"},
		{"p=block", "unusable"},
		{"p=reject;sp=block", "p=reject unusable"},
		{"p=reject;np=", "p=reject unusable"},
		{"sp=reject", "sp=reject unusable"},
		{"p=reject;p=none", "unusable"}, // which one?
		{"p=reject;sp=none;sp=none", "p=reject unusable"},
		// No valid policy, and somebody.
		{"rua=mailto:a@b.example", "p=none repaired"},
		{"p=block;adkim=s;rua=mailto:a@b.example", "p=none adkim=s repaired"},
		{"p=reject;sp=block;np=reject;rua=mailto:a@b.example", "p=none repaired"},
		{"p=reject;np=block;rua=mailto:a@b.example", "p=none repaired"},
		{"p=reject;p=reject;rua=mailto:a@b.example", "p=none repaired"},
		{"sp=reject;rua=mailto:a@b.example!10m", "p=none repaired"},
		{"rua=nonsense , https://b.example/report", "p=none repaired"},
		{"rua=mailto:", "p=none repaired"},
		{"rua=", "unusable"},
		{"rua=a@b.example", "unusable"},
		{"rua=<mailto:a@b.example>", "unusable"},
		{"rua=mailto:a b@b.example", "unusable"},
		{"ruf=mailto:a@b.example", "unusable"},
		{"rua=mailto:\x80@b.example", "unusable"},
	}
	for _, tt := range tests {
		rec, ok := parseRecord("v=DMARC1;" + tt.tags)
		if !ok || show(rec) != tt.want {
			t.Errorf("%q: %s (%t), want %s", tt.tags, show(rec), ok, tt.want)
		}
	}
}

// A record begins as the grammar says, and only then; its policies are known
// words; and what was understood means the same when written down and read again.
func FuzzParseRecord(f *testing.F) {
	for _, seed := range []string{
		"v=DMARC1; p=reject; sp=quarantine; np=none; psd=y; t=y; adkim=s; aspf=s", "v = DMARC1;rua=mailto:a@b.example!1m, x",
		"v=DMARC1;p=none;p=none", "V=DMARC1", "v=DMARC1;P=\tREJECT ;;x",
	} {
		f.Add(seed)
	}
	version := regexp.MustCompile("^[vV][ \t]*=[ \t]*DMARC1[ \t]*(;|$)")
	f.Fuzz(func(t *testing.T, text string) {
		rec, ok := parseRecord(text)
		if ok != version.MatchString(text) {
			t.Fatalf("%q: %t", text, ok)
		}
		if !ok {
			return
		}
		if rec.usable && rec.p == "" || rec.repaired && rec.p+rec.sp+rec.np != PolicyNone {
			t.Errorf("%q: %s", text, show(rec))
		}
		tags := strings.ReplaceAll(strings.TrimSuffix(show(rec), "repaired"), " ", ";")
		again, ok := parseRecord("v=DMARC1;" + tags)
		if rec.usable && (!ok || show(again) != strings.TrimSuffix(show(rec), " repaired")) {
			t.Errorf("%q: %s, and then %s", text, show(rec), show(again))
		}
	})
}
