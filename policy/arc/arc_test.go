package arc

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/dkim"
)

// with returns a change of tags.
func with(old, by string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, by, 1) }
}

// without removes the first field of that beginning from a message.
func without(msg, beginning string) string {
	before, after, _ := strings.Cut("\r\n"+msg, "\r\n"+beginning)
	_, rest, _ := strings.Cut(after, "\r\n")
	return strings.TrimPrefix(before+"\r\n"+rest, "\r\n")
}

// swapped returns msg with its two fields To in the other order.
func swapped(msg string) string {
	return strings.NewReplacer("To: a@", "To: b@", "To: b@", "To: a@").Replace(msg)
}

func TestChains(t *testing.T) {
	one := sealed(testMessage, sealer{})
	two := sealed(testMessage, sealer{}, sealer{domain: "lists.example"})
	three := sealed(testMessage, sealer{}, sealer{domain: "lists.example"}, sealer{domain: "forward.example"})
	seal := func(change func(string) string) string { return sealed(testMessage, sealer{seal: change}) }
	sign := func(change func(string) string) string { return sealed(testMessage, sealer{sign: change}) }
	results := func(text string) string { return sealed(testMessage, sealer{results: text}) }
	forwarded := strings.Replace(one, "Subject: a", "Subject: [list] a", 1)

	tests := []struct {
		name    string
		msg     string
		verdict Verdict
		reason  string
	}{
		{"no chain", testMessage, None, ""},
		{"no header", "\r\ntext\r\n", None, ""},
		{"nothing", "", None, ""},
		{"one", one, Pass, ""},
		{"two", two, Pass, ""},
		{"three", three, Pass, ""},
		{"changed by who sealed it", sealer{domain: "lists.example"}.put(forwarded, 2, "pass"), Pass, ""},
		{"seal at the bottom", strings.Replace(without(one, "ARC-Seal"), "\r\n\r\n", "\r\n"+one[:strings.Index(one, "\r\n")]+"\r\n\r\n", 1), Pass, ""},
		{"fields apart", "X: y\r\n" + strings.Replace(three, "\r\nARC-", "\r\nX: y\r\nARC-", 3), Pass, ""},
		{"refolded", strings.Replace(three, "ARC-Seal: i=2; ", "ARC-SEAL :\r\n\ti=2;\r\n  ", 1), Pass, ""},

		{"changed after", forwarded, Fail, "message signature 1: signature does not verify"},
		{"body changed after", three + "x\r\n", Fail, "message signature 3: body"},
		{"results changed", strings.Replace(three, "ARC-Authentication-Results: i=1; example.org", "ARC-Authentication-Results: i=1; example.com", 1), Fail, "seal 3"},
		{"older signature changed", strings.Replace(three, "ARC-Message-Signature: i=2; a", "ARC-Message-Signature: i=2; x=1999999999; a", 1), Fail, "seal 3"},
		{"older seal changed", strings.Replace(three, "ARC-Seal: i=1; a", "ARC-Seal: i=1; x=y; a", 1), Fail, "seal 3"},
		{"last seal changed", strings.Replace(three, "ARC-Seal: i=3; a", "ARC-Seal: i=3; x=y; a", 1), Fail, "seal 3"},
		{"not sealed by its domain", strings.Replace(one, "d=example.org; s=e1; t=1700000000; cv", "d=lists.example; s=e1; t=1700000000; cv", 1), Fail, "seal 1"},

		{"no seal", without(one, "ARC-Seal"), Fail, "set 1: no ARC-Seal"},
		{"no signature", without(one, "ARC-Message-Signature"), Fail, "set 1: no ARC-Message-Signature"},
		{"no results", without(one, "ARC-Authentication-Results"), Fail, "set 1: no ARC-Authentication-Results"},
		{"no older seal", without(two, "ARC-Seal: i=1"), Fail, "set 1: no ARC-Seal"},
		{"no older signature", without(two, "ARC-Message-Signature: i=1"), Fail, "set 1: no"},
		{"two seals", "ARC-Seal: i=1; a=rsa-sha256\r\n" + one, Fail, "set 1: two fields ARC-Seal"},
		{"two signatures", "ARC-Message-Signature: i=1\r\n" + one, Fail, "set 1: two fields"},
		{"two results", "ARC-Authentication-Results: i=1; x\r\n" + one, Fail, "set 1: two fields"},
		{"set twice", one[:strings.Index(one, "From:")] + one, Fail, "two fields"},
		{"first set lost", without(without(without(two, "ARC-Seal: i=1"), "ARC-Message-Signature: i=1"), "ARC-Authentication-Results: i=1"), Fail, "set 1: no"},
		{"gap", sealer{}.put(one, 3, "pass"), Fail, "set 2: no"},

		{"i=0", sealer{}.put(testMessage, 0, "none"), Fail, "i= is not"},
		{"i=51", sealer{}.put(testMessage, 51, "pass"), Fail, "i= is not"},
		{"i=+1", seal(with("i=1", "i=+1")), Fail, "i= is not"},
		{"i=001", seal(with("i=1", "i=001")), Fail, "i= is not"},
		{"i=a", seal(with("i=1", "i=a")), Fail, "i= is not"},
		{"empty i=", seal(with("i=1", "i=")), Fail, "i= is not"},
		{"seal without i=", seal(with("i=1; ", "")), Fail, "i= is not"},
		{"signature without i=", sign(with("i=1; ", "")), Fail, "i= is not"},
		{"signature of another i=", sign(with("i=1; ", "i=2; ")), Fail, "set 1: no ARC-Message-Signature"},
		{"results without i=", results("example.org; spf=pass"), Fail, "i= is not"},
		{"results with i= elsewhere", results("example.org; i=1; spf=pass"), Fail, "i= is not"},
		{"results without a semicolon", results("i=1 example.org"), Fail, "i= is not"},
		{"results of i= alone", results("i=1"), Fail, "without a semicolon"},
		{"results of another i=", results("i=2; example.org"), Fail, "set 1: no ARC-Authentication-Results"},
		{"results with white space around i=", sealed(testMessage, sealer{results: "\r\n i = 1 ; example.org"}), Pass, ""},
		{"results with white space", sealed(testMessage, sealer{results: "i=1; \r\n example.org"}), Pass, ""},

		{"first says pass", sealer{}.put(testMessage, 1, "pass"), Fail, "seal 1 says cv=pass"},
		{"first says fail", sealer{}.put(testMessage, 1, "fail"), Fail, "failed before seal 1"},
		{"second says none", sealer{}.put(one, 2, "none"), Fail, "seal 2 says cv=none"},
		{"second says fail", sealer{}.put(one, 2, "fail"), Fail, "failed before seal 2"},
		{"third says pass where the second says fail", sealer{}.put(sealer{}.put(one, 2, "fail"), 3, "pass"), Fail, "failed before seal 2"},
		{"unknown cv=", seal(with("cv=none", "cv=maybe")), Fail, "cv="},
		{"empty cv=", seal(with("cv=none", "cv=")), Fail, "cv="},
		{"no cv=", seal(with("; cv=none", "")), Fail, "cv="},

		{"seal with h=", seal(with("; cv", "; h=from; cv")), Fail, "h="},
		{"seal with an unknown tag", seal(with("; cv", "; zz=from; cv")), Pass, ""},
		{"seal with c=", seal(with("; cv", "; c=simple/simple; cv")), Pass, ""},
		{"seal without a=", seal(with("a=ed25519-sha256; ", "")), Fail, "a="},
		{"seal by rsa-sha1", seal(with("ed25519-sha256", "rsa-sha1")), Fail, "a="},
		{"seal by another algorithm", seal(with("ed25519-sha256", "rsa-sha256")), Fail, "another type"},
		{"seal without d=", seal(with("d=example.org; ", "")), Fail, "d="},
		{"seal with a bad d=", seal(with("d=example.org; ", "d=exa(mple.org; ")), Fail, "d="},
		{"seal without s=", seal(with("s=e1; ", "")), Fail, "s="},
		{"seal with an unknown s=", seal(with("s=e1; ", "s=e2; ")), Fail, "no key"},
		{"seal without t=", seal(with("t=1700000000; ", "")), Pass, ""},
		{"seal with an empty t=", seal(with("t=1700000000; ", "t=; ")), Fail, "t="},
		{"seal with a bad t=", seal(with("t=1700000000; ", "t=x; ")), Fail, "t="},
		{"seal without b=", "ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=example.org; s=e1\r\n" + without(one, "ARC-Seal"), Fail, "b="},
		{"seal with a tag twice", seal(with("; cv", "; s=e1; cv")), Fail, "twice"},
		{"seal with an empty tag", seal(with("; cv", ";; cv")), Fail, "syntax"},

		{"signature covers the seal", sign(with("h=from", "h=arc-seal:from")), Fail, "ARC-Seal"},
		{"signature without From", sign(with("h=from:", "h=")), Pass, ""},
		{"signature of no field", sign(with("h=from:subject", "h=")), Pass, ""},
		{"signature with white space in h=", sign(with("h=from:subject", "h= from :\r\n\tsubject ")), Pass, ""},
		{"signature with another case in h=", sign(with("h=from:subject", "h=FROM:Subject")), Pass, ""},
		{"signature with an empty name in h=", sign(with("h=from:subject", "h=from::subject")), Pass, ""},
		{"signature of the results", sign(with("h=from:subject", "h=from:arc-authentication-results")), Pass, ""},
		{"signature of an absent field", sign(with("h=from:subject", "h=from:cc:subject:subject:cc")), Pass, ""},
		{"absent field added", "Cc: eve@example.com\r\n" + sign(with("h=from:subject", "h=from:cc")), Fail, "does not verify"},
		{"absent second field added", "From: eve@example.com\r\n" + sign(with("h=from", "h=from:from")), Fail, "does not verify"},
		{"signature of fields from the bottom", sealed("To: b@example.org\r\nTo: a@example.org\r\n"+testMessage, sealer{sign: with("h=from", "h=from:to:to")}), Pass, ""},
		{"signature of fields swapped later", swapped(sealed("To: b@example.org\r\nTo: a@example.org\r\n"+testMessage, sealer{sign: with("h=from", "h=from:to:to")})), Fail, "does not verify"},
		{"signature of another order", sealer{}.put(with("h=from:subject", "h=subject:from")(testMessage), 1, "none"), Pass, ""},
		{"signature covers the one before", sealed(testMessage, sealer{}, sealer{sign: with("h=from", "h=from:arc-message-signature")}), Pass, ""},
		{"signature with empty c=", sign(with("c=relaxed/simple", "c=")), Fail, "c="},
		{"signature with half of c=", sign(with("c=relaxed/simple", "c=relaxed/")), Fail, "c="},
		{"signature without c=", sign(with("c=relaxed/simple; ", "")), Fail, "does not verify"},
		{"signature with c= relaxed alone", sign(with("c=relaxed/simple", "c=relaxed")), Pass, ""},
		{"signature with unknown c=", sign(with("c=relaxed/simple", "c=pancake/waffle")), Fail, "c="},
		{"signature without a=", sign(with("a=ed25519-sha256; ", "")), Fail, "a="},
		{"signature with empty a=", sign(with("a=ed25519-sha256", "a=")), Fail, "a="},
		{"signature with unknown a=", sign(with("ed25519-sha256", "rsa-sha42")), Fail, "a="},
		{"signature without d=", sign(with("d=example.org; ", "")), Fail, "d="},
		{"signature with empty d=", sign(with("d=example.org", "d=")), Fail, "d="},
		{"signature with bad d=", sign(with("d=example.org", "d=example...")), Fail, "d="},
		{"signature without s=", sign(with("s=e1; ", "")), Fail, "s="},
		{"signature with empty s=", sign(with("s=e1", "s=")), Fail, "s="},
		{"signature without bh=", sign(with("; bh=", "; xh=")), Fail, "bh="},
		{"signature without t=", sign(with("t=1700000000; ", "")), Pass, ""},
		{"signature with empty t=", sign(with("t=1700000000", "t=")), Fail, "t="},
		{"signature with a bad t=", sign(with("t=1700000000", "t=later")), Fail, "t="},
		{"signature with a tag twice", sign(with("; c=", "; s=e1; c=")), Fail, "twice"},
		{"signature with an unknown tag", sign(with("; c=", "; zz=1; c=")), Pass, ""},
		{"signature with a bad tag name", sign(with("; c=", "; 1z=1; c=")), Fail, "syntax"},
		{"signature with an empty tag", sign(with("; c=", ";; c=")), Fail, "syntax"},
		{"signature with a tag in capitals", sign(with("a=ed", "A=ed")), Fail, "a="},
		{"signature with white space around tags", sign(with("; c=", " ;\r\n c = ")), Pass, ""},
		{"seal with white space around tags", seal(with("; cv=", " ;\r\n cv = ")), Pass, ""},
		{"seal with a bad tag name", seal(with("; cv", "; 1z=1; cv")), Fail, "syntax"},
		{"seal with a tag in capitals", seal(with("cv=", "CV=")), Fail, "cv="},
		{"seal with empty a=", seal(with("a=ed25519-sha256", "a=")), Fail, "a="},
		{"seal with empty d=", seal(with("d=example.org", "d=")), Fail, "d="},
		{"seal with empty s=", seal(with("s=e1", "s=")), Fail, "s="},
		{"seal by a neighbour of the signer", sealed(testMessage, sealer{seal: with("d=example.org", "d=lists.example")}), Pass, ""},
		{"white space in b=", strings.Replace(one, "; b=", "; b=\r\n ", 1), Pass, ""},
		{"semicolon at the end", strings.Replace(one, "==\r\n", "==;\r\n", 2), Fail, "does not verify"},
		{"signature without h=", sign(with("h=from:subject; ", "")), Fail, "h="},
		{"signature with bad bh=", sign(with("bh=", "bh=A")), Fail, "bh="},
		{"signature by rsa-sha1", sign(with("ed25519-sha256", "rsa-sha1")), Fail, "rsa-sha1"},
		{"signature with v=", sign(with("; c=", "; v=1; c=")), Pass, ""},
		{"signature with l=", sign(with("; c=", "; l=7; c=")), Pass, ""},
		{"signature expired", sign(with("; c=", "; x=1700000001; c=")), Fail, "expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := validate(t, testZone(), tt.msg, dkim.Options{})
			if got.Verdict != tt.verdict || !strings.Contains(got.Reason, tt.reason) || (got.Reason == "") != (tt.verdict == Pass || tt.verdict == None) {
				t.Errorf("%s, %q; want %s, %q in\n%s", got.Verdict, got.Reason, tt.verdict, tt.reason, tt.msg)
			}
		})
	}
}

