package dnsbl

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns"
)

// lists has one list of each behaviour that a list can have.
var lists = dns.Zone{
	"A 7.2.0.192.bad.test":        {"127.0.0.2"},
	"TXT 7.2.0.192.bad.test":      {"caught\r\n", "see https://bad.test/"},
	"A 8.2.0.192.bad.test":        {"127.0.0.4", "127.0.0.9"},
	"A 9.2.0.192.bad.test":        {"SERVFAIL"},
	"A 10.2.0.192.bad.test":       {"TIMEOUT"},
	"A 11.2.0.192.bad.test":       {"127.0.0.1"},
	"A 12.2.0.192.bad.test":       {"127.0.0.255"},
	"A 13.2.0.192.bad.test":       {"127.255.255.254"},
	"A 14.2.0.192.bad.test":       {"198.51.100.1"},
	"A 15.2.0.192.bad.test":       {"127.0.0.2", "127.255.255.252"},
	"TXT 16.2.0.192.bad.test":     {"a reason and no address"},
	"A 17.2.0.192.bad.test":       {"127.0.0.2"},
	"TXT 17.2.0.192.bad.test":     {"TIMEOUT"},
	"A 7.2.0.192.worse.test":      {"127.0.0.3"},
	"A 18.2.0.192.worse.test":     {"127.0.0.3"},
	"A 9.2.0.192.worse.test":      {"127.0.0.3"},
	"A 19.2.0.192.worse.test":     {"127.0.0.3"},
	"A 8.2.0.192.good.test":       {"127.0.5.3"},
	"A 17.2.0.192.good.test":      {"127.0.5.0"},
	"A 18.2.0.192.good.test":      {"127.0.0.255"},
	"A 19.2.0.192.good.test":      {"SERVFAIL"},
	"A 1.1.168.192.bad.test":      {"127.0.0.2"},
	"A 2.0.0.127.bad.test":        {"127.0.0.2"},
	"A 7.2.0.192.secret.key.test": {"SERVFAIL"},
	"A 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bad.test": {"127.0.0.2"},
}

func TestCheck(t *testing.T) {
	three := []List{{Zone: "bad.test"}, {Zone: "worse.test.", Weight: 2}, {Zone: "good.test", Allow: true}}
	for _, test := range []struct {
		name      string
		ip        string
		threshold int
		verdict   Verdict
		score     int
		states    []State // of bad, worse and good
	}{
		{"on none", "192.0.2.1", 0, Clear, 0, []State{Absent, Absent, Absent}},
		{"on two", "192.0.2.7", 3, Listed, 3, []State{Present, Present, Absent}},
		{"mapped", "::ffff:192.0.2.7", 3, Listed, 3, []State{Present, Present, Absent}},
		{"on two, which is not enough", "192.0.2.7", 4, Clear, 3, []State{Present, Present, Absent}},
		{"IPv6", "2001:db8::1", 0, Listed, 1, []State{Present, Absent, Absent}},
		{"exempt", "192.0.2.8", 0, Exempt, 0, []State{Present, Absent, Present}},
		{"no trust", "192.0.2.17", 0, Listed, 1, []State{Present, Absent, Absent}},
		{"blocked by the good list", "192.0.2.18", 0, Listed, 2, []State{Absent, Present, Absent}},
		{"failure is not a listing", "192.0.2.9", 3, Unknown, 2, []State{Silent, Present, Absent}},
		{"failure that does not matter", "192.0.2.9", 4, Clear, 2, []State{Silent, Present, Absent}},
		{"failure that does not matter either", "192.0.2.9", 2, Listed, 2, []State{Silent, Present, Absent}},
		{"timeout", "192.0.2.10", 0, Unknown, 0, []State{Silent, Absent, Absent}},
		{"127.0.0.1 does not count", "192.0.2.11", 0, Clear, 0, []State{Absent, Absent, Absent}},
		{"127.0.0.255 does not count", "192.0.2.12", 0, Clear, 0, []State{Absent, Absent, Absent}},
		{"error of the list", "192.0.2.13", 0, Unknown, 0, []State{Silent, Absent, Absent}},
		{"hijacked", "192.0.2.14", 0, Unknown, 0, []State{Silent, Absent, Absent}},
		{"error among answers", "192.0.2.15", 0, Unknown, 0, []State{Silent, Absent, Absent}},
		{"only a reason", "192.0.2.16", 0, Clear, 0, []State{Absent, Absent, Absent}},
		{"silence of the list that might exempt", "192.0.2.19", 0, Unknown, 2, []State{Absent, Present, Silent}},
		{"private", "192.168.1.1", 0, Clear, 0, nil},
		{"loopback", "127.0.0.2", 0, Clear, 0, nil},
		{"link-local", "fe80::1", 0, Clear, 0, nil},
		{"none", "", 0, Clear, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				ip, _ := netip.ParseAddr(test.ip)
				recorder := dns.NewRecorder(lists)
				q := Query{IP: ip, Lists: three, Threshold: test.threshold}
				got := Check(ctx, recorder, q)
				var states []State
				for _, l := range got.Listings {
					states = append(states, l.State)
					if (l.State == Silent) != (l.Problem != "") {
						t.Errorf("%+v", l)
					}
				}
				if got.Verdict != test.verdict || got.Score != test.score || !slices.Equal(states, test.states) {
					t.Errorf("got %+v", got)
				}
				if again := Check(t.Context(), dns.NewReplay(recorder.Exchanges()), q); !reflect.DeepEqual(again, got) {
					t.Errorf("replayed:\n%+v\n%+v", again, got)
				}
			})
		})
	}
}

