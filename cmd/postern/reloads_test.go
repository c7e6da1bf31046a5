package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/config"
	"postern/internal/control"
	"postern/internal/peer"
)

// often returns how often something is to be done: as the environment says, or
// else few times.
func often(t testing.TB, variable string, few int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Maps are edited and reloaded while mail flows, half of the time into something
// broken: no session is dropped, nobody valid is refused, nobody else is taken.
// contrib/changes.md says how to run it 10,000 times.
func TestReloadsUnderLoad(t *testing.T) {
	reloads, edits := often(t, "POSTERN_RELOADS", 150), often(t, "POSTERN_EDITS", 6)
	for _, verbs := range [][]string{{"serve"}, {"mda", "mx"}} {
		for _, watched := range []bool{false, true} {
			name, n := strings.Join(verbs, " and ")+", control socket", reloads
			if watched {
				name, n = strings.Join(verbs, " and ")+", watcher", edits
			}
			t.Run(name, func(t *testing.T) { newEditing(t, verbs, watched).run(n) })
		}
	}
}

// An editing is a site whose map edit.toml is edited again and again. What it says
// of always@edit.example stays; there is one more mailbox, another with each edit
// that is good.
type editing struct {
	*site
	random  *rand.Rand
	watched bool
	sockets []string
	client  *session
	file    string
	newest  string // the mailbox of the last good edit
	took    []time.Duration
}

func newEditing(t *testing.T, verbs []string, watched bool) *editing {
	s := newSite(t, fmt.Sprintf("reload: watch = %v", watched), "mx: max_connections = 100")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	e := &editing{site: s, random: rand.New(rand.NewPCG(seed, 0)), watched: watched, file: filepath.Join(s.dir, "recipients.d/edit.toml"), newest: "new0"}
	writeFile(t, e.file, e.good())
	for _, verb := range verbs {
		s.start(verb)
	}
	for _, name := range []string{"mx.sock", "mda.sock"}[:len(verbs)] {
		e.sockets = append(e.sockets, filepath.Join(s.dir, name))
	}
	e.client = openSession(t, s)
	return e
}

// good returns the map with the newest mailbox.
func (e *editing) good() string {
	var b strings.Builder
	fmt.Fprintf(&b, "domain = \"edit.example\"\nalias_domains = [\"alias.example\"]\nmailboxes = [\n  %q,\n", e.newest)
	for i := range 30 {
		fmt.Fprintf(&b, "  \"user%d\",\n", i)
	}
	b.WriteString("]\n[aliases]\nalways = [\"user1\"]\nlist = [\"user1\", \"user2\", \"u1@example.com\"]\n")
	return b.String()
}

func (e *editing) run(n int) {
	stop := e.load()
	for i := range n {
		if e.random.IntN(2) == 0 {
			e.goodEdit(i + 1)
		} else {
			e.brokenEdit()
		}
		e.client.hears(e.t, "always@edit.example", 250)
		e.client.hears(e.t, "list@alias.example", 250)
		e.client.hears(e.t, "nobody@edit.example", 550)
		e.client.hears(e.t, e.newest+"@edit.example", 250)
		if e.t.Failed() {
			break
		}
	}
	stop()
	slices.Sort(e.took)
	if k := len(e.took); k > 0 {
		e.t.Logf("%d edits, %d of them good: from a good edit to the first 250 %v in the median, %v at worst", n, k, e.took[k/2], e.took[k-1])
	}
}

// goodEdit adds a mailbox, which is served when it has been read, and takes the
// last one away.
func (e *editing) goodEdit(i int) {
	before := e.newest
	e.newest = fmt.Sprintf("new%d", i)
	e.reset()
	began := time.Now()
	writeFile(e.t, e.file+".tmp", e.good())
	must(e.t, os.Rename(e.file+".tmp", e.file))
	if !e.watched {
		if r := e.reload(); len(r.Mistakes)+len(r.Errors) > 0 {
			e.t.Errorf("a good edit is refused: %+v", r)
		}
		e.client.hears(e.t, e.newest+"@edit.example", 250)
	}
	for end := time.Now().Add(time.Minute); e.client.asks(e.t, e.newest+"@edit.example") == 550 && !e.t.Failed(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			e.t.Fatalf("%s does not come", e.newest)
		}
	}
	e.took = append(e.took, time.Since(began))
	e.client.hears(e.t, before+"@edit.example", 550)
}

// reset takes away what a broken edit left in the place of the file.
func (e *editing) reset() {
	if info, err := os.Lstat(e.file); err == nil && !info.Mode().IsRegular() {
		must(e.t, os.RemoveAll(e.file))
	}
}