// What is reported of a chain that passes: who sealed what, and since when the
// message is as it is.
func TestResult(t *testing.T) {
	one := sealed(testMessage, sealer{})
	two := sealer{domain: "lists.example"}.put(strings.Replace(one, "Subject: a", "Subject: [list] a", 1), 2, "pass")
	msg := sealer{domain: "Forward.Example", results: "i=3; forward.example;\r\n\tarc=pass header.oldest-pass=2"}.put(two, 3, "pass")
	got := validate(t, testZone(), msg, dkim.Options{})
	if got.Verdict != Pass || got.OldestPass != 2 || len(got.Sets) != 3 {
		t.Fatalf("%+v", got)
	}
	want := []Set{
		{Instance: 1, Domain: "example.org", Selector: "e1", CV: "none", Payload: "example.org; spf=pass"},
		{Instance: 2, Domain: "lists.example", Selector: "e1", CV: "pass", Payload: "lists.example; spf=pass"},
		{Instance: 3, Domain: "forward.example", Selector: "e1", CV: "pass", Payload: "forward.example;\tarc=pass header.oldest-pass=2"},
	}
	verdicts := []dkim.Verdict{dkim.Fail, dkim.Pass, dkim.Pass}
	for i, s := range got.Sets {
		if s.Seal.Verdict != dkim.Pass || s.Message.Verdict != verdicts[i] || s.Seal.KeyBits != 256 || s.Seal.Algorithm != "ed25519-sha256" ||
			s.Seal.Question != "TXT e1._domainkey."+s.Domain || !strings.Contains(s.Seal.Answer, "k=ed25519") {
			t.Errorf("set %d: %+v", i+1, s)
		}
		s.Seal, s.Message = dkim.Result{}, dkim.Result{}
		if s != want[i] {
			t.Errorf("set %d: %+v, want %+v", i+1, s, want[i])
		}
	}
	broken := strings.Replace(msg, "ARC-Seal: i=1; a", "ARC-Seal: i=1; x=y; a", 1)
	if got := validate(t, testZone(), broken, dkim.Options{}); got.Verdict != Fail || got.OldestPass != 0 || len(got.Sets) != 3 {
		t.Errorf("broken: %+v", got)
	}
	if got := validate(t, testZone(), sealed(testMessage, sealer{}, sealer{}, sealer{}), dkim.Options{}); got.OldestPass != 0 {
		t.Errorf("unchanged since the first: oldest pass %d", got.OldestPass)
	}
}