func TestEvidence(t *testing.T) {
	got := Check(t.Context(), lists, Query{IP: netip.MustParseAddr("192.0.2.7"), Lists: []List{
		{Zone: "bad.test", Name: "bad list"}, {Zone: "secret.key.test", Name: "paid list"},
	}})
	want := []Listing{
		{List: "bad list", State: Present, Codes: []netip.Addr{netip.MustParseAddr("127.0.0.2")}, Reason: "caught?? / see https://bad.test/"},
		{List: "paid list", State: Silent, Problem: "no answer from resolver: SERVFAIL"}, // and not its zone
	}
	if !reflect.DeepEqual(got.Listings, want) {
		t.Errorf("got  %+v\nwant %+v", got.Listings, want)
	}
}

// TestAllAtOnce expects that many lists cost the wait for one, and no more than
// the caller has time for.
func TestAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		slow := slices.Repeat([]List{{Zone: "bad.test"}}, 20)
		got := Check(ctx, lists, Query{IP: netip.MustParseAddr("192.0.2.10"), Lists: slow})
		if took := time.Since(start); took != 5*time.Second || got.Verdict != Unknown {
			t.Errorf("%v after %v", got.Verdict, took)
		}
		start = time.Now()
		got = Check(t.Context(), lists, Query{IP: netip.MustParseAddr("192.0.2.17"), Lists: slow})
		if took := time.Since(start); took != maxReasonWait || got.Verdict != Listed {
			t.Errorf("%v after %v without a reason", got.Verdict, took)
		}
	})
}

// A switching is a Resolver whose zone changes, or that fails.
type switching struct {
	dns.Resolver
	mu   sync.Mutex
	zone dns.Zone // nil: nothing is answered
}

func (s *switching) to(zone dns.Zone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = zone
}

func (s *switching) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	zone := s.zone
	s.mu.Unlock()
	if zone == nil {
		return nil, errors.New("no answer")
	}
	return zone.LookupNetIP(ctx, network, host)
}

// The test entries of RFC 5782, section 5.
const (
	on4  = "A 2.0.0.127.bad.test"
	off4 = "A 1.0.0.127.bad.test"
	on6  = "A 2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bad.test"
	off6 = "A 1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bad.test"
)

