package dkim

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
)

// afterSigning is when the messages in testdata had just been signed.
var afterSigning = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// What happens to messages on their way, and which canonical forms bear it.
var damages = []struct {
	name          string
	damage        func(string) string
	header, body  bool // relaxed bears it
	always, never bool
}{
	{name: "nothing", damage: func(s string) string { return s }, always: true},
	{name: "field on top", damage: func(s string) string { return "X-New: y\r\n" + s }, always: true},
	{name: "signature refolded in b=", damage: func(s string) string { return strings.Replace(s, "==\r\n", "=\r\n =\r\n", 1) }, always: true},
	{name: "empty lines at the end", damage: func(s string) string { return s + "\r\n\r\n" }, always: true},
	{name: "fields in another order", damage: swap("From: ", "To: "), always: true},
	{name: "field without name's case", damage: replace("\r\nSubject:", "\r\nSUBJECT:"), header: true},
	{name: "field refolded", damage: replace("=C3=84rger?= <", "=C3=84rger?=\r\n\t <"), header: true},
	{name: "field with white space at its end", damage: replace("+0000\r\nFrom:", "+0000 \r\nFrom:"), header: true},
	{name: "field with white space before the colon", damage: replace("\r\nTo:", "\r\nTo :"), header: true},
	{name: "white space in the body", damage: replace("Bob!\t\tTabs", "Bob! Tabs"), body: true},
	{name: "white space at the end of a line", damage: replace("..dots\r\n", "..dots \t\r\n"), body: true},
	{name: "white space lost at the end of a line", damage: replace("MIME. \t \r\n", "MIME.\r\n"), body: true},
	{name: "white space where was none", damage: replace("..dots", ".. dots"), never: true},
	{name: "line appended", damage: func(s string) string { return s + "x\r\n" }, never: true},
	{name: "end lost", damage: func(s string) string { return s[:strings.LastIndex(s, "--==b==--")] }, never: true},
	{name: "body lost", damage: func(s string) string { return s[:strings.Index(s, "\r\n\r\n")+4] }, never: true},
	{name: "line lost", damage: replace("..dots\r\n", ""), never: true},
	{name: "empty line lost", damage: replace("charset=utf-8\r\n\r\n", "charset=utf-8\r\n"), never: true},
	{name: "lines joined", damage: replace("aGlz\r\nTWFu", "aGlzTWFu"), never: true},
	{name: "one letter of the body", damage: replace("TWFu", "TWFv"), never: true},
	{name: "one letter of a field", damage: replace("Subject: ", "Subject: x"), never: true},
	{name: "second From", damage: func(s string) string { return "From: eve@example.com\r\n" + s }, never: true},
	{name: "field that was missing", damage: func(s string) string { return "Cc: eve@example.com\r\n" + s }, never: true},
	{name: "field lost", damage: replace("Subject:", "X-Subject:"), never: true},
	{name: "domain", damage: replace("d=example.org", "d=example.com"), never: true},
	{name: "selector", damage: replace("s=", "s=x"), never: true},
	{name: "signature", damage: func(s string) string { return strings.Replace(s, "b=", "b=AAAA", 2) }, never: true},
}

func replace(old, with string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, with, 1) }
}

// swap puts one field below the other that follows it.
func swap(first, second string) func(string) string {
	return func(s string) string {
		from, to := strings.Index(s, "\r\n"+first)+2, strings.Index(s, "\r\n"+second)+2
		line, _, _ := strings.Cut(s[from:], "\r\n")
		return s[:from] + s[from+len(line)+2:to] + second + "x\r\n" + line + "\r\n" + s[to:]
	}
}

// Messages that OpenDKIM and dkimpy signed are verified, and damaged ones are
// verified just where the canonical forms allow the damage.
func TestPeers(t *testing.T) {
	files, err := filepath.Glob("testdata/*-*-*-*.eml")
	if err != nil || len(files) < 14 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(strings.TrimSuffix(filepath.Base(file), ".eml"), "-")
		for _, d := range damages {
			damaged := d.damage(string(text))
			bears := d.always || d.header && parts[2] == "relaxed" || d.body && parts[3] == "relaxed"
			if damaged == string(text) && d.name != "nothing" && !strings.Contains(d.name, "refolded in b=") {
				t.Errorf("%s: %s: did no damage", file, d.name)
			}
			report, err := Verify(t.Context(), testZone(t), mail.Octets(damaged), Options{Now: afterSigning})
			if err != nil || (report.Results[0].Verdict == Pass) != bears {
				t.Errorf("%s: %s: %+v, %v", file, d.name, report, err)
			}
		}
	}
}

func TestPartialOfPeer(t *testing.T) {
	text, err := os.ReadFile("testdata/dkimpy-partial.eml")
	if err != nil {
		t.Fatal(err)
	}
	whole := bytes.TrimSuffix(text, []byte("appended\r\n"))
	for msg, want := range map[string]Verdict{string(text): Policy, string(whole): Pass, string(whole[:len(whole)-100]): PermError} {
		report, err := Verify(t.Context(), testZone(t), mail.Octets(msg), Options{Now: afterSigning})
		if err != nil || report.Results[0].Verdict != want {
			t.Errorf("%+v, %v; want %s", report, err, want)
		}
	}
}

