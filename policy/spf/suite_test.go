package spf

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopkg.in/yaml.v3"

	"postern/internal/dns"
	"postern/mail"
)

// A scenario is a section of the published test suites: a world and what is
// asked in it. The module of another implementation carries the suites.
type scenario struct {
	Description string
	Tests       map[string]suiteCase
	ZoneData    map[string][]map[string]yaml.Node `yaml:"zonedata"`
}

type suiteCase struct {
	Hello       string    `yaml:"helo"`
	Host        string    `yaml:"host"`
	MailFrom    string    `yaml:"mailfrom"`
	Receiver    string    `yaml:"receiver"`
	Result      yaml.Node `yaml:"result"` // one verdict, or several that are right
	Explanation string    `yaml:"explanation"`
}

func readSuite(t *testing.T, name string) []scenario {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	if err != nil {
		t.Fatalf("find the module with the suite: %v", err)
	}
	file, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var suite []scenario
	for dec := yaml.NewDecoder(file); ; {
		var s scenario
		err := dec.Decode(&s)
		if errors.Is(err, io.EOF) {
			return suite
		}
		if err != nil {
			t.Fatal(err)
		}
		suite = append(suite, s)
	}
}

// RFC 7208: the published suite, whole.
func TestSuiteRFC7208(t *testing.T) {
	ran := playSuite(t, readSuite(t, "rfc7208-tests.yml"), nil)
	if ran != 203 {
		t.Errorf("%d cases, not 203", ran)
	}
}

// The cases of another implementation's development. Two of them expect what a
// draft of SPF had, a default= modifier, and not what RFC 7208, section 6, says:
// that an unknown modifier changes nothing.
func TestSuitePySPF(t *testing.T) {
	obsolete := []string{"default-modifier", "default-modifier-harsh"}
	ran := playSuite(t, readSuite(t, "pyspf-tests.yml"), obsolete)
	if ran != 14 {
		t.Errorf("%d cases, not 14", ran)
	}
}

// playSuite runs all cases but those in skip, and returns how many it ran.
func playSuite(t *testing.T, suite []scenario, skip []string) (ran int) {
	for _, s := range suite {
		zone := s.zone(t)
		for name, c := range s.Tests {
			if slices.Contains(skip, name) {
				continue
			}
			ran++
			t.Run(s.Description+"/"+name, func(t *testing.T) { c.play(t, zone) })
		}
	}
	return ran
}

func (sc suiteCase) play(t *testing.T, zone dns.Zone) {
	var want []string
	if sc.Result.Decode(&want) != nil {
		want = []string{sc.Result.Value}
	}
	q := Query{IP: netip.MustParseAddr(sc.Host), Hello: sc.Hello, Receiver: sc.Receiver}
	if i := strings.LastIndexByte(sc.MailFrom, '@'); i >= 0 {
		q.Sender = mail.Address{Local: sc.MailFrom[:i], Domain: sc.MailFrom[i+1:]}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		got := CheckMailFrom(ctx, zone, q)
		if !slices.Contains(want, string(got.Verdict)) {
			t.Errorf("%s by %q %q (%s), want %v\n%v", got.Verdict, got.Chain, got.Mechanism, got.Problem, want, got.Asked)
		}
		switch sc.Explanation {
		case "":
		case "DEFAULT": // the receiver's own
			if got.Explanation != "" {
				t.Errorf("explanation %q, want none", got.Explanation)
			}
		default:
			if got.Explanation != sc.Explanation {
				t.Errorf("explanation %q, want %q", got.Explanation, sc.Explanation)
			}
		}
	})
}

// zone turns the zone data of a scenario into ours. A type "SPF" record stands
// for a TXT record, unless the name has a TXT of its own, be it "NONE".
func (s scenario) zone(t *testing.T) dns.Zone {
	zone := dns.Zone{}
	for name, records := range s.ZoneData {
		name = strings.ToLower(name)
		hasTXT := slices.ContainsFunc(records, func(r map[string]yaml.Node) bool { return len(r["TXT"].Value) > 0 })
		for _, r := range records {
			for typ, value := range r {
				addRecord(t, zone, name, typ, value, hasTXT)
			}
		}
		if slices.ContainsFunc(records, isSlow) {
			for _, typ := range []string{"TXT", "MX", "A", "AAAA"} {
				if zone[typ+" "+name] == nil {
					zone[typ+" "+name] = []string{"TIMEOUT"}
				}
			}
		}
	}
	return zone
}

func isSlow(r map[string]yaml.Node) bool {
	_, slow := r["TIMEOUT"]
	return slow
}

func addRecord(t *testing.T, zone dns.Zone, name, typ string, value yaml.Node, hasTXT bool) {
	var parts []string
	if value.Decode(&parts) != nil {
		parts = []string{value.Value}
	}
	add := func(key, answer string) { zone[key] = append(zone[key], answer) }
	host := func(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }
	switch typ {
	case "TIMEOUT":
	case "CNAMELOOP":
		add("CNAME "+name, name)
	case "TXT", "SPF":
		if text := strings.Join(parts, ""); text != "NONE" && (typ == "TXT" || !hasTXT) {
			add("TXT "+name, text)
		}
	case "A", "AAAA":
		add(typ+" "+name, parts[0])
	case "MX":
		add("MX "+name, parts[0]+" "+host(parts[1]))
	case "PTR":
		add("PTR "+reversed(t, name), parts[0])
	case "CNAME":
		add("CNAME "+name, host(parts[0]))
	default:
		t.Fatalf("%s: a record of type %s", name, typ)
	}
}

// reversed returns the address of a name below in-addr.arpa or ip6.arpa.
func reversed(t *testing.T, name string) string {
	labels, is4 := strings.CutSuffix(name, ".in-addr.arpa")
	labels = strings.TrimSuffix(labels, ".ip6.arpa")
	parts := strings.Split(labels, ".")
	slices.Reverse(parts)
	if is4 {
		return strings.Join(parts, ".")
	}
	var raw [16]byte
	if len(parts) != 32 {
		t.Fatalf("%s: not a reverse name", name)
	}
	for i, p := range parts {
		nibble, err := strconv.ParseUint(p, 16, 4)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		raw[i/2] = raw[i/2]<<4 | byte(nibble)
	}
	return netip.AddrFrom16(raw).String()
}
