package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/peer"
	"postern/internal/selftest"
)

var update = flag.Bool("update", false, "write contrib/selftest.md anew")

// newSelftestSite starts a Postern that offers everything, with small limits, so
// that they can be exceeded.
func newSelftestSite(t *testing.T) *site {
	cert, key := peer.Certificate(t, peer.Dir(t))
	s := newSite(t, fmt.Sprintf("mx: tls = { cert = %q, key = %q }", cert, key), `mx: max_message_size = "1MiB"`)
	s.start("serve")
	return s
}

// selftest runs the command against a server, and returns its exit code and what
// it printed.
func (s *site) selftest(args ...string) (int, []byte) {
	s.t.Helper()
	cmd := s.command(append([]string{"selftest"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), append(out, stderr.Bytes()...)
}

// Postern keeps every rule, those too that it only should keep.
func TestSelftestOfPostern(t *testing.T) {
	s := newSelftestSite(t)
	for _, args := range [][]string{{"smtp", s.smtp}, {"lmtp", "unix:" + s.lmtp}} {
		code, out := s.selftest(append(args, "--json", "--tls-insecure", "--max-send", "4194304", "--timeout", "20s", "--to", "u1@example.com",
			"--unknown", "nobody@example.com", "--from", "bob@sender.example")...)
		var report struct {
			Server  selftest.Server
			Summary selftest.Summary
			Results []selftest.Result
		}
		if err := json.Unmarshal(out, &report); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
		for _, r := range report.Results {
			if r.Status != selftest.Passed && r.Status != selftest.Skipped {
				t.Errorf("%s %s: %s: %s\n%s", args[0], r.ID, r.Status, r.Detail, strings.Join(r.Dialogue, "\n"))
			}
		}
		if code != 0 || report.Summary.Passed < 200 || !strings.HasPrefix(report.Server.Greeting, "mx.example.com ") {
			t.Errorf("%s: code %d, %+v of %q", args[0], code, report.Summary, report.Server.Greeting)
		}
	}
}

// What the command says to people, and its exit codes.
func TestSelftestCommand(t *testing.T) {
	s := newSelftestSite(t)
	nobody := peer.Addr(t)
	tests := []struct {
		args string
		code int
		want string
	}{
		{"smtp " + s.smtp + " --only mail.null", 0, "ok   mail.null                The null reverse-path is accepted\n"},
		{"smtp " + s.smtp + " --only mail.null -v", 0, "       C: MAIL FROM:<>\n       S: 250 2.1.0 sender OK\n"},
		{"smtp " + s.smtp + " --only rcpt.known", 0, "  skipped 1: needs --to\n"},
		{"smtp " + s.smtp + " --only rcpt.known --to nobody@example.com", 1, "FAIL rcpt.known"},
		{"smtp " + s.smtp + " --only data.* --to nobody@example.com", 2, "RCPT TO:<nobody@example.com> was answered with 550 5.1.1"},
		{"smtp " + s.smtp + " --only tls.certificate", 0, "warn tls.certificate"},
		{"smtp " + s.smtp + " --only no.such", exitUsage, `there is no check "no.such"`},
		{"smtp " + s.smtp + " --to u1", exitUsage, `--to "u1" is not an address`},
		{"smtp " + nobody, 2, "refused"},
		{"smtp", exitUsage, "an argument is missing"},
		{"lmtp unix:" + s.lmtp + " --only each.three --to u1@example.com", 0, "1 checks: 1 passed"},
		{"lmtp tcp:" + s.smtp, 2, "LHLO [127.0.0.1] was answered with 500 5.5.2"},
		{"lmtp " + s.lmtp, exitUsage, "unix:PATH or tcp:HOST:PORT"},
		{"lmtp --list", 0, "each.three               RFC 2033, 4.2            MUST   A recipient"},
	}
	for _, tt := range tests {
		args := append(strings.Fields(tt.args), "--hello", "[127.0.0.1]")
		if code, out := s.selftest(args...); code != tt.code || !strings.Contains(string(out), tt.want) {
			t.Errorf("selftest %s: code %d:\n%s", tt.args, code, out)
		}
	}
	// each.three is one message, to one mailbox, and nothing else was to be sent.
	if n := len(s.mailbox("u1")); n != 1 {
		t.Errorf("u1 has %d messages", n)
	}
}

// A column is what one server answered.
type column struct {
	name    string // with the version, but for our own
	results []selftest.Result
}

// examine makes all checks of a server, but for the slow ones.
func examine(t *testing.T, name string, protocol selftest.Protocol, network, addr string) column {
	t.Helper()
	run, err := selftest.Start(t.Context(), selftest.Target{
		Protocol: protocol,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
		Hello: "[127.0.0.1]", From: "bob@sender.example", To: "u1@example.com", Unknown: "nobody@example.com",
		Timeout: 10 * time.Second, Insecure: true, MaxSend: 4 << 20,
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c := column{name: name}
	for _, check := range selftest.Checks(protocol) {
		r := run.Check(t.Context(), check)
		for n := 0; check.ID == "pipe.one-batch" && r.Status == selftest.Passed && n < 20; n++ {
			r = run.Check(t.Context(), check) // on a busy machine several pieces may look like one
		}
		if r.Status == selftest.Unclear && name == "Postern" {
			t.Errorf("%s: %s: %s\n%s", name, r.ID, r.Detail, strings.Join(r.Dialogue, "\n"))
		}
		c.results = append(c.results, r)
	}
	return c
}

// The table of what Postern and the others answer is what they answer. Where
// another version of a peer is installed than the table knows, its column is left
// alone.
func TestSelftestTable(t *testing.T) {
	s := newSelftestSite(t)
	postfix, exim := peer.StartPostfixReceiver(t), peer.StartEximReceiver(t)
	strict := peer.StartPostfixReceiver(t, "smtpd_forbid_bare_newline = normalize")
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{Users: []string{"u1@example.com"}})
	smtp := []column{
		examine(t, "Postern", selftest.SMTP, "tcp", s.smtp),
		examine(t, postfix.Version, selftest.SMTP, "tcp", postfix.Addr),
		examine(t, strict.Version+", strict", selftest.SMTP, "tcp", strict.Addr),
		examine(t, exim.Version, selftest.SMTP, "tcp", exim.Addr),
	}
	lmtp := []column{
		examine(t, "Postern", selftest.LMTP, "unix", s.lmtp),
		examine(t, "Dovecot "+dovecot.Version(), selftest.LMTP, "unix", dovecot.LMTPUnix),
	}
	path := filepath.Join("..", "..", "contrib", "selftest.md")
	text := fmt.Sprintf(tableIntro, table(smtp), table(lmtp))
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	compareTables(t, parseTables(string(written)), parseTables(text))
}

// parseTables returns the cells of each column of each table, by the protocol and
// the first cell.
func parseTables(text string) map[string][]string {
	columns := make(map[string][]string)
	var heading string
	var names []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		cells := strings.Split(strings.Trim(line, "|"), "|")
		switch {
		case strings.HasPrefix(line, "## "):
			heading, names = line, nil
		case !strings.HasPrefix(line, "|"):
		case names == nil:
			names = cells
		default:
			for i, name := range names[:min(len(names), len(cells))] {
				key := heading + ":" + name
				columns[key] = append(columns[key], cells[0]+"|"+cells[i])
			}
		}
	}
	return columns
}

// compareTables fails the test where a column of got differs from that of
// written. What other servers answer is theirs to change, and depends on how
// busy the machine is: that is only told.
func compareTables(t *testing.T, written, got map[string][]string) {
	t.Helper()
	known := 0
	for key, cells := range got {
		old, ok := written[key]
		if !ok {
			t.Logf("contrib/selftest.md does not know %s: go test ./cmd/postern -run TestSelftestTable -update", key)
			continue
		}
		known++
		differ := t.Errorf
		if _, name, _ := strings.Cut(key, ":"); strings.ContainsAny(name, "0123456789") { // a version
			differ = t.Logf
		}
		for i, cell := range cells {
			if i >= len(old) || old[i] != cell {
				differ("contrib/selftest.md is stale (go test ./cmd/postern -run TestSelftestTable -update): %s: %q", key, cell)
				break
			}
		}
		if len(old) != len(cells) {
			differ("contrib/selftest.md is stale: %s has %d rows, not %d", key, len(old), len(cells))
		}
	}
	if known < 8 { // ID, rule, level and Postern in two tables
		t.Errorf("only %d columns are known", known)
	}
}

// table returns what the servers answered, in Markdown.
func table(columns []column) string {
	var b strings.Builder
	row := func(cells ...string) { b.WriteString("|" + strings.Join(cells, "|") + "|\n") }
	head, count := []string{"check", "RFC", "rule"}, []string{"**passed, failed, warnings**", "", ""}
	for _, c := range columns {
		n := selftest.Summarize(c.results)
		head = append(head, c.name)
		count = append(count, fmt.Sprintf("**%d, %d, %d**", n.Passed, n.Failed, n.Warnings))
	}
	row(head...)
	row(slices.Repeat([]string{"---"}, len(head))...)
	row(count...)
	for i, r := range columns[0].results {
		title := strings.NewReplacer("|", `\|`, "<", `\<`).Replace(r.Title)
		if r.Level == selftest.Should {
			title += " (SHOULD)"
		}
		cells := []string{"`" + r.ID + "`", strings.TrimPrefix(r.Section, "RFC "), title}
		for _, c := range columns {
			cells = append(cells, answer(c.results[i]))
		}
		if slices.ContainsFunc(columns, func(c column) bool { return c.results[i].Status != selftest.Skipped }) {
			row(cells...)
		}
	}
	return b.String()
}

// answer returns what was heard, and a mark where it should not have been.
func answer(r selftest.Result) string {
	heard := r.Heard
	if heard == "" {
		heard = "so"
	}
	switch r.Status {
	case selftest.Passed:
		return heard
	case selftest.Failed:
		return "**✗ " + strings.Replace(heard, "so", "not so", 1) + "**"
	case selftest.Warning:
		return "⚠ " + strings.Replace(heard, "so", "not so", 1)
	}
	return "–"
}

const tableIntro = `# What mail servers answer

Every check of ` + "`postern selftest`" + `, made of Postern and of the servers that it is
used with, set up as final hosts with what their manuals recommend, and otherwise
as their Debian packages come; the strict Postfix has the setting
` + "`smtpd_forbid_bare_newline = normalize`" + `. A cell holds the code and the status that were
heard; ✗ marks a rule that must be kept and is not, ⚠ one that should be, and –
what the server does not offer.

This file is written by ` + "`go test ./cmd/postern -run TestSelftestTable -update`" + `,
and compared by the same test.

## SMTP

%s
## LMTP

%s`
