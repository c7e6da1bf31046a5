package dkim

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"crypto/x509"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
)

// verifyOne verifies a message that has one signature, at a fixed time.
func verifyOne(t testing.TB, zone dns.Resolver, msg string) Result {
	t.Helper()
	report, err := Verify(t.Context(), zone, mail.Octets(msg), Options{Now: time.Unix(1700000000, 0)})
	if err != nil || len(report.Results) != 1 || report.Ignored != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	return report.Results[0]
}

const good = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=r1; h=from:to:subject"

// What a signature says of itself.
func TestSignatures(t *testing.T) {
	long := strings.Repeat("x:", maxNames-1)
	tests := []struct {
		name    string
		tags    string
		verdict Verdict
		reason  string
	}{
		{"good", good, Pass, ""},
		{"simple", "v=1; a=rsa-sha256; c=simple/simple; d=example.org; s=r1; h=from:to:subject", Pass, ""},
		{"simple by default", "v=1; a=rsa-sha256; d=example.org; s=r1; h=from:to:subject", Pass, ""},
		{"body simple by default", "v=1; a=rsa-sha256; c=relaxed; d=example.org; s=r1; h=from:to:subject", Pass, ""},
		{"folded", "v=1;\r\n a = rsa-\r\n\tsha256 ;c=\r\n relaxed/relaxed; d=exam\r\n ple.org; s=r1;\r\n\th=From\r\n : to :\r\n\tSUBJECT", Pass, ""},
		{"unknown tag", good + "; zz=x y; z=From:a|foob=3Dbar", Pass, ""},
		{"b= in another tag", good + "; z=foob=bar;  bb=x", Pass, ""},
		{"no version", "a=rsa-sha256; d=example.org; s=r1; h=from", PermError, "v="},
		{"other version", "v=2; a=rsa-sha256; d=example.org; s=r1; h=from", Neutral, "version"},
		{"tag twice", good + "; s=r1", Neutral, "twice"},
		{"empty tag", "v=1;; a=rsa-sha256; d=example.org; s=r1; h=from", Neutral, "syntax"},
		{"no tag", good + "; oops", Neutral, "syntax"},
		{"bad tag name", good + "; 1a=x", Neutral, "syntax"},
		{"tag names have case", "V=1; a=rsa-sha256; d=example.org; s=r1; h=from", PermError, "v="},
		{"no algorithm", "v=1; d=example.org; s=r1; h=from", PermError, "a="},
		{"no domain", "v=1; a=rsa-sha256; s=r1; h=from", PermError, "d="},
		{"no selector", "v=1; a=rsa-sha256; d=example.org; h=from", PermError, "s="},
		{"no names", "v=1; a=rsa-sha256; d=example.org; s=r1", PermError, "h="},
		{"rsa-sha1", "v=1; a=rsa-sha1; d=example.org; s=r1; h=from", PermError, "rsa-sha1"},
		{"unknown algorithm", "v=1; a=dsa-sha256; d=example.org; s=r1; h=from", Neutral, "algorithm"},
		{"unknown canon", "v=1; a=rsa-sha256; c=nofws; d=example.org; s=r1; h=from", Neutral, "canonicalization"},
		{"empty canon", "v=1; a=rsa-sha256; c=; d=example.org; s=r1; h=from", Neutral, "canonicalization"},
		{"empty body canon", "v=1; a=rsa-sha256; c=simple/; d=example.org; s=r1; h=from", Neutral, "canonicalization"},
		{"unknown body canon", "v=1; a=rsa-sha256; c=simple/nofws; d=example.org; s=r1; h=from", Neutral, "canonicalization"},
		{"query method", good + "; q=dns/txt", Pass, ""},
		{"query methods", good + "; q=x/y : dns/txt", Pass, ""},
		{"unknown query method", good + "; q=x/y", Neutral, "query"},
		{"From is not signed", "v=1; a=rsa-sha256; d=example.org; s=r1; h=to:subject", PermError, "From"},
		{"names", "v=1; a=rsa-sha256; d=example.org; s=r1; h=" + long + "from", Pass, ""},
		{"too many names", "v=1; a=rsa-sha256; d=example.org; s=r1; h=x:" + long + "from", Policy, "names"},
		{"empty names", "v=1; a=rsa-sha256; d=example.org; s=r1; h=:from:", Pass, ""},

		{"domain", "v=1; a=rsa-sha256; d=EXAMPLE.Org; s=R1; h=from", Pass, ""},
		{"one label", "v=1; a=rsa-sha256; d=org; s=r1; h=from", Neutral, "d="},
		{"empty label", "v=1; a=rsa-sha256; d=example..org; s=r1; h=from", Neutral, "d="},
		{"final dot", "v=1; a=rsa-sha256; d=example.org.; s=r1; h=from", Neutral, "d="},
		{"no host name", "v=1; a=rsa-sha256; d=exa$mple.org; s=r1; h=from", Neutral, "d="},
		{"injection", "v=1; a=rsa-sha256; d=example.org(; s=r1; h=from", Neutral, "d="},
		{"long domain", "v=1; a=rsa-sha256; d=" + strings.Repeat("a.", 130) + "org; s=r1; h=from", Neutral, "d="},
		{"long label", "v=1; a=rsa-sha256; d=" + strings.Repeat("a", 64) + ".org; s=r1; h=from", Neutral, "d="},
		{"long selector", "v=1; a=rsa-sha256; d=example.org; s=" + strings.Repeat("a.", 120) + "b; h=from", PermError, "too long"},
		{"bad selector", "v=1; a=rsa-sha256; d=example.org; s=.; h=from", Neutral, "s="},
		{"other domain", "v=1; a=rsa-sha256; d=example.com; s=r1; h=from", PermError, "no key"},

		{"identity", good + "; i=ann@example.org", Pass, ""},
		{"identity of the domain", good + "; i=@example.org", Pass, ""},
		{"identity below", good + "; i=ann@news.example.org", Pass, ""},
		{"identity's case", good + "; i=ann@News.Example.ORG", Pass, ""},
		{"identity encoded", good + "; i=a=40b@example.org", Pass, ""},
		{"identity elsewhere", good + "; i=ann@example.com", PermError, "i="},
		{"identity beside", good + "; i=ann@badexample.org", PermError, "i="},
		{"identity above", "v=1; a=rsa-sha256; d=news.example.org; s=r1; h=from; i=ann@example.org", PermError, "i="},
		{"identity without @", good + "; i=example.org", Neutral, "i="},
		{"identity malformed", good + "; i=ann@exam$ple.org", Neutral, "i="},
		{"identity not encoded", good + "; i=a=b@example.org", Pass, ""},

		{"times", good + "; t=1699999000; x=1700001000", Pass, ""},
		{"expired", good + "; x=1699990000", Fail, "expired"},
		{"expired a moment ago", good + "; x=1699999800", Pass, ""},
		{"never expires", good + "; x=" + strings.Repeat("9", 76), Pass, ""},
		{"from the future", good + "; t=1700090000", Policy, "future"},
		{"from the near future", good + "; t=1700000100", Pass, ""},
		{"from a far future", good + "; t=" + strings.Repeat("9", 30), Policy, "future"},
		{"expires first", good + "; t=1699999000; x=1699998000", Neutral, "expires before"},
		{"malformed time", good + "; t=-1", Neutral, "time"},
		{"empty time", good + "; x=", Neutral, "time"},

		{"l= of all", good + "; l=29", Pass, ""},
		{"l= of a part", good + "; l=5", Policy, "24 octets"},
		{"l= of nothing", good + "; l=0", Policy, "29 octets"},
		{"l= of more than all", good + "; l=30", PermError, "larger"},
		{"l= beyond numbers", good + "; l=" + strings.Repeat("9", 76), PermError, "larger"},
		{"l= malformed", good + "; l=x", Neutral, "l="},
		{"l= negative", good + "; l=-1", Neutral, "l="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := signer{key: testKey(t, "rsa2048"), tags: tt.tags}
			if tt.tags != good && strings.Contains(tt.reason, "syntax") || strings.Contains(tt.reason, "twice") {
				// The model cannot sign what it cannot read.
				got := verifyOne(t, testZone(t), "DKIM-Signature: "+tt.tags+"; bh=; b=\r\n"+testMessage)
				check1(t, got, tt.verdict, tt.reason)
				return
			}
			check1(t, verifyOne(t, testZone(t), s.sign(t, testMessage)), tt.verdict, tt.reason)
		})
	}
}

