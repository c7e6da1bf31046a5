package config

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// atOnce is an old time: a map that is the beginning of the one that serves is
// taken for one that is being written only while it is young.
func atOnce(t *testing.T, name string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
}

// What is wrong with a map keeps its old version, and that of no other.
func TestOneBrokenMap(t *testing.T) {
	good := "domain='a.example'\nmailboxes=['old','other']\n"
	breaks := map[string]func(s scene){
		"syntax":          func(s scene) { s.write("maps/a.toml", "domain='a.example'\nmailboxes=['old'") },
		"type":            func(s scene) { s.write("maps/a.toml", "domain='a.example'\nmailboxes=5") },
		"unknown key":     func(s scene) { s.write("maps/a.toml", good+"mailboxs=['x']") },
		"empty":           func(s scene) { s.write("maps/a.toml", "") },
		"NULs":            func(s scene) { s.write("maps/a.toml", strings.Repeat("\x00", 100)) },
		"UTF-16":          func(s scene) { s.write("maps/a.toml", "\xff\xfed\x00o\x00m\x00") },
		"bad UTF-8":       func(s scene) { s.write("maps/a.toml", good+"# caf\xe9\n") },
		"nested":          func(s scene) { s.write("maps/a.toml", "a="+strings.Repeat("[", 3_000_000)) },
		"nested tables":   func(s scene) { s.write("maps/a.toml", "a="+strings.Repeat("{a=", 1_000_000)) },
		"long key":        func(s scene) { s.write("maps/a.toml", "["+strings.Repeat("a.", 100_000)+"a]") },
		"huge":            func(s scene) { s.write("maps/a.toml", good); s.must(os.Truncate(s.path("maps/a.toml"), 1<<40)) },
		"gone":            func(s scene) { s.remove("maps/a.toml") },
		"renamed away":    func(s scene) { s.rename("maps/a.toml", "maps/a.toml.bak") },
		"folder":          func(s scene) { s.remove("maps/a.toml"); s.mkdir("maps/a.toml") },
		"link to nowhere": func(s scene) { s.remove("maps/a.toml"); s.link("nowhere", "maps/a.toml") },
		"link to itself":  func(s scene) { s.remove("maps/a.toml"); s.link("a.toml", "maps/a.toml") },
		"pipe":            func(s scene) { s.remove("maps/a.toml"); s.must(unix.Mkfifo(s.path("maps/a.toml"), 0o600)) },
		"another domain":  func(s scene) { s.write("maps/a.toml", "domain='z.example'\nmailboxes=['old']") },
		"taken domain":    func(s scene) { s.write("maps/a.toml", "domain='b.example'\nmailboxes=['old']") },
		"taken alias":     func(s scene) { s.write("maps/a.toml", good+"alias_domains=['B.example']") },
		"loop":            func(s scene) { s.write("maps/a.toml", good+"[aliases]\nx=['y']\ny=['x']") },
		"dangling":        func(s scene) { s.write("maps/a.toml", good+"[aliases]\nx=['y@b.example']") },
		"needed":          func(s scene) { s.write("maps/a.toml", "domain='a.example'\nmailboxes=['old']") },
		"duplicate table": func(s scene) { s.write("maps/a.toml", good+"[aliases]\n[aliases]\n") },
		"a second file":   func(s scene) { s.write("maps/c.toml", good) },
	}
	for name, breaks := range breaks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := scene{t, t.TempDir()}
			s.mkdir("maps")
			s.write("maps/a.toml", good)
			s.write("maps/b.toml", "domain='b.example'\nmailboxes=['one']\n[aliases]\nfar=['other@a.example']")
			s.write("maps/d.toml", "domain='d.example'\nmailboxes=['one']")
			g, _ := open(t, s.path("maps"))
			breaks(s)
			s.write("maps/d.toml", "domain='d.example'\nmailboxes=['one','two']")
			s.write("maps/e.toml", "domain='e.example'\nmailboxes=['one']")
			err := g.Reload(Request{})
			if f := g.Failure(); err == nil || f == nil || f.Err.Error() != err.Error() {
				t.Errorf("the error is %v, and Failure %v", err, f)
			}
			r := g.Current()
			for address, want := range map[string]Status{
				"old@a.example": Known, "other@a.example": Known, "x@a.example": Unknown, "old@z.example": NotServed,
				"one@b.example": Known, "far@b.example": Known, "two@d.example": Known, "one@e.example": Known,
			} {
				local, domain, _ := strings.Cut(address, "@")
				if got := r.Lookup(local, domain).Status; got != want {
					t.Errorf("%s is %v, not %v", address, got, want)
				}
			}
			again, err := Open(s.path("maps"), g.options)
			if err != nil || again.Current().ID() != r.ID() {
				t.Errorf("after a restart: %v", err)
			}
			s.remove("maps/a.toml")
			s.remove("maps/c.toml")
			s.write("maps/a.toml", good+"# mended")
			if err := g.Reload(Request{}); err != nil || g.Failure() != nil {
				t.Errorf("mended: %v", err)
			}
		})
	}
}

