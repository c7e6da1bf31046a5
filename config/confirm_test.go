package config

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestProbation(t *testing.T) {
	type step func(t *testing.T, s scene, g *Generations)
	put := func(file, text string) step {
		return func(t *testing.T, s scene, g *Generations) { s.write("maps/"+file, text) }
	}
	reload := func(q Request) step {
		return func(t *testing.T, s scene, g *Generations) {
			if err := g.Reload(q); err != nil {
				t.Error(err)
			}
		}
	}
	heard := func(t *testing.T, _ scene, g *Generations) { _ = g.Check() }
	sleep := func(d time.Duration) step {
		return func(*testing.T, scene, *Generations) { time.Sleep(d); synctest.Wait() }
	}
	confirm := func(t *testing.T, _ scene, g *Generations) {
		if err := g.Confirm(); err != nil {
			t.Error(err)
		}
	}
	five := Request{Confirm: 5 * time.Minute}
	tests := []struct {
		name   string
		steps  []step
		serves string // of the mailboxes one to four at a.example, and b and c
	}{
		{"not confirmed", []step{put("a.toml", mapOf("one", "two")), reload(five), sleep(6 * time.Minute)}, "one b"},
		{"meanwhile", []step{put("a.toml", mapOf("one", "two")), reload(five), sleep(4 * time.Minute)}, "one two b"},
		{"confirmed", []step{put("a.toml", mapOf("one", "two")), reload(five), sleep(4 * time.Minute), confirm, sleep(time.Hour)}, "one two b"},
		{"noticed before", []step{put("a.toml", mapOf("one", "two")), heard, reload(five), sleep(time.Hour)}, "one b"},
		{"again, as it was taken back", []step{put("a.toml", mapOf("one", "two")), reload(five), sleep(time.Hour), reload(Request{})}, "one two b"},
		{"heard of, as it was taken back", []step{put("a.toml", mapOf("one", "two")), reload(five), sleep(time.Hour), heard}, "one b"},
		{"edited after it was taken back", []step{put("a.toml", mapOf("one", "two")), reload(five), sleep(time.Hour), put("a.toml", mapOf("one", "three")), heard}, "one three b"},
		{"edited meanwhile", []step{put("a.toml", mapOf("one", "two")), reload(five), put("a.toml", mapOf("one", "three")), heard, sleep(time.Hour)}, "one b"},
		{"another edited meanwhile", []step{put("a.toml", mapOf("one", "two")), reload(five), put("c.toml", "domain='c.example'\nmailboxes=['one']"), heard, sleep(time.Hour)}, "one b c"},
		{"a new domain", []step{put("c.toml", "domain='c.example'\nmailboxes=['one']"), reload(five), sleep(time.Hour)}, "one b"},
		{"a domain less", []step{func(_ *testing.T, s scene, _ *Generations) { s.remove("maps/b.toml") }, reload(Request{Force: true, Confirm: time.Minute}), sleep(time.Hour)}, "one b"},
		{"a domain less, confirmed", []step{func(_ *testing.T, s scene, _ *Generations) { s.remove("maps/b.toml") }, reload(Request{Force: true, Confirm: time.Minute}), confirm, sleep(time.Hour)}, "one"},
		{"put off", []step{put("a.toml", mapOf("one", "two")), reload(five), sleep(4 * time.Minute), reload(five), sleep(4 * time.Minute)}, "one two b"},
		{"put off in vain", []step{put("a.toml", mapOf("one", "two")), reload(five), put("a.toml", mapOf("one", "two", "three")), reload(five), sleep(time.Hour)}, "one b"},
		{"a later one needs it", []step{put("c.toml", "domain='c.example'\nmailboxes=['one']"), reload(five),
			put("a.toml", mapOf("one", "two")+"[aliases]\nx=['one@c.example']"), heard, sleep(time.Hour)}, "one b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := scene{t, t.TempDir()}
			s.mkdir("maps")
			s.write("maps/a.toml", mapOf("one"))
			s.write("maps/b.toml", "domain='b.example'\nmailboxes=['one']")
			var o Options
			synctest.Test(t, func(t *testing.T) {
				g, _ := open(t, s.path("maps"))
				o = g.options
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { g.Run(ctx) })
				for _, step := range tt.steps {
					step(t, s, g)
				}
				if got := serving(g); got != tt.serves {
					t.Errorf("it serves %q, not %q", got, tt.serves)
				}
				o.Keep = g.options.Keep
				cancel()
				wg.Wait()
			})
		})
	}
}