// FuzzAgainstPeer lets go-msgauth sign what the fuzzer makes up; we verify it.
// Then an octet changes, and both are asked again.
func FuzzAgainstPeer(f *testing.F) {
	f.Add("From: a\r\nSubject:  x\r\n y\r\nX: 1\r\nx : 2\r\n", "a \r\n b\t c\r\n\r\n", byte(0), uint(30), byte('x'))
	f.Add("From: a\r\n", "", byte(3), uint(500), byte(' '))
	f.Add("A:\r\n \r\nFrom:", "\r\n \r\n\r\nend", byte(6), uint(7), byte('\t'))
	keys := map[bool]crypto.Signer{true: testKey(f, "ed25519"), false: testKey(f, "rsa2048")}
	zone := testZone(f)
	lookup := func(name string) ([]string, error) {
		records, err := zone.LookupTXT(context.Background(), name)
		if err != nil {
			return nil, errors.New("no such key")
		}
		return records, nil
	}
	f.Fuzz(func(t *testing.T, head, body string, method byte, at uint, with byte) {
		msg := head + "\r\n" + body
		if !readAlike(msg) {
			return
		}
		opt := &msgauth.SignOptions{Domain: "example.org", Selector: "r1", Signer: keys[false], Hash: crypto.SHA256,
			HeaderCanonicalization: canonOf(method), BodyCanonicalization: canonOf(method / 2)}
		if method&4 != 0 {
			opt.Selector, opt.Signer = "e1", keys[true]
		}
		if method&8 != 0 {
			opt.HeaderKeys = []string{"From", "X", "x", "Subject", "subject"}
		}
		var signed bytes.Buffer
		if msgauth.Sign(&signed, strings.NewReader(msg), opt) != nil {
			return // it has no From
		}
		if theirs, ours := bothVerify(t, signed.String(), zone, lookup); !ours || !theirs {
			t.Fatalf("signed, but theirs %v, ours %v:\n%q", theirs, ours, signed.String())
		}
		changed := signed.Bytes()
		changed[at%uint(len(changed))] = with
		if !readAlike(string(changed)) {
			return
		}
		if theirs, ours := bothVerify(t, string(changed), zone, lookup); theirs != ours && !excused(string(changed), theirs) {
			t.Fatalf("changed; theirs %v, ours %v:\n%q", theirs, ours, changed)
		}
	})
}

func canonOf(method byte) msgauth.Canonicalization {
	if method&1 == 0 {
		return msgauth.CanonicalizationRelaxed
	}
	return msgauth.CanonicalizationSimple
}

// readAlike reports whether both read the same message in s: it has a header
// whose names need no thought, a body, and line ends that are CRLF.
func readAlike(s string) bool {
	h := header.Scan([]byte(s), header.Limits{})
	for _, f := range h.Fields {
		if len(f.Name()) == 0 || strings.ContainsAny(string(f.Name()), ";=") { // is no field; would end a tag
			return false
		}
	}
	lone := strings.ReplaceAll(s, "\r\n", "")
	return h.Stop == header.EmptyLine && h.Count("From") > 0 && !strings.ContainsAny(lone, "\r\n") && h.Count("DKIM-Signature") < 2
}

func bothVerify(t *testing.T, msg string, zone dns.Zone, lookup func(string) ([]string, error)) (theirs, ours bool) {
	t.Helper()
	report, err := Verify(t.Context(), zone, mail.Octets(msg), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ours = slices.ContainsFunc(report.Results, func(r Result) bool { return r.Verdict == Pass })
	verifications, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{LookupTXT: lookup})
	theirs = err == nil && slices.ContainsFunc(verifications, func(v *msgauth.Verification) bool { return v.Err == nil })
	return theirs, ours
}

var innerB = regexp.MustCompile(`[^;\s]b\s*=`)

// excused reports whether the two may differ about a message: where go-msgauth
// takes another "b=" for the signature, minds case where there is none, checks no
// syntax, or knows white space that is none.
func excused(msg string, theirs bool) bool {
	h := header.Scan([]byte(msg), header.Limits{})
	for f := range h.All("DKIM-Signature") {
		tags, err := ParseTags(string(f.Value()))
		if theirs {
			_, errDomain := DomainName(tags.Compact("d"), 2)
			_, errSelector := DomainName(tags.Compact("s"), 1)
			return err != nil || errDomain != nil || errSelector != nil || bytes.ContainsAny(f.Value(), "\v\f\x85\xa0")
		}
		caseless := tags.Get("a") + tags.Get("c") + tags.Get("d") + tags.Get("i")
		return innerB.Match(f.Value()) || strings.ToLower(caseless) != caseless
	}
	return false
}