func TestHealth(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	sound := dns.Zone{on4: {"127.0.0.2", "127.0.0.10"}, on6: {"127.0.0.2"}, "A other.test": {"192.0.2.1"}}
	with := func(changes dns.Zone) dns.Zone {
		z := maps.Clone(sound)
		maps.Copy(z, changes)
		return z
	}
	for _, test := range []struct {
		name     string
		zone     dns.Zone
		use4     bool
		use6     bool
		mentions string
	}{
		{"sound", sound, true, true, ""},
		{"no IPv6", with(dns.Zone{on6: nil}), true, false, "::ffff:127.0.0.2 is not on it"},
		{"lists everything", with(dns.Zone{off4: {"127.0.0.2"}, off6: {"127.0.0.2"}}), false, false, "everybody"},
		{"lists everything with IPv6", with(dns.Zone{off6: {"127.0.0.2"}}), true, false, "everybody"},
		{"empty", dns.Zone{}, false, false, "127.0.0.2 is not on it"},
		{"blocks us", with(dns.Zone{on4: {"127.255.255.254"}, off4: {"127.255.255.254"}}), false, true, "does not want to be asked"},
		{"blocks us now and then", with(dns.Zone{off4: {"127.255.255.254"}}), false, true, "does not want to be asked"},
		{"parked", with(dns.Zone{on4: {"198.51.100.1"}, off4: {"198.51.100.1"}}), false, true, "198.51.100.1 is no answer"},
		{"not known", nil, false, false, "not tested yet"},
	} {
		r := &switching{zone: test.zone}
		var log strings.Builder
		h := NewHealth(r, []List{{Zone: "bad.test"}}, logTo(&log))
		if len(h.Usable(v4)) > 0 || len(h.Usable(v6)) > 0 {
			t.Errorf("%s: in use before any test", test.name)
		}
		h.Check(t.Context())
		if use4, use6 := len(h.Usable(v4)) == 1, len(h.Usable(v6)) == 1; use4 != test.use4 || use6 != test.use6 {
			t.Errorf("%s: used for IPv4 %v, for IPv6 %v", test.name, use4, use6)
		}
		c := h.Conditions()[0]
		if !strings.Contains(c.IPv4+"; "+c.IPv6, test.mentions) {
			t.Errorf("%s: %+v", test.name, c)
		}
		r.to(nil)
		h.Check(t.Context())
		if again := h.Conditions()[0]; again != c {
			t.Errorf("%s: a test without an answer led from %+v to %+v", test.name, c, again)
		}
	}
}

// TestHealthRuns follows a list through its last days, and its resurrection.
func TestHealthRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &switching{}
		var log strings.Builder
		h := NewHealth(r, []List{{Zone: "bad.test"}}, logTo(&log))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			h.Run(ctx)
			close(ended)
		}()
		used := func() bool {
			synctest.Wait()
			return len(h.Usable(netip.MustParseAddr("::ffff:192.0.2.1"))) == 1
		}
		if used() {
			t.Error("in use although nothing is known of it")
		}
		r.to(dns.Zone{on4: {"127.0.0.2"}})
		time.Sleep(retryAfter)
		if !used() {
			t.Error("not in use although it is sound")
		}
		r.to(dns.Zone{on4: {"127.0.0.2"}, off4: {"127.0.0.2"}})
		time.Sleep(checkEvery)
		if used() {
			t.Error("in use although it lists everything")
		}
		r.to(dns.Zone{on4: {"127.0.0.2"}})
		time.Sleep(retryAfter)
		if !used() {
			t.Error("not in use although it is sound again")
		}
		cancel()
		<-ended
		if n := strings.Count(log.String(), "family=IPv4"); n != 3 {
			t.Errorf("%d lines about IPv4:\n%s", n, &log)
		}
	})
}

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// TestNegativeWeight expects that a silent list which might have lowered the
// score leaves a doubt.
func TestNegativeWeight(t *testing.T) {
	two := []List{{Zone: "worse.test", Weight: 3}, {Zone: "bad.test", Weight: -1}}
	for threshold, want := range map[int]Verdict{2: Listed, 3: Unknown, 4: Clear} {
		got := Check(t.Context(), lists, Query{IP: netip.MustParseAddr("192.0.2.9"), Lists: two, Threshold: threshold})
		if got.Verdict != want || got.Score != 3 {
			t.Errorf("threshold %d: %+v", threshold, got)
		}
	}
}
