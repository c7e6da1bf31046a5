package dkim

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
)

// Every tag is found where it stands, and taking one out leaves the others.
func FuzzTags(f *testing.F) {
	f.Add("v=1; a = rsa-sha256 ;\r\n b=a b\r\n c; bh=x;", "b")
	f.Add("z=b=1;b=", "b")
	f.Add("p", "p")
	f.Fuzz(func(t *testing.T, text, name string) {
		tags, err := ParseTags(text)
		if err != nil {
			return
		}
		rest := tags.Without(name)
		if tags.Has(name) == (rest == text) && len(tags.text) > 0 && tags.Get(name) != "" {
			t.Fatalf("%q without %q is %q", text, name, rest)
		}
		without, err := ParseTags(rest)
		if err != nil || len(without.list) != len(tags.list) {
			t.Fatalf("%q without %q is %q: %v", text, name, rest, err)
		}
		for _, tag := range tags.list {
			if !strings.Contains(text, tag.name) || !strings.Contains(text, tags.Get(tag.name)) {
				t.Fatalf("%q has no %s=%q", text, tag.name, tags.Get(tag.name))
			}
			want := tags.Get(tag.name)
			if tag.name == name {
				want = ""
			}
			if got := without.Get(tag.name); got != want {
				t.Fatalf("%q without %q has %s=%q", text, name, tag.name, got)
			}
		}
	})
}

// A key is one of a kind and size that can be used, or there is a verdict why
// not; and whatever it is, it verifies nothing that was not signed.
func FuzzKey(f *testing.F) {
	f.Add(record(f, testKey(f, "rsa2048")))
	f.Add(record(f, testKey(f, "ed25519")))
	f.Add("v=DKIM1; h=sha256:sha1; s=email; t=y:s; n=x; g=*; k=rsa; p=MAMCAQA=")
	f.Add("v=DKIM1; p=MBwwDQYJKoZIhvcNAQEBBQADCwAwCAIBBAIDAQAB")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parseKey(text)
		var p Problem
		if err != nil {
			if !errors.As(err, &p) || p.Verdict != PermError || p.Reason == "" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if (key.rsa == nil) == (key.ed25519 == nil) || key.Bits <= 0 {
			t.Fatalf("%q: %+v", text, key)
		}
		for _, algorithm := range []string{"rsa-sha256", "ed25519-sha256", ""} {
			if err := key.Verify(algorithm, make([]byte, 32), []byte("not a signature")); !errors.As(err, &p) || p.Verdict == Pass {
				t.Fatalf("%q verified a signature by %s: %v", text, algorithm, err)
			}
		}
	})
}

// The header's canonical form is that of the model.
func FuzzCanonicalField(f *testing.F) {
	f.Add("Subject : a\r\n \t b \t\r\n ")
	f.Add("A:\r\n")
	f.Add("AZ-az@[`{:  AZ-az@[`{\r\n")
	f.Add("A:\r\n0\r\nB:\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		h := header.Scan([]byte(text), header.Limits{})
		for _, field := range h.Fields {
			if len(field.Name()) == 0 {
				continue // a line that is no field, which no h= can name
			}
			raw := strings.TrimSuffix(string(field.Raw()), "\r\n")
			for _, c := range []Canon{Simple, Relaxed} {
				if got := string(c.AppendField(nil, field)); got != modelField(c, raw)+"\r\n" {
					t.Fatalf("%q: %s %q, want %q", raw, c, got, modelField(c, raw))
				}
				tags, err := ParseTags(string(field.Value()))
				if err != nil {
					continue
				}
				name := raw[:len(raw)-len(field.Value())]
				if got := string(c.AppendUnsigned(nil, field, tags)); got != modelField(c, name+tags.Without("b")) {
					t.Fatalf("%q: %s unsigned %q", raw, c, got)
				}
			}
		}
	})
}

// Any message has one result per signature, each with a verdict; and how the
// body comes, whole or in pieces, changes nothing.
func FuzzVerify(f *testing.F) {
	files, err := filepath.Glob("testdata/*ed25519-*.eml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("DKIM-Signature: v=1; a=ed25519-sha256; d=example.org; s=e1; h=from; b=AAAA; bh=; l=0\r\nDKIM-Signature:\r\n\r\n\r\nx"))
	zone := testZone(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		opt := Options{Now: afterSigning}
		whole, err := Verify(t.Context(), zone, mail.Octets(msg), opt)
		if err != nil {
			t.Fatal(err)
		}
		n := header.Scan(msg, header.Limits{}).Count("DKIM-Signature")
		if len(whole.Results)+whole.Ignored != n {
			t.Fatalf("%d signatures: %+v", n, whole)
		}
		for _, r := range whole.Results {
			if r.Verdict == "" || r.Verdict == None || (r.Verdict == Pass) == (r.Reason != "") || r.Verdict == Pass && r.Domain != "example.org" {
				t.Fatalf("%+v", r)
			}
		}
		if pieces, err := Verify(t.Context(), zone, piecewise{msg}, opt); err != nil || !reflect.DeepEqual(pieces, whole) {
			t.Fatalf("in pieces %+v, %v; whole %+v", pieces, err, whole)
		}
		if nobody, err := Verify(t.Context(), dns.Zone{}, mail.Octets(msg), opt); err != nil || slices.ContainsFunc(nobody.Results, func(r Result) bool { return r.Verdict == Pass }) {
			t.Fatalf("without keys: %+v, %v", nobody, err)
		}
	})
}

// piecewise is a Source that gives its octets in small pieces.
type piecewise struct{ mail.Octets }

func (p piecewise) WriteRange(w io.Writer, r mail.Range) error {
	for at := r.Start; at < r.End; at += 7 {
		if err := p.Octets.WriteRange(w, mail.Range{Start: at, End: min(at+7, r.End)}); err != nil {
			return err
		}
	}
	return nil
}
