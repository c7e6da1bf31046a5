package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"
)

// A fake is a transport without sockets. It counts, and does what say tells it
// to; say nil is silence.
type fake struct {
	mu    sync.Mutex
	say   func(network string, server netip.AddrPort, q question) *wire.Msg
	after time.Duration
	asked []string
}

func (f *fake) send(ctx context.Context, network string, server netip.AddrPort, q question) (*wire.Msg, error) {
	f.mu.Lock()
	f.asked = append(f.asked, fmt.Sprintf("%s %s %s", server.Addr(), wire.TypeToString[q.typ], q.name))
	say, after := f.say, f.after
	f.mu.Unlock()
	var m *wire.Msg
	if say != nil {
		m = say(network, server, q)
	}
	if m == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	sleep(ctx, after)
	return m, ctx.Err()
}

// set changes what the servers say.
func (f *fake) set(say func(network string, server netip.AddrPort, q question) *wire.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.say = say
}

func (f *fake) count(match string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.asked {
		if strings.Contains(a, match) {
			n++
		}
	}
	return n
}

// answer returns what a server says to q: the records, in the syntax of a zone
// file, of which those of type SOA and NS are its authority section.
func answer(q question, rcode int, records ...string) *wire.Msg {
	m := new(wire.Msg)
	m.SetQuestion(q.presentation(), q.typ)
	m.Response, m.RecursionAvailable, m.Rcode = true, true, rcode
	for _, r := range records {
		rr, err := wire.NewRR(r)
		if err != nil {
			panic(err)
		}
		switch rr.(type) {
		case *wire.SOA, *wire.NS:
			m.Ns = append(m.Ns, rr)
		default:
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

// always answers every question in the same way, "@" standing for its name.
func always(rcode int, records ...string) func(string, netip.AddrPort, question) *wire.Msg {
	return func(_ string, _ netip.AddrPort, q question) *wire.Msg {
		var mine []string
		for _, r := range records {
			mine = append(mine, strings.ReplaceAll(r, "@", q.presentation()))
		}
		return answer(q, rcode, mine...)
	}
}

func fakeClient(t testing.TB, f *fake, cfg Config) *Client {
	t.Helper()
	if cfg.Servers == nil {
		cfg.Servers = []string{"192.0.2.1"}
	}
	servers, err := newServers(cfg.Servers, "")
	if err != nil {
		t.Fatal(err)
	}
	return newClient(cfg, servers, f.send)
}

func TestTimeToLive(t *testing.T) {
	const soa = "example. 500 IN SOA . . 1 2 3 4 %d"
	for _, test := range []struct {
		name    string
		rcode   int
		records []string
		holds   time.Duration
	}{
		{"positive", 0, []string{"@ 300 IN TXT a", "@ 300 IN TXT b"}, 300 * time.Second},
		{"shortest of the set", 0, []string{"@ 300 IN TXT a", "@ 200 IN TXT b"}, 200 * time.Second},
		{"shortest of the chain", 0, []string{"@ 100 IN CNAME b.example.", "b.example. 200 IN TXT b"}, 100 * time.Second},
		{"records of others do not count", 0, []string{"@ 100 IN TXT a", "c.example. 1 IN TXT c", "@ 1 IN A 192.0.2.1"}, 100 * time.Second},
		{"zero", 0, []string{"@ 0 IN TXT a"}, 0},
		{"highest bit set", 0, []string{"@ 2147483648 IN TXT a"}, 0},
		{"capped", 0, []string{"@ 2147483647 IN TXT a"}, maxTTL},
		{"no name, by MINIMUM", 3, []string{fmt.Sprintf(soa, 60)}, 60 * time.Second},
		{"no name, by TTL of the SOA", 3, []string{fmt.Sprintf(soa, 600)}, 500 * time.Second},
		{"no name, by the chain", 3, []string{"@ 10 IN CNAME b.example.", fmt.Sprintf(soa, 60)}, 10 * time.Second},
		{"no name, MINIMUM 0", 3, []string{fmt.Sprintf(soa, 0)}, 0},
		{"no name, no SOA", 3, nil, unstatedTTL},
		{"no name, SOA of others", 3, []string{"other. 500 IN SOA . . 1 2 3 4 60"}, unstatedTTL},
		{"no data", 0, []string{fmt.Sprintf(soa, 60)}, 60 * time.Second},
		{"no data, no SOA", 0, nil, unstatedTTL},
		{"no name, capped", 3, []string{"example. 2147483647 IN SOA . . 1 2 3 4 2147483647"}, maxNegativeTTL},
		{"failure", 2, []string{"@ 300 IN TXT a", fmt.Sprintf(soa, 60)}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{say: always(test.rcode, test.records...), after: time.Second}
				c := fakeClient(t, f, Config{})
				defer c.Close()
				ask := func() int {
					_, _ = c.LookupTXT(t.Context(), "a.example")
					return f.count("a.example")
				}
				asked := time.Now()
				if n := ask(); n != 1 {
					t.Fatalf("asked %d times", n)
				}
				if test.holds > 0 {
					time.Sleep(time.Until(asked.Add(test.holds - time.Nanosecond)))
					if n := ask(); n != 1 {
						t.Errorf("asked again before its time")
					}
					time.Sleep(time.Nanosecond)
				}
				if n := ask(); n != 2 {
					t.Errorf("not asked again when its time had come")
				}
			})
		})
	}
}

