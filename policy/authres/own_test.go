package authres

import (
	"strings"
	"testing"

	"postern/internal/header"
	"postern/mail"
)

func TestOwn(t *testing.T) {
	tests := []struct {
		field string
		ours  bool
	}{
		{"Authentication-Results: mx.example.org; none", true},
		{"AUTHENTICATION-RESULTS:mx.example.org;none", true},
		{"Authentication-Results : mx.example.org; none", true},
		{"Authentication-Results \t:\r\n mx.example.org;\r\n none", true},
		{"Authentication-Results: MX.Example.ORG; none", true},
		{"Authentication-Results: mx.example.org.; none", true},
		{"Authentication-Results: mx.example.org 1; none", true},
		{"Authentication-Results: mx.example.org/1; none", true},
		{"Authentication-Results: mx.example.org 99 ; none", true},
		{"Authentication-Results: mx.example.org", true},
		{"Authentication-Results: mx.example.org dkim=pass", true},
		{"Authentication-Results: mx.example.org;", true},
		{"Authentication-Results: \"mx.example.org\"; none", true},
		{"Authentication-Results: \"mx.ex\\ample.org\"; none", true},
		{"Authentication-Results: \"mx\".example.\"org\"; none", true},
		{"Authentication-Results: mx\"\".example.org; none", true},
		{"Authentication-Results: (hi) mx.example.org (there) 1; none", true},
		{"Authentication-Results: (h(i\\)) mx.nobody; x) mx.example.org; none", true},
		{"Authentication-Results: mx(c).(d)example . org; none", true},
		{"Authentication-Results: m(c)x.example.org; none", true},
		{"Authentication-Results:\r\n\t(\r\n c)\r\n mx.example.org; none", true},
		{"Authentication-Results: mx.example.org (oops; none", true},
		{"Authentication-Results: (oops mx.example.org; none", true},
		{"Authentication-Results: \"mx.example.org; none", true},
		{"Authentication-Results: mx.exam\x00ple.org; none", true},
		{"Authentication-Results: mx。example。org; none", true},
		{"Authentication-Results: ｍｘ.example.org; none", true},
		{"Authentication-Results: =?utf-8?q?mx=2Eexample.org?=; none", true},
		{"Authentication-Results: (oops =?utf-8?q?mx=2Eexample.org?=; none", true},
		{"Authentication-Results: (" + strings.Repeat("c", 5000) + ") =?utf-8?q?mx=2Eexample.org?=; none", true},
		{"Authentication-Results: =?us-ascii?b?bXguZXhhbXBsZS5vcmc=?=; none", true},

		{"Authentication-Results: mx.example.com; none", false},
		{"Authentication-Results: amx.example.org; none", false},
		{"Authentication-Results: mx.example.org.uk; none", false},
		{"Authentication-Results: example.org; spf=pass smtp.helo=mx.example.org", false},
		{"Authentication-Results: other.example (mx.example.org); none", false},
		{"Authentication-Results: other.example mx.example.org; none", false},
		{"Authentication-Results: spf=pass smtp.helo=mx.example.org", false},
		{"Authentication-Results:", false},
		{"Authentication-Results: " + strings.Repeat("ä", 1000), false},
		{"ARC-Authentication-Results: i=1; mx.example.org; none", false},
		{"X-Authentication-Results: mx.example.org; none", false},
		{"Authentication-Results-X: mx.example.org; none", false},
	}
	for _, tt := range tests {
		msg := "Received: x\r\n" + tt.field + "\r\nFrom: a\r\n\r\n"
		got := Own(header.Scan([]byte(msg), header.Limits{}), "mx.example.org")
		if (len(got) == 1) != tt.ours {
			t.Errorf("%q: %v, want %v", tt.field, got, tt.ours)
		}
		if tt.ours && len(got) == 1 && msg[got[0].Start:got[0].End] != tt.field+"\r\n" {
			t.Errorf("%q: range holds %q", tt.field, msg[got[0].Start:got[0].End])
		}
	}
}