// A map that others need may go or change with them, not before.
func TestReloadTogether(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	a, b := "domain='a.example'\nmailboxes=['x','y']", "domain='b.example'\nmailboxes=['z']\n[aliases]\nto=['x@a.example']"
	s.write("maps/a.toml", a)
	s.write("maps/b.toml", b)
	g, _ := open(t, s.path("maps"))
	s.write("maps/a.toml", "domain='a.example'\nmailboxes=['y']")
	err := g.Reload(Request{Force: true})
	compare(t, lines(t, err), s.path("maps/b.toml")+`:4:5: alias "to": "x@a.example" is neither a mailbox nor an alias; add the mailbox, or remove the target`)
	s.write("maps/b.toml", "domain='b.example'\nmailboxes=['z']\n[aliases]\nto=['y@a.example']")
	if err := g.Reload(Request{}); err != nil || served(g, "x") {
		t.Errorf("together: %v", err)
	}
	s.remove("maps/a.toml") // what b leads to is needed, whoever insists
	if err := g.Reload(Request{Force: true}); err == nil || !served(g, "y") {
		t.Errorf("the domain that an alias leads to is gone: %v", err)
	}
	s.write("maps/a.toml", "\ufeff"+strings.ReplaceAll(a, "\n", "\r\n"))
	if err := g.Reload(Request{}); err != nil || !served(g, "x") {
		t.Errorf("with CRLF: %v", err)
	}
	// a domain moves to another file, under which its old one is gone
	s.rename("maps/a.toml", "maps/renamed.toml")
	if err := g.Reload(Request{}); err != nil || !served(g, "x") {
		t.Errorf("renamed: %v", err)
	}
	// a file that cannot be read is gone, if somebody insists
	s.write("maps/b.toml", "")
	if err := g.Reload(Request{}); err == nil {
		t.Error("an empty file is taken")
	}
	if err := g.Reload(Request{Force: true}); err != nil || g.Current().Lookup("z", "b.example").Status != NotServed {
		t.Errorf("an empty file, by force: %v", err)
	}
}

func TestCutShort(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("one")+"[aliases]\nx=['one']\ny=['one']\n")
	g, log := open(t, s.path("maps"))
	s.write("maps/a.toml", mapOf("one")+"[aliases]\nx=['one']\n")
	if err := g.Reload(Request{}); err == nil || !served(g, "y") || g.next().IsZero() {
		t.Errorf("while it may be being written: %v", err)
	}
	atOnce(t, s.path("maps/a.toml"))
	if err := g.Check(); err != nil || served(g, "y") || !g.next().IsZero() {
		t.Errorf("when it has lain still: %v, %v", err, log)
	}
	s.write("maps/a.toml", mapOf("one"))
	if err := g.Reload(Request{Force: true}); err != nil || served(g, "x") {
		t.Errorf("forced: %v", err)
	}
}

// A time in the future was set by somebody: what has it is not being written.
func TestFutureTime(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("one")+"[aliases]\nx=['one']\n")
	g, log := open(t, s.path("maps"))
	s.write("maps/a.toml", mapOf("one"))
	future := time.Now().Add(24 * time.Hour)
	s.must(os.Chtimes(s.path("maps/a.toml"), future, future))
	if err := g.Check(); err != nil || served(g, "x") {
		t.Errorf("%v, %v", err, log)
	}
}

