package spf

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	oracle "blitiri.com.ar/go/spf"

	"postern/internal/dns"
	"postern/mail"
)

// oracleResolver gives the other implementation the same world, in its terms:
// both families at once, and errors of the standard library.
type oracleResolver struct{ dns.Zone }

func standardError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: dns.NotFound(err), IsTemporary: !dns.NotFound(err)}
}

func (r oracleResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := r.Zone.LookupTXT(ctx, name)
	return texts, standardError(name, err)
}

func (r oracleResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	mxs, err := r.Zone.LookupMX(ctx, name)
	return mxs, standardError(name, err)
}

func (r oracleResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	names, err := r.Zone.LookupAddr(ctx, addr)
	return names, standardError(addr, err)
}

func (r oracleResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	addrs, err := r.Zone.LookupNetIP(ctx, "ip", host)
	var ips []net.IPAddr
	for _, addr := range addrs {
		ips = append(ips, net.IPAddr{IP: addr.AsSlice()})
	}
	return ips, standardError(host, err)
}

// Dice make a world out of octets: each throw takes one.
type dice []byte

func (d *dice) throw(sides int) int {
	if len(*d) == 0 {
		return 0
	}
	n := int((*d)[0]) % sides
	*d = (*d)[1:]
	return n
}

func (d *dice) pick(options ...string) string { return options[d.throw(len(options))] }

// world makes a world that both implementations read alike. The other one asks
// for both families at once, so a host has addresses of both or none; it looks
// for mistakes in a record only as far as it goes, so there are none; it knows
// neither exp= nor %{p}; and it asks for all names of an MX before it compares,
// so none of them is sick.
func (d *dice) world() (dns.Zone, Query) {
	zone := dns.Zone{}
	for i := range 4 {
		if d.throw(8) > 0 {
			zone[fmt.Sprintf("TXT d%d.example", i)] = []string{d.record()}
		}
		host := fmt.Sprintf("h%d.example", i)
		switch {
		case i == 3:
			zone["A "+host], zone["AAAA "+host] = []string{"SERVFAIL"}, []string{"SERVFAIL"}
		case d.throw(3) > 0:
			zone["A "+host] = []string{fmt.Sprintf("192.0.2.%d", d.throw(4)), "198.51.100.1"}
			zone["AAAA "+host] = []string{fmt.Sprintf("2001:db8::%d", d.throw(4))}
		}
	}
	for range d.throw(14) {
		zone["MX d1.example"] = append(zone["MX d1.example"], "10 "+d.pick("h0", "h1", "h2")+".example")
	}
	names := []string{d.pick("h0", "h1", "h2", "x.h0") + ".example", d.pick("h1", "h2", "h3") + ".example"}
	ip := d.pick("192.0.2.0", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1")
	zone["PTR "+strings.TrimPrefix(ip, "::ffff:")] = names
	zone["A 192.0.2.1.ann.example"] = []string{"127.0.0.1"}
	zone["A ann.d0.example"] = []string{"127.0.0.1"}
	q := row{ip: ip, hello: "h0.example"}.query()
	q.Sender = mail.Address{Local: d.pick("ann", "bob-ann", "x.y"), Domain: "d0.example"}
	return zone, q
}

func (d *dice) record() string {
	terms := []string{"v=spf1"}
	for range d.throw(6) {
		terms = append(terms, d.pick("", "+", "-", "~", "?")+d.mechanism())
	}
	switch d.throw(3) {
	case 0:
		terms = append(terms, d.pick("-all", "~all", "?all"))
	case 1:
		terms = append(terms, "redirect="+d.name("d"))
	}
	return strings.Join(terms, d.pick(" ", "  "))
}

func (d *dice) name(kind string) string {
	return fmt.Sprintf("%s%d.example%s", kind, d.throw(4), d.pick("", "", "."))
}

func (d *dice) mechanism() string {
	switch d.throw(8) {
	case 0:
		return fmt.Sprintf("ip4:192.0.2.%d/%d", d.throw(4), 24+d.throw(9))
	case 1:
		return fmt.Sprintf("ip6:2001:db8::%d/%d", d.throw(4), 120+d.throw(9))
	case 2:
		return "a:" + d.name("h") + d.pick("", "/24", "//64", "/31//127")
	case 3:
		return "mx:d1.example" + d.pick("", "/24", "/30//126")
	case 4:
		return "include:" + d.name("d")
	case 5:
		return "exists:" + d.pick("%{i}.%{l1-}.example", "%{l}.%{o}", "%{h}", "%{d}", "%{lr-}.%{d2}", "%{ir}.%{v}.example")
	case 6:
		return "ptr:" + d.pick("h0.example", "h1.example", "x.h0.example")
	}
	return d.pick("a:%{h}/24", "include:%{d1r}.%{d2}", "all")
}

func compare(t *testing.T, throws []byte) (verdict Verdict) {
	d := dice(throws)
	zone, q := d.world()
	got := CheckMailFrom(t.Context(), zone, q)
	theirs, err := oracle.CheckHostWithSender(q.IP.AsSlice(), q.Hello, q.Sender.String(),
		oracle.WithResolver(oracleResolver{zone}), oracle.WithContext(t.Context()))
	if string(got.Verdict) != string(theirs) {
		t.Fatalf("%s\nthe other: %s: %v\n%s from %s\n%q", brief(got), theirs, err, q.Sender, q.IP, zone)
	}
	return got.Verdict
}

// Two implementations agree on four thousand worlds, and reach all verdicts.
func TestOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(7208, 1))
	reached := map[Verdict]int{}
	for range 4_000 {
		throws := make([]byte, 120)
		for i := range throws {
			throws[i] = byte(random.Uint32())
		}
		reached[compare(t, throws)]++
	}
	for _, v := range []Verdict{None, Neutral, Pass, Fail, SoftFail, TempError, PermError} {
		if reached[v] < 50 {
			t.Errorf("%s only %d times", v, reached[v])
		}
	}
	t.Log(reached)
}

func FuzzOracle(f *testing.F) {
	f.Add([]byte("example"))
	f.Fuzz(func(t *testing.T, throws []byte) { compare(t, throws) })
}
