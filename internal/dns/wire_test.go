package dns

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"
)

func TestInterpret(t *testing.T) {
	q := question{wire.TypeTXT, "a.example"}
	many := slices.Repeat([]string{"a.example. 1 IN TXT x"}, maxRecords+1)
	var chain []string
	for i := range maxAliases + 1 {
		chain = append(chain, fmt.Sprintf("%s.example. 1 IN CNAME %s.example.", strings.Repeat("a", i+1), strings.Repeat("a", i+2)))
	}
	for _, test := range []struct {
		name    string
		rcode   int
		records []string
		change  func(*wire.Msg)
		want    []string
		err     error // nil with nil want: not decided
	}{
		{"found", 0, []string{`A.Example. 1 IN TXT "a" "b"`}, nil, []string{"ab"}, nil},
		{"of another class", 0, []string{`a.example. 1 CH TXT "a"`}, nil, nil, ErrNoData},
		{"of another name", 0, []string{`b.example. 1 IN TXT "a"`}, nil, nil, ErrNoData},
		{"of another type", 0, []string{`a.example. 1 IN A 192.0.2.1`}, nil, nil, ErrNoData},
		{"alias without end", 0, []string{"a.example. 1 IN CNAME a.example."}, nil, nil, nil},
		{"long chain", 0, chain, nil, nil, nil},
		{"name and records do not go together", 3, []string{`a.example. 1 IN TXT "a"`}, nil, nil, ErrNXDomain},
		{"too many records", 0, many, nil, nil, nil},
		{"referral", 0, []string{"example. 1 IN NS ns.example."}, nil, nil, nil},
		{"no data, with NS", 0, []string{"example. 1 IN NS ns.example.", "example. 1 IN SOA . . 1 2 3 4 5"}, nil, nil, ErrNoData},
		{"no recursion", 0, nil, func(m *wire.Msg) { m.RecursionAvailable = false }, nil, nil},
		{"authoritative", 0, nil, func(m *wire.Msg) { m.RecursionAvailable, m.Authoritative = false, true }, nil, ErrNoData},
		{"truncated", 0, []string{`a.example. 1 IN TXT "a"`}, func(m *wire.Msg) { m.Truncated = true }, nil, nil},
		{"no question", 0, []string{`a.example. 1 IN TXT "a"`}, func(m *wire.Msg) { m.Question = nil }, nil, nil},
		{"unknown code", 0, nil, func(m *wire.Msg) { m.Rcode = 4000 }, nil, nil},
	} {
		m := answer(q, test.rcode, test.records...)
		if test.change != nil {
			test.change(m)
		}
		o, err := interpret(m, q.typ)
		decided := test.want != nil || test.err != nil
		if decided != (err == nil) || !slices.Equal(o.records, test.want) || o.err != test.err {
			t.Errorf("%s: got %+v, %v", test.name, o, err)
		}
	}
	// Hosts that are none, and data that is not there.
	for _, rr := range []wire.RR{
		&wire.MX{Mx: `mx\.good.example.`}, &wire.MX{}, &wire.PTR{Ptr: `a\000b.example.`}, &wire.PTR{},
		&wire.A{}, &wire.AAAA{}, &wire.TXT{}, &wire.TLSA{}, &wire.NS{Ns: "ns.example."},
	} {
		if record, ok := text(rr); ok {
			t.Errorf("%v gave %q", rr, record)
		}
	}
}

