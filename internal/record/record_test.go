package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type entry struct {
	At    time.Time
	Words []string
	Text  string
}

func (e entry) When() time.Time { return e.At }
func (e entry) Keys() []string  { return e.Words }

var start = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

func numbered(i int) entry {
	return entry{start.Add(time.Duration(i) * time.Second), []string{fmt.Sprint("number ", i), "all"}, fmt.Sprintf("this is entry %d of many", i)}
}

func options() Options {
	return Options{Keep: 24 * time.Hour, Size: 1 << 20, Sample: []byte(`{"At":"2026-01-02T03:04:05Z","Words":["number 0","all"],"Text":"this is entry 0 of many"}`), Log: slog.New(slog.DiscardHandler)}
}

// written writes entries with a Store of its own, and returns how many came to be
// written, and how many were dropped.
func written(dir string, opt Options, entries ...entry) (int64, int64) {
	s := Open(dir, opt)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	for _, e := range entries {
		for len(s.queue) == cap(s.queue) {
			time.Sleep(time.Millisecond)
		}
		s.Add(e)
	}
	stop()
	<-done
	return s.Counts()
}

// read returns all that dir has for a query, page by page.
func read(t testing.TB, dir string, q Query) (found []entry, damaged int) {
	t.Helper()
	for {
		p, err := Read(dir, q)
		if err != nil {
			t.Fatal(err)
		}
		damaged += p.Damaged
		if err := p.Each(func(text []byte) error {
			var e entry
			found = append(found, e)
			return json.Unmarshal(text, &found[len(found)-1])
		}); err != nil {
			t.Fatal(err)
		}
		if q.After = p.Next; p.Next == "" {
			return found, damaged
		}
	}
}

func many(n int) []entry {
	all := make([]entry, n)
	for i := range all {
		all[i] = numbered(i)
	}
	return all
}

