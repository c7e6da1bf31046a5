package policy

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/internal/peer"
	"postern/mail"
	"postern/policy/dkim"
	"postern/policy/milter"
)

// written is a message with all that canonical forms are about.
const written = "Received: from client.example.org (client.example.org [192.0.2.7])\r\n\tby out.example.org; Mon,  1 Jan 2024 00:00:00 +0000\r\n" +
	"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: =?utf-8?q?Ann_=C3=84rger?= <ann@example.org>\r\n" +
	"To: Bob <bob@example.com>,\r\n   Carol\t<carol@example.com> \r\nSubject:  A long   subject\r\n that is folded \t\r\n\tand folded\r\n" +
	"Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
	"\r\nGrüße,  Bob!\t\tTabs\tand  spaces \r\n \r\n\t\r\n.\r\n..dots\r\nFrom a mbox\r\n--=20\r\nAnn\r\n\r\n\r\n"

// damaged is what happens to a message on its way, and which forms bear it.
var damaged = []struct {
	name, old, by string // by is put on top or at the end where there is no old
	header, body  bool   // the relaxed form bears it
	always        bool
}{
	{name: "nothing", always: true},
	{name: "field on top", by: "X-New: y\r\n", always: true},
	{name: "empty lines at the end", old: "Ann\r\n\r\n", by: "Ann\r\n\r\n\r\n\r\n", always: true},
	{name: "case of a name", old: "\r\nSubject:", by: "\r\nSUBJECT:", header: true},
	{name: "field refolded", old: "A long   subject\r\n that", by: "A long subject that", header: true},
	{name: "white space in the body", old: "\t\tTabs\tand  spaces \r\n", by: " Tabs and spaces\r\n", body: true},
	{name: "white space before a line", old: "Ann\r\n\r\n", by: " Ann\r\n\r\n"},
	{name: "letter of the body", old: "Tabs", by: "Tubs"},
	{name: "line of the body", old: "..dots\r\n"},
	{name: "line appended", old: "Ann\r\n\r\n\r\n", by: "Ann\r\n\r\n\r\nP.S.\r\n"},
	{name: "letter of a field", old: "A long", by: "A lung"},
	{name: "field lost", old: "\r\nSubject:", by: "\r\nX-Subject:"},
	{name: "second From", by: "From: eve@example.com\r\n"},
	{name: "domain", old: "d=example.org", by: "d=example.com"},
	{name: "signature", old: "bh=", by: "bh=A"},
}

// A signingPeer is a program that signs.
type signingPeer struct {
	name         string
	rsa, ed25519 []string // canonical forms
	sign         func(*testing.T, peer.Signing) string
}

// byMilter has the filter that start starts sign the message that was written.
func byMilter(start func(testing.TB, peer.Signing) string) func(*testing.T, peer.Signing) string {
	return func(t *testing.T, s peer.Signing) string {
		f := &milter.Filter{Name: "signer", Network: "unix", Address: start(t, s), Timeout: time.Minute}
		m := milter.Message{ID: "1", Hostname: "out.example.org", From: address("ann@example.org"), To: []mail.Address{address("bob@example.com")},
			Client: mail.Client{IP: netip.MustParseAddr("192.0.2.7"), Hello: "client.example.org"}, Source: mail.Octets(written)}
		h := header.Scan([]byte(written), header.Limits{})
		for _, field := range h.Fields {
			m.Fields = append(m.Fields, shown(field))
		}
		m.Body = int64(h.Body)
		a, err := f.Ask(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range a.Changes {
			if strings.EqualFold(c.Name, "DKIM-Signature") {
				return c.Name + ":" + c.Value + "\r\n" + written
			}
		}
		t.Fatalf("not signed: %+v", a)
		return ""
	}
}

// What OpenDKIM, Rspamd and dkimpy sign is verified in every form and by every
// algorithm, and what was damaged on its way just where the form bears it.
func TestSigners(t *testing.T) {
	t.Parallel()
	all := []string{"relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"}
	for _, s := range []signingPeer{
		// What OpenDKIM 2.11 signs by Ed25519 with a header in simple form, nobody
		// verifies: nor does dkimpy.
		{"OpenDKIM", all, all[:2], byMilter(peer.OpenDKIM)},
		{"Rspamd", all[:1], all[:1], byMilter(peer.RspamdSigner)},
		{"dkimpy", all, all, func(t *testing.T, s peer.Signing) string { return peer.Dkimsign(t, s, written) }},
	} {
		for algorithm, canons := range map[string][]string{"rsa-sha256": s.rsa, "ed25519-sha256": s.ed25519} {
			for _, canon := range canons {
				t.Run(s.name+" "+algorithm+" "+canon, func(t *testing.T) {
					t.Parallel()
					key := map[string]string{"rsa-sha256": "dkim/testdata/rsa2048.pem", "ed25519-sha256": "dkim/testdata/ed25519.pem"}[algorithm]
					signing := peer.Signing{Domain: "example.org", Selector: "s1", Key: key, Algorithm: algorithm, Canon: canon}
					checkDamages(t, s.sign(t, signing), canon, keyZone(t, key), algorithm)
				})
			}
		}
	}
}

func checkDamages(t *testing.T, msg, canon string, zone dns.Zone, algorithm string) {
	t.Helper()
	headerCanon, bodyCanon, _ := strings.Cut(canon, "/")
	for _, d := range damaged {
		changed := strings.Replace(msg, d.old, d.by, 1)
		if changed == msg && d.name != "nothing" {
			t.Errorf("%s did no damage", d.name)
		}
		bears := d.always || d.header && headerCanon == "relaxed" || d.body && bodyCanon == "relaxed"
		report, err := dkim.Verify(t.Context(), zone, mail.Octets(changed), dkim.Options{})
		if err != nil || len(report.Results) != 1 {
			t.Fatalf("%s: %+v, %v", d.name, report, err)
		}
		if r := report.Results[0]; (r.Verdict == dkim.Pass) != bears || bears && r.Algorithm != algorithm {
			t.Errorf("%s: %v in\n%s", d.name, r, changed)
		}
	}
}

// keyZone has the key record of the private key in a PEM file.
func keyZone(t *testing.T, path string) dns.Zone {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	record := "v=DKIM1; k=ed25519; p="
	public, isEd25519 := key.(crypto.Signer).Public().(ed25519.PublicKey)
	if !isEd25519 {
		record = "v=DKIM1; k=rsa; p="
		if public, err = x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public()); err != nil {
			t.Fatal(err)
		}
	}
	return dns.Zone{"TXT s1._domainkey.example.org": {record + base64.StdEncoding.EncodeToString(public)}}
}