func TestAnswers(t *testing.T) {
	q := question{wire.TypeTXT, `a\z.@[`}
	query, err := pack(q, false)
	if err != nil {
		t.Fatal(err)
	}
	honest := answer(q, 0, "b.example. 1 IN A 192.0.2.1")
	honest.Id = uint16(query[0])<<8 | uint16(query[1])
	for _, test := range []struct {
		name   string
		change func(*wire.Msg)
		want   bool
	}{
		{"honest", func(*wire.Msg) {}, true},
		{"upper case", func(m *wire.Msg) { m.Question[0].Name = `A\\Z.@[.` }, true},
		{"not quite upper case", func(m *wire.Msg) { m.Question[0].Name = "a\\\\z.`[." }, false},
		{"another name", func(m *wire.Msg) { m.Question[0].Name = "b.example." }, false},
		{"a name below", func(m *wire.Msg) { m.Question[0].Name = "x." + m.Question[0].Name }, false},
		{"another type", func(m *wire.Msg) { m.Question[0].Qtype = wire.TypeTXT + 32 }, false},
		{"another class", func(m *wire.Msg) { m.Question[0].Qclass = wire.ClassCHAOS }, false},
		{"another ID", func(m *wire.Msg) { m.Id++ }, false},
		{"a query", func(m *wire.Msg) { m.Response = false }, false},
		{"another opcode", func(m *wire.Msg) { m.Opcode = wire.OpcodeUpdate }, false},
		{"two questions", func(m *wire.Msg) { m.Question = append(m.Question, m.Question[0]) }, false},
		{"no question", func(m *wire.Msg) { m.Question = nil }, false},
		{"no question, refused", func(m *wire.Msg) { m.Question, m.Answer, m.Rcode = nil, nil, wire.RcodeRefused }, true},
		{"no question, no name", func(m *wire.Msg) { m.Question, m.Answer, m.Rcode = nil, nil, wire.RcodeNameError }, false},
		{"nothing at all", func(m *wire.Msg) { m.Question, m.Answer = nil, nil }, false},
	} {
		m := honest.Copy()
		test.change(m)
		reply, err := m.Pack()
		if err != nil {
			t.Fatal(test.name, err)
		}
		if got := answers(reply, query); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	for n := range query {
		if answers(query[:n], query) || questionSection(query[:min(n, headerSize+4)]) != nil {
			t.Errorf("%d octets were taken", n)
		}
	}
}

// FuzzAnswers expects of whatever comes in that it is either no answer to what
// was asked, or of use in just one way, and within the bounds.
func FuzzAnswers(f *testing.F) {
	q := question{wire.TypeTXT, "a.example"}
	query, err := pack(q, false)
	if err != nil {
		f.Fatal(err)
	}
	for _, records := range [][]string{
		{`a.example. 300 IN TXT "a" "b\000\"\\"`},
		{"a.example. 300 IN CNAME b.example.", `b.example. 300 IN TXT "b"`},
		{"example. 300 IN SOA . . 1 2 3 4 5"},
		{"example. 300 IN NS ns.example."},
	} {
		reply, err := answer(q, 0, records...).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(reply)
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		if len(reply) >= 2 {
			copy(reply, query[:2]) // or no guess would ever be right
		}
		m := new(wire.Msg)
		if !answers(reply, query) || m.Unpack(reply) != nil {
			return
		}
		if len(m.Question) == 1 && !strings.EqualFold(m.Question[0].Name, "a.example.") {
			t.Fatalf("taken for an answer: %v", m)
		}
		o, err := interpret(m, q.typ)
		switch {
		case err != nil && (o.err != nil || o.records != nil || o.ttl != 0):
			t.Errorf("undecided, and %+v", o)
		case err == nil && (o.err == nil) == (o.records == nil):
			t.Errorf("neither found nor not: %+v", o)
		case o.ttl < 0 || o.ttl > maxTTL || o.err != nil && o.ttl > maxNegativeTTL:
			t.Errorf("kept for %v", o.ttl)
		case len(o.records) > maxRecords:
			t.Errorf("%d records", len(o.records))
		}
		total := 0
		for _, r := range o.records {
			total += len(r)
		}
		if total > len(reply)*len(o.records) {
			t.Errorf("%d octets of %d", total, len(reply))
		}
	})
}

// FuzzName expects that each name that is asked for reaches the server octet by
// octet.
func FuzzName(f *testing.F) {
	for _, name := range []string{"a.example", `a\b."c"@d.(e);f`, "\x00.\xff\\046", "x.", "..", strings.Repeat("abc.", 63) + "a"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		q, err := newQuestion("TXT", name)
		if err != nil {
			return
		}
		query, err := pack(q, true)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		var labels []byte
		for label := range strings.SplitSeq(q.name, ".") {
			labels = append(append(labels, byte(len(label))), label...)
		}
		labels = append(labels, 0, 0, byte(wire.TypeTXT), 0, wire.ClassINET)
		if !bytes.Equal(questionSection(query), labels) {
			t.Errorf("%q became %q", name, query)
		}
		if again := lower(strings.TrimSuffix(name, ".")); q.name != again {
			t.Errorf("%q became %q", name, q.name)
		}
	})
}