// What was added is found, by each of its words and by its time, over restarts.
func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "records")
	if found, damaged := read(t, dir, Query{}); len(found)+damaged != 0 {
		t.Errorf("a folder that is not there: %v, %d", found, damaged)
	}
	all, opt := many(500), options()
	opt.Size = 16 << 20
	written(dir, opt, all[:200]...)
	if n, lost := written(dir, opt, all[200:]...); n != 300 || lost != 0 {
		t.Errorf("%d written, %d dropped", n, lost)
	}
	found, damaged := read(t, dir, Query{})
	if !slices.EqualFunc(found, all, func(a, b entry) bool { return a.At.Equal(b.At) && a.Text == b.Text }) || damaged != 0 {
		t.Errorf("%d found, %d damaged", len(found), damaged)
	}
	if found, _ := read(t, dir, Query{Key: "NUMBER 417"}); len(found) != 1 || found[0].Text != all[417].Text {
		t.Errorf("by a word: %v", found)
	}
	if found, _ := read(t, dir, Query{Key: "number 417", Since: all[418].At}); len(found) != 0 {
		t.Errorf("by a word, too old: %v", found)
	}
	if found, _ := read(t, dir, Query{Key: "all", Since: all[490].At}); len(found) != 10 {
		t.Errorf("by time: %d", len(found))
	}
	if names, err := segments(dir); err != nil || len(names) != 1 {
		t.Errorf("segments %v, %v: it was not gone on with", names, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// framed returns the frame of entries.
func framed(t testing.TB, sample []byte, entries ...entry) []byte {
	t.Helper()
	p := newPacker(sample)
	for _, e := range entries {
		if err := p.add(e); err != nil {
			t.Fatal(err)
		}
	}
	frame, err := p.frame()
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// What an entry has in common with the sample takes next to no room.
func TestSample(t *testing.T) {
	e := numbered(1)
	for i := range 300 {
		e.Text += fmt.Sprint(i*i, " ")
	}
	sample, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	e.At = e.At.Add(time.Hour)
	if frame := framed(t, sample, e); len(frame) > 150 {
		t.Errorf("%d octets for %d", len(frame), len(sample))
	}
	// And what they have in common with each other.
	same := make([]entry, maxEntries)
	for i := range same {
		same[i] = e
		same[i].Words = nil
	}
	if one, all := len(framed(t, nil, same[0])), len(framed(t, nil, same...)); all > one+len(same)*(entryHead+20) {
		t.Errorf("%d octets for one, %d for %d", one, all, len(same))
	}
}

// An answer of many pages is that of one.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	var all []entry
	opt := options()
	opt.Size = 64 << 20
	for i := range 100 {
		e := numbered(i)
		var b strings.Builder
		for range 12_000 {
			fmt.Fprintf(&b, "%x", rng.Uint64())
		}
		e.Text = b.String()
		all = append(all, e)
	}
	written(dir, opt, all...)
	if names, _ := segments(dir); len(names) < 2 {
		t.Errorf("%d segments", len(names))
	}
	pages := 0
	for q := (Query{}); ; pages++ {
		p, err := Read(dir, q)
		if err != nil {
			t.Fatal(err)
		}
		if q.After = p.Next; p.Next == "" {
			break
		}
	}
	if pages < 2 {
		t.Errorf("%d pages", pages)
	}
	found, _ := read(t, dir, Query{})
	if !slices.EqualFunc(found, all, func(a, b entry) bool { return a.Text == b.Text }) {
		t.Errorf("%d found", len(found))
	}
}

// Whatever comes, no more is kept than was said, and the newest is.
func TestSizeIsBounded(t *testing.T) {
	dir := t.TempDir()
	opt := options()
	opt.Sample = nil
	for round := range 10 {
		all := make([]entry, 1000)
		for i := range all {
			all[i] = numbered(round*1000 + i)
			all[i].Text += fmt.Sprint(rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
		}
		written(dir, opt, all...)
		if size := sizeOf(t, dir); size > opt.Size {
			t.Fatalf("%d octets", size)
		}
	}
	found, _ := read(t, dir, Query{})
	if last := found[len(found)-1]; last.Words[0] != "number 9999" || len(found) < 3000 {
		t.Errorf("%d are left, the last %v", len(found), last.Words)
	}
}

func sizeOf(t *testing.T, dir string) (size int64) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		info, err := n.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// What is too old goes; a file that is none of ours stays.
func TestAgeIsBounded(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.rec")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	written(dir, options(), many(10)...)
	s := Open(dir, options())
	s.tidy(time.Now().Add(23 * time.Hour))
	if found, _ := read(t, dir, Query{}); len(found) != 10 {
		t.Errorf("%d are left too early", len(found))
	}
	s.tidy(time.Now().Add(25 * time.Hour))
	if found, _ := read(t, dir, Query{}); len(found) != 0 {
		t.Errorf("%d are left", len(found))
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	// One that is always written to is not gone on with for ever.
	s.resume()
	if err := s.write([]byte("x"), time.Now()); err != nil {
		t.Fatal(err)
	}
	first := s.segment.name()
	if err := s.write([]byte("x"), time.Now().Add(3*time.Hour)); err != nil || s.segment.name() == first {
		t.Errorf("%v: still %s", err, first)
	}
	s.close()
}

// Who adds never waits: what is too much is dropped, and counted.
func TestQueueIsBounded(t *testing.T) {
	s := Open(t.TempDir(), options()) // and nobody writes
	for i := range maxQueue + 5 {
		s.Add(numbered(i))
	}
	if _, dropped := s.Counts(); dropped != 5 {
		t.Errorf("%d dropped", dropped)
	}
	(*Store)(nil).Add(numbered(1))
}

// An entry that is too large, or no JSON, costs itself.
func TestBadEntries(t *testing.T) {
	dir := t.TempDir()
	huge := numbered(1)
	huge.Text = strings.Repeat("x", maxEntry)
	bad := numbered(2)
	bad.At = time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC)
	if n, dropped := written(dir, options(), numbered(0), huge, bad, numbered(3)); n != 2 || dropped != 2 {
		t.Errorf("%d written, %d dropped", n, dropped)
	}
}

// Damage costs the frame that is damaged, ten entries here. The file is written to no more, and another is
// begun.
func TestDamage(t *testing.T) {
	damage := map[string]func(text []byte) []byte{
		"one octet": func(text []byte) []byte { text[len(text)/2] ^= 1; return text },
		"a length": func(text []byte) []byte {
			i := strings.LastIndex(string(text[:len(text)/2]), magic)
			text[i+5] ^= 0x80
			return text
		},
		"cut":           func(text []byte) []byte { return text[:len(text)-5] },
		"zeros behind":  func(text []byte) []byte { return append(text, make([]byte, 4096)...) },
		"the head":      func(text []byte) []byte { text[3] ^= 1; return text },
		"the sample":    func(text []byte) []byte { text[segmentHead+3] ^= 1; return text },
		"nothing left":  func([]byte) []byte { return nil },
		"another thing": func([]byte) []byte { return []byte(strings.Repeat("hello "+magic, 1000)) },
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for tens := range slices.Chunk(many(50), 10) {
				written(dir, options(), tens...)
			}
			names, _ := segments(dir)
			path := filepath.Join(dir, names[0])
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text = do(text)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if n, dropped := written(dir, options(), numbered(50)); n != 1 || dropped != 0 {
				t.Errorf("%d written, %d dropped", n, dropped)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
				t.Errorf("the damaged file was written to: %v", err)
			}
			found, damaged := read(t, dir, Query{})
			lost := 51 - len(found)
			if whole := strings.Contains("the head the sample nothing left another thing", name); whole != (lost == 50) || !whole && lost > 10 {
				t.Errorf("%d are lost", lost)
			}
			if damaged == 0 {
				t.Error("nobody is told")
			}
			if last := found[len(found)-1]; last.Text != numbered(50).Text {
				t.Errorf("the newest is %v", last)
			}
		})
	}
}

// A disk that takes nothing costs the records of that time, and is tried again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := Open(dir, options())
		if err := s.write([]byte("x"), time.Now()); err != nil {
			t.Fatal(err)
		}
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.segment.file.Close()
		s.segment.file = full
		for range 3 { // the second and third are not even tried
			s.writeWith(numbered(1))
			time.Sleep(time.Second)
		}
		time.Sleep(retryAfter)
		s.writeWith(numbered(2))
		if n, dropped := s.Counts(); n != 1 || dropped != 3 {
			t.Errorf("%d written, %d dropped", n, dropped)
		}
		s.close()
	})
}

// A folder that cannot be made, or a file in its place, is no reason to fail.
func TestNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, dropped := written(filepath.Join(file, "records"), options(), many(3)...); n != 0 || dropped != 3 {
		t.Errorf("%d written, %d dropped", n, dropped)
	}
	if _, err := Read(file, Query{}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
}

// No octets in a file make a reader fail, or give what was not written.
func FuzzNext(f *testing.F) {
	frame := framed(f, nil, many(3)...)
	f.Add(frame)
	f.Add([]byte(magic + "\x00\x00\x00\x0a\x00\x00\x00\x00"))
	f.Add(append([]byte("x"+magic), frame...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for at := 0; at < len(b); {
			f, n, err := next(b[at:])
			if n <= 0 || at+n > len(b) || len(f.entries) > 0 && err != nil {
				t.Fatalf("%d octets of %d, %v", n, len(b)-at, err)
			}
			page := Page{Batches: []Batch{{f.data, f.wanted(Query{}, 0)}}}
			if err := page.Each(func([]byte) error { return nil }); err != nil {
				t.Fatal(err)
			}
			at += n
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	dir := b.TempDir()
	s := Open(dir, options())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.writeWith(numbered(i))
	}
	s.close()
}
