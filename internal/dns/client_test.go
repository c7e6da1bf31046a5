package dns_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/dns/dnstest"
)

var world = dns.Zone{
	"TXT good.example":     {"v=spf1 ip4:192.0.2.0/24 -all", "other \"quoted\" \\ back\x80\x00;"},
	"TXT long.example":     {strings.Repeat("0123456789", 100)},
	"TXT huge.example":     slices.Repeat([]string{strings.Repeat("x", 200)}, 20),
	"MX good.example":      {"20 b.good.example", "10 mx.good.example", "10 a.good.example"},
	"MX null.example":      {"0 ."},
	"A mx.good.example":    {"192.0.2.25", "192.0.2.26"},
	"AAAA mx.good.example": {"2001:db8::25", "::ffff:192.0.2.1"},
	"A four.example":       {"192.0.2.4"},
	"AAAA six.example":     {"2001:db8::6"},
	"A half.example":       {"192.0.2.5"},
	"AAAA half.example":    {"SERVFAIL"},
	"PTR 192.0.2.25":       {"mx.good.example"},
	"PTR 2001:db8::25":     {"six.good.example"},
	"CNAME alias.example":  {"alias2.example"},
	"CNAME alias2.example": {"good.example"},
	"CNAME dead.example":   {"nowhere.example"},
	"CNAME loop.example":   {"pool.example"},
	"CNAME pool.example":   {"loop.example"},
	"TXT flaky.example":    {"SERVFAIL"},
	"TXT slow.example":     {"TIMEOUT"},
	`TXT a\b.example`:      {"backslash"},
	"TXT a b.example":      {"space"},
	"TXT deep.below.void":  {"deep"},
}

func newClient(t testing.TB, cfg dns.Config) *dns.Client {
	t.Helper()
	c, err := dns.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestOutcomes holds every resolver of the package to one table: a Zone, a
// Client that asks a server of that Zone, a Recorder, and the Replay of what it
// recorded.
func TestOutcomes(t *testing.T) {
	s := dnstest.Start(t, world)
	client := newClient(t, dns.Config{Servers: []string{s.Addr}})
	recorder := dns.NewRecorder(client)
	run := func(name string, r dns.Resolver) {
		t.Run(name, func(t *testing.T) { testOutcomes(t, r) })
	}
	run("zone", world)
	run("client", client)
	run("client, cached", client)
	run("recorder", recorder)
	run("replay", dns.NewReplay(recorder.Exchanges()))
}

func testOutcomes(t *testing.T, r dns.Resolver) {
	addrs := func(list ...string) (all []netip.Addr) {
		for _, a := range list {
			all = append(all, netip.MustParseAddr(a))
		}
		return all
	}
	for _, test := range []struct {
		typ, name string
		want      any
		err       error
	}{
		{"TXT", "good.example", []string{"v=spf1 ip4:192.0.2.0/24 -all", "other \"quoted\" \\ back\x80\x00;"}, nil},
		{"TXT", "GOOD.Example.", []string{"v=spf1 ip4:192.0.2.0/24 -all", "other \"quoted\" \\ back\x80\x00;"}, nil},
		{"TXT", "long.example", []string{strings.Repeat("0123456789", 100)}, nil},
		{"TXT", "huge.example", slices.Repeat([]string{strings.Repeat("x", 200)}, 20), nil},
		{"TXT", "alias.example", []string{"v=spf1 ip4:192.0.2.0/24 -all", "other \"quoted\" \\ back\x80\x00;"}, nil},
		{"TXT", `a\b.example`, []string{"backslash"}, nil},
		{"TXT", "a b.example", []string{"space"}, nil},
		{"TXT", "four.example", []string(nil), dns.ErrNoData},
		{"TXT", "below.void", []string(nil), dns.ErrNoData},
		{"TXT", "nowhere.example", []string(nil), dns.ErrNXDomain},
		{"TXT", "dead.example", []string(nil), dns.ErrNXDomain},
		{"TXT", "loop.example", []string(nil), dns.ErrTemporary},
		{"TXT", "flaky.example", []string(nil), dns.ErrTemporary},
		{"TXT", "slow.example", []string(nil), dns.ErrTemporary},
		{"TXT", "empty..label", []string(nil), dns.ErrNXDomain},
		{"TXT", strings.Repeat("x", 64) + ".example", []string(nil), dns.ErrNXDomain},
		{"TXT", strings.Repeat("123456789.", 26), []string(nil), dns.ErrNXDomain},
		{"TXT", "", []string(nil), dns.ErrNXDomain},
		{"TXT", ".", []string(nil), dns.ErrNXDomain},
		{"MX", "good.example", []*net.MX{{Pref: 10, Host: "a.good.example"}, {Pref: 10, Host: "mx.good.example"}, {Pref: 20, Host: "b.good.example"}}, nil},
		{"MX", "null.example", []*net.MX{{Pref: 0, Host: "."}}, nil},
		{"MX", "four.example", []*net.MX(nil), dns.ErrNoData},
		{"ip4", "mx.good.example", addrs("192.0.2.25", "192.0.2.26"), nil},
		{"ip6", "mx.good.example", addrs("2001:db8::25", "::ffff:192.0.2.1"), nil},
		{"ip", "mx.good.example", addrs("192.0.2.25", "192.0.2.26", "2001:db8::25", "::ffff:192.0.2.1"), nil},
		{"ip", "four.example", addrs("192.0.2.4"), nil},
		{"ip", "six.example", addrs("2001:db8::6"), nil},
		{"ip", "half.example", addrs("192.0.2.5"), dns.ErrTemporary},
		{"ip", "good.example", []netip.Addr(nil), dns.ErrNoData},
		{"ip", "nowhere.example", []netip.Addr(nil), dns.ErrNXDomain},
		{"ip4", "six.example", []netip.Addr(nil), dns.ErrNoData},
		{"tcp", "six.example", []netip.Addr(nil), dns.ErrTemporary},
		{"PTR", "192.0.2.25", []string{"mx.good.example"}, nil},
		{"PTR", "::ffff:192.0.2.25", []string{"mx.good.example"}, nil},
		{"PTR", "2001:DB8:0::25", []string{"six.good.example"}, nil},
		{"PTR", "192.0.2.99", []string(nil), dns.ErrNXDomain},
		{"PTR", "not an address", []string(nil), dns.ErrNXDomain},
	} {
		patience := 10 * time.Second
		if test.name == "slow.example" {
			patience = 200 * time.Millisecond // whose end is what is waited for
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var got any
		var err error
		switch test.typ {
		case "TXT":
			got, err = r.LookupTXT(ctx, test.name)
		case "MX":
			got, err = r.LookupMX(ctx, test.name)
		case "PTR":
			got, err = r.LookupAddr(ctx, test.name)
		default:
			got, err = r.LookupNetIP(ctx, test.typ, test.name)
		}
		if !errors.Is(err, test.err) || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %s: got %q, %v; want %q, %v", test.typ, test.name, got, err, test.want, test.err)
		}
		var e *dns.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%s %s: %T is not an *Error", test.typ, test.name, err)
		}
		if found := !dns.NotFound(err); err != nil && found != errors.Is(err, dns.ErrTemporary) {
			t.Errorf("%s %s: %v is found %v", test.typ, test.name, err, found)
		}
	}
}

