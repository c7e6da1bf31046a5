package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/dialogue"
	"postern/internal/peer"
)

// forged is an address that no client has, but some speak of.
const forged = "198.51.100.66"

// slander is what a client says who wants another one banned.
const slander = " client=" + forged + " helo=x from=<> to=<> code=550 status=5.1.1 text=x"

// Fail2ban takes from a real log the clients that it should, and nobody whom they
// name.
func TestFail2ban(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		direct := peer.Addr(t)
		s := judgedSite(t, world, fmt.Sprintf("log: format = %q", format), fmt.Sprintf("mx: listen = [%q]", direct), "limits: exempt = []")
		p := peer.Start(t, s.command("serve"))
		p.WaitOutput("serving")
		misbehave(t, s)
		speakEarly(t, direct)
		must(t, p.Stop())
		log := filepath.Join(s.dir, "log")
		writeFile(t, log, p.Output())
		counted := []string{"203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4", "203.0.113.5", "203.0.113.6", "203.0.113.7", "203.0.113.8", "2001:db8::1", "127.0.0.1"}
		banned(t, log, "normal", counted...)
		banned(t, log, "aggressive", append(counted, "203.0.113.31", "203.0.113.32")...)

		var journal strings.Builder // as Fail2ban reads one
		for text := range strings.Lines(p.Output()) {
			text = strings.TrimPrefix(text, "time=")
			if stamp, rest, found := strings.Cut(text, " "); found && format == "text" {
				text = stamp + " host postern[17]: " + rest
			} else if format == "json" {
				text = "2026-11-27T00:46:28.338123 host postern[17]: " + text
			}
			journal.WriteString(text)
		}
		writeFile(t, log, journal.String())
		banned(t, log, "normal", counted...)
	}
}

// misbehave has clients do so, those from 203.0.113.30 on a little.
func misbehave(t *testing.T, s *site) {
	t.Helper()
	const mail, toNobody = "C: MAIL FROM:<a@any.example>\nS: 250 *\n", "C: RCPT TO:<nobody@example.com>\nS: 550 5.1.1 *\n"
	for _, c := range []struct{ ip, hello, script string }{
		{"203.0.113.1", "x.example", mail + toNobody},
		{"203.0.113.2", "x.example", mail + "C: RCPT TO:<a@other.example>\nS: 550 5.7.1 *\n"},
		{"203.0.113.3", "x.example", strings.Repeat("C: NONSENSE\nS: 5*\n", 20) + "C: NONSENSE\nS: 421 4.7.0 *\n"},
		{"203.0.113.4", "x" + slander, mail + toNobody},
		{"203.0.113.5", `x" msg=refused` + slander + `"`, mail + toNobody},
		{"203.0.113.6", `","client":"` + forged + `","code":550,"status":"5.1.1","x":"`, mail + toNobody},
		{"203.0.113.7", "x.example", "C: MAIL FROM:<\"a" + slander + "\"@any.example>\nS: 250 *\nC: RCPT TO:<\"b" + slander + "\"@example.com>\nS: 550 5.1.1 *\n"},
		{"203.0.113.8", "x.example", "C: GET / HTTP/1.1\nS: 521 *\n"},
		{"2001:db8::1", "x.example", mail + toNobody},
		{"203.0.113.30", "x" + slander, message("a@any.example", "u1", "250 *", "Subject: "+slander)},
		{"203.0.113.31", "x" + slander, mail + "C: RCPT TO:<a\nS: 501 *\n"},
		{"203.0.113.32", "x.example", "C: MAIL FROM:<a@any.example> SIZE=99999999999\nS: 552 *\n"},
	} {
		nc, err := net.DialTimeout("tcp", s.smtp, 10*time.Second)
		must(t, err)
		must(t, nc.SetDeadline(time.Now().Add(time.Minute)))
		family := "TCP4 " + c.ip + " 192.0.2.25"
		if strings.Contains(c.ip, ":") {
			family = "TCP6 " + c.ip + " 2001:db8::25"
		}
		_, err = fmt.Fprintf(nc, "PROXY %s 12345 25\r\n", family)
		must(t, err)
		dialogue.Play(t, nc, "S: 220 *\nC: EHLO "+c.hello+"\nS: 250-*\nS: ...\nS: 250 *\n"+c.script)
		must(t, nc.Close())
	}
}

// speakEarly does not wait for the greeting.
func speakEarly(t *testing.T, addr string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	must(t, err)
	defer nc.Close()
	must(t, nc.SetDeadline(time.Now().Add(time.Minute)))
	dialogue.Play(t, nc, "C: EHLO x.example\nS: 554 5.5.0 *\n")
}

// banned asks Fail2ban whom it would count.
func banned(t *testing.T, log, mode string, want ...string) {
	t.Helper()
	filter, err := filepath.Abs("../../contrib/fail2ban/filter.conf")
	must(t, err)
	_, err = os.Stat(filter) // or go test knows not that another filter is another test
	must(t, err)
	out, err := exec.Command(peer.Need(t, "fail2ban-regex")[0], "-o", "ip", log, filter+"[mode="+mode+"]").Output()
	if exit, ok := err.(*exec.ExitError); ok {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	must(t, err)
	got := slices.Compact(slices.Sorted(strings.FieldsSeq(string(out))))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: counted %v, not %v", mode, got, want)
	}
}
