package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/config"
	"postern/internal/certtest"
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
	writePair(t, s.dir, "a", "mx.other.example", certtest.ECDSA(t), time.Now().Add(-time.Hour))
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
		"warning DNS: senders cannot have the MTA-STS policy of example.com: ")
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

// The MTA-STS policy is fetched as a sender does, and held against this host.
func TestCheckMTASTS(t *testing.T) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:443", 2+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250)))
	must(t, err)
	host, _, _ := net.SplitHostPort(l.Addr().String())
	zone := dns.Zone{
		"A mx.example.com": {"192.0.2.1"}, "MX example.com": {"10 mx.example.com"}, "A mta-sts.example.com": {host},
		"TXT _mta-sts.example.com": {"v=STSv1; id=1"},
	}
	s := newSite(t, fmt.Sprintf("dns: servers = [%q]", dnstest.Start(t, zone).Addr), `mx: tls = { cert = "a.crt", key = "a.key" }`)
	writePair(t, s.dir, "a", "mx.example.com", certtest.ECDSA(t), time.Now().Add(900*time.Hour))
	pair := writePair(t, s.dir, "sts", "mta-sts.example.com", certtest.ECDSA(t), time.Now().Add(time.Hour))
	var policy atomic.Value
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text := policy.Load().(string); strings.HasPrefix(text, "/") {
			http.Redirect(w, r, text, http.StatusFound)
		} else {
			fmt.Fprint(w, text)
		}
	}), ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = web.ServeTLS(l, pair.Cert, pair.Key) }()
	defer web.Close()
	for text, want := range map[string]string{
		"version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\n":                                 "",
		"version: STSv1\nmode: enforce\nmx: a.example.com\nmx: *.Example.com\n":                     "",
		"version: STSv1\nmode: none\nmax_age: 1\n":                                                  "",
		"version: STSv1\nmode: enforce\nmx: example.com\nmx: *.a.example.com\nmx: *.mx.example.com": "mistake DNS: the MTA-STS policy of example.com has example.com, *.a.example.com, *.mx.example.com, and not mx.example.com: senders that follow it do not deliver",
		"version: STSv1\nmode: testing\nmx: a.example.com\n":                                        "warning DNS: the MTA-STS policy of example.com has a.example.com, and not",
		"hello":                         "warning DNS: the MTA-STS policy of example.com is none",
		"/.well-known/mta-sts.txt?next": "warning DNS: senders cannot have the MTA-STS policy of example.com: https://mta-sts.example.com/.well-known/mta-sts.txt answers 302 Found",
	} {
		policy.Store(text)
		t.Setenv("SSL_CERT_FILE", pair.Cert)
		found := checked(t, s, strings.HasPrefix(want, "mistake"))
		if lacks(t, found, want); want == "" && strings.Contains(found, "MTA-STS") {
			t.Errorf("%q is right:\n%s", text, found)
		}
	}
	t.Setenv("SSL_CERT_FILE", s.dir+"/a.crt")
	lacks(t, checked(t, s, false), "warning DNS: senders cannot have the MTA-STS policy of example.com: ", "certificate signed by unknown authority")
	must(t, web.Close())
	lacks(t, checked(t, s, false), "note DNS: the MTA-STS policy of example.com cannot be had from here: ")
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
		found := checked(t, s, true)
		lacks(t, found, want)
		if path == "recipients.d" {
			lacks(t, found, "mistake files: the server that runs: read recipient maps: open "+s.dir+"/recipients.d: permission denied")
		}
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

// What files are called, and what stands in them, moves no terminal.
func TestCheckIsTame(t *testing.T) {
	s := newSite(t)
	s.write("recipients.d/\x1b[2J\n\u202e.toml", "domain = 'b.example\u202e'\nmailboxes = []\n'\u202e\u200b' = 1 # "+strings.Repeat("x", 1<<20))
	for _, args := range [][]string{{"check", "--files"}, {"check"}, {"status"}, {"-c", "/\x1b\r.toml", "check"}} {
		out, err := s.command(args...).CombinedOutput()
		if err == nil || len(out) > 20<<10 || strings.ContainsAny(string(out), "\x1b\r\u202e\u200b") {
			t.Errorf("%v: %v: %d octets: %.2000q", args, err, len(out), out)
		}
	}
}

