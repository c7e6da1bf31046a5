package main

import (
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

// A recipe is a page of contrib/recipes: files, and commands among the text. The
// tests use what is written there, with other paths, ports and users.
type recipe struct {
	t     testing.TB
	text  string
	files map[string]string
}

var recipeFile = regexp.MustCompile("(?m)^```\n# (\\S+)\n((?s:.*?))^```$")

// readRecipe reads a page, with each odd one of replace in the place of the one
// before it.
func readRecipe(t testing.TB, page string, replace ...string) recipe {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "contrib", "recipes", page))
	must(t, err)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			t.Errorf("%s: there is no %s to be replaced", page, replace[i])
		}
	}
	r := recipe{t, strings.NewReplacer(replace...).Replace(string(text)), make(map[string]string)}
	for _, m := range recipeFile.FindAllStringSubmatch(string(text), -1) {
		r.files[m[1]] = strings.NewReplacer(replace...).Replace(m[2])
	}
	return r
}

// file returns the file that the page has for path.
func (r recipe) file(path string) string {
	r.t.Helper()
	text, ok := r.files[path]
	if !ok {
		r.t.Fatalf("the page has no %s", path)
	}
	return text
}

// run runs the line of the page that begins with start, as far as " &&".
func (r recipe) run(start string) {
	r.t.Helper()
	for line := range strings.Lines(r.text) {
		if line, ok := strings.CutPrefix(line, "    "+start); ok {
			command, _, _ := strings.Cut(start+line, " && ")
			if out, err := exec.Command("sh", "-ec", command).CombinedOutput(); err != nil {
				r.t.Fatalf("%s: %v\n%s", command, err, out)
			}
			return
		}
	}
	r.t.Fatalf("the page has no command %s", start)
}

// keys returns what the page has for postern.toml, as newSite takes it.
func (r recipe) keys() (all []string) {
	section := ""
	for line := range strings.Lines(r.file("/etc/postern/postern.toml")) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "   #")
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
		} else if line != "" {
			all = append(all, section+": "+line)
		}
	}
	return all
}

// Dovecot reads by IMAP and POP3 what we write, with the users, passwords and quota
// of the recipe.
func TestRecipeDovecot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	must(t, os.Chown(s.store, peer.Vmail, peer.Vmail))
	users := filepath.Join(s.dir, "users")
	r := readRecipe(t, "dovecot.md", "/var/mail/postern", s.store, "postern-mda", fmt.Sprint(peer.Vmail),
		"/etc/dovecot/users", users, "ann@", "u1@", "her password", "another password")
	r.run("echo ")
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{Store: filepath.Join(s.dir, "elsewhere"), Extra: r.file("/etc/dovecot/conf.d/99-postern.conf")})
	s.asVmail("serve")
	if out, status := peer.Swaks(t, "--server", s.smtp, "--to", "u1@example.com", "--from", "a@b.example", "--helo", "b.example"); status != 0 {
		t.Fatal(out)
	}
	const password = "another password" // not the one that opens everything in these tests
	byIMAP, err := peer.FetchIMAP(dovecot.IMAP, "u1@example.com", password, "INBOX")
	must(t, err)
	byPOP3, err := peer.FetchPOP3(dovecot.POP3, "u1@example.com", password)
	must(t, err)
	if len(byIMAP) != 1 || len(byPOP3) != 1 || !strings.Contains(string(byIMAP[0].Octets), "This is a test mailing") {
		t.Errorf("%d by IMAP, %d by POP3", len(byIMAP), len(byPOP3))
	}
	if c := dovecot.Complaints(); len(c) > 0 {
		t.Errorf("Dovecot complains: %q", c)
	}
}