func check1(t *testing.T, got Result, verdict Verdict, reason string) {
	t.Helper()
	if got.Verdict != verdict || !strings.Contains(got.Reason, reason) || (got.Reason == "") != (verdict == Pass) {
		t.Errorf("%s, %q; want %s, %q", got.Verdict, got.Reason, verdict, reason)
	}
}

// A signature that is none.
func TestMalformedSignature(t *testing.T) {
	for _, b := range []string{"", "!", "AAAA=AAAA", "AAA==", "A"} {
		msg := "DKIM-Signature: " + good + "; bh=AAAA; b=" + b + "\r\n" + testMessage
		check1(t, verifyOne(t, testZone(t), msg), Neutral, "b=")
	}
}

// What is reported of a signature, also of one that does not pass.
func TestResult(t *testing.T) {
	s := signer{key: testKey(t, "ed25519"), tags: "v=1; a=ed25519-sha256; c=relaxed/simple; d=Example.org; s=E1; h=from;\r\n" +
		" i=ann=3Dx@News.example.org; t=1699999000; x=1700001000; l=5"}
	got := verifyOne(t, testZone(t), s.sign(t, testMessage))
	want := Result{
		Verdict: Policy, Reason: "28 octets at the end of the body are not signed",
		Domain: "example.org", Selector: "e1", Identity: "ann=x@News.example.org", Algorithm: "ed25519-sha256", KeyBits: 256,
		Prefix: got.Prefix, Created: time.Unix(1699999000, 0).UTC(), Expires: time.Unix(1700001000, 0).UTC(), Partial: 28, FromSigned: true,
		Question: "TXT e1._domainkey.example.org", Answer: "66 octets: " + record(t, s.key),
	}
	if got != want || len(got.Prefix) != 8 {
		t.Errorf("got\n%#v, want\n%#v", got, want)
	}
	if text := got.String(); text != "dkim=policy d=example.org s=e1 a=ed25519-sha256 ("+want.Reason+")" {
		t.Error(text)
	}
}