func TestQuantity(t *testing.T) {
	for want, got := range map[string]string{
		"1 domain": quantity(1, "domain"), "0 mailboxes": quantity(0, "mailbox"), "2 domains": quantity(2, "domain"), "1 mailbox": quantity(1, "mailbox"),
	} {
		if got != want {
			t.Errorf("%q is not %q", got, want)
		}
	}
}

// What a server would refuse of right maps is said by check, in its very words,
// whether it runs or has left what it served.
func TestCheckSaysWhatIsServed(t *testing.T) {
	s := newSite(t)
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprintf("%q", fmt.Sprint("u", i))
	}
	good := func() {
		s.write("recipients.d/example.com.toml", "domain = \"example.com\"\nmailboxes = ["+strings.Join(names, ", ")+"]\n")
		s.write("recipients.d/example.net.toml", "domain = \"example.net\"\nmailboxes = []\n")
		must(t, os.RemoveAll(s.dir+"/recipients.d/a.toml"))
	}
	good()
	p := s.start("serve")
	file := s.dir + "/recipients.d/example.com.toml"
	edits := []struct {
		edit func()
		want string
	}{
		{func() { must(t, os.Remove(file)) }, "files: is gone, and example.com with it\n"},
		{func() { s.write("recipients.d/example.com.toml", "domain = \"example.org\"\nmailboxes = []\n") }, "files: the domain example.com would no longer be served\n"},
		{func() { s.write("recipients.d/example.com.toml", "domain = \"example.com\"\nmailboxes = [\"u0\"]\n") }, "files: the domain example.com would lose 99 of its 100 names\n"},
		{func() { s.write("recipients.d/a.toml", "domain = \"example.com\"\nmailboxes = [\"u0\"]\n") }, "files: the domain \"example.com\" is there already (" + file + ":1)\n"},
		{func() { s.write("recipients.d/example.com.toml", "") }, "files: is empty, as a file is that is being written, and would leave a domain without recipients\n"},
	}
	for _, running := range []bool{true, false} {
		by := "a server that is started now"
		if running {
			by = "the server that runs"
		} else {
			p.Stop()
		}
		for _, e := range edits {
			e.edit()
			found := checked(t, s, true)
			lacks(t, found, "mistake "+e.want)
			if n := strings.Count(found, "mistake files"); n != 1 {
				t.Errorf("%d mistakes\n%s", n, found)
			}
			if !strings.Contains(e.want, "already") {
				lacks(t, found, "note files: until that is mended, "+by+" goes on with the old version of example.com\n")
			}
			text, _ := s.command("check").Output()
			if wins := strings.Contains(string(text), "; that file wins, and this one is ignored\n"); wins != strings.Contains(e.want, "already") {
				t.Errorf("which of two files wins:\n%s", text)
			}
			good()
			if found = checked(t, s, false); strings.Contains(found, "files: ") {
				t.Errorf("good maps: %s", found)
			}
		}
	}
	kept := s.read("state/mx/maps")
	s.write("state/mx/maps", "damaged")
	lacks(t, checked(t, s, false), "note files: what a server would say to these maps is not known: ", "is damaged")
	s.write("state/mx/maps", kept)
	must(t, os.Remove(file))
	if err := s.command("check", "--files").Run(); err != nil {
		t.Errorf("the files by themselves are right: %v", err)
	}
}

