package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/dns/dnstest"
	"postern/internal/peer"
)

// sendOne sends a small message and returns the reply that it ended with: the
// one to RCPT, or the one to the data.
func (s *site) sendOne(from, to string) peer.Reply {
	s.t.Helper()
	client, err := peer.Dial(s.t.Context(), peer.SMTP, "tcp", s.smtp)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	client.Timeout = time.Minute
	replies, err := client.Send(from, []string{to}, []byte("From: <a@b.example>\r\nSubject: hi\r\n\r\nhi\r\n"))
	if err != nil {
		s.t.Fatalf("send to %s: %v, %v", to, replies, err)
	}
	if err := client.Quit(); err != nil { // or the same message would be taken for a retry
		s.t.Fatal(err)
	}
	return replies[0]
}

// wantReply fails the test unless the reply has the code and says the words.
func wantReply(t *testing.T, r peer.Reply, code int, words string) {
	t.Helper()
	if r.Code != code || !strings.Contains(r.String(), words) {
		t.Errorf("got %v, want %d with %q", r, code, words)
	}
}

// A delivery makes the content durable, then names it, then makes the name
// durable, and only then notes in the ledger that it is there, and says 250. On
// btrfs the name takes one sync more, and on no other file system.
func TestOrderOfSystemCalls(t *testing.T) {
	for kind, named := range map[string]string{
		"ext4":  "linkat, fsync new/",
		"xfs":   "linkat, fsync new/",
		"btrfs": "linkat, fsync the file, fsync new/",
	} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t)
			mount(t, s.store, kind, 320)
			// The last two are the delivery agent's 250 and the MX's.
			want := "open without a name, fdatasync, " + named + ", ledger, 250, 250"
			if got := strings.Join(stepsOfDelivery(t, s), ", "); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// stepsOfDelivery returns what serve does, in its order, when it delivers a
// message to a mailbox that is there.
func stepsOfDelivery(t *testing.T, s *site) (steps []string) {
	entered := regexp.MustCompile(`/delivered>, "(- [^+]*)?\+ `) // strikes may come along
	said := regexp.MustCompile(`250 2\.0\.0 OK [0-9a-z]{16}`)    // the agent says it behind its other replies
	p := s.start("serve")
	wantReply(t, s.sendOne("", "u1@example.com"), 250, "OK") // makes the mailbox
	trace := peer.Strace(t, p.PID(), "openat,write,writev,sendto,io_submit,io_getevents,linkat,renameat2")
	wantReply(t, s.sendOne("", "u1@example.com"), 250, "OK")
	syncing := ""
	for _, c := range trace.End() {
		switch new := filepath.Join(s.store, "example.com/u1/new"); {
		case c.Name == "openat" && strings.Contains(c.Args, "O_TMPFILE"):
			steps = append(steps, "open without a name")
		case c.Name == "io_submit":
			syncing = nameOfSync(c.Args, new)
		case c.Name == "io_getevents" && c.Result == "1":
			steps = append(steps, syncing)
		case c.Name == "linkat":
			steps = append(steps, "linkat")
		case c.Name == "write" && entered.MatchString(c.Args):
			steps = append(steps, "ledger")
		case said.MatchString(c.Args):
			steps = append(steps, "250")
		}
	}
	return steps
}

// nameOfSync returns what the arguments of an io_submit ask for, of a mailbox whose
// new/ is at new.
func nameOfSync(args, new string) string {
	switch {
	case strings.Contains(args, "IOCB_CMD_FDSYNC"):
		return "fdatasync"
	case strings.Contains(args, "IOCB_CMD_FSYNC") && strings.Contains(args, new+">"):
		return "fsync new/"
	case strings.Contains(args, "IOCB_CMD_FSYNC") && strings.Contains(args, new+"/"):
		return "fsync the file"
	}
	return args
}

