package config

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeMany writes maps of the domains d0.example, d1.example..., each with the
// mailboxes user0 to user<n-1>.
func writeMany(t testing.TB, dir string, domains, n int) {
	t.Helper()
	for d := range domains {
		write(t, filepath.Join(dir, fmt.Sprintf("d%d.toml", d)), manyNames(d, n, ""))
	}
}

func manyNames(d, n int, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "domain = \"d%d.example\"\nmailboxes = [\n", d)
	for i := range n {
		fmt.Fprintf(&b, "\"user%d\",\n", i)
	}
	b.WriteString(more + "]\n")
	return b.String()
}

// BenchmarkLookupAmong looks up addresses in no order, so that what the processor
// remembers of the last ones is of no help.
func BenchmarkLookupAmong(b *testing.B) {
	for _, size := range []struct{ domains, names int }{{1, 1000}, {1, 1_000_000}, {1000, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", size.domains, size.names), func(b *testing.B) {
			dir := b.TempDir()
			writeMany(b, dir, size.domains, size.names)
			r, err := LoadRecipients(dir, "")
			if err != nil {
				b.Fatal(err)
			}
			asked := randomAddresses(size.domains, size.names)
			b.ReportAllocs()
			for b.Loop() {
				if local, domain := asked(); r.Lookup(local, domain).Status != Known {
					b.Fatal(local, domain)
				}
			}
		})
	}
}

// randomAddresses returns a function that makes up one address after the other.
func randomAddresses(domains, names int) func() (local, domain string) {
	random := rand.New(rand.NewPCG(1, 2))
	var local, domain []byte
	return func() (string, string) {
		local = strconv.AppendInt(append(local[:0], "user"...), int64(random.IntN(names)), 10)
		domain = strconv.AppendInt(append(domain[:0], 'd'), int64(random.IntN(domains)), 10)
		domain = append(domain, ".example"...)
		return string(local), string(domain)
	}
}

// BenchmarkMillion prints what a million recipients in 1,000 domains cost, to be read (a
// benchmark's log is cut short):
// go test -run xxx -bench Million$ -benchtime 1x ./config
func BenchmarkMillion(b *testing.B) {
	dir, keep := b.TempDir(), filepath.Join(b.TempDir(), "kept")
	writeMany(b, dir, 1000, 1000)
	o := Options{Hostname: "mx.d0.example", Keep: keep, Log: slog.New(slog.DiscardHandler), LoseNames: 20, LosePercent: 50}
	start := func() *Generations {
		began, before := time.Now(), processorTime()
		g, err := Open(dir, o)
		if err != nil {
			b.Fatal(err)
		}
		fmt.Printf("\nstart: %v, of the processor %v, %d mailboxes", time.Since(began).Round(time.Millisecond), processorTime()-before, g.Current().Mailboxes())
		return g
	}
	before := heap()
	_ = start()
	g := start() // the second has a generation that was kept
	fmt.Printf("\nmemory that is held: %d MB", (heap()-before)>>20)
	idle := measureLookups(g, func() { time.Sleep(2 * time.Second) })
	reload := func(what string, domains int, more string) func() {
		return func() {
			for d := range domains {
				write(b, filepath.Join(dir, fmt.Sprintf("d%d.toml", d)), manyNames(d, 1000, more))
			}
			began, before := time.Now(), processorTime()
			if err := g.Reload(Request{}); err != nil {
				b.Error(err)
			}
			fmt.Printf("\nreload of %s: %v, of the processor %v", what, time.Since(began).Round(time.Millisecond), processorTime()-before)
		}
	}
	reload("nothing", 0, "")()
	reload("one domain", 1, "\"one\",\n")()
	reload("all", 1000, "\"all\",\n")()
	fmt.Printf("\nmemory after it, with the generation before: %d MB", (heap()-before)>>20)
	busy := measureLookups(g, reload("all, under lookups", 1000, "\"again\",\n"))
	ones := measureLookups(g, func() {
		for i := range 20 {
			reload("one domain, under lookups", 1, fmt.Sprintf("\"x%d\",\n", i))()
		}
	})
	for what, took := range map[string][]time.Duration{"idle": idle, "while all are reloaded": busy, "while one is reloaded": ones} {
		fmt.Printf("\nlookups %s: median %v, 99%% %v, 99.9%% %v, worst %v of %d", what, took[len(took)/2], took[len(took)*99/100], took[len(took)*999/1000], took[len(took)-1], len(took))
	}
}

// processorTime is what the process has used, whatever else the machine does.
func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails for no argument of ours
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Round(time.Millisecond)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// measureLookups returns how long lookups took while do ran, in order.
func measureLookups(g *Generations, do func()) []time.Duration {
	var (
		done atomic.Bool
		took []time.Duration
		wg   sync.WaitGroup
	)
	wg.Go(func() {
		asked := randomAddresses(1000, 1000)
		for !done.Load() {
			local, domain := asked()
			began := time.Now()
			g.Current().Lookup(local, domain)
			took = append(took, time.Since(began))
			if len(took)%100 == 0 {
				time.Sleep(time.Millisecond) // as mail does, it leaves the processor to others
			}
		}
	})
	do()
	done.Store(true)
	wg.Wait()
	slices.Sort(took)
	return took
}