// A signature of a part of the body does not pass, and is seen to be broken if that
// part was changed.
func TestPartial(t *testing.T) {
	s := signer{key: testKey(t, "rsa2048"), tags: good + "; l=5"}
	msg := s.sign(t, testMessage) + "and more\r\n"
	if got := verifyOne(t, testZone(t), msg); got.Verdict != Policy || got.Partial != 38 {
		t.Errorf("%+v", got)
	}
	damaged := strings.Replace(msg, "Hello", "Hullo", 1)
	if got := verifyOne(t, testZone(t), damaged); got.Verdict != Fail {
		t.Errorf("changed in the signed part: %+v", got)
	}
}

// What the key record says.
func TestKeys(t *testing.T) {
	key := testKey(t, "rsa2048")
	p := base64.StdEncoding.EncodeToString(spki(t, key))
	raw := base64.StdEncoding.EncodeToString(pkcs1(key))
	ed := record(t, testKey(t, "ed25519"))
	other := "v=DKIM1; p=" + sizedKey(t, 1024)
	tests := []struct {
		name    string
		records []string
		tags    string // more of the signature
		verdict Verdict
		reason  string
	}{
		{"key alone", []string{"p=" + p}, "", Pass, ""},
		{"PKCS #1", []string{"v=DKIM1; p=" + raw}, "", Pass, ""},
		{"white space", []string{"v=DKIM1 ; k = rsa ; p = " + p[:20] + " \t " + p[20:90] + " " + p[90:] + " ; "}, "", Pass, ""},
		{"folded", []string{"v=DKIM1;\r\n p=" + p[:20] + "\r\n\t" + p[20:]}, "", Pass, ""},
		{"notes and granularity", []string{"v=DKIM1; g=; n=a=b: c; p=" + p}, "", Pass, ""},
		{"none", nil, "", PermError, "no key"},
		{"no answer", []string{"SERVFAIL"}, "", TempError, "unavailable"},
		{"no answer in time", []string{"TIMEOUT"}, "", TempError, "unavailable"},
		{"revoked", []string{"v=DKIM1; p="}, "", PermError, "revoked"},
		{"revoked with a space", []string{"v=DKIM1; p= ;"}, "", PermError, "revoked"},
		{"no p=", []string{"v=DKIM1; k=rsa"}, "", PermError, "without a key"},
		{"empty record", []string{""}, "", PermError, "syntax"},
		{"SPF record", []string{"v=spf1 -all"}, "", PermError, "version"},
		{"other version", []string{"v=DKIM2; p=" + p}, "", PermError, "version"},
		{"not base64", []string{"v=DKIM1; p=!!!"}, "", PermError, "malformed"},
		{"not DER", []string{"v=DKIM1; p=AAAA"}, "", PermError, "malformed RSA"},
		{"Ed25519 in SPKI", []string{"v=DKIM1; p=" + base64.StdEncoding.EncodeToString(spki(t, testKey(t, "ed25519")))}, "", PermError, "malformed RSA"},
		{"short Ed25519", []string{"v=DKIM1; k=ed25519; p=AAAA"}, "", PermError, "malformed Ed25519"},
		{"unknown type", []string{"v=DKIM1; k=dsa; p=" + p}, "", PermError, "unknown type"},
		{"empty type", []string{"v=DKIM1; k=; p=" + p}, "", PermError, "unknown type"},
		{"version not first", []string{"k=rsa; v=DKIM1; p=" + p}, "", PermError, "begin with v="},
		{"other type", []string{ed}, "", PermError, "another type"},
		{"other key", []string{other}, "", Fail, "signature does not verify"},

		{"hash", []string{"v=DKIM1; h=sha1 : SHA256; p=" + p}, "", Pass, ""},
		{"no hash of ours", []string{"v=DKIM1; h=sha1; p=" + p}, "", PermError, "hash"},
		{"for mail", []string{"v=DKIM1; s=x:email; p=" + p}, "", Pass, ""},
		{"for all", []string{"v=DKIM1; s=*; p=" + p}, "", Pass, ""},
		{"not for mail", []string{"v=DKIM1; s=tlsrpt; p=" + p}, "", PermError, "not for mail"},
		{"strict", []string{"v=DKIM1; t=s; p=" + p}, "; i=ann@Example.org", Pass, ""},
		{"strict, no identity", []string{"v=DKIM1; t=s; p=" + p}, "", Pass, ""},
		{"strict, below", []string{"v=DKIM1; t=y : s; p=" + p}, "; i=ann@news.example.org", PermError, "i="},
		{"unknown flag", []string{"v=DKIM1; t=q; p=" + p}, "; i=ann@news.example.org", Pass, ""},

		{"too short", []string{"v=DKIM1; p=" + sizedKey(t, 1023)}, "", Policy, "1023 bits is too short"},
		{"tiny", []string{"v=DKIM1; p=" + sizedKey(t, 512)}, "", Policy, "too short"},
		{"longest", []string{"v=DKIM1; p=" + sizedKey(t, 4096)}, "", Fail, "does not verify"},
		{"too long", []string{"v=DKIM1; p=" + sizedKey(t, 4097)}, "", Policy, "4097 bits is too long"},

		{"several, the last good", []string{"rubbish", other, "v=DKIM1; p=" + p}, "", Pass, ""},
		{"several, the first good", []string{"p=" + p, "p=" + p, ed}, "", Pass, ""},
		{"several, none good", []string{other, other}, "", Fail, "does not verify"},
		{"several, one for the signature", []string{ed, "v=DKIM1; p=" + p}, "", Pass, ""},
		{"several, none readable", []string{"rubbish", "v=DKIM1; p="}, "", PermError, "syntax"},
		{"too many", []string{other, other, other, other, "p=" + p}, "", Fail, "does not verify"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			zone := dns.Zone{"TXT r1._domainkey.example.org": tt.records}
			ctx, cancel := context.WithCancel(t.Context())
			if strings.Contains(tt.name, "in time") {
				cancel()
			}
			defer cancel()
			msg := signer{key: key, tags: good + tt.tags}.sign(t, testMessage)
			report, err := Verify(ctx, zone, mail.Octets(msg), Options{})
			if err != nil {
				t.Fatal(err)
			}
			check1(t, report.Results[0], tt.verdict, tt.reason)
			if got := report.Results[0]; got.Question != "TXT r1._domainkey.example.org" || got.Answer == "" {
				t.Errorf("evidence %q, %q", got.Question, got.Answer)
			}
			if n := len(tt.records); (n > 1) != strings.HasSuffix(report.Results[0].Answer, fmt.Sprintf(" and %d more records", n-1)) {
				t.Errorf("answer %q of %d records", report.Results[0].Answer, n)
			}
		})
	}
}