// brokenEdit breaks the map, and reads it or has it read.
func (e *editing) brokenEdit() {
	e.reset()
	text := e.good()
	ways := []func(){
		func() { writeFile(e.t, e.file, text[:e.random.IntN(len(text))]) },
		func() { writeFile(e.t, e.file, "") },
		func() { writeFile(e.t, e.file, strings.Replace(text, "[\n", "5 #", 1)) },
		func() { writeFile(e.t, e.file, strings.Replace(text, "always = [", "always = [7, ", 1)) },
		func() { writeFile(e.t, e.file, text+text) },
		func() { writeFile(e.t, e.file, text[:len(text)/2]+strings.Repeat("\x00", len(text)/2)) },
		func() { writeFile(e.t, e.file, "\xff\xfe"+text) },
		func() { writeFile(e.t, e.file, strings.ReplaceAll(text, "edit.example", "example.com")) },
		func() { writeFile(e.t, e.file, text+"nobody = [\"nowhere\"]\n") },
		func() { writeFile(e.t, e.file, text+"x = [\"y\"]\ny = [\"x\"]\n") },
		func() { rename(e.t, e.dir, "recipients.d/edit.toml", "recipients.d/edit.toml~") },
		func() { must(e.t, os.RemoveAll(e.file)); must(e.t, os.Symlink("nowhere", e.file)) },
		func() { must(e.t, os.RemoveAll(e.file)); mkdir(e.t, e.file) },
		func() {
			must(e.t, os.RemoveAll(e.file+"x"))
			must(e.t, os.Rename(filepath.Dir(e.file), e.dir+"/away"))
			defer func() {
				must(e.t, os.RemoveAll(filepath.Dir(e.file)))
				must(e.t, os.Rename(e.dir+"/away", filepath.Dir(e.file)))
			}()
			must(e.t, os.Symlink("nowhere", filepath.Dir(e.file)))
			e.settle()
		},
	}
	if _, err := os.Stat(e.file); err != nil {
		writeFile(e.t, e.file, text)
	}
	ways[e.random.IntN(len(ways))]()
	e.settle()
}

// settle has the maps read, or waits until they may have been.
func (e *editing) settle() {
	if !e.watched {
		e.reload()
		return
	}
	time.Sleep(time.Duration(e.random.IntN(600)) * time.Millisecond)
}

// reload asks the servers to read the maps, the MX first, now and then the other
// way round: it may be that one of them is behind.
func (e *editing) reload() (first Reloaded) {
	sockets := slices.Clone(e.sockets)
	if e.random.IntN(4) == 0 {
		slices.Reverse(sockets)
	}
	if e.random.IntN(2) == 0 {
		sockets = []string{e.sockets[0]}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i, socket := range sockets {
		var answer json.RawMessage
		if err := control.Call(ctx, socket, "reload", reloadRequest{}, &answer); err != nil {
			e.t.Errorf("reload: %v", err)
			return first
		}
		var r Reloaded
		must(e.t, json.Unmarshal(answer, &r))
		if i == 0 {
			first = r
		}
	}
	return first
}

// load has sessions that last until what it returns is called.
func (e *editing) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var sessions sync.WaitGroup
	for range 3 {
		c := openSession(e.t, e.site)
		sessions.Go(func() {
			for ctx.Err() == nil && !e.t.Failed() {
				c.hears(e.t, "always@edit.example", 250)
				c.hears(e.t, "u1@example.com", 250)
				c.hears(e.t, "nobody@edit.example", 550)
				time.Sleep(2 * time.Millisecond)
			}
			c.quits(e.t)
		})
	}
	return func() { cancel(); sessions.Wait() }
}

// A session is one connection, which must last. A client that brings no message
// for long is dropped, so it brings one now and then.
type session struct {
	*peer.Client
	asked int
}

func openSession(t testing.TB, s *site) *session {
	t.Helper()
	c, err := peer.Dial(context.Background(), peer.SMTP, "tcp", s.smtp)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return &session{Client: c}
}

// asks returns what a recipient hears, in a transaction of its own.
func (s *session) asks(t testing.TB, rcpt string) int {
	if s.asked++; s.asked%20 == 0 {
		s.sends(t, "u1@example.com", s.asked)
	}
	code := 0
	for _, line := range []string{"MAIL FROM:<ann@client.example>", "RCPT TO:<" + rcpt + ">", "RSET"} {
		r, err := s.Command("%s", line)
		if err != nil {
			t.Errorf("the session broke at %s: %v", line, err)
			return 0
		}
		if strings.HasPrefix(line, "RCPT") {
			code = r.Code
		} else if r.Code != 250 {
			t.Errorf("%s: %v", line, r)
		}
	}
	return code
}

func (s *session) hears(t testing.TB, rcpt string, want int) {
	t.Helper()
	if got := s.asks(t, rcpt); got != want {
		t.Errorf("%s hears %d, not %d", rcpt, got, want)
	}
}

