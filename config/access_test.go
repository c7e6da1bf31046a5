package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSampleAccess(t *testing.T) {
	rules, err := LoadAccess("../testdata/config/access.d", nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = "[{example.toml:11 allow  [] [] [] [abuse@ security@example.com]} " +
		"{example.toml:15 allow  [198.51.100.0/24] [] [.partner.example] []} " +
		"{example.toml:20 deny not from there; write to postmaster by other means [203.0.113.0/24 2001:db8:bad::/48] [] [] []} " +
		"{example.toml:25 defer  [] [] [newsletter@] []}]"
	if got := fmt.Sprint(rules); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAccessRules(t *testing.T) {
	tests := []struct {
		name  string
		files []string
		want  string // rules, or mistakes
	}{
		{"none", nil, "[]"},
		{"no rule", []string{"# nothing yet\n"}, "[]"},
		{"in braces", []string{"\nrule = [\n  {action='deny', helo=['a']},\n\n {action='allow', helo=['b']} ]"}, "[{1.toml:3 deny  [] [a] [] []} {1.toml:5 allow  [] [b] [] []}]"},
		{"in order", []string{"[[rule]]\naction='deny'\nsender=['<>']", "[[rule]]\naction='allow'\nclient=['192.0.2.1']\n[[rule]]\naction='deny'\nhelo=['x']"},
			"[{1.toml:1 deny  [] [] [<>] []} {2.toml:1 allow  [192.0.2.1/32] [] [] []} {2.toml:4 deny  [] [x] [] []}]"},
		{"mistakes", []string{"rules=[]\n[[rule]]\nhelo=['x']\n[[rule]]\naction='drop'\nclient=['192.0.2.1/24']\nsenders=['x']\nrecipient=[]\ntext='ü'"}, `
			1.toml:1:1: unknown key "rules"; did you mean "rule"?
			1.toml:2:3: rule has no action; write action = "deny"
			1.toml:5:8: rule.action: "drop" is not known; write "allow" or "deny" or "defer"
			1.toml:6:9: rule.client: "192.0.2.1/24" has bits set beyond its length; write "192.0.2.0/24" or "192.0.2.1"
			1.toml:7:1: unknown key "senders" in [rule]; did you mean "sender"?
			1.toml:8:11: rule.recipient: an empty list would fit everybody; remove it, or the rule
			1.toml:9:6: rule.text: "ü" has a character that is not printable ASCII`},
		{"no tables", []string{"rule=['x']\n", "rule=1"}, `
			1.toml:1:7: rule: must not be a string; write it as [[rule]]
			2.toml:1:6: rule must not be a whole number; write it as [[rule]]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules, err := accessRules(sources(tt.files...), nil)
			if err != nil {
				compare(t, lines(t, err), tt.want)
			} else if got := fmt.Sprint(rules); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Rules are used when they were edited, and stay in use when an edit is broken,
// or the user refuses them, even over a restart.
func TestAccess(t *testing.T) {
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "access")
	name := filepath.Join(dir, "a.toml")
	var (
		mu   sync.Mutex
		used []string
	)
	check := func(r AccessRule) error {
		if r.Hello[0] == "refused" {
			return errors.New("refused")
		}
		return nil
	}
	use := func(rules []AccessRule) error {
		mu.Lock()
		defer mu.Unlock()
		used = append(used, fmt.Sprint(rules))
		return nil
	}
	last := func() string {
		mu.Lock()
		defer mu.Unlock()
		return used[len(used)-1]
	}
	log := slog.New(slog.DiscardHandler)
	if _, err := OpenAccess(filepath.Join(dir, "absent"), kept, log, check, use); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	write(t, name, "[[rule]]\naction='deny'\nhelo=['a']")
	a, err := OpenAccess(dir, kept, log, check, use)
	if err != nil {
		t.Fatal(err)
	}
	const first = "[{a.toml:1 deny  [] [a] [] []}]"
	if last() != first {
		t.Errorf("used %v", used)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error)
	go func() { watched <- a.Watch(ctx) }()
	defer func() { cancel(); <-watched }()

	write(t, name, "[[rule]]\naction='defer'\nhelo=['b']")
	await(t, func() bool { return last() == "[{a.toml:1 defer  [] [b] [] []}]" })
	await(t, func() bool { return a.Failure() == nil }) // the file may have been seen empty; and then it is kept, too
	for _, broken := range []string{"[[rule", "[[rule]]\naction='deny'\nhelo=['refused']"} {
		write(t, name, broken)
		await(t, func() bool { return a.Failure() != nil })
		b, err := OpenAccess(dir, kept, log, check, use)
		if err != nil || b.Failure() == nil || last() != "[{a.toml:1 defer  [] [b] [] []}]" {
			t.Errorf("after a restart with a broken edit: %v, %v", err, used)
		}
		write(t, name, "[[rule]]\naction='defer'\nhelo=['b']")
		await(t, func() bool { return a.Failure() == nil })
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return last() == "[]" })
}

// A file that is broken, or refused by the user, keeps its own old version, and the
// others go on; a new one that is broken is left out; one that is gone is gone.
func TestOneBrokenAccessFile(t *testing.T) {
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "access")
	rule := func(name string) string { return "[[rule]]\naction='deny'\nhelo=['" + name + "']\n" }
	edit := func(file, text string) { write(t, filepath.Join(dir, file), text) }
	check := func(r AccessRule) error {
		if r.Hello[0] == "wrong" {
			return errors.New("is wrong")
		}
		return nil
	}
	var serves []string
	use := func(rules []AccessRule) error {
		serves = nil
		for _, r := range rules {
			serves = append(serves, r.Hello[0])
		}
		return nil
	}
	edit("a.toml", rule("a1"))
	edit("b.toml", rule("b1"))
	a, err := OpenAccess(dir, kept, slog.New(slog.DiscardHandler), check, use)
	if err != nil {
		t.Fatal(err)
	}
	is := func(want, old, mistake string) {
		t.Helper()
		changes, cerr := a.Changes()
		err := a.Reload()
		f := a.Failure()
		if got := fmt.Sprint(serves); got != want || f == nil || fmt.Sprint(f.Old) != old || !strings.Contains(fmt.Sprint(err), mistake) {
			t.Errorf("%v serve and not %s; %+v, %v", serves, want, f, err)
		}
		if fmt.Sprint(cerr) != fmt.Sprint(err) || fmt.Sprint(changes.Old) != old {
			t.Errorf("diff says %v, %v; reload %v", changes, cerr, err)
		}
		b, err := OpenAccess(dir, kept, slog.New(slog.DiscardHandler), check, use)
		if err != nil || b.Failure() == nil || fmt.Sprint(serves) != want {
			t.Errorf("after a restart %v serve: %v", serves, err)
		}
	}
	edit("a.toml", rule("a2")+"[[rule")
	edit("b.toml", rule("b2"))
	is("[a1 b2]", "[a.toml]", "a.toml:4:")
	edit("a.toml", rule("a3")+rule("wrong"))
	edit("b.toml", rule("b3"))
	is("[a1 b3]", "[a.toml]", "a.toml:4:1: is wrong")
	edit("a.toml", rule("a4")+"# the end\n")
	edit("c.toml", rule("c1")+"x")
	is("[a4 b3]", "[]", "c.toml:4:")
	edit("a.toml", rule("a4"))
	is("[a4 b3]", "[a.toml]", "is cut off")
	edit("a.toml", "")
	is("[a4 b3]", "[a.toml]", "is empty")
	for _, name := range []string{"a.toml", "b.toml"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	is("[]", "[]", "c.toml:4:")
	if err := os.Remove(filepath.Join(dir, "c.toml")); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err != nil || a.Failure() != nil || len(serves) > 0 {
		t.Errorf("an empty folder: %v, %v", err, serves)
	}
	edit("a.toml", rule("a5"))
	if err := a.Reload(); err != nil {
		t.Error(err)
	}
	rename := dir + ".away"
	if err := os.Rename(dir, rename); err != nil {
		t.Fatal(err)
	}
	is("[a5]", "[a.toml]", "no such file")
	if err := os.Rename(rename, dir); err != nil {
		t.Fatal(err)
	}
	if err := a.reload(false); err != nil || a.Failure() != nil {
		t.Errorf("the folder is back with the same rules: %v, %v", err, a.Failure())
	}
}

// Rules that could not be kept are kept by the next reload.
func TestKeepAccessAgain(t *testing.T) {
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "state", "access")
	write(t, filepath.Join(dir, "a.toml"), "[[rule]]\naction='deny'\nhelo=['a']")
	a, err := OpenAccess(dir, kept, slog.New(slog.DiscardHandler), nil, func([]AccessRule) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(kept), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing happened")
		}
	}
}