// sizedKey returns the p= of an RSA key of so many bits, to which nobody has
// the private one.
func sizedKey(t *testing.T, bits int) string {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestTesting(t *testing.T) {
	key := testKey(t, "rsa2048")
	zone := dns.Zone{"TXT r1._domainkey.example.org": {record(t, key) + "; t=y"}}
	msg := signer{key: key, tags: good}.sign(t, testMessage)
	if got := verifyOne(t, zone, msg); got.Verdict != Pass || !got.Testing || got.KeyBits != 2048 {
		t.Errorf("%+v", got)
	}
	if got := verifyOne(t, zone, strings.Replace(msg, "Bob", "Rob", 1)); got.Verdict != Fail || !got.Testing {
		t.Errorf("changed: %+v", got)
	}
}

// Which fields a signature covers, and what may be added to them.
func TestSignedFields(t *testing.T) {
	tests := []struct {
		name   string
		h      string
		before string // fields when it was signed
		after  string // fields when it arrives
		ok     bool
	}{
		{"field on top", "from", "From: a\r\n", "X: y\r\nFrom: a\r\n", true},
		{"second From above", "from", "From: a\r\n", "From: b\r\nFrom: a\r\n", true}, // the caller refuses it
		{"second From below", "from", "From: a\r\n", "From: a\r\nFrom: b\r\n", false},
		{"second From above, oversigned", "from:from", "From: a\r\n", "From: b\r\nFrom: a\r\n", false},
		{"oversigned in another case", "From:FROM", "From: a\r\n", "From: b\r\nFrom: a\r\n", false},
		{"oversigned, not there", "from:subject:x", "From: a\r\n", "From: a\r\n", true},
		{"oversigned, added", "from:subject", "From: a\r\n", "Subject: x\r\nFrom: a\r\n", false},
		{"from the bottom", "from:x:x", "X: 1\r\nX: 2\r\nX: 3\r\nFrom: a\r\n", "X: 0\r\nX: 2\r\nX: 3\r\nFrom: a\r\n", true},
		{"from the bottom, changed", "from:x:x", "X: 1\r\nX: 2\r\nX: 3\r\nFrom: a\r\n", "X: 1\r\nX: 0\r\nX: 3\r\nFrom: a\r\n", false},
		{"order of names", "x:from", "X: 1\r\nFrom: a\r\n", "From: a\r\nX: 1\r\n", true},
		{"order of fields", "x:x:from", "X: 1\r\nX: 2\r\nFrom: a\r\n", "X: 2\r\nX: 1\r\nFrom: a\r\n", false},
		{"refolded", "from:x", "X: a b\r\nFrom: a\r\n", "x :a\r\n \tb \r\nFrom: a\r\n", true},
		{"word joined", "from:x", "X: a b\r\nFrom: a\r\n", "X: ab\r\nFrom: a\r\n", false},
		{"itself", "from:dkim-signature", "From: a\r\n", "From: a\r\n", true},
		{"a line that is no field behind", "from", "From: a\r\n", "From: a\r\n\v, b\r\n", false},
		{"a line that is no field behind the last", "from:x", "From: a\r\nX: y\r\n", "From: a\r\nX: y\r\nz\r\n", false},
		{"two of them", "from", "From: a\r\nX: y\r\n", "From: a\r\n\xa0b\r\nz\r\nX: y\r\n", false},
		{"a line that is no field behind another", "from", "From: a\r\nX: y\r\n", "From: a\r\nX: y\r\nz\r\n", true},
		{"another signature", "from:dkim-signature", "DKIM-Signature: x\r\nFrom: a\r\n", "DKIM-Signature: x\r\nFrom: a\r\n", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := signer{key: testKey(t, "ed25519"), tags: "v=1; a=ed25519-sha256; c=relaxed; d=example.org; s=e1; h=" + tt.h}
			msg := strings.Replace(s.sign(t, tt.before+"\r\nbody\r\n"), tt.before+"\r\nbody", tt.after+"\r\nbody", 1)
			report, err := Verify(t.Context(), testZone(t), mail.Octets(msg), Options{})
			if err != nil || (report.Results[0].Verdict == Pass) != tt.ok {
				t.Errorf("%+v, %v in\n%s", report, err, msg)
			}
		})
	}
}

