package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/config"
	"postern/internal/record"
	"postern/internal/replay"
	"postern/mail"
	"postern/policy"
)

// An edit is tried on what was recorded by the real server, before it serves.
func TestReplay(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, "limits: messages_per_recipient = 50", `policy: access = "access.d"`)
	s.write("access.d/a.toml", "[[rule]]\naction = 'deny'\nsender = ['access@good.example']\n")
	p := s.start("serve")
	rcpt := func(from, to, reply string) string {
		return "C: MAIL FROM:<" + from + ">\nS: 250 *\nC: RCPT TO:<" + to + "@example.com>\nS: " + reply + "\nC: RSET\nS: 250 *\n"
	}
	for i := range 10 {
		s.play("198.51.100.7", message("ann@good.example", fmt.Sprint("u", i), "250 *")+rcpt("ann@good.example", "nobody", "550 *"))
	}
	s.play("198.51.100.7", rcpt("access@good.example", "u1", "550 *")+rcpt("ann@good.example", "old", "550 *"))
	s.play("192.0.2.7", message("ann@reject.example", "u2", "550 *")+message("ann@reject.example", "postmaster", "250 *"))
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	compareGolden(t, s, "replay/same.txt", s.replay(t, "--against", ""))

	// A user less, one more, no more rule, and a milder policy.
	maps := s.read("recipients.d/example.com.toml")
	s.write("new/recipients.d/example.com.toml", strings.Replace(strings.Replace(maps, `"u3", `, "", 1), `"u0"`, `"u0", "nobody"`, 1))
	s.write("new/access.d/a.toml", "[[rule]]\naction = 'deny'\nsender = ['somebody@good.example']\n")
	text := strings.Replace(s.read("postern.toml"), `access = "access.d"`, "access = \"access.d\"\ndmarc_reject = \"quarantine\"", 1)
	for _, name := range []string{"state", "mx.sock"} {
		text = strings.Replace(text, fmt.Sprintf("%q", name), fmt.Sprintf("%q", filepath.Join(s.dir, name)), 1)
	}
	s.write("new/postern.toml", text+"\n[dnsbl]\nlists = [{ zone = \"new.example\" }]\n")
	compareGolden(t, s, "replay/edit.txt", s.replay(t, "--config", filepath.Join(s.dir, "new/postern.toml"), "--against", s.config))
	var told replay.Replay
	out := s.replay(t, "--config", filepath.Join(s.dir, "new/postern.toml"), "--json", "--since", "", "--against", "")
	if err := json.Unmarshal([]byte(out), &told); err != nil || told.Judged != 24 || told.Changed != 13 || len(told.Changes) != 4 || told.Changes[0].Times != 10 {
		t.Errorf("%v\n%s", err, out)
	}
	s.write("new/access.d/a.toml", "[[rule]]\naction = 'x'\n")
	if out, err := s.command("replay", "--config", filepath.Join(s.dir, "new/postern.toml")).CombinedOutput(); err == nil || !strings.Contains(string(out), "a.toml:2:") {
		t.Errorf("a mistake: %v\n%s", err, out)
	}
}

