package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"postern/config"
	"postern/internal/certtest"
	"postern/internal/dns"
	"postern/internal/dns/dnstest"
	"postern/internal/publish"
)

// published runs dns, and returns what it says of each record: "type name: state".
func published(t *testing.T, s *site, args ...string) (publish.Plan, map[string]publish.Record) {
	t.Helper()
	out, err := s.command(append([]string{"dns", "--json"}, args...)...).Output()
	must(t, err)
	var p publish.Plan
	must(t, json.Unmarshal(out, &p))
	by := make(map[string]publish.Record)
	for _, r := range p.Records {
		by[r.Type+" "+r.Name] = r
	}
	return p, by
}

// zonePrinted reads the output for people as a name server reads a zone file, and
// returns it as a zone.
func zonePrinted(t *testing.T, s *site, args ...string) dns.Zone {
	t.Helper()
	out, err := s.command(append([]string{"dns"}, args...)...).Output()
	must(t, err)
	zone, parser := make(dns.Zone), wire.NewZoneParser(bytes.NewReader(out), "", "example.com.zone")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		data := strings.TrimPrefix(rr.String(), rr.Header().String())
		switch rr := rr.(type) {
		case *wire.TXT:
			data = dns.Unescape(strings.Join(rr.Txt, ""))
		case *wire.MX:
			data = fmt.Sprint(rr.Preference, " ", strings.TrimSuffix(rr.Mx, "."))
		}
		key := wire.TypeToString[rr.Header().Rrtype] + " " + strings.TrimSuffix(rr.Header().Name, ".")
		zone[key] = append(zone[key], data)
	}
	if err := parser.Err(); err != nil {
		t.Errorf("no zone file: %v\n%s", err, out)
	}
	return zone
}

// newDNSSite has two certificates for its name, and serves zone.
func newDNSSite(t *testing.T, zone dns.Zone) (*site, *dnstest.Server, []config.TLS) {
	t.Helper()
	server := dnstest.Start(t, zone)
	s := newSite(t, fmt.Sprintf("dns: servers = [%q]", server.Addr),
		`mx: tls = [{ cert = "a.crt", key = "a.key" }, { cert = "b.crt", key = "b.key" }]`)
	until := time.Now().Add(1000 * time.Hour)
	return s, server, []config.TLS{
		writePair(t, s.dir, "a", "mx.example.com", certtest.RSA(t), until),
		writePair(t, s.dir, "b", "mx.example.com", certtest.ECDSA(t), until),
	}
}

// Who publishes what dns prints has everything that it asks for, and is told so.
func TestDNSPublished(t *testing.T) {
	t.Parallel()
	s, server, _ := newDNSSite(t, dns.Zone{"A elsewhere.example": {"192.0.2.1"}})
	p, records := published(t, s, "EXAMPLE.com.")
	if len(records) != 6 || len(p.Records) != 7 || p.Domain != "example.com" { // two TLSA
		t.Errorf("%d records: %+v", len(records), p)
	}
	for what, r := range records {
		if r.State != publish.Missing {
			t.Errorf("%s is %s", what, r.State)
		}
	}
	for _, want := range []string{"mx.example.com has no address", "mta-sts.example.com has no address", "no certificate is trusted"} {
		if !strings.Contains(strings.Join(p.Notes, "\n"), want) {
			t.Errorf("not said: %s; but %q", want, p.Notes)
		}
	}
	zone := zonePrinted(t, s, "example.com")
	if len(zone) != 6 || len(zone["TLSA _25._tcp.mx.example.com"]) != 2 || zone["MX example.com"][0] != "10 mx.example.com" {
		t.Fatalf("zone: %q", zone)
	}
	zone["A mx.example.com"], zone["CNAME mta-sts.example.com"] = []string{"192.0.2.1"}, []string{"mx.example.com"}
	server.Serve(zone)
	p, records = published(t, s, "example.com")
	for what, r := range records {
		if r.State != publish.Present || len(r.Now) > 0 {
			t.Errorf("%s is %s, beside %q", what, r.State, r.Now)
		}
	}
	if len(p.Notes) != 1 { // that the certificate is not a public authority's
		t.Errorf("notes: %q", p.Notes)
	}
	if again := zonePrinted(t, s, "example.com"); len(again) != len(zone)-2 {
		t.Errorf("printed when all is there: %q", again)
	}
}

