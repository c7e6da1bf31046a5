package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A logbook is what was logged, for a test to read meanwhile.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// count returns how many lines have what in them.
func (l *logbook) count(what string) int { return strings.Count(l.String(), what) }

func options(keep string, log *logbook) Options {
	return Options{Hostname: "mx.a.example", Keep: keep, Log: slog.New(slog.NewTextHandler(log, nil)), LoseNames: 20, LosePercent: 50}
}

func open(t *testing.T, dir string) (*Generations, *logbook) {
	t.Helper()
	log := new(logbook)
	g, err := Open(dir, options(filepath.Join(t.TempDir(), "kept"), log))
	if err != nil {
		t.Fatal(err)
	}
	return g, log
}

// served reports whether name@a.example has a mailbox.
func served(g *Generations, name string) bool {
	return g.Current().Lookup(name, "a.example").Status == Known
}

func mapOf(names ...string) string {
	return fmt.Sprintf("domain = \"a.example\"\nmailboxes = [\"%s\"]\n", strings.Join(names, `", "`))
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.toml"), filepath.Join(dir, "b.toml")
	write(t, a, mapOf("one"))
	write(t, b, "domain='b.example'\nmailboxes=[]\nalias_domains=['c.example']")
	g, log := open(t, dir)
	first := g.Current()

	// nothing new
	if err := g.Reload(Request{}); err != nil || g.Current() != first || log.String() != "" {
		t.Errorf("reload of the same: %v, %q", err, log)
	}

	// a good one
	write(t, a, mapOf("one", "two"))
	if err := g.Reload(Request{}); err != nil || !served(g, "two") || g.Current().ID() == first.ID() {
		t.Errorf("reload: %v", err)
	}
	if first.Lookup("two", "a.example").Status != Unknown {
		t.Error("an old generation has changed")
	}
	second := g.Current()

	// a broken one, thrice
	write(t, a, "domain = \"a.example\nx=")
	for range 3 {
		err := g.Reload(Request{})
		var m Mistake
		if !errors.As(err, &m) || m.File != a || m.Line != 1 || g.Current() != second {
			t.Errorf("broken: %v", err)
		}
		if f := g.Failure(); f == nil || f.Err.Error() != err.Error() {
			t.Errorf("failure is %v, not %v", f, err)
		}
		_ = g.Check()
	}
	if n := log.count("level=ERROR"); n != 1 {
		t.Errorf("logged %d times: %s", n, log)
	}

	// as it was
	write(t, a, mapOf("one", "two"))
	_ = g.Check()
	if g.Failure() != nil || g.Current() != second || log.count("maps loaded") != 1 || log.count("good again") != 1 {
		t.Errorf("mended: %v, %s", g.Failure(), log)
	}

	// no folder
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(Request{Force: true}); !errors.Is(err, fs.ErrNotExist) || g.Current() != second {
		t.Errorf("no folder: %v", err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(Request{}); err != nil || g.Failure() != nil || g.Current() != second {
		t.Errorf("folder is back: %v", err)
	}
}

// A server starts with the newest maps that were good, whatever has become of
// them since.
func TestKept(t *testing.T) {
	dir, state, log := t.TempDir(), t.TempDir(), new(logbook)
	name, keep := filepath.Join(dir, "a.toml"), filepath.Join(state, "recipients")
	start := func() (*Generations, error) {
		return Open(dir, options(keep, log))
	}
	write(t, name, "domain=")
	var ms Mistakes
	if _, err := start(); !errors.As(err, &ms) || errors.Is(err, fs.ErrNotExist) { // that nothing was kept is no news
		t.Errorf("without any good maps: %v", err)
	}
	write(t, name, mapOf("one"))
	g, err := start()
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, mapOf("two"))
	if err := g.Reload(Request{}); err != nil {
		t.Fatal(err)
	}
	two := g.Current()
	write(t, name, "domain=")
	if err := g.Reload(Request{}); err == nil {
		t.Fatal("broken maps are loaded")
	}
	g, err = start()
	if err != nil || !served(g, "two") || g.Current().ID() != two.ID() || g.Failure() == nil {
		t.Fatalf("after a restart: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if g, err = start(); err != nil || !served(g, "two") || g.Failure() == nil {
		t.Fatalf("without a folder: %v", err)
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, name, mapOf("three"))
	if err := g.Reload(Request{}); err != nil || !served(g, "three") || g.Failure() != nil {
		t.Errorf("mended: %v", err)
	}
	if files, err := os.ReadDir(state); err != nil || len(files) != 1 {
		t.Errorf("%v is left, %v", files, err)
	}

	for _, damaged := range []string{"", "[]", "{", `[{"Name":"x","Text":"domain="}]`} {
		write(t, keep, damaged)
		write(t, name, "domain=")
		if _, err := start(); err == nil {
			t.Errorf("%q serves", damaged)
		}
	}

	write(t, name, mapOf("four"))
	if g, err = Open(dir, options(filepath.Join(state, "absent", "x"), log)); err != nil || !served(g, "four") {
		t.Errorf("nowhere to keep them: %v", err)
	}
	if log.count("would not survive") != 1 {
		t.Errorf("the log is %s", log)
	}
}

func TestReloadOfLess(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.toml"), filepath.Join(dir, "b.toml")
	many := strings.Fields(strings.Repeat("x ", 60))
	for i := range many {
		many[i] = fmt.Sprint("user", i)
	}
	write(t, a, mapOf(many...))
	write(t, b, "domain='b.example'\nmailboxes=[]\nalias_domains=['c.example']")
	g, _ := open(t, dir)
	first := g.Current()

	refused := func(what ...string) {
		t.Helper()
		err := g.Reload(Request{})
		if err == nil || g.Current() != first {
			t.Fatalf("%s is loaded", what)
		}
		compare(t, lines(t, err), strings.Join(what, "\n"))
	}
	const hint = "; if that is meant, reload with --force"
	write(t, a, mapOf(many[:29]...))
	tooFew := a + ": the domain a.example would lose 31 of its 60 names" + hint
	refused(tooFew)
	renamed := slices.Clone(many)
	for i := range 31 {
		renamed[i] += "x"
	}
	write(t, a, mapOf(renamed...))
	refused(tooFew)
	write(t, b, "domain='b.example'\nmailboxes=[] # few")
	refused(tooFew, b+": the domain c.example would no longer be served"+hint)
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	refused(tooFew, b+": is gone, and b.example with it"+hint, b+": is gone, and c.example with it"+hint)
	if err := g.Reload(Request{Force: true}); err != nil || g.Current() == first || g.Failure() != nil {
		t.Errorf("forced: %v", err)
	}
	if got := g.Current().Lookup("postmaster", "b.example").Status; got != NotServed {
		t.Errorf("b.example is %v", got)
	}

	// half of it, or a few names, may go; and a domain may become another's alias
	for _, names := range [][]string{renamed[:30], renamed[:15], renamed[:1]} {
		write(t, a, mapOf(names...))
		if err := g.Reload(Request{}); err != nil {
			t.Errorf("%d names: %v", len(names), err)
		}
	}
	write(t, a, "domain='z.example'\nmailboxes=['one']\nalias_domains=['a.example']")
	if err := g.Reload(Request{}); err != nil || !served(g, "one") {
		t.Errorf("alias: %v", err)
	}
}

// A scene is a folder of maps and how it is changed on disk. The names in it are
// below a folder of the test's own.
type scene struct {
	t    *testing.T
	root string
}

func (s scene) path(name string) string { return filepath.Join(s.root, name) }

func (s scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s scene) mkdir(name string)        { s.t.Helper(); s.must(os.MkdirAll(s.path(name), 0o777)) }
func (s scene) remove(name string)       { s.t.Helper(); s.must(os.RemoveAll(s.path(name))) }
func (s scene) rename(from, to string)   { s.t.Helper(); s.must(os.Rename(s.path(from), s.path(to))) }
func (s scene) write(name, text string)  { s.t.Helper(); write(s.t, s.path(name), text) }
func (s scene) link(target, name string) { s.t.Helper(); s.must(os.Symlink(target, s.path(name))) }

// swap makes the link name lead to target, at once.
func (s scene) swap(target, name string) {
	s.t.Helper()
	s.link(target, name+".tmp")
	s.rename(name+".tmp", name)
}

func TestWatch(t *testing.T) {
	tests := []struct {
		name  string
		dir   string // the folder as it is configured
		setup func(scene, string)
		edit  func(s scene, text string, n int) // the n-th change
	}{
		{"written in place", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.write("maps/a.toml", text)
		}, func(s scene, text string, _ int) {
			s.write("maps/a.toml", text)
		}},
		{"replaced", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.write("maps/a.toml", text)
		}, func(s scene, text string, _ int) {
			s.write("maps/.a.toml.new", text)
			s.rename("maps/.a.toml.new", "maps/a.toml")
		}},
		{"as vim does", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.write("maps/a.toml", text)
		}, func(s scene, text string, _ int) {
			s.write("maps/.a.toml.swp", "b0VIM")
			s.write("maps/4913", "")
			s.remove("maps/4913")
			s.rename("maps/a.toml", "maps/a.toml~")
			s.write("maps/a.toml", text)
			s.remove("maps/a.toml~")
			s.remove("maps/.a.toml.swp")
		}},
		{"as emacs does", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.write("maps/a.toml", text)
		}, func(s scene, text string, _ int) {
			s.link("me@host.1:2", "maps/.#a.toml")
			s.write("maps/#a.toml#", text)
			s.write("maps/a.toml", text)
			s.remove("maps/#a.toml#")
			s.remove("maps/.#a.toml")
		}},
		{"removed and written anew", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.write("maps/a.toml", text)
		}, func(s scene, text string, _ int) {
			s.remove("maps/a.toml")
			s.write("maps/a.toml", text)
		}},
		{"a volume of Kubernetes", "maps", func(s scene, text string) {
			s.mkdir("maps/..0")
			s.write("maps/..0/a.toml", text)
			s.link("..0", "maps/..data")
			s.link("..data/a.toml", "maps/a.toml")
		}, func(s scene, text string, n int) {
			s.mkdir(fmt.Sprintf("maps/..%d", n))
			s.write(fmt.Sprintf("maps/..%d/a.toml", n), text)
			s.swap(fmt.Sprintf("..%d", n), "maps/..data")
			s.remove(fmt.Sprintf("maps/..%d", n-1))
		}},
		{"the folder is a link", "etc/maps", func(s scene, text string) {
			s.mkdir("etc")
			s.mkdir("v0")
			s.write("v0/a.toml", text)
			s.link("../v0", "etc/maps")
		}, func(s scene, text string, n int) {
			s.mkdir(fmt.Sprintf("v%d", n))
			s.write(fmt.Sprintf("v%d/a.toml", n), text)
			s.swap(s.path(fmt.Sprintf("v%d", n)), "etc/maps")
		}},
		{"where a link leads", "etc/maps", func(s scene, text string) {
			s.mkdir("etc")
			s.mkdir("v0")
			s.write("v0/a.toml", text)
			s.link("../v0/", "etc/maps")
		}, func(s scene, text string, _ int) {
			s.write("v0/a.toml", text)
		}},
		{"a folder above is a link", "current/maps", func(s scene, text string) {
			s.mkdir("v0/maps")
			s.write("v0/maps/a.toml", text)
			s.link("v0", "current")
		}, func(s scene, text string, n int) {
			s.mkdir(fmt.Sprintf("v%d/maps", n))
			s.write(fmt.Sprintf("v%d/maps/a.toml", n), text)
			s.swap(fmt.Sprintf("v%d", n), "current")
		}},
		{"the file is a link", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.mkdir("elsewhere")
			s.write("elsewhere/x", text)
			s.link("../elsewhere/x", "maps/a.toml")
		}, func(s scene, text string, _ int) {
			s.write("elsewhere/y", text)
			s.rename("elsewhere/y", "elsewhere/x")
		}},
		{"the folder is removed and made anew", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.write("maps/a.toml", text)
		}, func(s scene, text string, _ int) {
			s.remove("maps")
			s.mkdir("maps")
			s.write("maps/a.toml", text)
		}},
		{"the folder is exchanged", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.write("maps/a.toml", text)
		}, func(s scene, text string, n int) {
			s.mkdir("new")
			s.write("new/a.toml", text)
			s.rename("maps", fmt.Sprintf("old%d", n))
			s.rename("new", "maps")
		}},
		{"the folder above is exchanged", "etc/maps", func(s scene, text string) {
			s.mkdir("etc/maps")
			s.write("etc/maps/a.toml", text)
		}, func(s scene, text string, n int) {
			s.mkdir("new/maps")
			s.write("new/maps/a.toml", text)
			s.rename("etc", fmt.Sprintf("old%d", n))
			s.rename("new", "etc")
		}},
		{"another file", "maps", func(s scene, text string) {
			s.mkdir("maps")
			s.write("maps/0.toml", text)
		}, func(s scene, text string, n int) {
			s.write(fmt.Sprintf("maps/%d.toml", n), text)
			s.remove(fmt.Sprintf("maps/%d.toml", n-1))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := scene{t, t.TempDir()}
			tt.setup(s, mapOf("user0"))
			g, log := open(t, s.path(tt.dir))
			watching(t, g, time.Hour) // no poll helps
			for n := 1; n <= 3; n++ {
				user := fmt.Sprint("user", n)
				tt.edit(s, mapOf(user), n)
				wait(t, user, log, func() bool { return served(g, user) && g.Failure() == nil })
			}
		})
	}
}

