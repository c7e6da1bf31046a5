package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"postern/mail"
)

func newSpool(t testing.TB) *Spool {
	return &Spool{Dir: t.TempDir(), InMemory: 100 << 10, MaxMemory: 1 << 20, MaxFiles: 4 << 20}
}

func octets(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

// What is written in pieces of any size is read back from anywhere.
func TestRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, smallChunk - 1, smallChunk, smallChunk + 1, 72 << 10, 100 << 10, 300<<10 + 7, 1 << 20} {
		s := newSpool(t)
		b, want := s.New(), octets(size)
		rng := rand.New(rand.NewPCG(2, 3))
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(20_000))
			if _, err := b.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		var got bytes.Buffer
		if err := b.WriteRange(&got, mail.Range{End: b.Size()}); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("%d octets: WriteRange gave %d, %v", size, got.Len(), err)
		}
		for range 50 {
			from := rng.Int64N(int64(size) + 1)
			p := make([]byte, rng.IntN(150_000))
			n, err := b.ReadAt(p, from)
			if !bytes.Equal(p[:n], want[from:min(size, int(from)+len(p))]) {
				t.Fatalf("%d octets: ReadAt(%d octets, %d) gave %d others", size, len(p), from, n)
			}
			if (err == io.EOF) != (n < len(p)) {
				t.Fatalf("ReadAt: %d of %d octets, %v", n, len(p), err)
			}
		}
		if err := errors.Join(b.Close(), b.Close()); err != nil {
			t.Fatal(err)
		}
		if memory, files := s.Held(); memory != 0 || files != 0 {
			t.Errorf("%d octets: %d in memory and %d in files still held", size, memory, files)
		}
	}
}

// All together hold no more than they may, and nothing has a name.
func TestBounds(t *testing.T) {
	s := newSpool(t)
	var held []*Buffer
	for {
		b := s.New()
		held = append(held, b)
		_, err := b.Write(octets(200 << 10))
		memory, files := s.Held()
		if memory > s.MaxMemory || files > s.MaxFiles {
			t.Fatalf("%d octets in memory, %d in files", memory, files)
		}
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(held) < 20 {
		t.Errorf("full after %d messages", len(held))
	}
	if names, err := os.ReadDir(s.Dir); err != nil || len(names) > 0 {
		t.Errorf("names in the spool: %v, %v", names, err)
	}
	for _, b := range held {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if memory, files := s.Held(); memory != 0 || files != 0 {
		t.Errorf("%d in memory and %d in files still held", memory, files)
	}
}

// Where memory is taken, small messages go to files too.
func TestMemoryTaken(t *testing.T) {
	s := newSpool(t)
	s.MaxMemory = 0
	b := s.New()
	if _, err := b.Write([]byte("small")); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5)
	if n, err := b.ReadAt(p, 0); string(p[:n]) != "small" {
		t.Errorf("%q, %v", p[:n], err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnusableFolder(t *testing.T) {
	s := newSpool(t)
	s.Dir, s.MaxMemory = s.Dir+"/missing", 0
	if _, err := s.New().Write([]byte("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkBuffer(b *testing.B) {
	s := newSpool(b)
	message := octets(4 << 10)
	b.ReportAllocs()
	for b.Loop() {
		buf := s.New()
		_, _ = buf.Write(message)
		_ = buf.WriteRange(io.Discard, mail.Range{End: buf.Size()})
		_ = buf.Close()
	}
}