func serving(g *Generations) string {
	var all []string
	for _, name := range []string{"one", "two", "three"} {
		if served(g, name) {
			all = append(all, name)
		}
	}
	for _, domain := range []string{"b", "c"} {
		if g.Current().Lookup("one", domain+".example").Status == Known {
			all = append(all, domain)
		}
	}
	return strings.Join(all, " ")
}

// A restart confirms nothing.
func TestProbationAndRestart(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("one"))
	s.write("maps/b.toml", "domain='b.example'\nmailboxes=['one']")
	g, _ := open(t, s.path("maps"))
	restarted := func(want string) {
		t.Helper()
		again, err := Open(s.path("maps"), g.options)
		if err != nil {
			t.Fatal(err)
		}
		if got := serving(again); got != want {
			t.Errorf("after a restart it serves %q, not %q", got, want)
		}
		g = again
	}
	if err := g.Reload(Request{Confirm: time.Hour}); err == nil {
		t.Error("nothing is to be confirmed")
	}
	if err := g.Confirm(); err == nil {
		t.Error("nothing was confirmed")
	}
	s.write("maps/a.toml", mapOf("one", "two"))
	if err := g.Reload(Request{Confirm: time.Hour}); err != nil || serving(g) != "one two b" {
		t.Fatalf("%v; it serves %s", err, serving(g))
	}
	if until, undo := g.Probation(); time.Until(until) < 50*time.Minute || undo == g.Current().ID() {
		t.Errorf("on probation until %v, or else %s", until, undo)
	}
	restarted("one b")
	restarted("one b")
	if f := g.Failure(); f == nil || !strings.Contains(f.Err.Error(), "nobody confirmed it") {
		t.Errorf("the failure is %v", f)
	}
	if err := g.Reload(Request{}); err != nil || serving(g) != "one two b" {
		t.Errorf("%v; it serves %s", err, serving(g))
	}
	restarted("one two b")
	s.remove("maps/b.toml")
	if err := g.Reload(Request{Force: true, Confirm: time.Hour}); err != nil || serving(g) != "one two" {
		t.Errorf("%v; it serves %s", err, serving(g))
	}
	restarted("one two b")
	if err := g.Reload(Request{Force: true, Confirm: time.Hour}); err != nil {
		t.Error(err)
	}
	if err := g.Confirm(); err != nil {
		t.Error(err)
	}
	restarted("one two")
}

// Who starts amid the probation of another process has what that one serves, for those
// who come from there; and nothing of it is for good before it is confirmed.
func TestProbationElsewhere(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("one"))
	first, _ := open(t, s.path("maps"))
	other, _ := open(t, s.path("maps"))
	s.write("maps/a.toml", mapOf("one", "two"))
	s.must(first.Reload(Request{Confirm: time.Minute}))
	s.must(other.Reload(Request{Confirm: time.Minute}))
	again, err := Open(s.path("maps"), first.options)
	s.must(err)
	if served(again, "two") {
		t.Error("what nobody has confirmed serves after a restart")
	}
	if err := again.CatchUp("another"); served(again, "two") {
		t.Errorf("what serves nowhere serves: %v", err)
	}
	id := other.Current().ID()
	if err := again.CatchUp(id); err != nil || again.At(id).Lookup("two", "a.example").Status != Known {
		t.Errorf("what serves elsewhere is not to be had: %v", err)
	}
	if third, err := Open(s.path("maps"), first.options); err != nil || served(again, "two") || served(third, "two") {
		t.Errorf("what nobody has confirmed serves for good: %v", err)
	}
}

