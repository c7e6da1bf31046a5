package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/dialogue"
	"postern/internal/dns"
	"postern/internal/dns/dnstest"
	"postern/internal/peer"
)

// judgedSite is a site that clients from all over the world reach through a
// proxy, and whose DNS is zone.
func judgedSite(t testing.TB, zone dns.Zone, extra ...string) *site {
	listener := peer.Addr(t)
	s := newSite(t, append([]string{
		"mx: listen = []", fmt.Sprintf("mx: listen_proxy = [%q]", listener), `mx: trusted_proxies = ["127.0.0.1"]`,
		fmt.Sprintf("dns: servers = [%q]", dnstest.Start(t, zone).Addr),
	}, extra...)...)
	s.smtp = listener
	return s
}

// play has a client at ip say what script says.
func (s *site) play(ip, script string) {
	s.t.Helper()
	nc, err := net.DialTimeout("tcp", s.smtp, 10*time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(nc, "PROXY TCP4 %s 192.0.2.25 12345 25\r\n", ip); err != nil {
		s.t.Fatal(err)
	}
	dialogue.Play(s.t, nc, "S: 220 *\nC: EHLO client.example\nS: 250-*\nS: ...\nS: 250 *\n"+script)
}

// message is what follows MAIL for one from an author to a user.
func message(from, to, verdict string, fields ...string) string {
	text := "C: RCPT TO:<" + to + "@example.com>\nS: 250 *\nC: DATA\nS: 354 *\n"
	for _, f := range fields {
		text += "C: " + f + "\n"
	}
	return "C: MAIL FROM:<" + from + ">\nS: 250 *\n" + text + "C: From: <" + from + ">\nC:\nC: hi\nC: .\nS: " + verdict + "\n"
}

var world = dns.Zone{
	"TXT _dmarc.reject.example":          {"v=DMARC1; p=reject; rua=mailto:reports@reject.example"},
	"TXT _dmarc.quarantine.example":      {"v=DMARC1; p=quarantine"},
	"TXT nomail.example":                 {"v=spf1 -all"},
	"TXT good.example":                   {"v=spf1 ip4:198.51.100.0/24 -all"},
	"TXT _dmarc.good.example":            {"v=DMARC1; p=reject; rua=mailto:reports@good.example"},
	"PTR 198.51.100.7":                   {"mail.good.example"},
	"A mail.good.example":                {"198.51.100.7"},
	"TXT sel._domainkey.forward.example": {"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDSzshTN9shhQn5Flds3B32X9UhYBa49Td6xL9jdN5QUzU6Ka74FR1UwDNXhHqpI67PcDfUhlrR1mgNp7DPkFEgy+GWpgVhbTAcHEHWeXTwph2JZUUMfEbjaaqIgFJyOF3DLygksvUqAQOd93KabzcLIJ6HbTVevNrYX4VMEicAdwIDAQAB"}, // signed testdata/sealed.eml
	"A 2.0.0.127.bl.example":             {"127.0.0.2"},
	"A 66.113.0.203.bl.example":          {"127.0.0.3"},
	"TXT 66.113.0.203.bl.example":        {"a known sinner"},
}

// What the DNS says of a message decides what becomes of it.
func TestJudging(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, `dnsbl: lists = [{ zone = "bl.example", name = "the list" }]`, "policy: received_spf = true",
		`policy.forwarders: networks = ["192.0.2.99"]`)
	p := s.start("serve")
	p.WaitOutput("DNS list in use")

	s.play("198.51.100.7", message("ann@good.example", "u1", "250 2.0.0 OK *"))
	text := string(s.mailbox("u1")[0].Read(t))
	for _, want := range []string{
		"Authentication-Results: mx.example.com;\n\tiprev=pass policy.iprev=198.51.100.7 policy.name=mail.good.example;\n\tspf=pass smtp.mailfrom=ann@good.example;\n\tdkim=none;\n\tdmarc=pass header.from=good.example policy.dmarc=reject\n",
		"\nReceived-SPF: pass\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	s.play("192.0.2.7", message("ann@good.example", "u2", "550 5.7.26 *"))
	s.play("192.0.2.99", message("ann@good.example", "u2", "250 *")) // a forwarder
	s.play("192.0.2.7", message("ann@nomail.example", "u2", "550 5.7.23 *"))
	s.play("192.0.2.7", message("ann@quarantine.example", "u3", "250 *", "X-Spam-Flag: NO"))
	if files := s.mailbox("u3"); len(files) != 0 {
		t.Errorf("it is in the inbox: %v", files)
	}
	if text := string(s.mailbox("u3/.Junk")[0].Read(t)); strings.Count(text, "X-Spam-Flag: ") != 1 || !strings.Contains(text, "\nX-Spam-Flag: YES\n") {
		t.Errorf("not marked once:\n%s", text)
	}
	s.play("192.0.2.7", message("ann@other.example", "u4", "550 5.7.1 more than one From field", "From: <eve@evil.example>"))
	s.play("203.0.113.66", "C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<u1@example.com>\nS: 550 5.7.1 your address is listed by the list\n"+
		"C: RCPT TO:<nobody@example.com>\nS: 550 5.7.1 *\nC: RCPT TO:<postmaster@example.com>\nS: 250 *\n")
	p.WaitOutput("a known sinner")
	out, err := s.command("status").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "the list: in use") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Access rules hold before all else, and as soon as they are written.
func TestAccessRules(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, `policy: access = "access.d"`)
	s.write("access.d/a.toml", "[[rule]]\naction = 'allow'\nsender = ['ann@reject.example']\n[[rule]]\naction = 'deny'\nclient = ['192.0.2.0/24']\ntext = 'we had a quarrel'\n")
	p := s.start("serve")
	rcpt := func(from, reply string) string {
		return "C: MAIL FROM:<" + from + ">\nS: 250 *\nC: RCPT TO:<u1@example.com>\nS: " + reply + "\nC: RSET\nS: 250 *\n"
	}
	s.play("192.0.2.7", rcpt("bob@reject.example", "550 5.7.1 we had a quarrel")+message("ann@reject.example", "u1", "250 *"))
	p.WaitOutput("access:reject (a.toml:4)")
	s.write("access.d/a.toml", "[[rule]\n")
	p.WaitOutput("access rules not loaded")
	s.play("192.0.2.7", rcpt("bob@reject.example", "550 5.7.1 we had a quarrel"))
	if out, err := s.command("check").CombinedOutput(); err == nil || !strings.Contains(string(out), "a.toml:1:7") {
		t.Errorf("check: %v\n%s", err, out)
	}
	if out, err := s.command("status").CombinedOutput(); err != nil || !strings.Contains(string(out), "NOT SERVED") {
		t.Errorf("status: %v\n%s", err, out)
	}
	s.write("access.d/a.toml", "[[rule]]\naction = 'defer'\nrecipient = ['example.com']\n")
	p.WaitOutput("access rules loaded")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if out, _ := s.command("status").CombinedOutput(); strings.Contains(string(out), "1 rules") || time.Now().After(end) {
			break
		}
	}
	s.play("198.51.100.7", rcpt("bob@reject.example", "451 *"))
}