// A datagram that is lost is sent again, as it was, long before the server is
// given up.
func TestLostDatagram(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	var asked [2]string
	served := make(chan error, 1)
	go func() {
		buf := make([]byte, 1500)
		for i := range asked {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				served <- err
				return
			}
			if asked[i] = string(buf[:n]); i == 0 {
				continue // lost
			}
			buf[2], buf[3] = 0x81, 0x83 // no such name (RFC 1035, section 4.1.1)
			_, err = pc.WriteTo(buf[:n], from)
			served <- err
		}
	}()
	c := newClient(t, dns.Config{Servers: []string{pc.LocalAddr().String()}, Timeout: time.Minute})
	if _, err := c.LookupTXT(t.Context(), "nowhere.example"); !errors.Is(err, dns.ErrNXDomain) {
		t.Error(err)
	}
	if err := <-served; err != nil || asked[0] != asked[1] {
		t.Errorf("asked %q, then %q, %v", asked[0], asked[1], err)
	}
}

func TestMoods(t *testing.T) {
	truth, nothing := []string{"truth"}, []string(nil)
	for _, test := range []struct {
		name string
		mood dnstest.Mood
		want []string
		err  error
		tcp  int
	}{
		{"honest", dnstest.Honest, truth, nil, 0},
		{"silent", dnstest.Silent, nothing, dns.ErrTemporary, 0},
		{"servfail", dnstest.ServFail, nothing, dns.ErrTemporary, 0},
		{"refused", dnstest.Refused, nothing, dns.ErrTemporary, 0},
		{"lame", dnstest.Lame, nothing, dns.ErrTemporary, 0},
		{"no soa", dnstest.NoSOA, truth, nil, 0},
		{"truncating", dnstest.Truncating, truth, nil, 1},
		{"tcp only", dnstest.TCPOnly, nothing, dns.ErrTemporary, 1},
		{"oversized", dnstest.Oversized, truth, nil, 0},
		{"malformed", dnstest.Malformed, nothing, dns.ErrTemporary, 1},
		{"wrong id", dnstest.WrongID, truth, nil, 0},
		{"wrong question", dnstest.WrongQuestion, truth, nil, 0},
		{"wrong source", dnstest.WrongSource, truth, nil, 0},
		{"garbage", dnstest.Garbage, truth, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := dnstest.Start(t, dns.Zone{"TXT some.example": truth})
			s.Be(test.mood)
			c := newClient(t, dns.Config{Servers: []string{s.Addr}, Timeout: time.Second})
			got, err := c.LookupTXT(t.Context(), "some.example")
			if !errors.Is(err, test.err) || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v; want %q, %v", got, err, test.want, test.err)
			}
			if s.OverTCP() != test.tcp {
				t.Errorf("%d questions over TCP, want %d", s.OverTCP(), test.tcp)
			}
		})
	}
}