// FuzzEscape expects that what is escaped is fit for a log and can be read back.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "plain", `\`, `\999`, "a\x00b\xff\\046", `\255\256`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		escaped := Escape(s)
		if strings.ContainsFunc(escaped, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q became %q", s, escaped)
		}
		if back := Unescape(escaped); back != s {
			t.Errorf("%q became %q became %q", s, escaped, back)
		}
		if len(Unescape(s)) > len(s) {
			t.Errorf("%q grew", s)
		}
	})
}

func TestReverse(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":          "1.2.0.192",
		"::ffff:192.0.2.1":   "1.0.2.0.0.0.0.c.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0",
		"2001:db8::567:89ab": "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2",
	} {
		if got := Reverse(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Now()
	ask := func(i int) question { return question{wire.TypeTXT, fmt.Sprintf("%05d.example", i)} }
	held := outcome{records: []string{"0123456789"}, ttl: time.Hour}
	one := sizeOf(ask(0), held)
	for _, c := range []*cache{{entries: 10, octets: 1 << 20}, {entries: 1000, octets: 10*one + one/2}} {
		for i := range 100 {
			c.put(ask(i), held, now)
			if _, ok := c.get(ask(0), now); !ok {
				t.Fatalf("what is in use was dropped after %d", i)
			}
		}
		if n, octets := c.size(); n != 10 || octets != 10*one || c.order.Len() != n {
			t.Errorf("%d entries of %d octets", n, octets)
		}
		if _, ok := c.get(ask(99), now); !ok {
			t.Error("the newest is missing")
		}
		if _, ok := c.get(ask(90), now); ok {
			t.Error("the oldest is still there")
		}
		c.put(ask(99), held, now)
		c.put(ask(98), outcome{records: []string{strings.Repeat("x", 2<<20)}, ttl: time.Hour}, now)
		if n, octets := c.size(); n != 10 || octets != 10*one {
			t.Errorf("%d entries of %d octets", n, octets)
		}
		for i := range 100 {
			c.get(ask(i), now.Add(time.Hour))
		}
		if n, octets := c.size(); n != 0 || octets != 0 {
			t.Errorf("expired: %d entries of %d octets", n, octets)
		}
	}
}

func TestResolvConf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		s, err := newServers(nil, path)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want ...string) {
			t.Helper()
			var got []string
			for _, addr := range s.inOrder(time.Now()) {
				got = append(got, addr.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(rereadAfter)
		}
		expect("127.0.0.1:53") // no file
		write("; a comment\nsearch local\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions ndots:5\n")
		expect("192.0.2.1:53", "[2001:db8::1]:53")
		for range sickSilences {
			s.report(netip.MustParseAddrPort("192.0.2.1:53"), false, time.Now())
		}
		write("nameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n")
		expect("[fe80::1%eth0]:53", "192.0.2.3:53", "192.0.2.1:53") // three, and the sick one stays sick
		write("nameserver 192.0.2.")
		expect("192.0.2.1:53", "[fe80::1%eth0]:53", "192.0.2.3:53") // half written; and well again
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rereadAfter)
		expect("192.0.2.1:53", "[fe80::1%eth0]:53", "192.0.2.3:53")
		write("")
		expect("127.0.0.1:53")
	})
	if _, err := newServers(nil, t.TempDir()); err == nil {
		t.Error("a directory was taken for resolv.conf")
	}
	bad := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(bad, []byte("nameserver localhost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newServers(nil, bad); err == nil {
		t.Error("a name was taken for a server")
	}
}

func TestParseMX(t *testing.T) {
	for _, bad := range []string{"", "10", "x mx.example", "-1 mx.example", "65536 mx.example"} {
		if _, err := parseMX(bad); !errors.Is(err, ErrTemporary) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