// Whatever stands above the From field, it is the one that readers show.
func TestWhiteSpaceHidesNoAuthor(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world)
	s.start("serve")
	for _, first := range []string{"X: y", " x", `\t`, " "} {
		lines := "C: MAIL FROM:<a@other.example>\nS: 250 *\nC: RCPT TO:<u1@example.com>\nS: 250 *\nC: DATA\nS: 354 *\n"
		s.play("192.0.2.7", lines+"C| "+first+`\r\nFrom: <ceo@reject.example>\r\n\r\nhi\r\n.\r\n`+"\nS: 550 5.7.26 *\n")
	}
}

// However many come, each client network and each recipient gets its share.
func TestRates(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, "limits: messages_per_client = 2", "limits: messages_per_recipient = 3", `limits: exempt = ["198.51.100.0/24"]`)
	s.start("serve")
	over := func(to string) string {
		return "C: MAIL FROM:<a@b.example>\nS: 250 *\nC: RCPT TO:<" + to + "@example.com>\nS: 450 4.7.1 *\n"
	}
	s.play("192.0.2.7", message("a@b.example", "u1", "250 *")+message("a@b.example", "u1", "250 *")+over("u2"))
	s.play("192.0.2.8", over("u2")) // of the same network
	s.play("203.0.113.7", message("a@b.example", "u1", "250 *")+over("u1"))
	s.play("203.0.113.7", message("a@b.example", "U2", "250 *"))
	s.play("198.51.100.7", message("a@b.example", "u1", "250 *")+message("a@b.example", "u1", "250 *"))
}

// A stranger waits once, and is known over a restart.
func TestGreylist(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, "greylist: enable = true", `greylist: delay = "1s"`)
	p := s.start("serve")
	s.play("198.51.100.7", message("ann@good.example", "u1", "250 *")) // DMARC speaks for it
	s.play("203.0.113.7", message("ann@other.example", "u2", "451 4.7.1 greylisted*"))
	s.play("203.0.113.7", message("ann@other.example", "u2", "451 4.7.1 greylisted*"))
	p.Stop()
	time.Sleep(1100 * time.Millisecond)
	s.start("serve")
	s.play("203.0.114.7", message("ann@other.example", "u2", "451 4.7.1 greylisted*")) // another network
	s.play("203.0.113.8", message("ann@other.example", "u2", "250 *"))
	s.play("203.0.113.9", message("bob@any.example", "u3", "250 *")) // who comes back is no stranger
}

