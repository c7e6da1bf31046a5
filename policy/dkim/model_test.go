package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"regexp"
	"strings"
	"testing"

	"postern/internal/dns"
)

// The canonical forms, written as the RFC says them, with no thought for time
// or memory.

var wsp = regexp.MustCompile(`[ \t]+`)

func modelBody(c Canon, body string) string {
	if c == Relaxed {
		lines := strings.Split(body, "\r\n")
		for i, l := range lines {
			lines[i] = strings.TrimRight(wsp.ReplaceAllString(l, " "), " ")
		}
		body = strings.Join(lines, "\r\n")
	}
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	if body == "" && c == Relaxed {
		return ""
	}
	return body + "\r\n"
}

// modelField takes a field without the CRLF at its end.
func modelField(c Canon, field string) string {
	if c == Simple {
		return field
	}
	name, value, _ := strings.Cut(field, ":")
	value = strings.Trim(wsp.ReplaceAllString(strings.ReplaceAll(value, "\r\n", ""), " "), " ")
	return strings.ToLower(strings.TrimRight(name, " \t")) + ":" + value
}

// A signer makes signatures, good ones and others.
type signer struct {
	key  crypto.Signer
	tags string // all but bh= and b=
	bh   string // instead of the right one, if not empty
	end  string // put after b=
	name string // of the field; empty: DKIM-Signature
}

// sign returns msg with a signature on top.
func (s signer) sign(t testing.TB, msg string) string {
	t.Helper()
	tags, err := ParseTags(s.tags)
	if err != nil {
		t.Fatal(err)
	}
	c := strings.Split(tags.Get("c")+"/simple", "/")
	if c[0] == "" {
		c[0] = "simple"
	}
	header, body, _ := strings.Cut("\r\n"+msg, "\r\n\r\n")
	body = modelBody(Canon(c[1]), body)
	if l, err := number(tags.Get("l")); err == nil {
		body = body[:min(int(l), len(body))]
	}
	if s.bh == "" {
		sum := sha256.Sum256([]byte(body))
		s.bh = base64.StdEncoding.EncodeToString(sum[:])
	}
	if s.name == "" {
		s.name = "DKIM-Signature"
	}
	field := s.name + ": " + s.tags + "; bh=" + s.bh + ";\r\n\tb="
	input := modelHeader(Canon(c[0]), header, list(tags.Get("h"))) + modelField(Canon(c[0]), field+strings.TrimLeft(s.end, " "))
	return field + base64.StdEncoding.EncodeToString(s.signature(t, input)) + s.end + "\r\n" + msg
}

// modelHeader takes the header with a CRLF before its first line and none after
// its last.
func modelHeader(c Canon, header string, names []string) string {
	var fields []string
	for _, line := range strings.Split(header, "\r\n")[1:] {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[len(fields)-1] += "\r\n" + line
		} else {
			fields = append(fields, line)
		}
	}
	text := ""
	for _, name := range names {
		for i := len(fields) - 1; i >= 0 && name != ""; i-- {
			if got, _, _ := strings.Cut(fields[i], ":"); strings.EqualFold(strings.TrimSpace(got), name) {
				text += modelField(c, fields[i]) + "\r\n"
				fields[i] = ""
				break
			}
		}
	}
	return text
}

func (s signer) signature(t testing.TB, input string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(input))
	opts := crypto.SignerOpts(crypto.SHA256)
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	}
	sig, err := s.key.Sign(rand.Reader, digest[:], opts)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// testKey reads a private key that stands in testdata for all tests.
func testKey(t testing.TB, name string) crypto.Signer {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no key in %s", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(crypto.Signer)
}

// record returns the key record of a key.
func record(t testing.TB, key crypto.Signer) string {
	t.Helper()
	if pub, ok := key.Public().(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(spki(t, key))
}

func spki(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pkcs1(key crypto.Signer) []byte {
	return x509.MarshalPKCS1PublicKey(key.Public().(*rsa.PublicKey))
}

// testZone has the keys of example.org: selector r1 for RSA, e1 for Ed25519.
func testZone(t testing.TB) dns.Zone {
	return dns.Zone{
		"TXT r1._domainkey.example.org": {record(t, testKey(t, "rsa2048"))},
		"TXT e1._domainkey.example.org": {record(t, testKey(t, "ed25519"))},
	}
}

const testMessage = "Received: by mx.example.org;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n" +
	"From: Ann <ann@example.org>\r\nTo:  Bob   <bob@example.com>\r\nSubject: A  folded\r\n \tsubject \r\n\r\n" +
	"Hello  Bob, \t\r\n\r\n\t how are you?\r\n\r\n\r\n"

// crlfed returns s with line ends as they are in mail.
func crlfed(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