func (s *session) sends(t testing.TB, rcpt string, n int) {
	replies, err := s.Send("ann@client.example", []string{rcpt}, small.Message(n).Octets)
	if err != nil || replies[0].Code != 250 {
		t.Errorf("a message: %v, %v", replies, err)
	}
}

func (s *session) quits(t testing.TB) {
	if r, err := s.Command("QUIT"); err != nil || r.Code != 221 {
		t.Errorf("QUIT: %v, %v", r, err)
	}
}

// A broken file of access rules keeps its old version while the others serve, which
// diff says before, and reload and status after it. Neither --force
// nor a restart makes it serve.
func TestAccessReload(t *testing.T) {
	s := newSite(t, `policy: access = "access.d"`, "reload: watch = false")
	rule := func(sender string) string { return "[[rule]]\naction = 'deny'\nsender = ['" + sender + "']\n" }
	s.write("access.d/a.toml", rule("a1@a.example"))
	s.write("access.d/b.toml", rule("b1@b.example"))
	p := s.start("serve")
	says := func(want string, args ...string) {
		t.Helper()
		if out, _ := s.command(args...).CombinedOutput(); !strings.Contains(string(out), want) {
			t.Errorf("%v:\n%s\nit lacks %q", args, out, want)
		}
	}
	hears := func(sender, want string) {
		t.Helper()
		c := openSession(t, s)
		_, err := c.Command("MAIL FROM:<%s>", sender)
		must(t, err)
		if r, err := c.Command("RCPT TO:<u1@example.com>"); err != nil || !strings.HasPrefix(r.String(), want) {
			t.Errorf("%s hears %v, %v", sender, r, err)
		}
		c.quits(t)
	}
	s.write("access.d/a.toml", rule("a2@a.example")+rule("@a.example"))
	s.write("access.d/b.toml", rule("b2@b.example"))
	says("access.d/a.toml:4:1: ", "check")
	says("(the old version of a.toml goes on)", "diff")
	says("+ b.toml:1: deny, sender b2@b.example", "diff")
	says("(the old version of a.toml goes on)", "reload", "--force")
	says("each such file keeps its old version", "status")
	for range 2 {
		hears("a1@a.example", "550")
		hears("a2@a.example", "250")
		hears("b1@b.example", "250")
		hears("b2@b.example", "550")
		must(t, p.Stop())
		p = s.start("serve")
	}
}

// The screens: what is on probation is taken back or stays, and diff says what
// would change.
func TestReloadOnProbation(t *testing.T) {
	s := newSite(t, "reload: watch = false")
	s.start("mda")
	s.start("mx")
	c := openSession(t, s)
	run := func(want bool, has string, args ...string) {
		t.Helper()
		out, err := s.command(args...).CombinedOutput()
		if (err == nil) != want || !strings.Contains(string(out), has) {
			t.Errorf("%v: %v\n%s\nit lacks %q", args, err, out, has)
		}
	}
	run(true, "mx and mda: the recipients are those that serve", "diff")
	run(false, "has served since the start", "reload", "--confirm", "1h")
	run(false, "nothing waits to be confirmed", "reload", "--confirmed")
	s.append("recipients.d/example.com.toml", "[mailbox.new]\n")
	s.append("postern.toml", "[reports]\nkeep = 3\n")
	run(true, "NEEDS A RESTART: reports.keep changed", "reload", "--confirm", "1h")
	c.hears(t, "new@example.com", 250)
	run(true, "ON PROBATION", "status")
	run(true, "serves again at", "reload", "--confirm", "1s")
	for c.asks(t, "new@example.com") == 250 { // the test ends by its own deadline
		time.Sleep(10 * time.Millisecond)
	}
	run(true, "was taken back, since nobody confirmed it", "status")
	run(true, "1 added, 0 removed, 0 changed", "reload", "--confirm", "1h")
	run(true, "serving generation", "reload", "--confirmed")
	s.write("recipients.d/other.toml", "domain = \"other.example\"\nmailboxes = [\"a\"]\n[aliases]\nb = [\"c\"]\n")
	run(false, "WOULD NOT BE SERVED:", "diff")
	s.write("recipients.d/other.toml", "domain = \"other.example\"\nmailboxes = [\"a\"]\n[aliases]\nb = [\"a\"]\n")
	run(true, "other.example, which is new", "diff")
	run(true, "reports.keep", "diff")
	var d Diff
	out, err := s.command("diff", "--json").Output()
	must(t, err)
	must(t, json.Unmarshal([]byte(strings.Split(string(out), "\n")[0]), &d))
	if d.Server != "mx" || len(d.Recipients.Domains) != 1 || !d.Recipients.Domains[0].New || len(d.Restart) != 1 || d.Restart[0] != (config.KeyChange{Key: "reports.keep", Is: "3"}) {
		t.Errorf("as JSON: %s", out)
	}
}
