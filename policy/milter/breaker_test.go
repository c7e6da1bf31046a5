package milter

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A filter that hangs costs a few messages the wait, and then one now and then,
// until it answers.
func TestHangingFilter(t *testing.T) {
	f, mode, conns := moody(t)
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	ask := func() error { _, err := f.Ask(t.Context(), question1()); return err }

	mode.Store(hangs)
	f.Timeout = time.Millisecond // it will not answer within any time
	for i := range silentInRow {
		if err := ask(); !errors.Is(err, os.ErrDeadlineExceeded) || f.Hangs() != (i == silentInRow-1) {
			t.Fatalf("message %d: %v, hangs: %v", i+1, err, f.Hangs())
		}
	}
	before := conns.Load()
	for range 5 {
		if err := ask(); !errors.Is(err, errSilent) {
			t.Errorf("it was asked: %v", err)
		}
	}
	if n := conns.Load(); n != before {
		t.Errorf("%d connections more", n-before)
	}

	f.breaker.probeAt = time.Now() // as after half a minute
	if err := ask(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("probe: %v", err)
	}
	if err := ask(); !errors.Is(err, errSilent) {
		t.Errorf("after the probe: %v", err)
	}

	mode.Store(accepts)
	f.Timeout = time.Minute
	f.breaker.probeAt = time.Now()
	for range 2 {
		if err := ask(); err != nil || f.Hangs() {
			t.Errorf("it answers: %v", err)
		}
	}
	if text := log.String(); strings.Count(text, "filter hangs") != 1 || strings.Count(text, "answers again") != 1 {
		t.Errorf("log:\n%s", text)
	}
}

const (
	accepts int32 = iota
	hangs
)

// moody starts a filter that accepts all messages or hangs, and counts its
// connections.
func moody(t *testing.T) (f *Filter, mode, conns *atomic.Int32) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	mode, conns = new(atomic.Int32), new(atomic.Int32)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			fake := &fake{version: version, answers: map[byte][]packet{cmdConnect: {{ansAccept, ""}}}}
			if mode.Load() == hangs {
				fake.hang = cmdNegotiate
			}
			go func() { defer nc.Close(); _ = fake.serve(newWire(nc)) }()
		}
	}()
	return &Filter{Name: "moody", Network: "unix", Address: path}, mode, conns
}

// What opens the breaker is silence in a row, and nothing else.
func TestBreaker(t *testing.T) {
	start := time.Unix(1e9, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var b breaker
	b.silence(at(0), at(30))
	b.silence(at(1), at(31))
	b.heard(at(32))
	if b.silence(at(3), at(33)) || b.silence(at(4), at(34)) || b.silence(at(5), at(35)) || b.isOpen() {
		t.Error("it opened for questions older than an answer")
	}
	b.silence(at(40), at(70))
	b.silence(at(41), at(71))
	if b.isOpen() || !b.silence(at(42), at(72)) || !b.isOpen() {
		t.Error("it did not open for the third")
	}
	if b.silence(at(43), at(73)) {
		t.Error("it opened twice")
	}
	if !b.spares(at(101)) || b.spares(at(102)) || !b.spares(at(103)) || b.spares(at(132)) {
		t.Error("it is not asked once in half a minute")
	}
	if !b.heard(at(140)) || b.isOpen() || b.spares(at(141)) || b.spares(at(141)) || b.heard(at(142)) {
		t.Error("an answer did not close it")
	}
}

// A connection that is refused costs no time, and a client that is gone says
// nothing of the filter.
func TestNoSilence(t *testing.T) {
	absent := &Filter{Name: "absent", Network: "unix", Address: filepath.Join(t.TempDir(), "absent")}
	for range 2 * silentInRow {
		if _, err := absent.Ask(t.Context(), question1()); err == nil || absent.Hangs() {
			t.Errorf("%v, hangs: %v", err, absent.Hangs())
		}
	}
	f, mode, _ := moody(t)
	mode.Store(hangs)
	gone, leave := context.WithTimeout(t.Context(), time.Millisecond)
	defer leave()
	for range 2 * silentInRow {
		if _, err := f.Ask(gone, question1()); err == nil || f.Hangs() {
			t.Errorf("%v, hangs: %v", err, f.Hangs())
		}
	}
}