// The simple form of the header changes nothing, and the white space around
// the value of b= goes with it, wherever b= stands.
func TestSignatureItself(t *testing.T) {
	for _, c := range []string{"simple", "relaxed"} {
		for _, end := range []string{"", ";", "; x=1999999999", " ;\r\n\tx=1999999999 ;\r\n "} {
			s := signer{key: testKey(t, "ed25519"), tags: "v=1; a=ed25519-sha256; c=" + c + "; d=example.org; s=e1; h=from", end: end}
			msg := s.sign(t, testMessage)
			if got := verifyOne(t, testZone(t), msg); got.Verdict != Pass {
				t.Errorf("%s %q: %+v", c, end, got)
			}
			spaced := strings.Replace(msg, "b=", "b= \r\n ", 2)
			spaced = strings.Replace(spaced, "bh= \r\n ", "bh=", 1)
			if got := verifyOne(t, testZone(t), spaced); got.Verdict != Pass {
				t.Errorf("%s %q: folded in b=: %+v in\n%s", c, end, got, spaced)
			}
			if got := verifyOne(t, testZone(t), strings.Replace(msg, "d=", " d=", 1)); (got.Verdict == Pass) != (c == "relaxed") {
				t.Errorf("%s %q: spaced elsewhere: %+v", c, end, got)
			}
		}
	}
}