// mount mounts a new file system of some megabytes for the store.
func mount(t *testing.T, dir, kind string, megabytes int) {
	t.Helper()
	peer.NeedRoot(t)
	image := filepath.Join(peer.Dir(t), "image")
	commands := [][]string{
		{"truncate", "-s", fmt.Sprint(megabytes << 20), image},
		{"mkfs." + kind, "-q", image},
		{"mount", "-o", "loop", image, dir},
	}
	for _, c := range commands {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
}

// On a full file system mail is put off, and nothing that was taken is lost.
func TestFullFileSystem(t *testing.T) {
	s := newSite(t)
	mount(t, s.store, "ext4", 96)
	s.start("serve")
	g := peer.Generator{Seed: 5, Min: 1 << 20, Max: 4 << 20, Plain: true}
	results := peer.Load{
		Protocol: peer.SMTP, Network: "tcp", Addr: s.smtp, Connections: 4,
		From: "someone@" + peer.SenderDomain, To: toUsers, Messages: g, Count: 60,
	}.Run(t.Context())
	taken, putOff := 0, 0
	for _, r := range results {
		switch {
		case r.Accepted():
			taken++
		case r.Replies[0].Code == 452:
			putOff++
		default:
			t.Errorf("neither taken nor put off for want of space: %v", r)
		}
	}
	if taken == 0 || putOff == 0 {
		t.Errorf("%d taken, %d put off", taken, putOff)
	}
	census := peer.TakeCensus(t, s.store, g)
	if lost := census.Lost(results); len(lost) > 0 || census.Total() != taken {
		t.Errorf("lost %v; %d in the store, %d taken", lost, census.Total(), taken)
	}
}

// Trouble with a mailbox, the store or the delivery agent is never the sender's.
func TestTroubleIsTemporary(t *testing.T) {
	s := newSite(t)
	agent := s.asVmail("mda")
	s.asVmail("mx")
	wantReply(t, s.sendOne("", "u1@example.com"), 250, "OK")

	box := filepath.Join(s.store, "example.com", "u1", "new")
	if err := os.Chown(box, 0, 0); err != nil {
		t.Fatal(err)
	}
	wantReply(t, s.sendOne("", "u1@example.com"), 451, "4.3.0")
	wantReply(t, s.sendOne("", "u2@example.com"), 250, "OK")

	if err := os.Rename(s.store, s.store+".away"); err != nil {
		t.Fatal(err)
	}
	wantReply(t, s.sendOne("", "u3@example.com"), 451, "4.3.0")
	if err := os.Rename(s.store+".away", s.store); err != nil {
		t.Fatal(err)
	}
	wantReply(t, s.sendOne("", "u3@example.com"), 250, "OK")

	// Another disk is mounted over the store.
	mount(t, s.store, "ext4", 100)
	if err := os.Chown(s.store, peer.Vmail, peer.Vmail); err != nil {
		t.Fatal(err)
	}
	wantReply(t, s.sendOne("", "u4@example.com"), 250, "OK")
	if n := len(s.mailbox("u4")); n != 1 {
		t.Errorf("on the disk that was mounted u4 has %d messages", n)
	}

	agent.Kill()
	wantReply(t, s.sendOne("", "u2@example.com"), 451, "4.4.1")
	s.asVmail("mda")
	wantReply(t, s.sendOne("", "u2@example.com"), 250, "OK")
}

// A resolver that is sick makes nobody wait for long, and refuses nobody.
func TestSickResolver(t *testing.T) {
	signed, err := os.ReadFile("testdata/signed.eml")
	if err != nil {
		t.Fatal(err)
	}
	signed = bytes.ReplaceAll(signed, []byte("\n"), []byte("\r\n"))
	for name, mood := range map[string]dnstest.Mood{
		"refuses": dnstest.Refused, "is silent": dnstest.Silent, "says SERVFAIL": dnstest.ServFail,
		"lies in size": dnstest.TCPOnly,
	} {
		for _, onTemperror := range []string{"accept", "defer"} {
			t.Run(name+", "+onTemperror, func(t *testing.T) {
				t.Parallel()
				resolver := dnstest.Start(t, dns.Zone{})
				resolver.Be(mood)
				s := newSite(t, fmt.Sprintf("dns: servers = [%q]", resolver.Addr), fmt.Sprintf("policy: on_temperror = %q", onTemperror))
				s.start("serve")
				client, err := peer.Dial(t.Context(), peer.SMTP, "tcp", s.smtp)
				if err != nil {
					t.Fatal(err)
				}
				client.Timeout = 20 * time.Second // twice what policy may wait
				replies, err := client.Send("ann@signer.example", []string{"u1@example.com"}, signed)
				if err != nil {
					t.Fatal(err)
				}
				if onTemperror == "defer" {
					wantReply(t, replies[0], 451, "4.4.3")
					return
				}
				wantReply(t, replies[0], 250, "OK")
				got := string(s.mailbox("u1")[0].Read(t))
				if !strings.Contains(got, "spf=temperror") || !strings.Contains(got, "dkim=temperror") {
					t.Errorf("the results are not recorded:\n%s", got[:1000])
				}
			})
		}
	}
}

// A reload changes who gets mail, at once and in both halves, and breaks no
// session; what is broken does not serve.
func TestReload(t *testing.T) {
	s := newSite(t)
	p := s.start("serve")
	client, err := peer.Dial(t.Context(), peer.SMTP, "tcp", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	hears := func(rcpt string, code int) bool {
		if _, err := client.Command("MAIL FROM:<>"); err != nil {
			t.Fatal(err)
		}
		r, err := client.Command("RCPT TO:<%s>", rcpt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Command("RSET"); err != nil {
			t.Fatal(err)
		}
		return r.Code == code
	}
	eventually := func(rcpt string, code int) {
		t.Helper()
		for range 1000 {
			if hears(rcpt, code) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%s never hears %d", rcpt, code)
	}
	if !hears("new@example.com", 550) {
		t.Fatal("new@example.com is known already")
	}
	s.write("recipients.d/example.com.toml", "domain = \"example.com\"\nmailboxes = [\"new\", \"u0\", \"u1\", \"u2\", \"u3\", \"u4\", \"u5\"]\n")
	eventually("new@example.com", 250)
	s.write("recipients.d/example.com.toml", "domain = \"example.com\"\nmailboxes = [\"newer\"\n")
	p.WaitOutput("example.com.toml:2")
	if !hears("new@example.com", 250) || !hears("newer@example.com", 550) {
		t.Error("a broken map changed what serves")
	}
	if out, err := s.command("reload").CombinedOutput(); err == nil || !strings.Contains(string(out), "example.com.toml:2") {
		t.Errorf("reload of a broken map: %v\n%s", err, out)
	}
	if out, err := s.command("check").CombinedOutput(); err == nil || !strings.Contains(string(out), "example.com.toml:2") {
		t.Errorf("check of a broken map: %v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(s.dir, "recipients.d/example.com.toml")); err != nil {
		t.Fatal(err)
	}
	if out, err := s.command("reload").CombinedOutput(); err == nil || !hears("new@example.com", 250) {
		t.Errorf("reload without the map: %v\n%s", err, out)
	}
	if out, err := s.command("status").CombinedOutput(); err != nil || !strings.Contains(string(out), "NOT SERVED") {
		t.Errorf("status: %v\n%s", err, out)
	}
}

// Where the kernel has no watches left, the files are read now and then, which the
// log says once.
func TestReloadWithoutWatches(t *testing.T) {
	for _, limit := range []string{"watches", "instances"} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, `policy: access = "access.d"`)
			s.write("access.d/a.toml", "# none\n")
			serve := s.command("serve")
			script := `echo 0 > /proc/sys/user/max_inotify_` + limit + ` && exec "$0" "$@"`
			p := peer.Start(t, exec.Command("unshare", append([]string{"--user", "--map-root-user", "sh", "-c", script, serve.Path}, serve.Args[1:]...)...))
			p.WaitOutput("msg=serving")
			s.write("recipients.d/other.toml", "domain = \"other.example\"\nmailboxes = [\"a\"]\n")
			c := openSession(t, s)
			for end := time.Now().Add(25 * time.Second); c.asks(t, "a@other.example") != 250; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("nobody looked")
				}
			}
			if n := strings.Count(p.Output(), `msg="edits are noticed late: the folder cannot be watched" what=`+s.dir+"/recipients.d every=5s"); n != 1 {
				t.Errorf("the log says %d times that it is not watched", n)
			}
			if !strings.Contains(p.Output(), "raise fs.inotify.max_user_"+limit) {
				t.Errorf("the log does not say what to do:\n%s", p.Output())
			}
		})
	}
}

