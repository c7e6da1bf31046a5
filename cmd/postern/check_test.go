package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/dns/dnstest"
)

// checked runs check, and returns what it found: "level about: message".
func checked(t *testing.T, s *site, wantErr bool) string {
	t.Helper()
	out, err := s.command("check", "--json").Output()
	if (err != nil) != wantErr {
		t.Errorf("check: %v\n%s", err, out)
	}
	var c struct {
		Found []struct {
			Level, About, File, Message, Hint, Text string
			Line, Column                            int
		}
	}
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var b strings.Builder
	for _, f := range c.Found {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Level, f.About, f.Message)
	}
	return b.String()
}

func lacks(t *testing.T, found string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(found, w) {
			t.Errorf("not found: %s", w)
		}
	}
	if t.Failed() {
		t.Log(found)
	}
}

func TestCheck(t *testing.T) {
	zone := dns.Zone{
		"A mx.example.com": {"192.0.2.1"}, "PTR 192.0.2.1": {"host.provider.example"},
		"TLSA _25._tcp.mx.example.com": {"3 1 1 " + strings.Repeat("ab", 32)},
		"MX example.com":               {"10 other.example.com"},
		"TXT example.com":              {"v=spf1 mx -all", "v=spf1 -all"},
		"TXT _dmarc.example.com":       {"v=DMARC1; p=none"},
		"TXT _mta-sts.example.com":     {"v=STSv1; id=1"},
	}
	s := newSite(t, fmt.Sprintf("dns: servers = [%q]", dnstest.Start(t, zone).Addr), `mx: tls = { cert = "a.crt", key = "a.key" }`)
	writePair(t, s.dir, "a", "mx.other.example", newKey(t, false), time.Now().Add(-time.Hour))
	must(t, os.Chmod(filepath.Join(s.dir, "a.key"), 0o644))
	must(t, os.Chmod(filepath.Join(s.dir, "recipients.d/example.com.toml"), 0o666))
	must(t, os.RemoveAll(s.store))
	l, err := net.Listen("tcp", s.smtp)
	must(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "220 somebody ESMTP Postfix\r\n")
			_, _ = bufio.NewReader(conn).ReadString('\n') // it leaves
			_ = conn.Close()
		}
	}()
	found := checked(t, s, true)
	lacks(t, found,
		"mistake certificates: "+s.dir+"/a.crt ended on",
		"warning permissions: anybody on this host may read the private key",
		"warning permissions: anybody on this host may change "+s.dir+"/recipients.d/example.com.toml",
		"mistake store: ",
		`mistake sockets: somebody else listens on tcp:`+s.smtp+`, who says "220 somebody ESMTP Postfix"`,
		"mistake DNS: no TLSA record fits",
		"note DNS: the PTR record of 192.0.2.1 is host.provider.example",
		"warning DNS: the MX records of example.com are other.example.com, and mx.example.com is not among them",
		"warning DNS: example.com has 2 SPF records",
		"note DNS: example.com has MTA-STS")
	if strings.Contains(found, "DMARC") || strings.Index(found, "mistake certificates") > strings.Index(found, "mistake DNS") {
		t.Errorf("out of place:\n%s", found)
	}
	out, err := s.command("check").Output()
	if err == nil || strings.Index(string(out), "TO BE MENDED") > strings.Index(string(out), "BETTER MENDED") {
		t.Errorf("check: %v\n%s", err, out)
	}
	if err := s.command("check", "--files").Run(); err != nil {
		t.Errorf("the files are right: %v", err)
	}
}

// A half that runs says as whom, and what that user may not read is a mistake.
func TestCheckPermissions(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("only root can become another user")
	}
	s := newSite(t)
	s.asVmail("mda")
	found := checked(t, s, false)
	if strings.Contains(found, "mistake") {
		t.Errorf("nothing is wrong:\n%s", found)
	}
	for path, want := range map[string]string{
		"recipients.d/example.com.toml": "may not read " + s.dir + "/recipients.d/example.com.toml",
		"recipients.d":                  "may not read " + s.dir + "/recipients.d (recipients)",
		"store":                         "may not write " + s.dir + "/store",
	} {
		must(t, os.Chown(filepath.Join(s.dir, path), 0, 0))
		mode := os.FileMode(0o700)
		must(t, os.Chmod(filepath.Join(s.dir, path), mode))
		lacks(t, checked(t, s, true), want)
		must(t, os.Chmod(filepath.Join(s.dir, path), 0o777))
	}
}

// Where the DNS does not answer, the rest is checked all the same.
func TestCheckWithoutDNS(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	s := newSite(t, fmt.Sprintf("dns: servers = [%q]", silent.LocalAddr()))
	lacks(t, checked(t, s, false), "note DNS: the DNS does not answer", "warning certificates: there is none")
	s.write("recipients.d/b.toml", "domain = \"b.example\"\nmailboxes = [\"a\", b]\n")
	out, err := s.command("check").Output()
	if err == nil || !strings.HasPrefix(string(out), "TO BE MENDED, in this order\n\n"+s.dir+"/recipients.d/b.toml:2:19: ") ||
		!strings.Contains(string(out), "\nmailboxes = [\"a\", b]\n                  ^\n") {
		t.Errorf("check of a broken map: %v\n%s", err, out)
	}
}