// replay runs "postern replay".
func (s *site) replay(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.command(append([]string{"replay"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("replay %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// recorded writes the records of n messages to users of example.com, the one of
// each that plant does not leave alone as it makes it, and returns the folder.
func recorded(t testing.TB, n int, plant func(i int, r *policy.Record)) string {
	t.Helper()
	dir := t.TempDir()
	store := record.Open(dir, record.Options{Keep: 24 * time.Hour, Size: 1 << 40, Sample: recordSample, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { store.Run(ctx); close(done) }()
	sample := recordSample[bytes.LastIndex(recordSample, []byte(`{"ID"`)):]
	start := time.Now().Add(-12 * time.Hour)
	for i := range n {
		r := new(policy.Record)
		if err := json.Unmarshal(sample, r); err != nil {
			t.Fatal(err)
		}
		to := mail.Address{Local: fmt.Sprint("u", i%10), Domain: "example.com"}
		r.Facts.Time = start.Add(time.Duration(i) * time.Millisecond)
		r.ID, r.MessageID = mail.NewID(r.Facts.Time), fmt.Sprint(i, "@sender.example")
		r.Facts.From.Local = fmt.Sprint("user", i)
		r.Facts.Greylist, r.Verdict.Action, r.Verdict.Reply, r.Verdict.Demands = nil, policy.Accept, mail.Reply{}, nil
		r.Recipients[0].To, r.Facts.To = to, []mail.Address{to}
		plant(i, r)
		for written, dropped := store.Counts(); int(written+dropped) < i-500; written, dropped = store.Counts() {
			time.Sleep(time.Millisecond)
		}
		store.Add(decision{r})
	}
	stop()
	<-done
	if _, dropped := store.Counts(); dropped != 0 {
		t.Fatalf("%d dropped", dropped)
	}
	return dir
}

// plantThree makes three of the records ones that an edit concerns.
func plantThree(n int) func(i int, r *policy.Record) {
	return func(i int, r *policy.Record) {
		switch i {
		case n / 7: // whom no map knows any more
			r.Recipients[0].To.Local, r.Facts.To[0].Local = "gone", "gone"
		case n / 3: // an access rule
			r.Facts.From.Local = "quarrel"
		case n - 1: // no Junk any more, but a refusal
			r.Verdict.DMARC.Verdict, r.Verdict.DMARC.Disposition, r.Verdict.Action = "fail", "quarantine", policy.Quarantine
			r.Verdict.Demands = []policy.Demand{{By: "dmarc", Action: policy.Quarantine}}
		}
	}
}

// Of many records those that an edit concerns are found, and no other.
func TestReplayFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	s := plantedSite(t)
	r, err := newReplay(s.config, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.run(t.Context(), recorded(t, 4112, plantThree(4112))); err != nil {
		t.Fatal(err)
	}
	if r.Judged != 4112 || r.Changed != 3 || len(r.Changes) != 3 {
		t.Fatalf("%d of %d: %+v", r.Changed, r.Judged, r.Changes)
	}
	for i, want := range []string{"550 5.1.1", "550 5.7.1", "550 5.7.26"} {
		if c := r.Changes[i]; !strings.HasPrefix(c.Now, want) {
			t.Errorf("%+v, want %s", c, want)
		}
	}
	var b bytes.Buffer
	if err := r.Print(&b); err != nil || !strings.Contains(b.String(), "3 of 8,224 verdicts differ from what was answered, in 3 of 4,112 transactions") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// Compared with the old configuration, an edit is charged with what it changes
// alone: not with what edits before it did, nor with what neither side knows.
func TestReplayAgainst(t *testing.T) {
	t.Parallel()
	s := plantedSite(t)
	s.write("new/access.d/a.toml", s.read("access.d/a.toml")+"[[rule]]\naction = 'deny'\nsender = ['user7@sender.example']\n")
	text := strings.Replace(s.read("postern.toml"), `"access.d"`, `"new/access.d"`, 1)
	s.write("new.toml", strings.Replace(text, "enable = false", "enable = true", 1))
	s.write("old.toml", strings.Replace(s.read("postern.toml"), "enable = false", "enable = true", 1))
	dir := recorded(t, 100, func(i int, r *policy.Record) {
		if plantThree(100)(i, r); i == 50 {
			r.Verdict.DMARC.Verdict = "fail" // or no greylist is asked
		}
	})
	for _, tt := range []struct {
		old              string
		altered, unknown int
	}{{"", 4, 1}, {s.config, 1, 1}, {filepath.Join(s.dir, "old.toml"), 1, 0}} {
		r, err := newReplay(filepath.Join(s.dir, "new.toml"), tt.old, time.Time{})
		must(t, err)
		must(t, r.run(t.Context(), dir))
		if r.Altered != tt.altered || r.Verdicts != 200 || len(r.Unknown) != tt.unknown {
			t.Errorf("against %q: %+v", tt.old, r.Replay)
		}
		if tt.old == "" {
			continue
		}
		var b bytes.Buffer
		if must(t, r.Print(&b)); r.Changes[0].From != "<user7@sender.example>" || !strings.HasPrefix(b.String(), "This edit alters 1 of 200 verdicts, in 1 of 100 transactions.\n") {
			t.Errorf("%s", b.String())
		}
	}
	if old := oldConfig(s.config, s.config); old != "" {
		t.Errorf("it is compared with itself, %s", old)
	}
	if old := oldConfig(filepath.Join(s.dir, "new.toml"), s.config); old != s.config {
		t.Errorf("it is compared with %q", old)
	}
	if old := oldConfig(s.config, filepath.Join(s.dir, "absent")); old != "" {
		t.Errorf("it is compared with what is not there, %q", old)
	}
}

// plantedSite is a site whose configuration concerns three records.
func plantedSite(t testing.TB) *site {
	s := newSite(t, `policy: access = "access.d"`, `policy: dmarc_quarantine = "reject"`, "greylist: enable = false")
	s.append("postern.toml", "[dnsbl]\nlists = [{ zone = 'zen.spamhaus.org' }, { zone = 'list.dnswl.org', allow = true }]\n")
	s.write("access.d/a.toml", "[[rule]]\naction = 'deny'\nsender = ['quarrel@sender.example']\n")
	return s
}

// What it takes to replay 100,000 transactions.
func BenchmarkReplay(b *testing.B) {
	const n = 100_000
	s, dir := plantedSite(b), recorded(b, n, plantThree(n))
	for b.Loop() {
		r, err := newReplay(s.config, "", time.Time{})
		if err != nil {
			b.Fatal(err)
		}
		if err := r.run(b.Context(), dir); err != nil || r.Changed != 3 || r.Judged != n {
			b.Fatalf("%d of %d, %v", r.Changed, r.Judged, err)
		}
	}
}

// Who has checked a configuration hears how to try it; where nothing is recorded,
// there is nothing to try it on.
func TestReplayIsOffered(t *testing.T) {
	var b bytes.Buffer
	c := &config.Config{File: "/etc/new.toml"}
	offerReplay(&b, c)
	if b.Len() != 0 {
		t.Errorf("without records: %s", b.String())
	}
	c.Records.Keep = time.Hour
	offerReplay(&b, c)
	if !strings.Contains(b.String(), "postern replay --config /etc/new.toml\n") {
		t.Errorf("%q", b.String())
	}
}
