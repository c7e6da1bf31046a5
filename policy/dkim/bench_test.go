package dkim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"postern/internal/header"
	"postern/mail"
)

// What most octets of mail are: base64, and text.
var (
	base64Body = strings.Repeat(strings.Repeat("TWFu", 19)+"\r\n", 10<<20/78)
	textBody   = strings.Repeat("It was a bright cold day in April, and the clocks  were striking.\t \r\n", 10<<20/68)
)

func BenchmarkVerify(b *testing.B) {
	for _, c := range []string{"simple", "relaxed"} {
		for name, body := range map[string]string{"base64": base64Body, "text": textBody} {
			for _, n := range []int{1, 4} {
				msg := benchMessage(b, c, body, n)
				b.Run(fmt.Sprintf("%s/%s/%d/ours", c, name, n), func(b *testing.B) { benchOurs(b, msg, n) })
				b.Run(fmt.Sprintf("%s/%s/%d/go-msgauth", c, name, n), func(b *testing.B) { benchPeer(b, msg, n) })
			}
		}
	}
}

func benchMessage(b *testing.B, canon, body string, signatures int) string {
	b.Helper()
	msg := "From: a\r\nTo: b\r\nSubject: c\r\n\r\n" + body
	s := signer{key: testKey(b, "rsa2048"), tags: "v=1; a=rsa-sha256; c=" + canon + "/" + canon + "; d=example.org; s=r1; h=from:to:subject"}
	field := strings.TrimSuffix(s.sign(b, msg), msg)
	return strings.Repeat(field, signatures) + msg
}

func benchOurs(b *testing.B, msg string, signatures int) {
	src := mail.Octets(msg)
	zone := testZone(b)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		report, err := Verify(b.Context(), zone, src, Options{})
		if err != nil || len(report.Results) != signatures || report.Results[signatures-1].Verdict != Pass {
			b.Fatal(report, err)
		}
	}
}

func benchPeer(b *testing.B, msg string, signatures int) {
	zone := testZone(b)
	lookup := func(name string) ([]string, error) { return zone.LookupTXT(context.Background(), name) }
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		vs, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{LookupTXT: lookup})
		if err != nil || len(vs) != signatures || vs[0].Err != nil {
			b.Fatal(vs, err)
		}
	}
}

// The worst that a stranger can send within the limits, with a body of 25 MiB.
func BenchmarkWorst(b *testing.B) {
	const size = 25 << 20
	key := testKey(b, "rsa2048")
	worst := func(body, names string) string {
		msg := "From: a\r\n\r\n" + body
		fields := ""
		for i := range DefaultSignatures {
			c := []string{"simple", "relaxed"}[i%2]
			s := signer{key: key, tags: fmt.Sprintf("v=1; a=rsa-sha256; c=%s/%s; d=example.org; s=r1; l=%d; h=%sfrom", c, c, i*1000, names)}
			fields += strings.TrimSuffix(s.sign(b, msg), msg)
		}
		return fields + strings.Repeat("x:\r\n", header.DefaultFields-DefaultSignatures-1) + msg
	}
	for name, msg := range map[string]string{
		"empty lines": worst(strings.Repeat("\r\n", size/2)+"x", ""),
		"white space": worst(strings.Repeat("x \t", size/3), ""),
		"lone CR":     worst(strings.Repeat("\r \n", size/3), ""),
		"names":       worst("x", strings.Repeat("x:", maxNames-1)),
	} {
		b.Run(name, func(b *testing.B) {
			zone := testZone(b)
			src := mail.Octets(msg)
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				report, err := Verify(b.Context(), zone, src, Options{})
				if err != nil || len(report.Results) != DefaultSignatures {
					b.Fatal(report, err)
				}
			}
		})
	}
}

// What no verifier can be faster than.
func BenchmarkHash(b *testing.B) {
	body := []byte(base64Body)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		sha256.Sum256(body)
	}
}
