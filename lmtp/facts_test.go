package lmtp

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"postern/mail"
	"postern/smtp"
)

var (
	everything = parseTakes([]string{announcement})
	ours       = &session{trusted: true}
)

// What one of our halves tells the other hears, whatever a stranger called
// itself; and the line fits a command.
func FuzzFacts(f *testing.F) {
	f.Add("06gzkp4bxf3t6mvq", []byte("digest"), "generation", "192.0.2.1", "client.example", true, "TLSv1.3 X")
	f.Add("", []byte{}, "", "", "", false, "")
	f.Add("x XDIGEST=0", []byte{1}, "a b=c+d", "2001:db8::1%eth0", "\r\nMAIL FROM:<> \x00\xff", true, "é")
	f.Add("0", []byte{0}, strings.Repeat("=", 5000), "::ffff:192.0.2.1", strings.Repeat("+", 5000), true, strings.Repeat(" ", 5000))
	f.Fuzz(func(t *testing.T, id string, digest []byte, generation, ip, hello string, esmtp bool, tls string) {
		env := &mail.Envelope{ID: id, From: mail.Address{Local: "ann", Domain: "client.example"}, Generation: generation}
		copy(env.Digest[:], digest)
		addr, _ := netip.ParseAddr(ip)
		if utf8.ValidString(hello) && len(hello) <= maxFact {
			env.Folder = hello
		}
		env.Client = mail.Client{IP: addr, Hello: hello, ESMTP: esmtp, TLS: tls}
		line := "FROM:" + env.From.Path() + " SIZE=1" + everything.facts(env)
		if strings.ContainsAny(line, "\r\n") || len(line) > 4000 {
			t.Fatalf("not a line of a command: %q", line)
		}
		from, params, err := smtp.ParseMail(line)
		if err != nil || from != env.From {
			t.Fatalf("%q: %v", line, err)
		}
		own := mail.Client{Hello: "mx.example"}
		got := &mail.Envelope{ID: "own", Client: own, From: from}
		rest, err := ours.takeFacts(got, params)
		if err != nil || len(rest) != 1 || rest[0].Key != "SIZE" {
			t.Fatalf("%q: left %v, %v", line, rest, err)
		}
		want := *env
		want.Generation = mail.Printable(generation, maxFact)
		want.Client = mail.Client{IP: addr.WithZone(""), Hello: mail.Printable(hello, maxFact), ESMTP: esmtp, TLS: mail.Printable(tls, maxFact)}
		if !isID(id) {
			want = mail.Envelope{ID: "own", Client: own, From: from}
		}
		if got.ID != want.ID || got.Client != want.Client || got.Digest != want.Digest || got.Generation != want.Generation || got.Folder != want.Folder {
			t.Errorf("%q: heard %+v, told %+v", line, got, want)
		}
	})
}

// A value that makes no sense is refused, and not half believed.
func TestFactsRefused(t *testing.T) {
	for _, param := range []string{
		"XID", "XID=a/b", "XID=1", "XID=" + strings.Repeat("0", 65), "XDIGEST=00", "XDIGEST=" + strings.Repeat("x", 64),
		"XADDR=localhost", "XADDR", "XHELO=a+1", "XGENERATION=+zz", "XTLS=+", "XESMTP=1", "XFOLDER", "XFOLDER=+FF",
	} {
		_, params, err := smtp.ParseMail("FROM:<> XID=0 " + param)
		if err != nil {
			t.Fatal(err)
		}
		env := &mail.Envelope{ID: "own"}
		if _, err := ours.takeFacts(env, params); err == nil || env.ID != "own" {
			t.Errorf("%s: %+v, %v", param, env, err)
		}
	}
}