// Behind a proxy the client is who the proxy says, and nobody else may say it.
func TestProxy(t *testing.T) {
	proxied := peer.Addr(t)
	resolver := dnstest.Start(t, dns.Zone{"TXT none.example": {"v=spf1 -all"}, "TXT some.example": {"v=spf1 ip4:192.0.2.7 -all"}})
	s := newSite(t, fmt.Sprintf("mx: listen_proxy = [%q]", proxied), `mx: trusted_proxies = ["127.0.0.1"]`,
		fmt.Sprintf("dns: servers = [%q]", resolver.Addr))
	s.start("serve")
	talk := func(lines ...string) string {
		conn, err := net.Dial("tcp", proxied)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")); err != nil {
			t.Fatal(err)
		}
		var heard bytes.Buffer
		_, _ = heard.ReadFrom(conn)
		return heard.String()
	}
	session := func(from string) []string {
		return []string{"EHLO x.example", "MAIL FROM:<" + from + ">", "RCPT TO:<u1@example.com>", "DATA", "Subject: x", "", "x", ".", "QUIT"}
	}
	header := "PROXY TCP4 192.0.2.7 127.0.0.1 4711 25"
	if heard := talk(append([]string{header}, session("a@some.example")...)...); !strings.Contains(heard, "250 2.0.0 OK") {
		t.Errorf("the client that SPF allows: %s", heard)
	}
	if heard := talk(append([]string{header}, session("a@none.example")...)...); !strings.Contains(heard, "550 5.7.23") {
		t.Errorf("a client of a domain that sends no mail: %s", heard)
	}
	if heard := talk(session("a@some.example")...); strings.Contains(heard, "250") {
		t.Errorf("without the header: %s", heard)
	}
	content := string(s.mailbox("u1")[0].Read(t))
	if !strings.Contains(content, "from x.example ([192.0.2.7])") || !strings.Contains(content, "spf=pass") {
		t.Errorf("stored:\n%s", content)
	}
}