// The end of the body may be lost and found on the way.
func TestEndOfBody(t *testing.T) {
	for _, c := range []string{"simple", "relaxed"} {
		s := signer{key: testKey(t, "ed25519"), tags: "v=1; a=ed25519-sha256; c=simple/" + c + "; d=example.org; s=e1; h=from"}
		const header = "From: a\r\n\r\n"
		for _, body := range []string{"", "\r\n", "\r\n\r\n", "text", "text\r\n", "text\r\n\r\n"} {
			signed := s.sign(t, header+body)
			for _, arrived := range []string{strings.TrimRight(body, "\r\n"), body + "\r\n", body + "\r\n\r\n"} {
				msg := strings.TrimSuffix(signed, header+body) + header + arrived
				if got := verifyOne(t, testZone(t), msg); got.Verdict != Pass {
					t.Errorf("%s %q arrived as %q: %+v", c, body, arrived, got)
				}
			}
		}
		if got := verifyOne(t, testZone(t), strings.TrimSuffix(s.sign(t, header), "\r\n")); got.Verdict != Pass {
			t.Errorf("%s: no body and no empty line: %+v", c, got)
		}
	}
}

// One good signature is enough, and what is wrong with another is its own.
func TestSeveralSignatures(t *testing.T) {
	rsaSigner := signer{key: testKey(t, "rsa2048"), tags: good}
	edSigner := signer{key: testKey(t, "ed25519"), tags: "v=1; a=ed25519-sha256; c=simple; d=example.org; s=e1; h=from"}
	broken := signer{key: testKey(t, "ed25519"), tags: "v=1; a=ed25519-sha256; d=example.org; s=e1; h=from", bh: "AAAA"}
	flaky := signer{key: testKey(t, "ed25519"), tags: "v=1; a=ed25519-sha256; d=flaky.example; s=e1; h=from"}
	zone := testZone(t)
	zone["TXT e1._domainkey.flaky.example"] = []string{"SERVFAIL"}
	msg := broken.sign(t, rsaSigner.sign(t, flaky.sign(t, edSigner.sign(t, testMessage))))
	report, err := Verify(t.Context(), zone, mail.Octets(msg), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []Verdict
	for _, r := range report.Results {
		got = append(got, r.Verdict)
	}
	if fmt.Sprint(got) != "[fail pass temperror pass]" {
		t.Errorf("%v: %+v", got, report)
	}
}

// No more signatures are looked at than allowed, no key is asked for twice, and
// each result can be told from the others.
func TestLimits(t *testing.T) {
	msg := signer{key: testKey(t, "rsa2048"), tags: good}.sign(t, testMessage)
	field := msg[:strings.Index(msg, "Received:")]
	counting := &countingResolver{Resolver: testZone(t)}
	report, err := Verify(t.Context(), counting, mail.Octets(strings.Repeat(field, 50)+msg), Options{})
	if err != nil || len(report.Results) != DefaultSignatures || report.Ignored != 51-DefaultSignatures || counting.asked != 1 {
		t.Errorf("%d results, %d ignored, %d questions, %v", len(report.Results), report.Ignored, counting.asked, err)
	}
	report, err = Verify(t.Context(), counting, mail.Octets(field+msg), Options{Signatures: 1})
	if err != nil || len(report.Results) != 1 || report.Ignored != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	msg = "X: " + strings.Repeat("x", header.DefaultOctets) + "\r\n" + testMessage
	if got := verifyOne(t, testZone(t), field+msg); got.Verdict != Policy || got.Reason != "header too long" {
		t.Errorf("%+v", got)
	}
}

type countingResolver struct {
	dns.Resolver
	asked int
}

func (r *countingResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	r.asked++
	return r.Resolver.LookupTXT(ctx, name)
}

func TestPrefix(t *testing.T) {
	var text string
	for _, b := range []string{"AAAABBBBCCCC", "AAAABBBBDDDD", "AAAABBBBCCCC", "AAAA", "", "AAAABBBBCCCCEEEE"} {
		text += "DKIM-Signature: v=1; b=" + b[:len(b)/2] + "\r\n " + b[len(b)/2:] + "\r\n"
	}
	report, err := Verify(t.Context(), dns.Zone{}, mail.Octets(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range report.Results {
		got = append(got, r.Prefix)
	}
	if want := "AAAABBBBCCCC AAAABBBBD AAAABBBBCCCC AAAA  AAAABBBBCCCCE"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Domains may be written in U-labels (RFC 8616).
func TestInternationalised(t *testing.T) {
	key := testKey(t, "ed25519")
	zone := dns.Zone{
		"TXT xn--slektor-bya._domainkey.xn--bcher-kva.example": {record(t, key)},
		"TXT xn--s_1-dma._domainkey.xn--rger-koa.example":      {record(t, key)},
	}
	s := signer{key: key, tags: "v=1; a=ed25519-sha256; d=ärger.example; s=s_1é; h=from"}
	if got := verifyOne(t, zone, s.sign(t, testMessage)); got.Verdict != Pass || got.Domain != "xn--rger-koa.example" || got.Identity != "@xn--rger-koa.example" {
		t.Errorf("%#v", got)
	}
	for _, d := range []string{"bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "XN--Bcher-KVA.example"} {
		for _, i := range []string{"", "; i=ärger@bücher.example", "; i=ann@xn--bcher-kva.example", "; i=@www.Bücher.example"} {
			s := signer{key: key, tags: "v=1; a=ed25519-sha256; d=" + d + "; s=sélektor; h=from" + i}
			if got := verifyOne(t, zone, s.sign(t, testMessage)); got.Verdict != Pass || got.Domain != "xn--bcher-kva.example" {
				t.Errorf("%s%s: %+v", d, i, got)
			}
		}
	}
}

func TestDomainName(t *testing.T) {
	for _, tt := range []struct {
		name   string
		labels int
		want   string // "": it is none
	}{
		{"News.Example.ORG", 2, "news.example.org"},
		{"BÜCHER.example", 2, "xn--bcher-kva.example"},
		{"s_1", 1, "s_1"},
		{"org", 2, ""},
		{"a.org", 3, ""},
		{"", 1, ""},
		{"example.org.", 2, ""}, // here a name differs from dnsname.Canonical
		{"bücher.example.", 2, ""},
		{"İ.example", 2, "xn--i-9bb.example"},
		{"Ⴀ.example", 2, ""},
	} {
		if got, err := DomainName(tt.name, tt.labels); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestUnsigned(t *testing.T) {
	for _, msg := range []string{"", "\r\n", testMessage, " DKIM-Signature: v=1\r\n", "no header", "A: b\r\n\r\nDKIM-Signature: v=1\r\n"} {
		report, err := Verify(t.Context(), dns.Zone{}, mail.Octets(msg), Options{})
		if err != nil || len(report.Results) != 0 || report.Ignored != 0 {
			t.Errorf("%q: %+v, %v", msg, report, err)
		}
	}
}

// A disk that cannot be read is our trouble, and says nothing of the message.
func TestUnreadable(t *testing.T) {
	msg := signer{key: testKey(t, "rsa2048"), tags: good}.sign(t, testMessage)
	if report, err := Verify(t.Context(), testZone(t), brokenSource{mail.Octets(msg)}, Options{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("%+v, %v", report, err)
	}
}

type brokenSource struct{ mail.Octets }

func (brokenSource) WriteRange(io.Writer, mail.Range) error { return io.ErrNoProgress }
