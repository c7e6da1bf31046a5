package dns_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns"
)

func TestRecord(t *testing.T) {
	r := dns.NewRecorder(world)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, _ = r.LookupTXT(ctx, "Good.example.")
	_, _ = r.LookupTXT(ctx, "good.example")
	_, _ = r.LookupMX(ctx, "null.example")
	_, _ = r.LookupNetIP(ctx, "ip", "half.example")
	_, _ = r.LookupNetIP(ctx, "ip", "nowhere.example")
	_, _ = r.LookupAddr(ctx, "2001:db8:0::25")
	_, _ = r.LookupTXT(ctx, "a\\b.example")
	_, _ = r.LookupTXT(ctx, "below.void")
	want := []dns.Exchange{
		{Type: "TXT", Name: "good.example", Outcome: dns.Answered, Answers: []string{"v=spf1 ip4:192.0.2.0/24 -all", `other "quoted" \\ back\128\000;`}},
		{Type: "MX", Name: "null.example", Outcome: dns.Answered, Answers: []string{"0 ."}},
		{Type: "A", Name: "half.example", Outcome: dns.Answered, Answers: []string{"192.0.2.5"}},
		{Type: "AAAA", Name: "half.example", Outcome: dns.Temporary, Cause: "SERVFAIL"},
		{Type: "A", Name: "nowhere.example", Outcome: dns.NXDomain},
		{Type: "PTR", Name: "2001:db8::25", Outcome: dns.Answered, Answers: []string{"six.good.example"}},
		{Type: "TXT", Name: `a\\b.example`, Outcome: dns.Answered, Answers: []string{"backslash"}},
		{Type: "TXT", Name: "below.void", Outcome: dns.NoData},
	}
	got := r.Exchanges()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var back []dns.Exchange
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("JSON and back: %+v, %v", back, err)
	}
	replay := dns.NewReplay(back)
	if txt, err := replay.LookupTXT(t.Context(), "GOOD.example."); err != nil || !slices.Equal(txt, world["TXT good.example"]) {
		t.Errorf("replayed: %q, %v", txt, err)
	}
	if _, err := replay.LookupTXT(t.Context(), "new.example"); !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("what was not asked then: %v", err)
	}
	if m := replay.Missing(); len(m) != 1 || m[0].Type != "TXT" || m[0].Name != "new.example" {
		t.Errorf("missing: %+v", m)
	}
}

// A changing is a Resolver that never says the same thing twice.
type changing struct {
	dns.Resolver
	mu    sync.Mutex
	asked int
}

func (c *changing) LookupTXT(context.Context, string) ([]string, error) {
	c.mu.Lock()
	c.asked++
	n := c.asked
	c.mu.Unlock()
	time.Sleep(time.Second)
	if n%2 == 1 {
		return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	}
	return []string{fmt.Sprint(n)}, nil
}

// TestOneMessageOneView asks one thing again and again, one by one and at once,
// and expects one answer.
func TestOneMessageOneView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := &changing{}
		r := dns.NewRecorder(world)
		var mu sync.Mutex
		seen := make(map[string]int)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 3 {
					records, err := r.LookupTXT(t.Context(), "a.example")
					mu.Lock()
					seen[fmt.Sprint(records, err)]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != 1 || len(r.Exchanges()) != 1 || world.asked > 4 {
			t.Errorf("%v, asked %d times, recorded %v", seen, world.asked, r.Exchanges())
		}
	})
}

func TestRecordIsBounded(t *testing.T) {
	r := dns.NewRecorder(dns.Zone{})
	for i := range 2000 {
		_, err := r.LookupTXT(t.Context(), fmt.Sprintf("%d.example", i))
		if temporary := errors.Is(err, dns.ErrTemporary); temporary != (i >= 1000) {
			t.Fatalf("question %d: %v", i, err)
		}
	}
	if n := len(r.Exchanges()); n != 1000 {
		t.Errorf("%d exchanges", n)
	}
}

// TestRecordOfNetResolver records the errors that net.Resolver has.
func TestRecordOfNetResolver(t *testing.T) {
	for _, test := range []struct {
		err  error
		want dns.Outcome
	}{
		{&net.DNSError{IsNotFound: true}, dns.NXDomain},
		{&net.DNSError{IsTimeout: true}, dns.Temporary},
		{context.DeadlineExceeded, dns.Temporary},
	} {
		r := dns.NewRecorder(failing{err: test.err})
		_, err := r.LookupTXT(t.Context(), "a.example")
		if e := r.Exchanges(); len(e) != 1 || e[0].Outcome != test.want || errors.Is(err, dns.ErrTemporary) != (test.want == dns.Temporary) {
			t.Errorf("%v became %v, %v", test.err, e, err)
		}
	}
}

type failing struct {
	dns.Resolver
	err error
}

func (f failing) LookupTXT(context.Context, string) ([]string, error) { return nil, f.err }