// Nobody is unknown while a map is sent slowly over the one that serves; who is
// new, or asks for it, or puts a whole file in its place, does not wait.
func TestOverwritten(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	of := func(names ...string) string { // a table for each, so that any number of them is a map
		text := "domain='a.example'\n"
		for _, n := range names {
			text += "[mailbox." + n + "]\n"
		}
		return text
	}
	s.write("maps/a.toml", of("a", "b", "c"))
	g, log := open(t, s.path("maps"))
	s.must(g.Check())
	serve := func(when string, want string) {
		t.Helper()
		got := ""
		for _, n := range []string{"a", "b", "c", "d"} {
			if served(g, n) {
				got += n
			}
		}
		if got != want {
			t.Errorf("%s: %s serve, not %s; %v", when, got, want, log)
		}
	}
	s.write("maps/a.toml", "# new\n"+of("a", "d"))
	if s.must(g.Check()); g.next().IsZero() || g.Failure() != nil {
		t.Errorf("it is not read again: %v", g.Failure())
	}
	serve("a part", "abc")
	s.must(g.CatchUp("another"))
	serve("what serves elsewhere", "ad")
	s.write("maps/a.toml", of("a", "b", "c"))
	s.must(g.Reload(Request{}))
	s.write("maps/a.toml", "# new\n"+of("a", "d"))
	s.must(g.Check())
	serve("a part again", "abc")
	s.must(g.Reload(Request{Patient: true}))
	serve("a part, asked for by who does not wait", "abc")
	s.write("maps/a.toml", "# new\n"+of("a", "b", "c", "d"))
	s.must(g.Check())
	serve("all of it", "abcd")
	s.write("maps/a.toml", of("a", "b"))
	atOnce(t, s.path("maps/a.toml"))
	s.must(g.Check())
	serve("old enough", "ab")
	s.write("maps/a.toml", "# asked\n"+of("a"))
	s.must(g.Reload(Request{}))
	serve("asked for", "a")
	s.write("maps/a.tmp", of("b"))
	s.rename("maps/a.tmp", "maps/a.toml")
	s.must(g.Check())
	serve("put in its place", "b")

	s.must(g.Reload(Request{Force: true}))
	s.write("maps/b.tmp", "")
	s.rename("maps/b.tmp", "maps/a.toml")
	if err := g.Check(); err == nil {
		t.Error("an empty file serves")
	}
	s.write("maps/a.toml", "# new\n"+of("a", "d"))
	s.must(g.Check())
	serve("a part of a new file, which was seen empty", "b")
}

// What lacks its last line is taken for a part of what serves, and what lacks white
// space alone is not.
func TestCutShortOfALine(t *testing.T) {
	for _, before := range []string{"", "\n", "\ufeff"} {
		s := scene{t, t.TempDir()}
		s.mkdir("maps")
		whole := before + mapOf("one") + "[aliases]\nx=['one']\n"
		s.write("maps/a.toml", whole)
		g, _ := open(t, s.path("maps"))
		s.write("maps/a.toml", strings.TrimSuffix(whole, "x=['one']\n"))
		if err := g.Reload(Request{}); err == nil || !strings.Contains(err.Error(), "is cut off") || !served(g, "x") {
			t.Errorf("%q: without its last line: %v", whole, err)
		}
		s.write("maps/a.toml", strings.TrimRight(whole, "\n"))
		if err := g.Reload(Request{}); err != nil || g.Failure() != nil || !served(g, "x") {
			t.Errorf("%q: without its last newline: %v", whole, err)
		}
	}
}

// What an address is stays as it is while a map is sent slowly: a part of it may say
// that a mailbox is in its usual place.
func TestOverwrittenPath(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	const names = "domain='a.example'\nmailboxes=['one', 'two']\n"
	s.write("maps/a.toml", names+"[mailbox.one]\npath='/srv/one'\n")
	g, log := open(t, s.path("maps"))
	s.write("maps/a.toml", "# edited\n"+names)
	if err := g.Check(); err != nil || g.next().IsZero() {
		t.Errorf("%v, %v", err, log)
	}
	if m := g.Current().Lookup("one", "a.example").Members; len(m) != 1 || m[0].Path != "/srv/one" {
		t.Errorf("a part of a map serves: %v", m)
	}
	s.write("maps/a.toml", "# edited\ndomain='a.example'\nmailboxes=['one', 'two', 'three']\n[mailbox.one]\npath='/srv/one'\n")
	if err := g.Check(); err != nil || !served(g, "three") {
		t.Errorf("who is new waits: %v, %v", err, log)
	}
}