// watching runs the watcher until the test ends.
func watching(t *testing.T, g *Generations, poll time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.watch(ctx, poll); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() { g.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// wait waits until done, for as long as a busy machine may need.
func wait(t *testing.T, what string, log *logbook, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come; the log is\n%s", what, log)
		}
	}
}

func TestWatchMistakes(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("user0"))
	g, log := open(t, s.path("maps"))
	watching(t, g, time.Hour)

	s.write("maps/a.toml", mapOf("user1")+"nonsense")
	wait(t, "a mistake", log, func() bool { return g.Failure() != nil })
	if !served(g, "user0") || served(g, "user1") {
		t.Error("a broken map serves")
	}
	s.write("maps/a.toml", mapOf("user2"))
	wait(t, "user2", log, func() bool { return served(g, "user2") && g.Failure() == nil })

	s.remove("maps")
	wait(t, "a missing folder", log, func() bool { return g.Failure() != nil })
	if !served(g, "user2") {
		t.Error("without the folder, nobody is served")
	}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("user3"))
	wait(t, "user3", log, func() bool { return served(g, "user3") && g.Failure() == nil })

	s.write("maps/b.toml", "domain='b.example'\nmailboxes=[]")
	wait(t, "b.example", log, func() bool { return len(g.Current().Domains()) == 2 })
	s.remove("maps/b.toml")
	wait(t, "a missing domain", log, func() bool { return g.Failure() != nil })
	if err := g.Reload(Request{Force: true}); err != nil || len(g.Current().Domains()) != 1 {
		t.Errorf("forced: %v", err)
	}
}