// Of a journal that was cut off or damaged anywhere, what is read is a generation
// that was saved, the newest that is whole.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "journal")
	maps := [][]string{
		{mapOf("one"), "domain='b.example'\nmailboxes=['x']"},
		{mapOf("one", "two"), "domain='b.example'\nmailboxes=['x']"},
		{"\ufeff" + mapOf("one", "two")},
		{mapOf("three"), "domain='c.example'\nmailboxes=['x']"},
	}
	j := journal{name: name}
	var ids []string
	var ends []int64
	for i, texts := range maps {
		r := recipients(t, texts...)
		if err := j.save(r, map[string]string{"x.toml": strings.Repeat("x", i)}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		ids, ends = append(ids, r.id), append(ends, info.Size())
	}
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		write(t, name, string(whole[:cut]))
		j := journal{name: name}
		k, err := j.open(dir)
		want := -1
		for i, end := range ends {
			if int64(cut) >= end {
				want = i
			}
		}
		switch {
		case want < 0 && err == nil:
			t.Errorf("cut at %d, it is read", cut)
		case want >= 0 && (err != nil || digest(k.sources) != ids[want] || len(k.held["x.toml"]) != want):
			t.Errorf("cut at %d: %v", cut, err)
		}
		if cut%10 > 0 {
			continue
		}
		next := recipients(t, mapOf("four"))
		if err := j.save(next, nil); err != nil {
			t.Fatal(err)
		}
		if k, err := (&journal{name: name}).open(dir); err != nil || digest(k.sources) != next.id {
			t.Errorf("cut at %d, and appended to: %v", cut, err)
		}
	}
	for at := range whole {
		damaged := append([]byte{}, whole...)
		damaged[at] ^= 0x20
		write(t, name, string(damaged))
		if k, err := (&journal{name: name}).open(dir); err == nil && !strings.Contains(strings.Join(ids, " "), digest(k.sources)) {
			t.Errorf("damaged at %d, it is a generation that was not saved", at)
		}
	}
}

// A journal does not grow for ever.
func TestJournalIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	j := journal{name: name}
	pad := "# " + strings.Repeat("x", 100_000) + "\n"
	for i := range 100 {
		if err := j.save(recipients(t, mapOf("one", strings.Repeat("y", 1+i%60))+pad), nil); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(name); err != nil || info.Size() > 2<<20 {
			t.Fatalf("%v, %v", info.Size(), err)
		}
	}
	if k, err := (&journal{name: name}).open(""); err != nil || len(k.sources) != 1 {
		t.Error(err)
	}
}

// Where the edit that is to be on probation is refused, none is: neither one of before,
// nor one that was confirmed.
func TestConfirmOfWhatIsRefused(t *testing.T) {
	s := scene{t, t.TempDir()}
	s.mkdir("maps")
	s.write("maps/a.toml", mapOf("one"))
	g, _ := open(t, s.path("maps"))
	s.write("maps/a.toml", mapOf("one", "two"))
	if err := g.Reload(Request{Confirm: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := g.Confirm(); err != nil {
		t.Fatal(err)
	}
	s.write("maps/a.toml", "domain=")
	err := g.Reload(Request{Confirm: time.Hour})
	if until, _ := g.Probation(); err == nil || !strings.Contains(err.Error(), "a.toml:1:") || !until.IsZero() {
		t.Errorf("refused: %v, on probation until %v", err, until)
	}
	s.write("maps/a.toml", mapOf("one", "two"))
	err = g.Reload(Request{Confirm: time.Hour})
	if until, _ := g.Probation(); err == nil || !until.IsZero() {
		t.Errorf("confirmed before: %v, on probation until %v", err, until)
	}
}