// A key that cannot be had now is no reason to say that the chain is broken; but
// what is broken is, whatever else cannot be had.
func TestTemporary(t *testing.T) {
	msg := sealed(testMessage, sealer{}, sealer{domain: "lists.example"})
	for _, tt := range []struct {
		flaky   string
		msg     string
		verdict Verdict
		reason  string
	}{
		{"lists.example", msg, TempError, "message signature 2: key is unavailable"},
		{"example.org", msg, TempError, "seal 1: key is unavailable"},
		{"example.org", msg + "x", Fail, "message signature 2: body"},
		{"lists.example", strings.Replace(msg, "ARC-Seal: i=1; a", "ARC-Seal: i=1; x=y; a", 1), Fail, "seal 1: signature"},
		{"lists.example", strings.Replace(msg, "cv=pass", "cv=fail", 1), Fail, "failed before"},
	} {
		zone := testZone()
		zone["TXT e1._domainkey."+tt.flaky] = []string{"SERVFAIL"}
		if got := validate(t, zone, tt.msg, dkim.Options{}); got.Verdict != tt.verdict || !strings.Contains(got.Reason, tt.reason) {
			t.Errorf("%s: %s, %q; want %s, %q", tt.flaky, got.Verdict, got.Reason, tt.verdict, tt.reason)
		}
	}
}

