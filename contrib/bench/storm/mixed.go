package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mixed sends good mail among hostile clients, and tells each minute how it fares.
func mixed(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mixed", flag.ExitOnError)
	span := flags.Duration("for", 10*time.Minute, "how long")
	good := flags.Int("good", 8, "good clients")
	every := flags.Duration("every", time.Minute, "how often it tells")
	patience := flags.Duration("patience", 30*time.Second, "what a good client may have to wait, at most")
	_ = flags.Parse(args)
	ctx, stop := context.WithTimeout(ctx, *span)
	defer stop()
	var clients sync.WaitGroup
	tally := &tally{heard: make(map[string]map[int]int)}
	for i := range *good {
		clients.Go(func() { tally.send(ctx, i) })
	}
	for kind, attack := range attacks {
		for i := range attack.clients {
			clients.Go(func() { tally.attack(ctx, kind, attack, i) })
		}
	}
	var most []int64
	for ctx.Err() == nil {
		select {
		case <-time.After(*every):
		case <-ctx.Done():
		}
		now := memory()
		if most == nil || now[0] > most[0] {
			most = now
		}
		fds, _ := descriptors()
		fmt.Println(tally.minute(), mib(now), fds, "descriptors")
	}
	clients.Wait()
	fmt.Printf("mixed: %d messages taken, %d not; the server had at most %s\n", tally.taken.Load(), tally.failed.Load(), mib(most))
	for _, kind := range slices.Sorted(maps.Keys(tally.heard)) {
		fmt.Printf("  %-18s %s\n", kind, codes(tally.heard[kind]))
	}
	switch {
	case tally.taken.Load() == 0, tally.failed.Load() > 0:
		return fmt.Errorf("good mail did not flow: %d of %d failed: %s", tally.failed.Load(), tally.failed.Load()+tally.taken.Load(), tally.why)
	case tally.longest > *patience:
		return fmt.Errorf("a good client waited %v", tally.longest)
	}
	return nil
}

func codes(heard map[int]int) string {
	var s []string
	for _, code := range slices.Sorted(maps.Keys(heard)) {
		name := fmt.Sprint(code)
		if code == 0 {
			name = "end"
		}
		s = append(s, fmt.Sprintf("%s: %d", name, heard[code]))
	}
	return strings.Join(s, ", ")
}

// A tally is what came of all.
type tally struct {
	taken, failed atomic.Int64

	mu      sync.Mutex
	heard   map[string]map[int]int // by kind of attack, by code
	took    []time.Duration        // since the last minute
	longest time.Duration
	why     string // the last failure
}

// minute tells how good mail fared since it was last asked.
func (t *tally) minute() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := t.took
	t.took = nil
	if len(took) == 0 {
		return "no good mail taken;"
	}
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[(len(took)-1)*percent/100].Round(time.Millisecond) }
	return fmt.Sprintf("%5d good messages, from MAIL to 250: half within %v, 99%% within %v, all within %v; %d failed;",
		len(took), at(50), at(99), at(100), t.failed.Load())
}

// send is a good client: some messages on a connection, some connections under
// TLS, most messages small.
func (t *tally) send(ctx context.Context, i int) {
	for n := 0; ctx.Err() == nil; n++ {
		c, err := open(fmt.Sprintf("127.10.%d.1", i), n%2 == 1)
		if err != nil {
			t.fail(fmt.Sprint("connect: ", err))
			continue
		}
		for m := range 3 {
			size := 1
			if m == 2 && n%4 == 0 {
				size = 16
			}
			t.message(c, i, size)
			pauseFor(ctx, 100*time.Millisecond)
		}
		c.ask("QUIT")
		c.Close()
	}
}

func (t *tally) message(c *conn, i, blocks int) {
	start := time.Now()
	for _, line := range []string{"MAIL FROM:<storm@example.net>", "RCPT TO:<" + fmt.Sprintf(*to, i%10) + ">", "DATA"} {
		if code := c.ask(line); code/100 != 2 && code != 354 {
			t.fail(fmt.Sprintf("%s: %d", line, code))
			return
		}
	}
	head := fmt.Sprintf("From: <storm@example.net>\r\nSubject: good\r\nMessage-ID: <%d.%d@example.net>\r\n\r\n", i, start.UnixNano())
	_, _ = c.Write([]byte(head))
	for range blocks {
		_, _ = c.Write(block)
	}
	if code := c.ask("."); code != 250 {
		t.fail(fmt.Sprintf("dot: %d", code))
		return
	}
	took := time.Since(start)
	t.taken.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, took)
	t.longest = max(t.longest, took)
}

func (t *tally) fail(why string) {
	t.failed.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.why = why
}

// attack has one hostile client come again and again.
func (t *tally) attack(ctx context.Context, kind string, a attack, i int) {
	from := fmt.Sprintf("127.%d.%d.%d", a.net, i/a.perNet, 1+i%a.perNet)
	for ctx.Err() == nil {
		code := 0
		if c, err := dial(from); err == nil {
			done := context.AfterFunc(ctx, func() { c.Close() })
			code = a.do(ctx, c)
			done()
			c.Close()
		}
		t.mu.Lock()
		if t.heard[kind] == nil {
			t.heard[kind] = make(map[int]int)
		}
		t.heard[kind][code]++
		t.mu.Unlock()
		pauseFor(ctx, a.pause)
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
