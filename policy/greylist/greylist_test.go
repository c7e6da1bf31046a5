package greylist

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	start = time.Unix(1_700_000_000, 0)
	opt   = Options{Delay: 5 * time.Minute, Window: 48 * time.Hour, Keep: 36 * 24 * time.Hour}
)

func open(t testing.TB, path string, opt Options) *Store {
	t.Helper()
	s, err := Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStranger(t *testing.T) {
	s := open(t, "", opt)
	at := func(d time.Duration) State { return s.Look("192.0.2.0/24", "Ann@Example.com", start.Add(d)) }
	if got := at(0); got != (State{}) {
		t.Errorf("before: %+v", got)
	}
	s.PutOff("192.0.2.0/24", "ann@example.com", start)
	s.PutOff("192.0.2.0/24", "ann@example.com", start.Add(time.Minute))
	for _, tt := range []struct {
		after  time.Duration
		since  bool
		waited bool
	}{
		{0, true, false}, {5*time.Minute - 1, true, false}, {5 * time.Minute, true, true}, {48 * time.Hour, true, true}, {48*time.Hour + time.Second, false, false},
	} {
		got := at(tt.after)
		if got.Known || got.Since.Equal(start) != tt.since || got.Waited != tt.waited {
			t.Errorf("after %v: %+v", tt.after, got)
		}
	}
	for _, other := range [][2]string{{"192.0.2.0/24", "bob@example.com"}, {"192.0.3.0/24", "ann@example.com"}, {"192.0.2.0/24", ""}} {
		if got := s.Look(other[0], other[1], start.Add(time.Hour)); got != (State{}) {
			t.Errorf("%v: %+v", other, got)
		}
	}
	// Who comes back too late begins again.
	s.PutOff("192.0.2.0/24", "ann@example.com", start.Add(49*time.Hour))
	if got := at(49*time.Hour + time.Minute); got.Waited || !got.Since.Equal(start.Add(49*time.Hour)) {
		t.Errorf("too late: %+v", got)
	}
}

func TestKnown(t *testing.T) {
	s := open(t, "", opt)
	s.Know("Example.com", start)
	for _, sender := range []string{"ann@example.com", "", "bob@example.com"} {
		if !s.Look("example.COM", sender, start.Add(36*24*time.Hour)).Known {
			t.Errorf("%q is not known", sender)
		}
	}
	if s.Look("example.com", "", start.Add(36*24*time.Hour+time.Second)).Known {
		t.Error("known for ever")
	}
	s.Know("example.com", start.Add(30*24*time.Hour))
	if !s.Look("example.com", "", start.Add(60*24*time.Hour)).Known {
		t.Error("not known since its last message")
	}
}

func TestNilKnowsNobody(t *testing.T) {
	var s *Store
	s.PutOff("a", "b", start)
	s.Know("a", start)
	if s.Look("a", "b", start) != (State{}) || s.Len() != 0 || s.Close() != nil {
		t.Error("a nil Store remembers")
	}
}

// What was remembered is there after a restart, whatever the file ends with; what
// has expired is not.
func TestRestart(t *testing.T) {
	now := time.Now()
	for _, damage := range []string{"none", "torn", "flipped", "garbage"} {
		t.Run(damage, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "greylist")
			s := open(t, path, opt)
			s.Know("old.example", now.Add(-37*24*time.Hour))
			s.Know("good.example", now)
			s.PutOff("192.0.2.0/24", "ann@example.com", now.Add(-time.Hour))
			s.PutOff("192.0.2.0/24", "eve@example.com", now)
			b, err := os.ReadFile(path)
			if err != nil || len(b) != 4*recordSize {
				t.Fatalf("%d octets, %v", len(b), err)
			}
			eve := true
			switch damage {
			case "torn":
				b, eve = b[:len(b)-1], false
			case "flipped":
				b[3*recordSize+20] ^= 1
				eve = false
			case "garbage":
				b = append(b, strings.Repeat("\x00", 100)...)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			reader := open(t, path, Options{Delay: opt.Delay, Window: opt.Window, Keep: opt.Keep, ReadOnly: true})
			for _, s := range []*Store{reader, open(t, path, opt)} {
				if !s.Look("good.example", "x", now).Known || s.Look("old.example", "x", now).Known {
					t.Error("known ones")
				}
				if !s.Look("192.0.2.0/24", "ann@example.com", now).Waited {
					t.Error("ann has to wait again")
				}
				if got := s.Look("192.0.2.0/24", "eve@example.com", now); got.Since.IsZero() == eve {
					t.Errorf("eve: %+v", got)
				}
			}
			if b, err := os.ReadFile(path); err != nil || len(b)%recordSize != 0 || len(b) > 3*recordSize {
				t.Errorf("the new file has %d octets, %v", len(b), err)
			}
		})
	}
}

func TestReadOnlyWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "greylist")
	s := open(t, path, Options{Delay: opt.Delay, Window: opt.Window, Keep: opt.Keep, ReadOnly: true})
	s.Know("a.example", time.Now())
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
}

// However much happens, memory and file stay small, and what was heard of last
// is remembered.
func TestBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "greylist")
	small := opt
	small.Max = 1000
	s := open(t, path, small)
	now := time.Now()
	for i := range 20_000 {
		now = now.Add(time.Second)
		s.PutOff(fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255), "ann@example.com", now)
		if s.Len() > 1000 {
			t.Fatalf("%d remembered", s.Len())
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > int64(3*1000+slack+1)*int64(recordSize) {
		t.Errorf("%v, %v", info.Size(), err)
	}
	again := open(t, path, small)
	for i := 19_999; i > 19_999-800; i-- {
		if again.Look(fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255), "ann@example.com", now).Since.IsZero() {
			t.Fatalf("number %d is forgotten", i)
		}
	}
	// Who is heard of again and again is written now and then.
	written := s.written
	for range 1000 {
		s.Know("good.example", now)
	}
	if s.written > written+1 {
		t.Errorf("%d records for one", s.written-written)
	}
}

// A full disk costs what is kept, and is told once.
func TestDiskTrouble(t *testing.T) {
	var log bytes.Buffer
	told := opt
	told.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, filepath.Join(t.TempDir(), "greylist"), told)
	if err := s.file.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		s.Know(fmt.Sprintf("%d.example", i), start)
	}
	if s.Len() != 10 || strings.Count(log.String(), "would not survive") != 1 {
		t.Errorf("%d remembered, log %q", s.Len(), log.String())
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent", "greylist"), opt); err == nil {
		t.Error("no folder, no error")
	}
}

func BenchmarkStore(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "greylist"), opt)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		origin := fmt.Sprintf("10.%d.%d.0/24", i>>8&255, i&255)
		if !s.Look(origin, "ann@example.com", start).Waited {
			s.PutOff(origin, "ann@example.com", start)
		}
	}
}