// A key that is not for names below its own signs chains all the same: there i=
// is not an identity.
func TestStrictKey(t *testing.T) {
	zone := testZone()
	zone["TXT e1._domainkey.example.org"][0] += "; t=s"
	if got := validate(t, zone, sealed(testMessage, sealer{}), dkim.Options{}); got.Verdict != Pass {
		t.Errorf("%+v", got)
	}
}

// A chain may have fifty sets, and no more; and it costs few questions and one
// pass over the body, which DKIM has made already.
func TestLimits(t *testing.T) {
	msg := sealed(testMessage, make([]sealer, maxSets)...)
	h := header.Scan([]byte(msg), header.Limits{})
	r := &counting{Resolver: testZone()}
	src := &countingSource{Octets: mail.Octets(msg)}
	m := dkim.NewMessage(src, h)
	got, err := Verify(t.Context(), r, m, dkim.Options{})
	if err != nil || got.Verdict != Pass || len(got.Sets) != maxSets || r.asked != 1 || src.passes != 1 {
		t.Errorf("%s, %q, %d questions, %d passes, %v", got.Verdict, got.Reason, r.asked, src.passes, err)
	}
	if got := validate(t, r, sealer{}.put(msg, maxSets+1, "pass"), dkim.Options{}); got.Verdict != Fail {
		t.Errorf("%d sets: %+v", maxSets+1, got)
	}

	selectors := testZone()
	many := make([]sealer, maxSets)
	for i := range many {
		s := fmt.Sprintf("s=s%d;", i)
		many[i] = sealer{sign: with("s=e1;", s), seal: with("s=e1;", s)}
		selectors[fmt.Sprintf("TXT s%d._domainkey.example.org", i)] = selectors["TXT e1._domainkey.example.org"]
	}
	r = &counting{Resolver: selectors}
	if got := validate(t, r, sealed(testMessage, many...), dkim.Options{}); got.Verdict != Fail || !strings.Contains(got.Reason, "keys") || r.asked > maxSets {
		t.Errorf("%d keys: %s, %q, %d questions", maxSets, got.Verdict, got.Reason, r.asked)
	}

	long := "X: " + strings.Repeat("x", header.DefaultOctets) + "\r\n" + sealed(testMessage, sealer{})
	if got := validate(t, testZone(), long, dkim.Options{}); got.Verdict != Fail || got.Reason != "header too long" {
		t.Errorf("%+v", got)
	}
}

