package access

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"postern/mail"
)

func addr(s string) mail.Address {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return mail.Address{}
	}
	return mail.Address{Local: s[:i], Domain: s[i+1:]}
}

func networksOf(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestMatch(t *testing.T) {
	q := func(client, hello, from, to string) Query {
		return Query{Client: netip.MustParseAddr(client), Hello: hello, Sender: addr(from), Recipient: addr(to)}
	}
	usual := q("192.0.2.7", "mail.client.example", "Ann@Client.example", "bob@here.example")
	bounce := q("2001:db8::1", "[IPv6:2001:DB8::1]", "", "postmaster@")
	eai := q("::ffff:192.0.2.7", "", "ann@BÜCHER.example", "bob@here.example")
	tests := []struct {
		rule  Rule
		query Query
		fits  bool
	}{
		{Rule{Clients: networksOf("192.0.2.0/24")}, usual, true},
		{Rule{Clients: networksOf("192.0.2.7/32")}, usual, true},
		{Rule{Clients: networksOf("192.0.2.8/32", "192.0.0.0/16")}, usual, true},
		{Rule{Clients: networksOf("192.0.3.0/24", "::/0")}, usual, false},
		{Rule{Clients: networksOf("0.0.0.0/0")}, bounce, false},
		{Rule{Clients: networksOf("2001:db8::/32")}, bounce, true},
		{Rule{Clients: networksOf("192.0.2.0/24")}, eai, true}, // a mapped address is IPv4
		{Rule{Clients: networksOf("::/0", "0.0.0.0/0")}, Query{Sender: addr("a@b")}, false},

		{Rule{Hello: []string{"mail.CLIENT.example."}}, usual, true},
		{Rule{Hello: []string{"client.example"}}, usual, false},
		{Rule{Hello: []string{".client.example"}}, usual, true},
		{Rule{Hello: []string{".mail.client.example"}}, usual, true},
		{Rule{Hello: []string{".example"}}, usual, true},
		{Rule{Hello: []string{".lient.example"}}, usual, false},
		{Rule{Hello: []string{"[ipv6:2001:db8::1]"}}, bounce, true},
		{Rule{Hello: []string{"[IPv6:2001:DB8::1]."}}, bounce, true},

		{Rule{Senders: []string{"ann@client.example"}}, usual, true},
		{Rule{Senders: []string{"ANN@client.example"}}, usual, true},
		{Rule{Senders: []string{"bob@client.example", "ann@"}}, usual, true},
		{Rule{Senders: []string{"nn@"}}, usual, false},
		{Rule{Senders: []string{"client.example"}}, usual, true},
		{Rule{Senders: []string{"example"}}, usual, false},
		{Rule{Senders: []string{".example"}}, usual, true},
		{Rule{Senders: []string{"<>"}}, usual, false},
		{Rule{Senders: []string{"<>"}}, bounce, true},
		{Rule{Senders: []string{".example", "ann@"}}, bounce, false},
		{Rule{Senders: []string{"bücher.example"}}, eai, true},
		{Rule{Senders: []string{"xn--bcher-kva.example"}}, eai, true},
		{Rule{Senders: []string{"ann@Bücher.example"}}, eai, true},

		{Rule{Recipients: []string{"postmaster@"}}, bounce, true}, // without a domain too
		{Rule{Recipients: []string{"bob@here.example"}}, usual, true},
		{Rule{Recipients: []string{"here.example"}}, bounce, false},

		{Rule{Clients: networksOf("192.0.2.0/24"), Senders: []string{"client.example"}, Recipients: []string{"bob@"}}, usual, true},
		{Rule{Clients: networksOf("192.0.2.0/24"), Senders: []string{"client.example"}, Recipients: []string{"eve@"}}, usual, false},
	}
	for _, tt := range tests {
		tt.rule.Name, tt.rule.Action = "it", Deny
		l, err := New([]Rule{tt.rule})
		if err != nil {
			t.Errorf("%+v: %v", tt.rule, err)
		}
		if m, fits := l.Match(tt.query); fits != tt.fits || fits && m != (Match{Rule: "it", Action: Deny}) {
			t.Errorf("%+v, %+v: %v, %v", tt.rule, tt.query, m, fits)
		}
	}
}

func TestFirstRuleHolds(t *testing.T) {
	l, err := New([]Rule{
		{Name: "1", Action: Deny, Senders: []string{"eve@evil.example"}},
		{Name: "2", Action: Allow, Senders: []string{"evil.example"}},
		{Name: "3", Action: Defer, Senders: []string{".evil.example"}, Text: "later"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{"eve@evil.example": "1", "ann@evil.example": "2", "eve@more.evil.example": "3", "a@b.example": ""} {
		if m, _ := l.Match(Query{Sender: addr(from)}); m.Rule != want {
			t.Errorf("%s: %v, want %s", from, m, want)
		}
	}
}

func TestNoRules(t *testing.T) {
	var l *List
	if _, found := l.Match(Query{}); found || l.Len() != 0 {
		t.Error("a rule was found")
	}
}

func TestMistakes(t *testing.T) {
	for _, r := range []Rule{
		{Action: Deny},
		{Action: "drop", Hello: []string{"a"}},
		{Action: Deny, Hello: []string{"ann@a"}},
		{Action: Deny, Hello: []string{"<>"}},
		{Action: Deny, Hello: []string{""}},
		{Action: Deny, Hello: []string{"."}},
		{Action: Deny, Hello: []string{"a b"}},
		{Action: Deny, Senders: []string{"@a"}},
		{Action: Deny, Senders: []string{"ann@.a"}},
		{Action: Deny, Senders: []string{"ann@a..b"}},
		{Action: Deny, Recipients: []string{"*@a", "*"}},
	} {
		if _, err := New([]Rule{r}); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
}

// Whatever a pattern is, it fits the address that it is.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"ann@b.example", "b.example", ".b.example", "ann@", "<>", "a@b@c", "\xff@ü", "[::1]", "ẞ@ß.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		key, err := Pattern(p, true)
		if err != nil {
			return
		}
		if again, err := Pattern(key, true); err != nil || again != key {
			t.Fatalf("%q is %q is %q, %v", p, key, again, err)
		}
		l, err := New([]Rule{{Name: "it", Action: Deny, Senders: []string{p}}})
		if err != nil {
			t.Fatal(err)
		}
		a := addr(p)
		if !strings.Contains(p, "@") && p != null {
			a = mail.Address{Local: "x", Domain: "y" + p}
			if p[0] != '.' {
				a.Domain = p
			}
		}
		if len(a.Domain) > 200 { // "y" may be one too many
			return
		}
		if _, fits := l.Match(Query{Sender: a}); !fits && !strings.ContainsAny(p, "[") {
			t.Fatalf("%q does not fit %q", p, a)
		}
	})
}

// A large list costs no more than a small one.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		r := Rule{Name: "it", Action: Deny}
		for i := range n {
			r.Senders = append(r.Senders, fmt.Sprintf("user%d@spam%d.example", i, i))
			r.Clients = append(r.Clients, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
		}
		l, err := New([]Rule{{Name: "clients", Action: Deny, Clients: r.Clients}, {Name: "senders", Action: Deny, Senders: r.Senders}})
		if err != nil {
			b.Fatal(err)
		}
		q := Query{Client: netip.MustParseAddr("192.0.2.7"), Hello: "client.example", Sender: addr("ann@client.example"), Recipient: addr("bob@here.example")}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Match(q)
			}
		})
	}
}
