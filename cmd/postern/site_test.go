package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/dns/dnstest"
	"postern/internal/peer"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "postern-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // other users run it too
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "postern")
	build := exec.Command("go", "build", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A site is a configuration of its own, with its folders and addresses.
type site struct {
	t      testing.TB
	dir    string
	config string // path of postern.toml
	smtp   string // host:port of the MX
	lmtp   string // path of the delivery agent's socket
	store  string
}

// newSite writes a configuration for example.com with the mailboxes u0 to u9.
// Each of extra is a line that goes under its section, as "mx: spool = \"/x\"",
// and replaces what is there.
func newSite(t testing.TB, extra ...string) *site {
	dir := peer.Dir(t)
	s := &site{
		t: t, dir: dir,
		config: filepath.Join(dir, "postern.toml"),
		smtp:   peer.Addr(t),
		lmtp:   filepath.Join(dir, "lmtp.sock"),
		store:  filepath.Join(dir, "store"),
	}
	lines := map[string][]string{
		"": {`hostname = "mx.example.com"`, `recipients = "recipients.d"`, `state = "state"`},
		"mx": {
			fmt.Sprintf("listen = [%q]", s.smtp), `spool = "spool"`, `control = "mx.sock"`,
			`deliver_to = "unix:lmtp.sock"`,
		},
		"mda":    {`listen = "unix:lmtp.sock"`, `store = "store"`, `spool = "spool"`, `control = "mda.sock"`},
		"dns":    {fmt.Sprintf("servers = [%q]", dnstest.Start(t, dns.Zone{}).Addr)},
		"policy": {`enforce = true`},
	}
	for _, e := range extra {
		section, line, _ := strings.Cut(e, ": ")
		lines[section] = replaceKey(lines[section], line)
	}
	var text strings.Builder
	for _, section := range []string{"", "mx", "mda", "dns", "policy", "policy.forwarders", "dnsbl", "greylist", "reports", "limits", "log", "reload"} {
		if section != "" && len(lines[section]) > 0 {
			fmt.Fprintf(&text, "[%s]\n", section)
		}
		for _, line := range lines[section] {
			text.WriteString(line + "\n")
		}
	}
	s.write("postern.toml", text.String())
	s.write("recipients.d/example.com.toml", `domain = "example.com"
delimiter = "+"
mailboxes = ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"]
[aliases]
postmaster = ["u0"]
team = ["u1", "u2"]
[refuse]
old = "moved to u1@example.com"
`)
	for _, sub := range []string{"store", "state", "spool"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// replaceKey returns lines with line in the place of the one for the same key.
func replaceKey(lines []string, line string) []string {
	key, _, _ := strings.Cut(line, "=")
	var kept []string
	for _, l := range lines {
		if k, _, _ := strings.Cut(l, "="); strings.TrimSpace(k) != strings.TrimSpace(key) {
			kept = append(kept, l)
		}
	}
	return append(kept, line)
}

// write writes a file of the site as an editor would: it appears whole.
func (s *site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		s.t.Fatal(err)
	}
}

// append adds text to a file of the site.
func (s *site) append(name, text string) {
	s.t.Helper()
	old, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name, string(old)+text)
}

// command returns a command of the program with the site's configuration.
func (s *site) command(args ...string) *exec.Cmd {
	return exec.Command(binary, append([]string{"--config", s.config}, args...)...)
}

// start starts the program as "serve", "mx" or "mda", and waits until it takes
// connections.
func (s *site) start(verb string) *peer.Process {
	s.t.Helper()
	p := peer.Start(s.t, s.command(verb))
	p.WaitOutput("msg=serving")
	return p
}

// asVmail is start as the user vmail, whom the folders belong to from then on.
func (s *site) asVmail(verb string) *peer.Process {
	s.t.Helper()
	for _, dir := range []string{s.dir, s.store, filepath.Join(s.dir, "state"), filepath.Join(s.dir, "spool")} {
		if err := os.Chown(dir, peer.Vmail, peer.Vmail); err != nil {
			s.t.Fatal(err)
		}
	}
	p := peer.Start(s.t, peer.AsUser(s.command(verb), peer.Vmail))
	p.WaitOutput("msg=serving")
	return p
}

// mailbox returns the files in the mailbox of a user of example.com.
func (s *site) mailbox(user string) []peer.File {
	return peer.Maildir(s.t, filepath.Join(s.store, "example.com", user))
}

// read returns the text of a file of the site.
func (s *site) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