// A real filter refuses what it has to, and what it marks is marked.
func TestRspamd(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world)
	r := readRecipe(t, "rspamd.md", "/run/rspamd/milter.sock", peer.Rspamd(t), `"accept"`, `"defer"`, `"30s"`, `"1m"`)
	s.append("postern.toml", r.file("/etc/postern/postern.toml"))
	s.start("serve")
	const gtube = "JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
	with := func(body, verdict string) string {
		return strings.Replace(message("ann@other.example", "u1", verdict, "Date: Mon, 2 Jan 2023 15:04:05 +0000", "Message-ID: <1@other.example>"), "C: hi\n", "C: "+body+"\n", 1)
	}
	s.play("192.0.2.7", with("X"+strings.ReplaceAll(gtube, "*", `\*`), "554 5.7.1 Gtube pattern"))
	s.play("192.0.2.7", with("Y"+strings.ReplaceAll(gtube, "*", `\*`), "250 *"))
	files := s.mailbox("u1")
	if len(files) != 1 {
		t.Fatalf("%d messages", len(files))
	}
	if text := string(files[0].Read(t)); !strings.Contains(text, "\nX-Spam: Yes\nFrom: ") && !strings.Contains(text, "\nX-Spam: Yes\nDate: ") {
		t.Errorf("not marked:\n%s", text)
	}
}

// A filter that hangs costs a few clients its timeout, and nobody his mail.
func TestHangingFilter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	l, err := net.Listen("unix", filepath.Join(s.dir, "filter.sock")) // nobody reads what is said there
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.append("postern.toml", "[[filter]]\nname = 'dead'\nconnect = 'unix:filter.sock'\ntimeout = '1s'\n")
	p := s.start("serve")
	for range 3 {
		wantReply(t, s.sendOne("ann@client.example", "u1@example.com"), 250, "OK")
	}
	p.WaitOutput("filter hangs")
	wantReply(t, s.sendOne("ann@client.example", "u1@example.com"), 250, "OK")
	p.WaitOutput("it has been silent, and is not asked")
	out, err := s.command("status").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "dead: HANGS") {
		t.Errorf("%v\n%s", err, out)
	}
	if n := len(s.mailbox("u1")); n != 4 {
		t.Errorf("%d messages", n)
	}
}

// What was counted is reported, refused messages among it, and nothing is sent.
func TestDMARCReport(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, "reports: dmarc = true")
	p := s.start("serve")
	today := time.Now().UTC().Format(time.DateOnly)
	s.play("198.51.100.7", message("ann@good.example", "u1", "250 *")+message("ann@good.example", "u2", "250 *"))
	s.play("192.0.2.7", message("ann@good.example", "u1", "550 5.7.26 *"))
	s.play("192.0.2.7", message("ann@quarantine.example", "u1", "250 *")) // wants no report
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	out, err := s.command("dmarc", "report", "--domain", "good.example", "--day", today).CombinedOutput()
	for _, want := range []string{
		"<source_ip>198.51.100.7</source_ip>\n      <count>2</count>\n      <policy_evaluated>\n        <disposition>pass</disposition>",
		"<source_ip>192.0.2.7</source_ip>\n      <count>1</count>\n      <policy_evaluated>\n        <disposition>reject</disposition>",
		"would be sent to mailto:reports@good.example",
	} {
		if !strings.Contains(string(out), want) || err != nil {
			t.Errorf("%v: there is no %q in\n%s", err, want, out)
		}
	}
	if out, err := s.command("dmarc", "domains", "--day", today).CombinedOutput(); err != nil || string(out) != "good.example  3 messages  mailto:reports@good.example\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := s.command("dmarc", "report", "--domain", "good.example", "--day", today, "--out", s.dir).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if files, _ := filepath.Glob(filepath.Join(s.dir, "mx.example.com!good.example!*.xml.gz")); len(files) != 1 {
		t.Errorf("files %v", files)
	}
	for _, args := range [][]string{{"--domain", "quarantine.example", "--day", today}, {"--domain", "good.example", "--day", "2001-01-01"}, {"--domain", "good.example", "--day", "yesterday"}, {}} {
		if out, err := s.command(append([]string{"dmarc", "report"}, args...)...).CombinedOutput(); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