// A server that has other files is asked nothing about these: what is wrong with its
// own is no mistake here, and what would be lost here is known from what is kept.
func TestCheckOfOtherFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("serve")
	other := strings.Replace(s.read("postern.toml"), `"recipients.d"`, `"new/recipients.d"`, 1)
	good := s.read("recipients.d/example.com.toml")
	s.write("recipients.d/b.toml", "domain = 7\n")
	s.write("new/recipients.d/example.com.toml", good)
	s.write("other.toml", other)
	copied := *s
	copied.config = s.dir + "/other.toml"
	found := checked(t, &copied, false)
	lacks(t, found, "note files: mx serves another folder, "+s.dir+"/recipients.d, and was not asked about this one")
	s.write("new/recipients.d/example.com.toml", "domain = \"example.org\"\nmailboxes = []\n")
	lacks(t, checked(t, &copied, true), "mistake files: the domain example.com would no longer be served")

	must(t, os.Remove(s.dir+"/recipients.d/b.toml"))
	s.write("other.toml", s.read("postern.toml"))
	s.write("postern.toml", "hostname = 7\n")
	if found = checked(t, &copied, false); strings.Contains(found, "files: ") {
		t.Errorf("of the same maps: %s", found)
	}
}

// A server that hangs keeps nobody waiting for a minute.
func TestCheckOfServerThatHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	l, err := net.Listen("unix", s.dir+"/mx.sock")
	must(t, err)
	defer l.Close()
	ask := &asking{config: s.config, patience: time.Millisecond}
	if err := ask.each(t.Context(), request{verb: "diff"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("asked: %v", err)
	}
	c, err := config.Load(s.config)
	must(t, err)
	list := &checklist{about: "files"}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	must(t, list.served(ctx, c, nil))
	if len(list.found) != 1 || list.found[0].Level != toKnow || list.found[0].Hint != "postern status and the log of the server know more" {
		t.Errorf("found: %+v", list.found)
	}
}

// What serves in a moment is no mistake, and what was taken back is said to be.
func TestCheckOfWhatWaits(t *testing.T) {
	t.Parallel()
	const file = "recipients.d/example.com.toml"
	s := newSite(t, "reload: watch = false") // lest it notice one edit before the other
	p := s.start("serve")
	good := s.read(file)
	s.write(file, strings.TrimSuffix(good, "old = \"moved to u1@example.com\"\n"))
	young := time.Now().Add(9 * time.Second) // for as long and ten seconds more
	must(t, os.Chtimes(filepath.Join(s.dir, file), young, young))
	lacks(t, checked(t, s, false), "note files: is cut off", "note files: until then, the server that runs goes on with the old version of example.com\n")

	s.write(file, good+"# "+t.Name()+"\n")
	s.write("recipients.d/b.toml", "domain = \"b.example\"\nmailboxes = [\"a\"]\n")
	if out, err := s.command("reload", "--confirm", "1s").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for {
		out, _ := s.command("diff").CombinedOutput()
		if strings.Contains(string(out), "WAITS FOR A RELOAD:\n\n"+s.dir+"/recipients.d/b.toml: was taken back, since nobody confirmed it; postern reload makes it serve\n") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	const held = "warning files: was taken back, since nobody confirmed it\n"
	if found := checked(t, s, false); strings.Count(found, held) != 2 { // both files
		t.Error(found)
	}
	must(t, p.Stop())
	lacks(t, checked(t, s, false), held)
	s.write("recipients.d/b.toml", "domain = \"b.example\"\nmailboxes = [\"b\"]\n")
	s.write(file, good)
	if found := checked(t, s, false); strings.Contains(found, "taken back") {
		t.Error(found)
	}
}

// What two say is said once, however much that is.
func TestSayings(t *testing.T) {
	var s sayings
	a := config.Mistake{File: "a", Line: 1, Column: 2, Message: "x", Other: "b:3"}
	b := config.Mistake{File: "b", Line: 3, Column: 5, Message: "y", Other: "a:1"}
	c := config.Mistake{File: "a", Line: 1, Column: 2, Message: "z"}
	s.add(config.Mistakes{a, c})
	s.add(config.Mistakes{b, c, a, {File: "b", Line: 3, Message: "w"}})
	if got := fmt.Sprint(s.all); got != fmt.Sprint(config.Mistakes{a, c, {File: "b", Line: 3, Message: "w"}}) {
		t.Error(got)
	}
	for i := range 100_000 {
		s.add(config.Mistakes{{File: fmt.Sprint("m", i), Line: 1}})
	}
}