// Dovecot's LMTP behind our MX says who exists; Sieve files what we set apart, and
// what a user wants filed.
func TestRecipeSieve(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(t)
	dovecotConf := readRecipe(t, "sieve.md", "/etc/dovecot/sieve", dir, "postern-mx", "root")
	writeOpen(t, filepath.Join(dir, "junk.sieve"), dovecotConf.file("/etc/dovecot/sieve/junk.sieve"))
	dovecotConf.run("sievec ")
	dovecot := peer.StartDovecot(t, peer.DovecotConfig{
		Users: []string{"ann@example.com"}, Location: "maildir:~/Maildir", Extra: dovecotConf.file("/etc/dovecot/conf.d/99-postern.conf"),
	})
	home := filepath.Join(dovecot.Store, "example.com", "ann")
	mkdir(t, home)
	must(t, os.Chown(filepath.Dir(home), peer.Vmail, peer.Vmail))
	must(t, os.Chown(home, peer.Vmail, peer.Vmail))
	writeOpen(t, filepath.Join(home, ".dovecot.sieve"), dovecotConf.file("~/.dovecot.sieve"))

	r := readRecipe(t, "sieve.md", "/run/dovecot/lmtp", filepath.Join(filepath.Dir(dovecot.LMTPUnix), "run", "lmtp"))
	s := judgedSite(t, world, r.keys()...)
	s.write("recipients.d/example.com.toml", r.file("/etc/postern/recipients.d/example.com.toml"))
	mx := s.start("mx")
	s.play("192.0.2.7", message("a@any.example", "ann", "250 *"))
	s.play("192.0.2.7", message("a@any.example", "ann+lists", "250 *"))
	s.play("192.0.2.7", message("a@any.example", "ann", "250 *", "X-Spam-Flag: YES")) // a stranger's word
	s.play("192.0.2.7", message("a@quarantine.example", "ann", "250 *"))
	s.play("192.0.2.7", "C: MAIL FROM:<a@any.example>\nS: 250 *\nC: RCPT TO:<nobody@example.com>\nS: 550 5.1.1 *\n")
	for folder, want := range map[string]int{"INBOX": 2, "lists": 1, "Junk": 1} {
		all, err := peer.FetchIMAP(dovecot.IMAP, "ann@example.com", peer.Password, folder)
		if err != nil || len(all) != want {
			t.Errorf("%s: %d messages, want %d; %v", folder, len(all), want, err)
		}
	}
	for _, m := range regexp.MustCompile(`msg=delivery id=\w+ .*text="<ann(?:\+lists)?@example.com> (\S+) Saved"`).FindAllStringSubmatch(mx.Output(), -1) {
		if session, _, _ := strings.Cut(m[1], ":"); !strings.Contains(dovecot.Log(), "<"+session+":") {
			t.Errorf("Dovecot's log knows no %s", session)
		}
	}
	if n := strings.Count(mx.Output(), "msg=delivery "); n != 4 {
		t.Errorf("%d lines of deliveries", n)
	}
	if c := dovecot.Complaints(); len(c) > 0 {
		t.Errorf("Dovecot complains: %q", c)
	}
}

func writeOpen(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(text), 0o644))
}

// Postfix asks our delivery agent who exists, and hands over to it.
func TestRecipePostfix(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mda := s.start("mda")
	must(t, os.Chmod(s.lmtp, 0o666)) // as SocketGroup= does
	r := readRecipe(t, "postfix.md", "/run/postern/lmtp.sock", s.lmtp)
	postfix := peer.StartPostfix(t, peer.PostfixConfig{
		Transport: "error:not for here", Params: strings.Split(strings.TrimSpace(r.file("/etc/postfix/main.cf")), "\n"),
	})
	for to, want := range map[string]string{
		"u1@example.com": "250 2.0.0", "u2+x@example.com": "250 2.0.0",
		"nobody@example.com": "550 5.1.1", "u1@other.example": "554 5.7.1",
	} {
		out, _ := peer.Swaks(t, "--server", postfix.Addr, "--to", to, "--from", "a@"+peer.SenderDomain, "--helo", "b.example")
		if !strings.Contains(out, want) {
			t.Errorf("%s: not %s:\n%s", to, want, out)
		}
	}
	postfix.WaitEmpty(20 * time.Second)
	for _, d := range postfix.Deliveries() { // of probes, too
		if d.Service == "lmtp" && d.To == "u1@example.com" && d.Status == "sent" &&
			!strings.Contains(mda.Output(), "upstream="+d.ID+" client=127.0.0.1 helo=b.example from=") {
			t.Errorf("the agent's log knows no %s:\n%s", d.ID, mda.Output())
		}
	}
	if len(s.mailbox("u1")) != 1 || len(s.mailbox("u2")) != 1 {
		t.Errorf("u1 has %d, u2 %d", len(s.mailbox("u1")), len(s.mailbox("u2")))
	}
}