// TestNeverStale lets the servers die, and expects no answer beyond its time.
func TestNeverStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: always(0, "@ 60 IN TXT a")}
		c := fakeClient(t, f, Config{})
		defer c.Close()
		_, _ = c.LookupTXT(t.Context(), "a.example")
		f.set(nil)
		time.Sleep(59 * time.Second)
		if _, err := c.LookupTXT(t.Context(), "a.example"); err != nil {
			t.Errorf("within its time: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := c.LookupTXT(t.Context(), "a.example"); !errors.Is(err, ErrTemporary) {
			t.Errorf("after its time: %v", err)
		}
	})
}

func TestEqualQuestionsShareOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: always(0, "@ 60 IN TXT a"), after: time.Second}
		c := fakeClient(t, f, Config{})
		defer c.Close()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*300*time.Millisecond)
				defer cancel()
				start := time.Now()
				_, err := c.LookupTXT(ctx, "A.example")
				took := time.Since(start)
				switch impatient := i < 3; {
				case impatient && (!errors.Is(err, ErrTemporary) || !errors.Is(err, context.DeadlineExceeded)):
					t.Errorf("%d: %v", i, err)
				case !impatient && (err != nil || took != time.Second):
					t.Errorf("%d: %v after %v", i, err, took)
				}
			})
		}
		wg.Wait()
		if n := f.count("a.example"); n != 1 {
			t.Errorf("asked %d times", n)
		}
		if s := c.Stats(); s.Shared != 9 || s.Questions != 10 || s.Left != 3 || s.Sent != 1 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestWaitingForASlot lets callers with equal questions wait for slots, and
// expects that they ask once, and that no slot is lost.
func TestWaitingForASlot(t *testing.T) {
	for slots := 1; slots <= 3; slots++ {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{say: always(0, "@ 60 IN TXT a"), after: time.Second}
			c := fakeClient(t, f, Config{InFlight: slots})
			defer c.Close()
			var wg sync.WaitGroup
			for i := range slots {
				wg.Go(func() { _, _ = c.LookupTXT(t.Context(), fmt.Sprintf("%d.before", i)) })
			}
			synctest.Wait()
			for range 5 {
				wg.Go(func() { _, _ = c.LookupTXT(t.Context(), "a.example") })
			}
			wg.Wait()
			if n := f.count("a.example"); n != 1 {
				t.Errorf("%d slots: asked %d times", slots, n)
			}
			synctest.Wait()
			if n := len(c.flights.slots); n != 0 {
				t.Errorf("%d of %d slots were lost", n, slots)
			}
		})
	}
}

// TestTrust expects that DNSSEC's word is taken from this host alone, and that
// what is left of a TTL is said.
func TestTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for server, want := range map[string]bool{"127.0.0.1": true, "::1": true, "192.0.2.1": false} {
			f := &fake{say: func(_ string, _ netip.AddrPort, q question) *wire.Msg {
				m := answer(q, 0, "a.example. 60 IN TXT a")
				m.AuthenticatedData = true
				return m
			}}
			c := fakeClient(t, f, Config{Servers: []string{server}})
			defer c.Close()
			for left := 60 * time.Second; left > 0; left -= 20 * time.Second {
				if a, err := c.Lookup(t.Context(), "TXT", "a.example"); err != nil || a.Authentic != want || a.TTL != left {
					t.Errorf("%s: %+v, %v", server, a, err)
				}
				time.Sleep(20 * time.Second)
			}
		}
	})
}

// TestAllLeave asks with nobody waiting for the answer, which the next caller
// finds in the cache.
func TestAllLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: always(0, "@ 60 IN TXT a"), after: time.Second}
		c := fakeClient(t, f, Config{})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, _ = c.LookupTXT(ctx, "a.example")
		time.Sleep(time.Second)
		if _, err := c.LookupTXT(t.Context(), "a.example"); err != nil || f.count("") != 1 {
			t.Errorf("%v, asked %d times", err, f.count(""))
		}
		for i := range 20 {
			if _, err := c.LookupTXT(ctx, fmt.Sprintf("%d.late", i)); !errors.Is(err, ErrTemporary) {
				t.Error(err)
			}
		}
		synctest.Wait()
		if n := f.count("late"); n > 0 {
			t.Errorf("asked %d times when nobody wanted to know", n)
		}
	})
}

func TestInFlightIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: always(0, "@ 60 IN TXT a"), after: time.Second}
		c := fakeClient(t, f, Config{InFlight: 2})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		errs := make(chan error, 6)
		for i := range 6 {
			go func() {
				_, err := c.LookupTXT(ctx, fmt.Sprintf("%d.example", i))
				errs <- err
			}()
		}
		synctest.Wait()
		if s := c.Stats(); s.InFlight != 2 {
			t.Errorf("%d in flight", s.InFlight)
		}
		failed := 0
		for range 6 {
			if err := <-errs; errors.Is(err, ErrTemporary) {
				failed++
			}
		}
		if failed != 4 { // two were in time, two were on their way, two had not begun
			t.Errorf("%d failed", failed)
		}
	})
}

func TestCloseEndsQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fakeClient(t, &fake{}, Config{})
		errs := make(chan error)
		go func() {
			_, err := c.LookupTXT(t.Context(), "a.example")
			errs <- err
		}()
		synctest.Wait()
		start := time.Now()
		c.Close()
		if err := <-errs; !errors.Is(err, ErrTemporary) || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := c.LookupTXT(t.Context(), "b.example"); !errors.Is(err, ErrTemporary) || !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
		c.Close()
	})
}

// TestBreaker follows a resolver that dies and comes back.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &fake{}
		c := fakeClient(t, f, Config{Servers: []string{"192.0.2.1", "192.0.2.2"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer c.Close()
		for i := range silentNames {
			if c.Stats().Open {
				t.Fatalf("open after %d names", i)
			}
			_, _ = c.LookupTXT(t.Context(), fmt.Sprintf("%d.example", i))
		}
		time.Sleep(10 * time.Second) // the root is asked for, in vain
		if s := c.Stats(); !s.Open || s.Opened != 1 || f.count("NS") == 0 {
			t.Fatalf("not open: %+v", s)
		}
		start, before := time.Now(), f.count("TXT")
		_, err := c.LookupTXT(t.Context(), "spared.example")
		if !errors.Is(err, ErrTemporary) || time.Since(start) > 0 || f.count("TXT") != before {
			t.Errorf("open: %v after %v", err, time.Since(start))
		}

		f.set(always(wire.RcodeServerFailure)) // of whatever kind the answer is
		time.Sleep(10 * time.Second)
		if s := c.Stats(); s.Open || s.Spared != 1 {
			t.Errorf("still open: %+v", s)
		}
		probes := f.count("NS")
		time.Sleep(time.Minute)
		if f.count("NS") != probes {
			t.Error("it is probed although it answers")
		}
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("%d lines were logged:\n%s", n, &log)
		}
	})
}

// TestBreakerCountsSilence tells the breaker what is heard, and what not.
func TestBreakerCountsSilence(t *testing.T) {
	now := time.Now()
	b := &breaker{log: slog.New(slog.DiscardHandler)}
	silences := func(n int) (probe bool) {
		for i := range n {
			now = now.Add(time.Second)
			probe = b.silence(fmt.Sprintf("%d.example", i), now)
		}
		return probe
	}
	if silences(silentNames - 1) {
		t.Error("too few names")
	}
	b.heard(now)
	if silences(silentNames - 1) {
		t.Error("names from before an answer count")
	}
	for range silentNames {
		if b.silence("0.example", now) {
			t.Error("a name counts twice")
		}
	}
	b.heard(now.Add(time.Second))
	for i := range silentNames {
		if b.silence(fmt.Sprintf("%d.example", i), now) {
			t.Error("questions count that were asked before an answer came")
		}
	}
	now = now.Add(time.Second)
	if !silences(silentNames) {
		t.Error("enough names do not count")
	}
	if silences(silentNames) {
		t.Error("a second probe was asked for")
	}
	if b.heard(now); b.probed(now) || b.refuses.Load() {
		t.Error("opened although something was heard meanwhile")
	}
	if !silences(silentNames) || !b.probed(now) || !b.refuses.Load() {
		t.Error("did not open")
	}
	if b.heard(now); b.refuses.Load() || b.probed(now) {
		t.Error("did not close")
	}
}