// Whoever may not read a map takes it for none that is gone.
func TestForbiddenMaps(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("run this as root, as contrib/check does: only root can become another user")
	}
	s := scene{t, t.TempDir()}
	s.must(os.Chmod(s.root, 0o755))
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("one"))
	s.write("maps/b.toml", "domain='b.example'\nmailboxes=['one']")
	g, _ := open(t, s.path("maps"))
	forbidden := func(name string) {
		t.Helper()
		s.must(os.Chmod(s.path(name), 0))
		done := make(chan error)
		go func() { // its thread, which is another user from now on, ends with it
			runtime.LockOSThread()
			_ = unix.Setfsuid(65534)
			done <- g.Reload(Request{Force: true}) // which does not make a domain go that is there
		}()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "permission denied") || !served(g, "one") {
			t.Errorf("%s forbidden: %v", name, err)
		}
		s.must(os.Chmod(s.path(name), 0o755))
		if err := g.Reload(Request{}); err != nil || g.Failure() != nil {
			t.Errorf("%s allowed again: %v", name, err)
		}
	}
	forbidden("maps/a.toml")
	forbidden("maps")
}

// What an editor leaves is no map.
func TestLeftovers(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("one"))
	g, log := open(t, s.path("maps"))
	for _, name := range []string{"a.toml~", ".a.toml.swp", ".a.toml", "#a.toml#", "a.toml.bak", "a.toml.dpkg-new", "a.tom", "A.TOML", "4913", ".#a.toml", "#a.toml"} {
		s.write("maps/"+name, "domain=")
	}
	if err := g.Reload(Request{}); err != nil || log.String() != "" {
		t.Errorf("%v, %s", err, log)
	}
}

// A copy of a map that somebody left in the folder is refused, and stays so when the
// original is edited, whatever comes first in the alphabet.
func TestCopyIsLeft(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/m.toml", mapOf("one"))
	g, _ := open(t, s.path("maps"))
	for _, name := range []string{"m.old.toml", "m (copy).toml", "z.toml"} {
		s.write("maps/"+name, mapOf("one"))
	}
	if err := g.Reload(Request{}); err == nil || !served(g, "one") {
		t.Errorf("copies: %v", err)
	}
	s.write("maps/m.toml", mapOf("one", "two"))
	if err := g.Reload(Request{}); err == nil || !served(g, "two") {
		t.Errorf("the original is edited beside copies: %v", err)
	}
}

// An edit that takes away what another map needs is refused, and no other edit is:
// not one of a map that the other needs as well.
func TestBlameIsForOne(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("x", "y"))
	s.write("maps/b.toml", "domain='b.example'\nmailboxes=['z']\n[aliases]\nto=['x@a.example','u@c.example','v@d.example']")
	s.write("maps/c.toml", "domain='c.example'\nmailboxes=['u']")
	s.write("maps/d.toml", "domain='d.example'\nmailboxes=['v']")
	g, _ := open(t, s.path("maps"))
	known := func(name, domain string) bool { return g.Current().Lookup(name, domain).Status == Known }
	s.write("maps/a.toml", mapOf("y"))
	s.write("maps/c.toml", "domain='c.example'\nmailboxes=['u','new']")
	s.remove("maps/d.toml")
	if err := g.Reload(Request{Force: true}); err == nil || !known("x", "a.example") || !known("v", "d.example") || !known("new", "c.example") {
		t.Errorf("%v; x: %v, v: %v, new: %v", err, known("x", "a.example"), known("v", "d.example"), known("new", "c.example"))
	}
}