// What is written anew but is the same makes no generation.
func TestWatchOfTheSame(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("user0"))
	g, log := open(t, s.path("maps"))
	watching(t, g, time.Hour)
	for range 20 {
		s.write("maps/.new", mapOf("user0"))
		s.rename("maps/.new", "maps/a.toml")
		s.write("maps/notes.txt", "to do")
	}
	s.write("maps/.new", mapOf("user1"))
	s.rename("maps/.new", "maps/a.toml")
	wait(t, "user1", log, func() bool { return served(g, "user1") && log.count("maps loaded") > 0 })
	if n := log.count("maps loaded"); n != 1 {
		t.Errorf("%d generations: %s", n, log)
	}
}

// A file that is written under another of its names tells the folder nothing,
// as one on a server does that somebody else writes to.
func TestPoll(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.mkdir("elsewhere")
	s.write("maps/a.toml", mapOf("user0"))
	s.must(os.Link(s.path("maps/a.toml"), s.path("elsewhere/a")))
	g, log := open(t, s.path("maps"))
	watching(t, g, 20*time.Millisecond)
	for n := 1; n <= 3; n++ {
		user := fmt.Sprint("user", n)
		s.write("elsewhere/a", mapOf(user))
		wait(t, user, log, func() bool { return served(g, user) && g.Failure() == nil })
	}
}

