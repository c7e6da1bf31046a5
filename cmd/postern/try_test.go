package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/policy"
)

// try runs "postern try", and returns what it printed and its exit code.
func (s *site) try(stdin string, args ...string) (string, int) {
	s.t.Helper()
	cmd := s.command(append([]string{"try", "--helo", "client.example"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// What is tried is decided as the real server decides, and leaves nothing behind.
func TestTry(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, `dnsbl: lists = [{ zone = "bl.example" }]`, `policy: access = "access.d"`, "greylist: enable = true")
	s.write("access.d/a.toml", "[[rule]]\naction = 'allow'\nrecipient = ['u9@']\n")
	from := func(addr string) string { return "From: <" + addr + ">\nSubject: hi\n\n.dot\nhi\n" }
	tests := []struct {
		name  string
		stdin string
		args  string
		exit  int
		want  []string
	}{
		{"taken", from("ann@good.example"), "--ip 198.51.100.7 --from ann@good.example --to u1@example.com -", 0,
			[]string{"250 2.0.0 OK", "SPF pass good.example, ip4:198.51.100.0/24", "dmarc=pass", "PTR 198.51.100.7", "mail.good.example", "judged the message: accept"}},
		{"refused", from("ann@reject.example"), "--ip 192.0.2.7 --from ann@reject.example --to u1@example.com -", 65,
			[]string{"550 5.7.26", "dmarc wants:", "reject, for the policy of reject.example is reject"}},
		{"pardoned", from("ann@reject.example"), "--ip 192.0.2.7 --from ann@reject.example --to u9@example.com -", 0,
			[]string{"pardoned:", "allowed by a.toml:1"}},
		{"listed", "", "--ip 203.0.113.66 --from ann@good.example --to u1@example.com", 65, []string{"550 5.7.1 your address is listed by bl.example", "a known sinner"}},
		{"unknown", "", "--ip 198.51.100.7 --to u1@example.com --to nobody@example.com --to old@example.com", 65,
			[]string{"RCPT TO:<u1@example.com> 250 2.1.5", "RCPT TO:<nobody@example.com> 550 5.1.1", "moved to u1@example.com"}},
		{"stranger", from("ann@other.example"), "--ip 192.0.2.7 --from ann@other.example --to u1@example.com -", 75, []string{"451 4.7.1 greylisted", "ann@other.example from 192.0.2.0/24"}},
		{"no TLS", "", "--ip 192.0.2.7 --tls --to u1@example.com", 65, []string{"STARTTLS"}},
		{"no name", "", "--ip 2001:db8::7 --helo= --to u1@example.com", 0, []string{"EHLO [IPv6:2001:db8::7]"}},
		{"no IP", "", "--ip x --to u1@example.com", 64, []string{`--ip "x" is not an address`}},
		{"a line too many", "", "--ip 192.0.2.7 --to u1@example.com\nDATA", 1, []string{"more than a line"}},
	}
	for _, tt := range tests {
		out, code := s.try(tt.stdin, strings.Split(tt.args, " ")...)
		if code != tt.exit {
			t.Errorf("%s: exit code %d, want %d", tt.name, code, tt.exit)
		}
		oneLine := strings.Join(strings.Fields(out), " ")
		for _, want := range tt.want {
			if !strings.Contains(oneLine, want) {
				t.Errorf("%s: there is no %q in\n%s", tt.name, want, out)
			}
		}
	}
	for _, user := range []string{"u1", "u9"} {
		if files := s.mailbox(user); len(files) != 0 {
			t.Errorf("%s got %v", user, files)
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "state", "*")); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// Whom the running server knows is no stranger to a try.
func TestTryReadsTheGreylist(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, "greylist: enable = true", `greylist: delay = "0s"`)
	s.start("serve")
	args := []string{"--ip", "203.0.113.7", "--from", "ann@other.example", "--to", "u1@example.com", "-"}
	if out, code := s.try("From: ann@other.example\n\nhi\n", args...); code != 75 {
		t.Errorf("before: exit code %d\n%s", code, out)
	}
	s.play("203.0.113.7", message("ann@other.example", "u1", "451 *")+message("ann@other.example", "u1", "250 *"))
	if out, code := s.try("From: ann@other.example\n\nhi\n", args...); code != 0 || !strings.Contains(out, "known") {
		t.Errorf("after: exit code %d\n%s", code, out)
	}
}

// A forwarder's seal excuses what fails DMARC if his domain is trusted, and only then.
func TestTrySealed(t *testing.T) {
	t.Parallel()
	for trusted, want := range map[string]string{
		`[]`:                  "reject, for the policy of reject.example is reject",
		`["example.net"]`:     "reject, for the policy of reject.example is reject",
		`["forward.example"]`: "pardoned: it passed when it was sealed by forward.example",
	} {
		s := judgedSite(t, world, "policy: arc_trusted = "+trusted)
		out, code := s.try("", "--ip", "192.0.2.7", "--from", "list@forward.example", "--to", "u1@example.com", "testdata/sealed.eml")
		oneLine := strings.Join(strings.Fields(out), " ")
		excused := strings.Contains(want, "pardoned")
		recorded := strings.Contains(oneLine, "arc=pass smtp.remote-ip=192.0.2.7 header.oldest-pass=0") // on what is taken
		if !strings.Contains(oneLine, want) || (code == 0) != excused || recorded != excused ||
			!strings.Contains(oneLine, "sealed by forward.example: forward.example; dmarc=pass header.from=reject.example") {
			t.Errorf("%s: exit code %d, there is no %q in\n%s", trusted, code, want, out)
		}
	}
}

func TestTryJSON(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world)
	file := filepath.Join(s.dir, "message.eml")
	if err := os.WriteFile(file, []byte("From: ann@quarantine.example\r\n\r\nhi\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := s.try("", "--ip", "2001:db8::7", "--from", "ann@quarantine.example", "--to", "u1@example.com", "--json", file)
	var got Try
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	r := got.Transaction
	if r.Verdict.Action != policy.Quarantine || r.Verdict.DMARC.RecordDomain != "quarantine.example" || len(r.Asked) < 3 ||
		r.Facts.Client.Hello != "client.example" || r.Reply.Code != 250 || !strings.Contains(got.Fields, "X-Spam-Flag: YES\r\n") {
		t.Errorf("%s", out)
	}
}