// TestSeveralServers asks a sick server first, and expects the answer of the
// healthy one behind it.
func TestSeveralServers(t *testing.T) {
	for _, mood := range []dnstest.Mood{dnstest.Silent, dnstest.ServFail, dnstest.Refused, dnstest.Lame, dnstest.TCPOnly, dnstest.Malformed} {
		sick := dnstest.Start(t, nil)
		sick.Be(mood)
		healthy := dnstest.Start(t, world)
		c := newClient(t, dns.Config{Servers: []string{sick.Addr, healthy.Addr}, Timeout: 500 * time.Millisecond})
		if _, err := c.LookupTXT(t.Context(), "good.example"); err != nil {
			t.Errorf("mood %v: %v", mood, err)
		}
	}
	// A port that nobody listens on.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	healthy := dnstest.Start(t, world)
	c := newClient(t, dns.Config{Servers: []string{closed, healthy.Addr}})
	if _, err := c.LookupTXT(t.Context(), "good.example"); err != nil {
		t.Errorf("closed port: %v", err)
	}
}

// TestWaitIsTheCallers makes the many lookups of one message, and expects that
// with servers that are sick in every way they end with one context, and as
// temporary errors.
func TestWaitIsTheCallers(t *testing.T) {
	for _, mood := range []dnstest.Mood{dnstest.Silent, dnstest.ServFail, dnstest.Refused, dnstest.TCPOnly} {
		s := dnstest.Start(t, world)
		s.Be(mood)
		c := newClient(t, dns.Config{Servers: []string{s.Addr}})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for _, name := range []string{"a.example", "b.example", "c.example", "a.example"} {
			if _, err := c.LookupTXT(ctx, name); !errors.Is(err, dns.ErrTemporary) || dns.NotFound(err) {
				t.Errorf("mood %v: TXT %s: %v", mood, name, err)
			}
		}
		if _, err := c.LookupNetIP(ctx, "ip", "d.example"); !errors.Is(err, dns.ErrTemporary) {
			t.Errorf("mood %v: ip d.example: %v", mood, err)
		}
	}
}

// TestLongAnswers asks for more than a datagram takes.
func TestLongAnswers(t *testing.T) {
	for _, mood := range []dnstest.Mood{dnstest.Honest, dnstest.Oversized} {
		s := dnstest.Start(t, world)
		s.Be(mood)
		c := newClient(t, dns.Config{Servers: []string{s.Addr}})
		got, err := c.LookupTXT(t.Context(), "huge.example")
		if err != nil || !slices.Equal(got, world["TXT huge.example"]) || s.OverTCP() != 1 {
			t.Errorf("mood %v: %d records, %v, %d questions over TCP", mood, len(got), err, s.OverTCP())
		}
	}
}

// TestManyAtOnce asks many questions of a server that loses some and is told of
// another zone meanwhile, and ends in the middle of it.
func TestManyAtOnce(t *testing.T) {
	s := dnstest.Start(t, world)
	s.TTL(0, 0)
	c := newClient(t, dns.Config{Servers: []string{s.Addr}, Timeout: 100 * time.Millisecond, InFlight: 20})
	names := []string{"good.example", "huge.example", "slow.example", "flaky.example", "nowhere.example"}
	var asking sync.WaitGroup
	for i := range 100 {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*3*time.Millisecond)
			defer cancel()
			for _, name := range names {
				if txt, err := c.LookupTXT(ctx, name); err == nil && len(txt) == 0 {
					t.Errorf("%s: neither answer nor error", name)
				}
			}
			if i == 90 {
				c.Close()
			}
		})
	}
	s.Serve(dns.Zone{})
	asking.Wait()
	if s := c.Stats(); s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAnswerSaysHowLongAndHowSure(t *testing.T) {
	s := dnstest.Start(t, dns.Zone{"TLSA _25._tcp.mx.example": {"3 1 1 0a0b"}})
	s.TTL(100, 50)
	c := newClient(t, dns.Config{Servers: []string{s.Addr}})
	a, err := c.Lookup(t.Context(), "TLSA", "_25._tcp.mx.example")
	if err != nil || !slices.Equal(a.Records, []string{"3 1 1 0a0b"}) || !a.Authentic {
		t.Errorf("%+v, %v", a, err)
	}
	if a.TTL <= 0 || a.TTL > 100*time.Second {
		t.Errorf("TTL %v", a.TTL)
	}
	if _, err := c.Lookup(t.Context(), "ANY", "mx.example"); !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("ANY: %v", err)
	}
}

func TestNewClientRefuses(t *testing.T) {
	for _, servers := range [][]string{{"localhost"}, {"127.0.0.1:dns"}, {"1.1.1.1", ""}, {"::1", "::2", "::3", "::4"}} {
		if _, err := dns.NewClient(dns.Config{Servers: servers}); err == nil {
			t.Errorf("%q was taken", servers)
		}
	}
}