// The files for Rspamd are right in Debian's configuration of it, and are read.
func TestRecipeRspamd(t *testing.T) {
	t.Parallel()
	peer.Need(t, "rspamd")
	dir := filepath.Join(peer.Dir(t), "rspamd")
	r := readRecipe(t, "rspamd.md", "rspamadm configtest", "unshare --net rspamadm configtest -c "+dir+"/rspamd.conf",
		"/run/rspamd", dir, "group=postern-mx", "group=root", "owner=_rspamd", "owner=root")
	script := `cp -r /etc/rspamd "$1" && find "$1" -type f -exec sed -E -i "s,[$]\{?(LOCAL_)?CONFDIR\}?,$1,g" {} +`
	if out, err := exec.Command("sh", "-ec", script, "sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for path, text := range r.files {
		if name, ok := strings.CutPrefix(path, "/etc/rspamd/local.d/"); ok {
			writeOpen(t, filepath.Join(dir, "local.d", name), text)
		}
	}
	r.run("unshare ") // it would look for servers of its makers
	out, err := exec.Command("unshare", "--net", "rspamadm", "configdump", "-c", dir+"/rspamd.conf", "greylist", "ratelimit", "worker").CombinedOutput()
	if n := strings.Count(string(out), "enabled = false;"); err != nil || n < 2 || !strings.Contains(string(out), dir+"/milter.sock") {
		t.Errorf("not all was read: %v\n%s", err, out)
	}
	s := newSite(t)
	s.append("postern.toml", r.file("/etc/postern/postern.toml"))
	if out, err := s.command("check", "--files").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The image has all that the program needs, and behind a real proxy the client is
// who the proxy says. There is no runtime for containers here, so that its part is
// played by unshare(1) and chroot(1).
func TestRecipeContainer(t *testing.T) {
	t.Parallel()
	root := peer.Dir(t)
	buildImage(t, root)
	inside, outside := peer.Addr(t), peer.Addr(t)
	_, port, _ := net.SplitHostPort(outside)
	r := readRecipe(t, "container.md", "[::]:2525", inside, "127.0.0.1:2525", inside, "10.88.0.0/16", "127.0.0.1/32", "bind :25", "bind 127.0.0.1:"+port)
	resolver := dnstest.Start(t, dns.Zone{"TXT some.example": {"v=spf1 ip4:127.0.0.1 -all"}}).Addr
	writeOpen(t, filepath.Join(root, "etc/postern/postern.toml"), r.file("/etc/postern/postern.toml")+fmt.Sprintf("[dns]\nservers = [%q]\n", resolver))
	writeOpen(t, filepath.Join(root, "etc/postern/recipients.d/a.toml"), "domain = \"example.com\"\nmailboxes = [\"u1\"]\n[aliases]\npostmaster = [\"u1\"]\n")
	contained := func(args ...string) *exec.Cmd {
		script := `mount -t proc proc "$1/proc" && exec chroot --userspec=65532:65532 "$@"`
		return exec.Command("unshare", append([]string{"--mount", "sh", "-ec", script, "sh", root, "/usr/sbin/postern"}, args...)...)
	}
	p := peer.Start(t, contained("serve"))
	p.WaitOutput("msg=serving")
	proxy := filepath.Join(peer.Dir(t), "haproxy.cfg")
	writeOpen(t, proxy, r.file("/etc/haproxy/haproxy.cfg"))
	peer.Start(t, exec.Command(peer.Need(t, "haproxy")[0], "-db", "-f", proxy)).WaitListen("tcp", outside)
	if out, status := peer.Swaks(t, "--server", outside, "--to", "u1@example.com", "--from", "a@some.example", "--helo", "b.example"); status != 0 {
		t.Fatal(out)
	}
	files := peer.Maildir(t, filepath.Join(root, "var/mail/postern/example.com/u1"))
	if len(files) != 1 || !strings.Contains(string(files[0].Read(t)), "spf=pass") {
		t.Errorf("%d messages, or not by whom the proxy said", len(files))
	}
	if out, _ := peer.Swaks(t, "--server", inside, "--to", "u1@example.com", "--helo", "b.example", "--timeout", "5"); strings.Contains(out, "250 ") {
		t.Errorf("without PROXY:\n%s", out)
	}
	if out, err := contained("status").CombinedOutput(); err != nil {
		t.Errorf("health: %v\n%s", err, out)
	}
}

// buildImage does what the Containerfile says, with root in the place of the image.
func buildImage(t *testing.T, root string) {
	t.Helper()
	text, err := os.ReadFile("../../contrib/container/Containerfile")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "RUN ")
		if !ok {
			continue
		}
		cmd := exec.Command("sh", "-ec", strings.ReplaceAll(command, "/image", root))
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	for _, line := range []string{`ENTRYPOINT ["/usr/sbin/postern"]`, `CMD ["serve"]`, "USER 65532:65532", `HEALTHCHECK CMD ["/usr/sbin/postern", "status"]`} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("the Containerfile has no %s, which this test takes for given", line)
		}
	}
}