// Whatever is edited in whatever order: each map that serves is one that was
// written, the newest or what served before; what serves is what the same maps
// would be if they were read at once; and what is good serves.
func TestRandomEdits(t *testing.T) {
	const rounds = 300
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	letters := []string{"a", "b", "c", "d"}
	written := make(map[string]string)
	for _, l := range letters {
		written[l] = randomMap(random, l, nil)
		s.write("maps/"+l+".toml", written[l])
	}
	g, _ := Open(s.path("maps"), Options{Hostname: "mx.a.example", Log: slog.New(slog.DiscardHandler), LoseNames: 20, LosePercent: 50})
	for range rounds {
		for range 1 + random.IntN(3) {
			l := letters[random.IntN(len(letters))]
			written[l] = randomMap(random, l, letters)
			s.write("maps/"+l+".toml", written[l])
		}
		before := g.Current()
		err := g.Reload(Request{Force: true})
		after := g.Current()
		var now []source
		for _, m := range after.maps {
			if old := before.mapOf(m.name); m != old && m.doc.text != written[m.name[:1]] {
				t.Fatalf("seed %d: %s is neither new nor old", seed, m.name)
			}
			now = append(now, source{name: m.file, text: m.doc.text})
		}
		whole, werr := build(now, "mx.a.example")
		if werr != nil {
			t.Fatalf("seed %d: what serves is wrong: %v", seed, werr)
		}
		if got, want := dump(after), dump(whole); got != want {
			t.Fatalf("seed %d: it serves\n%s\nand at once it would be\n%s", seed, got, want)
		}
		if _, err2 := LoadRecipients(s.path("maps"), "mx.a.example"); (err == nil) != (err2 == nil) {
			t.Fatalf("seed %d: reloaded: %v, at once: %v", seed, err, err2)
		}
	}
}

// randomMap writes a map of few names with aliases to the domains of others, now
// and then a wrong one.
func randomMap(random *rand.Rand, letter string, others []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "domain='%s.example'\nmailboxes=['m0'", letter)
	for i := 1; i < 3; i++ {
		if random.IntN(4) > 0 {
			fmt.Fprintf(&b, ",'m%d'", i)
		}
	}
	b.WriteString("]\n[aliases]\n")
	for i := range random.IntN(4) {
		to := fmt.Sprintf("m%d", random.IntN(3))
		if random.IntN(3) == 0 {
			to = fmt.Sprintf("x%d", random.IntN(3))
		}
		if others == nil {
			to = "m0"
		} else if random.IntN(2) == 0 {
			to += "@" + others[random.IntN(len(others))] + ".example"
		}
		fmt.Fprintf(&b, "x%d=['%s']\n", i, to)
	}
	if others != nil && random.IntN(6) == 0 {
		fmt.Fprintf(&b, "'*'=['postmaster@%s.example']\n", others[random.IntN(len(others))])
	}
	if others != nil && random.IntN(8) == 0 {
		b.WriteString("broken")
	}
	return b.String()
}

// dump writes who gets mail by r.
func dump(r *Recipients) string {
	var all []string
	for _, domain := range r.Domains() {
		for name := range r.domains[domain].known() {
			all = append(all, name+"@"+domain+": "+r.Lookup(name, domain).describe())
		}
		all = append(all, "*@"+domain+": "+r.Lookup("anybody", domain).describe())
	}
	slices.Sort(all)
	return fmt.Sprintf("%d mailboxes\n%s\n", r.Mailboxes(), strings.Join(all, "\n"))
}

// A map that did not change is not decoded again, nor is what does not lead to
// one that did.
func TestUnchangedMaps(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("one"))
	s.write("maps/b.toml", "domain='b.example'\nmailboxes=['one']\n[aliases]\nx=['one@a.example']")
	s.write("maps/c.toml", "domain='c.example'\nmailboxes=['one']\n[aliases]\nx=['x@b.example']")
	s.write("maps/d.toml", "domain='d.example'\nmailboxes=['one']\n[aliases]\nx=['one']")
	g, _ := open(t, s.path("maps"))
	before := g.Current()
	s.write("maps/a.toml", mapOf("one", "two"))
	if err := g.Reload(Request{}); err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string][2]bool{"a": {false, false}, "b": {true, false}, "c": {true, false}, "d": {true, true}} {
		was, is := before.domains[domain+".example"], g.Current().domains[domain+".example"]
		if got := [2]bool{was.source == is.source, was == is}; got != want {
			t.Errorf("%s.example: the same map and domain are %v, not %v", domain, got, want)
		}
	}
	broken := filepath.Join(s.root, "maps/a.toml")
	write(t, broken, "domain=")
	_ = g.Reload(Request{})
	first := g.compiled["a.toml"]
	_ = g.Reload(Request{})
	if g.compiled["a.toml"] != first {
		t.Error("a broken map is decoded again")
	}
}