type counting struct {
	dns.Resolver
	asked int
}

func (r *counting) LookupTXT(ctx context.Context, name string) ([]string, error) {
	r.asked++
	return r.Resolver.LookupTXT(ctx, name)
}

type countingSource struct {
	mail.Octets
	passes int
}

func (s *countingSource) WriteRange(w io.Writer, r mail.Range) error {
	s.passes++
	return s.Octets.WriteRange(w, r)
}

type brokenSource struct{ mail.Octets }

func (brokenSource) WriteRange(io.Writer, mail.Range) error { return io.ErrNoProgress }

// A disk that cannot be read is our trouble, and says nothing of the message.
func TestUnreadable(t *testing.T) {
	msg := sealed(testMessage, sealer{})
	m := dkim.NewMessage(brokenSource{mail.Octets(msg)}, header.Scan([]byte(msg), header.Limits{}))
	if got, err := Verify(t.Context(), testZone(), m, dkim.Options{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Messages that dkimpy sealed, by way of a list that changed subject and body.
func TestPeer(t *testing.T) {
	text, err := os.ReadFile("testdata/rsa2048.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	record := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(block.Bytes)
	zone := dns.Zone{}
	domains := []string{"example.org", "lists.example", "forward.example"}
	for _, d := range domains {
		zone["TXT r1._domainkey."+d] = []string{record}
	}
	opt := dkim.Options{Now: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
	for n, oldest := range []int{0, 2, 2} {
		text, err := os.ReadFile(fmt.Sprintf("testdata/dkimpy-%d.eml", n+1))
		if err != nil {
			t.Fatal(err)
		}
		msg := string(text)
		got := validate(t, zone, msg, opt)
		if got.Verdict != Pass || got.OldestPass != oldest || len(got.Sets) != n+1 || got.Sets[n].Domain != domains[n] {
			t.Errorf("%d: %+v", n+1, got)
		}
		for name, damaged := range map[string]string{
			"body":    msg + "x",
			"Subject": strings.Replace(msg, "Subject:", "Subject: x", 1),
			"results": strings.Replace(msg, "spf=pass", "spf=fail", 1),
			"order":   strings.Replace(msg, "i=1", "i=2", 1),
			"From":    "From: eve@example.com\r\n" + msg,
			"cv":      strings.Replace(msg, "cv=", "cv=fail; x=", 1),
		} {
			if name == "results" && n == 1 {
				continue // the first there is that of Authentication-Results, which nothing covers
			}
			if got := validate(t, zone, damaged, opt); got.Verdict != Fail {
				t.Errorf("%d: %s damaged: %+v", n+1, name, got)
			}
		}
		if got := validate(t, zone, "X: y\r\n"+strings.Replace(msg, "smtp.mailfrom", "\r\n  smtp.mailfrom", 1)+"\r\n\r\n", opt); got.Verdict != Pass {
			t.Errorf("%d: refolded: %+v", n+1, got)
		}
	}
}

// Any message has a verdict, and a chain passes only if it is whole.
func FuzzVerify(f *testing.F) {
	f.Add(sealed(testMessage, sealer{}, sealer{}))
	f.Add("ARC-Seal: i=1; cv=none; a=rsa-sha256; b=AAAA; d=example.org; s=e1\r\nARC-Message-Signature: i=1\r\nARC-Authentication-Results: i=1;\r\n\r\n")
	f.Fuzz(func(t *testing.T, msg string) {
		r := validate(t, testZone(), msg, dkim.Options{})
		h := header.Scan([]byte(msg), header.Limits{})
		n := h.Count(sealField)
		switch r.Verdict {
		case None:
			if n+h.Count(signatureField)+h.Count(resultsField) > 0 {
				t.Fatalf("no chain, but fields of one: %q", msg)
			}
		case Pass:
			if len(r.Sets) != n || r.Sets[0].Seal.Verdict != dkim.Pass || r.Sets[n-1].Message.Verdict != dkim.Pass || r.OldestPass > n {
				t.Fatalf("%+v", r)
			}
		case Fail:
			if r.Reason == "" || r.OldestPass != 0 {
				t.Fatalf("%+v", r)
			}
		default:
			t.Fatalf("%+v", r)
		}
	})
}