// TestBreakerStaysClosed shows what is not the resolver's sickness.
func TestBreakerStaysClosed(t *testing.T) {
	alive := always(wire.RcodeServerFailure)
	slow := func(network string, server netip.AddrPort, q question) *wire.Msg {
		if strings.HasSuffix(q.name, "slow.example") {
			return nil
		}
		return alive(network, server, q)
	}
	for _, test := range []struct {
		name string
		say  func(string, netip.AddrPort, question) *wire.Msg
		ask  string // %d is another one each time
	}{
		{"one name is slow", slow, "slow.example"},
		{"many names of one domain are slow, and nothing else is asked", slow, "%d.slow.example"},
		{"all that is asked fails", alive, "%d.example"},
		{"one of two servers is silent", func(network string, server netip.AddrPort, q question) *wire.Msg {
			if server.Addr() == netip.MustParseAddr("192.0.2.1") {
				return nil
			}
			return alive(network, server, q)
		}, "%d.example"},
		{"the answers are too long, and TCP is silent", func(network string, server netip.AddrPort, q question) *wire.Msg {
			if network == "tcp" {
				return nil
			}
			m := alive(network, server, q)
			m.Truncated = true
			return m
		}, "%d.example"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := fakeClient(t, &fake{say: test.say}, Config{Servers: []string{"192.0.2.1", "192.0.2.2"}})
				defer c.Close()
				var wg sync.WaitGroup
				for i := range 20 {
					name := test.ask
					if strings.Contains(name, "%") {
						name = fmt.Sprintf(name, i)
					}
					wg.Go(func() { _, _ = c.LookupTXT(t.Context(), name) })
					time.Sleep(time.Second)
				}
				wg.Wait()
				if s := c.Stats(); s.Opened > 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestSilentServerIsAskedLast expects that a dead first server costs the wait
// for it a few times, and not each time.
func TestSilentServerIsAskedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := netip.MustParseAddr("192.0.2.1")
		truth := always(0, "@ 60 IN TXT a")
		f := &fake{say: func(network string, server netip.AddrPort, q question) *wire.Msg {
			if server.Addr() == dead {
				return nil
			}
			return truth(network, server, q)
		}}
		c := fakeClient(t, f, Config{Servers: []string{"192.0.2.1", "192.0.2.2"}})
		defer c.Close()
		ask := func(i int) time.Duration {
			start := time.Now()
			if _, err := c.LookupTXT(t.Context(), fmt.Sprintf("%d.example", i)); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		for i := range 20 {
			took := ask(i)
			if slow := i < sickSilences; slow != (took > 0) {
				t.Errorf("question %d took %v", i, took)
			}
		}
		if s := c.Stats(); !slices.Equal(s.Sick, []string{"192.0.2.1:53"}) || s.Silent != sickSilences {
			t.Errorf("%+v", s)
		}
		f.set(truth)
		time.Sleep(sickFor)
		before := f.count("192.0.2.1")
		ask(99)
		if f.count("192.0.2.1") != before+1 {
			t.Error("the first server is well again, and was not asked first")
		}
	})
}

// TestRestart closes the port of the only server for a moment.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("connection refused")
		f := &fake{say: always(0, "@ 60 IN TXT a")}
		down := time.Now().Add(restartPause / 2)
		c := fakeClient(t, f, Config{})
		defer c.Close()
		c.send = func(ctx context.Context, network string, server netip.AddrPort, q question) (*wire.Msg, error) {
			if time.Now().Before(down) {
				return nil, refused
			}
			return f.send(ctx, network, server, q)
		}
		if _, err := c.LookupTXT(t.Context(), "a.example"); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorSaysWhoFailedHow(t *testing.T) {
	f := &fake{say: func(_ string, server netip.AddrPort, q question) *wire.Msg {
		m := answer(q, wire.RcodeServerFailure)
		m.SetEdns0(1232, false)
		opt := m.IsEdns0()
		opt.Option = append(opt.Option, &wire.EDNS0_EDE{InfoCode: wire.ExtendedErrorCodeDNSBogus, ExtraText: "no key\r\n"})
		return m
	}}
	c := fakeClient(t, f, Config{})
	defer c.Close()
	_, err := c.LookupTXT(t.Context(), "a.example")
	want := `dns: TXT a.example: no answer from resolver: 192.0.2.1:53: SERVFAIL (DNSSEC Bogus, "no key\r\n")`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestPanicIsTemporary expects that a bug over what a stranger published does
// not end the program.
func TestPanicIsTemporary(t *testing.T) {
	var log bytes.Buffer
	f := &fake{say: func(string, netip.AddrPort, question) *wire.Msg { panic("bug") }}
	c := fakeClient(t, f, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 {
		if _, err := c.LookupTXT(t.Context(), "a.example"); !errors.Is(err, ErrTemporary) {
			t.Error(err)
		}
	}
	c.Close()
	if !strings.Contains(log.String(), "bug") || !strings.Contains(log.String(), "sick_test.go") {
		t.Errorf("the log says: %s", &log)
	}
}