// What is there otherwise is told, and what stands for the same is left.
func TestDNSDiffers(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("ab", 32)
	s, _, pairs := newDNSSite(t, dns.Zone{
		"MX example.com":               {"5 other.example.net"},
		"TXT example.com":              {"v=spf1 mx -all", "v=spf1 -all", "site=x"},
		"TXT _dmarc.example.com":       {"v=DMARC1; p=reject; x=\"\n;"},
		"TXT _smtp._tls.example.com":   {"v=TLSRPTv10"},
		"TLSA _25._tcp.mx.example.com": {"3 1 1 " + hash},
	})
	p, records := published(t, s, "example.com")
	for what, want := range map[string]string{
		"MX example.com": publish.Differs, "TXT example.com": publish.Differs, "TXT _dmarc.example.com": publish.Present,
		"TXT _smtp._tls.example.com": publish.Missing, "TXT _mta-sts.example.com": publish.Missing, "TLSA _25._tcp.mx.example.com": publish.Differs,
	} {
		if got := records[what]; got.State != want {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if now := records["TLSA _25._tcp.mx.example.com"].Now; len(now) != 1 || now[0] != "3 1 1 "+hash {
		t.Errorf("TLSA now: %q", now)
	}
	if want := "version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmx: other.example.net\r\nmax_age: 86400\r\n"; p.Policy.Text != want {
		t.Errorf("policy: %q", p.Policy.Text)
	}
	zone := zonePrinted(t, s, "example.com")
	if len(zone["TXT example.com"]) > 0 || zone["TXT _dmarc.example.com"][0] != "v=DMARC1; p=reject; x=\"\n;" {
		t.Errorf("zone: %q", zone)
	}
	enforced, _ := published(t, s, "--enforce", "example.com")
	if !strings.Contains(enforced.Policy.Text, "\r\nmode: enforce\r\n") || enforced.Records[3].Data == p.Records[3].Data {
		t.Errorf("enforced: %q, %q", enforced.Policy.Text, enforced.Records[3].Data)
	}
	for i, f := range pairs {
		chain, err := publish.ReadChain(f.Cert)
		must(t, err)
		key, err := x509.MarshalPKIXPublicKey(chain.Leaf.PublicKey)
		must(t, err)
		if want := fmt.Sprintf("3 1 1 %x", sha256.Sum256(key)); p.Records[5+i].Data != want {
			t.Errorf("%s: %s, want %s", f.Cert, p.Records[5+i].Data, want)
		}
	}
}

// One certificate of two is published: that one is present, the other missing, and
// neither is called a stranger's.
func TestDNSRollover(t *testing.T) {
	t.Parallel()
	s, server, pairs := newDNSSite(t, dns.Zone{})
	chain, err := publish.ReadChain(pairs[1].Cert)
	must(t, err)
	server.Serve(dns.Zone{"TLSA _25._tcp.mx.example.com": {publish.TLSA(chain.Leaf)}})
	p, _ := published(t, s, "example.com")
	if a, b := p.Records[5], p.Records[6]; a.State != publish.Missing || b.State != publish.Present || len(a.Now)+len(b.Now) > 0 {
		t.Errorf("%+v, %+v", a, b)
	}
}

// Without an answer the records are printed all the same, and none is called missing.
func TestDNSUnknown(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	s := newSite(t, fmt.Sprintf("dns: servers = [%q]", silent.LocalAddr()))
	p, records := published(t, s, "example.com")
	for what, r := range records {
		if r.State != publish.Unknown {
			t.Errorf("%s is %s", what, r.State)
		}
	}
	if len(records) != 4 || p.Policy != nil || len(p.Notes) != 2 {
		t.Errorf("%+v", p)
	}
	if out, err := s.command("dns", "other.example").CombinedOutput(); err == nil || !strings.Contains(string(out), "no recipient map is for other.example: the domains are example.com") {
		t.Errorf("%v: %s", err, out)
	}
	s.write("recipients.d/b.toml", "domain = \"b.example\"\nalias_domains = [\"bücher.example\"]\nmailboxes = [\"postmaster\"]\n")
	if p, _ := published(t, s, "Bücher.example"); p.Domain != "xn--bcher-kva.example" {
		t.Errorf("domain: %s", p.Domain)
	}
	if _, err := publish.ReadChain(filepath.Join(s.dir, "postern.toml")); err == nil {
		t.Error("a configuration is a certificate")
	}
}
