package arc

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
	"postern/policy/dkim"
)

// A sealer puts sets on messages, good ones and others. It is written as the RFC
// says it, with no thought for time, and shares nothing with what it tests.
type sealer struct {
	domain  string
	results string              // instead of the usual ones, "i=…;" included
	sign    func(string) string // changes the tags of the message signature before it is made
	seal    func(string) string // changes the tags of the seal before it is made
}

var testKey = ed25519.NewKeyFromSeed([]byte("a key that is known to all tests"))

// sealed returns msg as the hosts forwarded it one after the other.
func sealed(msg string, hosts ...sealer) string {
	for i, s := range hosts {
		cv := "pass"
		if i == 0 {
			cv = "none"
		}
		msg = s.put(msg, i+1, cv)
	}
	return msg
}

func (s sealer) put(msg string, i int, cv string) string {
	if s.domain == "" {
		s.domain = "example.org"
	}
	if s.results == "" {
		s.results = fmt.Sprintf("i=%d; %s; spf=pass", i, s.domain)
	}
	tags := fmt.Sprintf("i=%d; a=ed25519-sha256; d=%s; s=e1; t=1700000000; ", i, s.domain)
	results := "ARC-Authentication-Results: " + s.results + "\r\n"
	head, body, _ := strings.Cut(msg, "\r\n\r\n")
	digest := sha256.Sum256([]byte(strings.TrimRight(body, "\r\n") + "\r\n"))
	signature := changed(s.sign, tags+"c=relaxed/simple; h=from:subject; bh="+base64.StdEncoding.EncodeToString(digest[:]))
	signature = complete("ARC-Message-Signature: "+signature+"; b=", fieldsOf(results+head, namesIn(signature)))
	msg = results + signature + "\r\n" + msg
	seal := changed(s.seal, tags+"cv="+cv)
	return complete("ARC-Seal: "+seal+"; b=", setsOf(msg, i)) + "\r\n" + msg
}

func changed(change func(string) string, s string) string {
	if change == nil {
		return s
	}
	return change(s)
}

// complete returns field with a signature of input and itself at its end.
func complete(field, input string) string {
	digest := sha256.Sum256([]byte(input + relaxed(field)))
	return field + base64.StdEncoding.EncodeToString(ed25519.Sign(testKey, digest[:]))
}

var white = regexp.MustCompile(`[ \t\r\n]+`)

func relaxed(field string) string {
	name, value, _ := strings.Cut(field, ":")
	return strings.ToLower(strings.TrimSpace(name)) + ":" + strings.TrimSpace(white.ReplaceAllString(value, " "))
}

var fold = regexp.MustCompile(`\r\n([^ \t])`)

func split(head string) []string { return strings.Split(fold.ReplaceAllString(head, "\x00$1"), "\x00") }

// namesIn returns the names in the tag h=.
func namesIn(tags string) []string {
	_, after, _ := strings.Cut(tags, "; h=")
	list, _, _ := strings.Cut(after, ";")
	return strings.Split(white.ReplaceAllString(list, ""), ":")
}

// fieldsOf returns the last field of each name, and where one is named again
// that above it.
func fieldsOf(head string, names []string) string {
	fields, text := split(head), ""
	for _, name := range names {
		for i := len(fields) - 1; i >= 0; i-- {
			if n, _, _ := strings.Cut(fields[i], ":"); strings.EqualFold(n, name) {
				text += relaxed(fields[i]) + "\r\n"
				fields = slices.Delete(fields, i, i+1)
				break
			}
		}
	}
	return text
}

// setsOf returns the fields of all sets up to i, in the order in which they are
// sealed; the seal of i is not there yet.
func setsOf(msg string, i int) string {
	head, _, _ := strings.Cut(msg, "\r\n\r\n")
	byPlace := make(map[string]string)
	for _, f := range split(head) {
		if name, value, _ := strings.Cut(relaxed(f), ":"); strings.HasPrefix(name, "arc-") {
			instance, _, _ := strings.Cut(value, ";")
			byPlace[name+" "+strings.ReplaceAll(instance, " ", "")] += name + ":" + value + "\r\n"
		}
	}
	text := ""
	for n := 1; n <= i; n++ {
		for _, name := range []string{"arc-authentication-results", "arc-message-signature", "arc-seal"} {
			text += byPlace[fmt.Sprintf("%s i=%d", name, n)]
		}
	}
	return text
}

const testMessage = "From: ann@example.org\r\nSubject: a subject\r\n\r\nHello\r\n"

// testZone has the key of every domain that the tests know.
func testZone() dns.Zone {
	record := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(testKey.Public().(ed25519.PublicKey))
	zone := dns.Zone{}
	for _, d := range []string{"example.org", "lists.example", "forward.example"} {
		zone["TXT e1._domainkey."+d] = []string{record}
	}
	return zone
}

func validate(t testing.TB, zone dns.Resolver, msg string, opt dkim.Options) Result {
	t.Helper()
	h := header.Scan([]byte(msg), header.Limits{})
	r, err := Verify(t.Context(), zone, dkim.NewMessage(mail.Octets(msg), h), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