// Our own name may be written in U-labels, and so may its forgery.
func TestOwnInternationalised(t *testing.T) {
	for _, id := range []string{"mx.bücher.example", "mx.xn--bcher-kva.example", "MX.BÜCHER.example."} {
		for _, forged := range []string{"mx.bücher.example", "mx.xn--bcher-kva.example", "MX.XN--BCHER-KVA.EXAMPLE", "mx.BÜCHER.example", "mx.bu\u0308cher.example"} {
			if got := Own(header.Scan([]byte(Name+": "+forged+"; none\r\n"), header.Limits{}), id); len(got) != 1 {
				t.Errorf("%q is not taken for %q", forged, id)
			}
		}
	}
}

// Names that are no host names are compared all the same.
func TestOwnUnderscore(t *testing.T) {
	h := header.Scan([]byte(Name+": mx_1.xn--bcher-kva.example; none\r\n"), header.Limits{})
	if got := Own(h, "mx_1.bücher.example"); len(got) != 1 {
		t.Error(got)
	}
}

// What we write ourselves, we take out again, and the rest of the message
// stays as it was.
func TestOwnCut(t *testing.T) {
	const rest = "From: a\r\nAuthentication-Results: other.example; none\r\n\r\nbody\r\n"
	own := Field{ID: "mx.example.org", Results: []Result{{Method: "spf", Value: "pass"}}}.Format(false)
	msg := own + own + "From: a\r\n" + own + strings.TrimPrefix(rest, "From: a\r\n")
	ranges := Own(header.Scan([]byte(msg), header.Limits{}), "mx.example.org")
	var got strings.Builder
	if _, err := mail.NewMessage(mail.Octets(msg)).Cut(ranges).WriteTo(&got); err != nil || got.String() != rest {
		t.Errorf("%v left %q, %v", ranges, got.String(), err)
	}
}

// Whatever surrounds it, a field that reads as ours is ours; and what we write
// under any name is found under that name.
func FuzzOwn(f *testing.F) {
	f.Add(" mx.example.org; none")
	f.Add(" (mx\\) ; \"x")
	f.Add(" =?utf-8?q?mx?=")
	f.Fuzz(func(t *testing.T, value string) {
		h := header.Scan([]byte(Name+":"+value+"\r\n\r\n"), header.Limits{})
		if len(h.Fields) != 1 || string(h.Fields[0].Value()) != value {
			return
		}
		read, err := Parse(value)
		if err != nil || canonical(read.ID) == "" {
			return
		}
		if len(Own(h, read.ID)) != 1 {
			t.Fatalf("%q reads as a field of %q, and is not found", value, read.ID)
		}
		if again := header.Scan([]byte(read.Format(true)), header.Limits{}); len(read.ID) < 100 && canonicalPlain(read.ID) && len(Own(again, read.ID)) != 1 {
			t.Fatalf("%q is not found under %q", read.Format(true), read.ID)
		}
	})
}

func canonicalPlain(id string) bool {
	return strings.IndexFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// The largest header that is looked at, made of what is hard to read.
func BenchmarkOwn(b *testing.B) {
	for name, value := range map[string]string{
		"encoded":  strings.Repeat("=?x?q?", header.DefaultOctets/6-20) + "?=",
		"comments": strings.Repeat("(", header.DefaultOctets-100),
		"wide":     strings.Repeat("ä", header.DefaultOctets/2-100),
		"dots":     strings.Repeat(" .", header.DefaultOctets/2-100),
		"fields":   strings.Repeat("=?x?q?\r\n"+Name+":", header.DefaultOctets/40),
	} {
		h := header.Scan([]byte(Name+":"+value+"\r\n\r\n"), header.Limits{})
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if own := Own(h, "mx.example.org"); len(own) != 0 {
					b.Fatal(own)
				}
			}
		})
	}
}
