package main

import (
	"bufio"
	bigendian "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/story"
)

// picky is a filter that refuses whatever has a word in it.
func picky(t *testing.T, word string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "milter.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go pick(nc, word)
		}
	}()
	return path
}

func pick(nc net.Conn, word string) {
	defer nc.Close()
	r, found := bufio.NewReader(nc), false
	say := func(text string) {
		_, _ = nc.Write(append(bigendian.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	}
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		packet := make([]byte, bigendian.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, packet); err != nil || len(packet) == 0 {
			return
		}
		found = found || strings.Contains(string(packet[1:]), word)
		switch cmd := packet[0]; {
		case cmd == 'Q':
			return
		case cmd == 'O':
			say("O\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00")
		case cmd == 'E' && found:
			say("y554 5.7.1 that word is not for us\x00")
		case cmd != 'D':
			say("c")
		}
	}
}

// sickWorld is world with a domain whose servers do not answer.
func sickWorld() dns.Zone {
	zone := maps.Clone(world)
	zone["TXT sick.example"] = []string{"SERVFAIL"}
	zone["TXT _dmarc.sick.example"] = []string{"SERVFAIL"}
	return zone
}

// whySite is a site where mail can be refused in every way.
func whySite(t *testing.T) *site {
	s := judgedSite(t, sickWorld(), `dnsbl: lists = [{ zone = "bl.example" }]`, `policy: access = "access.d"`, `policy: on_temperror = "defer"`,
		"greylist: enable = true", "limits: messages_per_recipient = 2", "mx: max_message_size = 100000")
	s.write("access.d/quarrels.toml", "[[rule]]\naction = 'deny'\nsender = ['access@good.example']\ntext = 'we had a quarrel'\n")
	s.append("recipients.d/example.com.toml", "[mailbox.small]\nquota = \"2KiB\"\n")
	s.append("postern.toml", fmt.Sprintf("[[filter]]\nname = 'picky'\nconnect = 'unix:%s'\n", picky(t, "EICAR")))
	return s
}

// refusals are the ways, each from a sender of its own: what is said after EHLO.
var refusals = []struct{ name, ip, sender, script string }{
	{"unknown-user", "198.51.100.7", "unknown@good.example", "C: RCPT TO:<nobody@example.com>\nS: 550 5.1.1 *\n"},
	{"refuse-list", "198.51.100.7", "refused@good.example", "C: RCPT TO:<old@example.com>\nS: 550 5.1.1 moved *\n"},
	{"not-our-domain", "198.51.100.7", "relay@good.example", "C: RCPT TO:<u1@elsewhere.example>\nS: 550 5.7.1 *\n"},
	{"access-rule", "198.51.100.7", "access@good.example", "C: RCPT TO:<u1@example.com>\nS: 550 5.7.1 we had a quarrel\n"},
	{"dns-list", "203.0.113.66", "listed@other.example", "C: RCPT TO:<u1@example.com>\nS: 550 5.7.1 *\n"},
	{"rate", "198.51.100.7", "rate@good.example", "C: RCPT TO:<u9@example.com>\nS: 450 4.7.1 *\n"},
	{"greylist", "203.0.113.7", "stranger@other.example", text("u1", "stranger@other.example", "hi", "451 4.7.1 *")},
	{"spf", "192.0.2.7", "spf@nomail.example", text("u2", "spf@nomail.example", "hi", "550 5.7.23 *")},
	{"dmarc", "192.0.2.7", "bounces@lists.example", text("u3", "Ann <dmarc@reject.example>", "hi", "550 5.7.26 *")},
	{"several-authors", "192.0.2.7", "several@other.example", text("u4", "several@other.example\nC: From: eve@evil.example", "hi", "550 5.7.1 *")},
	{"silent-dns", "192.0.2.7", "silent@sick.example", text("u5", "silent@sick.example", "hi", "451 4.4.3 *")},
	{"filter", "198.51.100.7", "filter@good.example", text("u6", "filter@good.example", "EICAR", "554 5.7.1 *")},
	{"quota", "198.51.100.7", "quota@good.example", text("small", "quota@good.example", strings.Repeat("x", 4000), "552 5.2.2 *")},
	{"too-large", "198.51.100.7", "large@good.example", ""},
	{"several-recipients", "198.51.100.7", "mixed@good.example", "C: RCPT TO:<u7@example.com>\nS: 250 *\n" + text("small", "mixed@good.example", strings.Repeat("x", 4000), "451 4.5.0 *")},
	{"own-trouble", "198.51.100.7", "trouble@good.example", "C: RCPT TO:<u1@example.com>\nS: 451 4.4.1 *\n"},
}

// text is a message to a user of example.com, and the answer.
func text(to, from, body, reply string) string {
	return "C: RCPT TO:<" + to + "@example.com>\nS: 250 *\nC: DATA\nS: 354 *\nC: From: " + from +
		"\nC: Message-ID: <1@client.example>\nC:\nC: " + body + "\nC: .\nS: " + reply + "\n"
}

// The story of a refusal names its cause, the evidence, and the way out: what a
// user is to read is written down.
func TestWhy(t *testing.T) {
	t.Parallel()
	s := whySite(t)
	agent := s.start("mda")
	p := s.start("mx")
	p.WaitOutput("DNS list in use")
	for range 2 {
		s.play("198.51.100.7", message("first@good.example", "u9", "250 *"))
	}
	for _, r := range refusals {
		if r.name == "own-trouble" {
			if err := agent.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		mail := "C: MAIL FROM:<" + r.sender + ">\nS: 250 *\n"
		if r.name == "too-large" {
			mail = "C: MAIL FROM:<" + r.sender + "> SIZE=123456\nS: 552 5.3.4 *\n"
		}
		s.play(r.ip, mail+r.script+"C: QUIT\nS: 221 *\n")
	}
	for _, r := range refusals {
		compareGolden(t, s, "why/"+r.name+".txt", s.why(t, r.sender))
	}
	compareGolden(t, s, "why/taken.txt", s.why(t, "first@good.example"))
	compareGolden(t, s, "why/message-id.txt", s.why(t, "<1@client.example>", "--since", "1h"))

	if own, _ := filepath.Glob(filepath.Join(s.dir, "state/mda/records/*")); len(own) != 0 {
		t.Errorf("the agent records what the MX does: %v", own)
	}
	if out, code := s.try("From: Ann <dmarc@reject.example>\n\nhi\n", "--ip", "192.0.2.7", "--from", "bounces@lists.example", "--to", "u3@example.com", "-"); code != exitDataErr || !strings.Contains(out, "dmarc wants:") {
		t.Errorf("try: exit code %d\n%s", code, out)
	}
	if err := p.Stop(); err != nil { // what was written is read without a server
		t.Fatal(err)
	}
	compareGolden(t, s, "why/dmarc.txt", s.why(t, "Dmarc@reject.example"))
	var told []struct{ Story story.Story }
	if err := json.Unmarshal([]byte(s.why(t, "unknown@good.example", "--json")), &told); err != nil || len(told) != 1 || told[0].Story.Reasons[0].Cause != "unknown user" {
		t.Errorf("JSON: %v, %+v", err, told)
	}
	if out := s.why(t, told[0].Story.ID, "--evidence"); !strings.Contains(out, "by its ID") && !strings.Contains(out, "A 7.100.51.198.bl.example") {
		t.Errorf("by its ID:\n%s", out)
	}
	if out, err := s.command("why", "nobody@nowhere.example").CombinedOutput(); err == nil || !strings.Contains(string(out), "nothing is recorded") {
		t.Errorf("%v: %s", err, out)
	}
}

// What the page for administrators shows is what is seen.
func TestWhyPage(t *testing.T) {
	page, err := os.ReadFile("../../contrib/why.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"why/dmarc.txt", "why/own-trouble.txt", "replay/edit.txt"} {
		golden, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(golden)) {
			if want := strings.TrimRight("    "+line, " \n"); !strings.Contains(string(page), "\n"+want+"\n") {
				t.Errorf("contrib/why.md does not show %q, as testdata/%s does", want, name)
			}
		}
	}
}

// why runs "postern why" when the record is written, and returns what it says.
func (s *site) why(t *testing.T, args ...string) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := s.command(append([]string{"why"}, args...)...).CombinedOutput()
		if err == nil {
			return string(out)
		}
		if time.Now().After(end) {
			t.Fatalf("why %q: %v\n%s", args, err, out)
		}
	}
}

// What differs from run to run.
var (
	anID    = regexp.MustCompile(`\b[0-9][0-9a-hjkmnp-tv-z]{15}\b`)
	aTime   = regexp.MustCompile(`\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\b`)
	aPort   = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	aSocket = regexp.MustCompile(`unix [^ ]*/([a-z]+\.sock)`)
)

// compareGolden compares what was printed with what is written down.
func compareGolden(t *testing.T, s *site, name, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, s.dir, "/site")
	got = aPort.ReplaceAllString(aTime.ReplaceAllString(anID.ReplaceAllString(got, "0123456789abcdef"), "2026-01-31 12:34:56"), "127.0.0.1:53")
	got = aSocket.ReplaceAllString(got, "unix /run/$1")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v\ngot\n%s\nwant\n%s", name, err, got, want)
	}
}