// After an overflow all is watched anew.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	w := watcher{folder: dir}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for range 3 {
		if err := w.follow(); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "a.toml"), "x")
		heard := false
		for !heard { // the test ends by its own deadline
			heard = w.concerns(<-w.events)
		}
		w.forget()
		if len(w.folders) != 0 || len(w.notify.WatchList()) != 0 {
			t.Errorf("%v is still watched", w.notify.WatchList())
		}
	}
}

// A folder that goes takes its watch with it, and must be added anew even if the
// next folder of its name gets its number too.
func TestFolderGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "maps")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	w := watcher{folder: dir}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.follow(); err != nil || w.folders[dir] == nil {
		t.Fatalf("%v is watched, %v", w.folders, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	for w.folders[dir] != nil {
		w.concerns(<-w.events)
	}
}

// Readers and a writer at once, for the race detector; each reader sees whole
// generations.
func TestConcurrentLookups(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.toml")
	write(t, name, mapOf("even"))
	g, _ := open(t, dir)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r := g.Current()
				even, odd := r.Lookup("even", "a.example").Status, r.Lookup("odd", "A.example").Status
				if (even == Known) == (odd == Known) {
					t.Errorf("generation %s: even is %v and odd is %v", r.ID(), even, odd)
					return
				}
			}
		})
	}
	for i := range 50 {
		write(t, name, mapOf([]string{"odd", "even"}[i%2]))
		if err := g.Reload(Request{}); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
}
