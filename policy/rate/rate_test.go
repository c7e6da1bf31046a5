package rate

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New[string](6, time.Hour, 100) // one in ten minutes
		for i := range 6 {
			if l.Full("a") {
				t.Fatalf("full after %d", i)
			}
			l.Add("a", 1)
		}
		if !l.Full("a") {
			t.Error("not full after 6")
		}
		if l.Full("b") {
			t.Error("another key is full")
		}
		time.Sleep(9 * time.Minute)
		if !l.Full("a") {
			t.Error("room after 9 minutes")
		}
		time.Sleep(time.Minute)
		if l.Full("a") {
			t.Error("no room after 10 minutes")
		}
		time.Sleep(50 * time.Minute)
		l.Add("a", 5)
		if l.Full("a") {
			t.Error("it should have emptied in an hour")
		}
	})
}

// Whoever does far too much is let in again after as long as the span, twice.
func TestDebtIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New[int](10, time.Hour, 100)
		l.Add(1, 1_000_000)
		time.Sleep(time.Hour)
		if !l.Full(1) {
			t.Error("room after an hour")
		}
		time.Sleep(6 * time.Minute)
		if l.Full(1) {
			t.Error("no room after the debt")
		}
	})
}

func TestNoLimit(t *testing.T) {
	l := New[int](0, time.Hour, 100)
	l.Add(1, 1000)
	if l.Full(1) || l.Limit() != 0 || l.Len() != 0 {
		t.Error("no limit, and yet")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l := New[int](1, time.Hour, 1000)
	for i := range 100_000 {
		l.Add(i, 1)
		if n := l.Len(); n > 1000 {
			t.Fatalf("%d keys", n)
		}
	}
	for _, recent := range []int{99_999, 99_600} {
		if !l.Full(recent) {
			t.Errorf("%d is forgotten", recent)
		}
	}
	if l.Full(0) {
		t.Error("the first is remembered")
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := New[int](100, time.Hour, 100_000)
	for i := 0; b.Loop(); i++ {
		if !l.Full(i % 50_000) {
			l.Add(i%50_000, 1)
		}
	}
}
