package report

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns"
)

var day = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)

func row(policy, ip string, last time.Time) Row {
	return Row{
		Policy: policy, Record: "v=DMARC1; p=reject; rua=mailto:r@" + policy, SourceIP: ip, Disposition: "reject",
		HeaderFrom: "news." + policy, EnvelopeFrom: "bounce.example", SPFResult: Auth{Domain: "bounce.example", Scope: "mfrom", Result: "pass"},
		Signatures: []Auth{{Domain: "other.example", Selector: "s", Result: "pass"}}, Count: 1, Last: last,
	}
}

func counter(t testing.TB, dir string) *Counter {
	t.Helper()
	c, err := NewCounter(dir, 14, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What is counted, over restarts and midnight, is read as it was.
func TestCount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dmarc")
	for range 3 {
		c := counter(t, dir)
		for range 5 {
			c.Add(row("a.example", "192.0.2.7", day))
			c.Add(row("a.example", "192.0.2.8", day))
			c.Add(row("b.example", "192.0.2.7", day.Add(11*time.Hour)))
		}
		c.Flush()
		c.Flush()
	}
	name := filepath.Join(dir, "2026-11-22.jsonl")
	b, err := os.ReadFile(name)
	if err != nil || strings.Count(string(b), "\n") != 6 {
		t.Errorf("%v\n%s", err, b)
	}
	if err := os.WriteFile(name, append(b, "nonsense\n{}\n{\"Count\":-5}\n"+strings.Repeat("x", 2*maxLine)+"\n{\"Policy\":\"torn"...), 0o600); err != nil {
		t.Fatal(err)
	}
	rows, err := Read(dir, "2026-11-22")
	if err != nil || len(rows) != 2 || rows[0].Count != 15 || rows[0].SourceIP != "192.0.2.7" || !rows[0].Last.Equal(day) {
		t.Errorf("%+v, %v", rows, err)
	}
	if rows, err := Read(dir, "2026-11-23"); err != nil || len(rows) != 1 || rows[0].Count != 15 {
		t.Errorf("the next day: %+v, %v", rows, err)
	}
	if _, err := Read(dir, "2026-11-24"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a day without messages: %v", err)
	}
	if _, err := Read(dir, "../dmarc/2026-11-23"); err != nil {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1999-12-17.jsonl")
	write("1999-12-18.jsonl")
	write("notes.jsonl")
	synctest.Test(t, func(t *testing.T) {
		c := counter(t, dir)
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { c.Run(ctx); close(done) }()
		c.Add(row("a.example", "192.0.2.7", time.Now()))
		time.Sleep(61 * time.Second)
		if rows, err := Read(dir, "2000-01-01"); err != nil || len(rows) != 1 {
			t.Errorf("after a minute: %v, %v", rows, err)
		}
		c.Add(row("a.example", "192.0.2.7", time.Now()))
		cancel()
		<-done
		if rows, err := Read(dir, "2000-01-01"); err != nil || rows[0].Count != 2 {
			t.Errorf("at the end: %v, %v", rows, err)
		}
	})
	if days, err := Days(dir); err != nil || fmt.Sprint(days) != "[1999-12-18 2000-01-01]" {
		t.Errorf("%v, %v", days, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	dir := t.TempDir()
	c := counter(t, dir)
	for i := range 25_000 {
		c.Add(row("a.example", fmt.Sprint(i), day))
		if len(c.rows) > maxPending {
			t.Fatalf("%d kinds", len(c.rows))
		}
	}
	c.Flush()
	if rows, err := Read(dir, "2026-11-22"); err != nil || len(rows) != 25_000 {
		t.Errorf("%d kinds, %v", len(rows), err)
	}
}

func TestNobodyCounts(t *testing.T) {
	var c *Counter
	c.Add(row("a.example", "192.0.2.7", day))
	c.Flush()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Run(ctx)
	if days, err := Days(filepath.Join(t.TempDir(), "absent")); err != nil || days != nil {
		t.Errorf("%v, %v", days, err)
	}
}

func TestXML(t *testing.T) {
	a := row("a.example", "2001:db8::7", day)
	a.Record, a.Last = "v=DMARC1; p=quarantine; sp=none; np=reject; aspf=s; t=y; fo=1; rua=mailto:r@a.example", day.Add(time.Minute)
	a.Disposition, a.SPF, a.Count = "none", true, 7
	a.Reasons = []Reason{{"policy_test_mode", ""}, {"local_policy", "<b> & \x01"}}
	a.EnvelopeFrom, a.SPFResult = "", Auth{Domain: "mail.a.example", Scope: "helo", Result: "pass"}
	r := Report{Reporter: "mx.example", Contact: "postmaster@mx.example", Domain: "a.example", Day: day,
		Rows: []Row{row("a.example", "192.0.2.7", day), a, row("b.example", "192.0.2.9", day)}}
	got, err := r.XML()
	if err != nil {
		t.Fatal(err)
	}
	const want = `<?xml version="1.0" encoding="UTF-8"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <version>1.0</version>
  <report_metadata>
    <org_name>mx.example</org_name>
    <email>postmaster@mx.example</email>
    <report_id>1795305600.a.example@mx.example</report_id>
    <date_range>
      <begin>1795305600</begin>
      <end>1795391999</end>
    </date_range>
    <generator>Postern</generator>
  </report_metadata>
  <policy_published>
    <domain>a.example</domain>
    <discovery_method>treewalk</discovery_method>
    <p>quarantine</p>
    <sp>none</sp>
    <np>reject</np>
    <fo>1</fo>
    <aspf>s</aspf>
    <testing>y</testing>
  </policy_published>
  <record>
    <row>
      <source_ip>192.0.2.7</source_ip>
      <count>1</count>
      <policy_evaluated>
        <disposition>reject</disposition>
        <dkim>fail</dkim>
        <spf>fail</spf>
      </policy_evaluated>
    </row>
    <identifiers>
      <header_from>news.a.example</header_from>
      <envelope_from>bounce.example</envelope_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>other.example</domain>
        <selector>s</selector>
        <result>pass</result>
      </dkim>
      <spf>
        <domain>bounce.example</domain>
        <scope>mfrom</scope>
        <result>pass</result>
      </spf>
    </auth_results>
  </record>
  <record>
    <row>
      <source_ip>2001:db8::7</source_ip>
      <count>7</count>
      <policy_evaluated>
        <disposition>none</disposition>
        <dkim>fail</dkim>
        <spf>pass</spf>
        <reason>
          <type>policy_test_mode</type>
        </reason>
        <reason>
          <type>local_policy</type>
          <comment>&lt;b&gt; &amp; ?</comment>
        </reason>
      </policy_evaluated>
    </row>
    <identifiers>
      <header_from>news.a.example</header_from>
      <envelope_from></envelope_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>other.example</domain>
        <selector>s</selector>
        <result>pass</result>
      </dkim>
      <spf>
        <domain>mail.a.example</domain>
        <scope>helo</scope>
        <result>pass</result>
      </spf>
    </auth_results>
  </record>
</feedback>
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var any struct {
		XMLName xml.Name `xml:"urn:ietf:params:xml:ns:dmarc-2.0 feedback"`
	}
	if err := xml.Unmarshal(got, &any); err != nil {
		t.Error(err)
	}
	if name := r.Name(); name != "mx.example!a.example!1795305600!1795391999.xml" {
		t.Error(name)
	}
	r.Domain = "c.example"
	if _, err := r.XML(); err == nil {
		t.Error("a report about nothing")
	}
}

// Of a record that is not valid only what is valid is told.
func TestPublished(t *testing.T) {
	for record, want := range map[string]policy{
		"v=DMARC1; rua=mailto:r@a.example":                                  {P: "none", Testing: "n"},
		"v=DMARC1; P=REJECT; sp=Quarantine; adkim=S; aspf=R; t=Y; fo=1:d:s": {P: "reject", SP: "quarantine", ADKIM: "s", ASPF: "r", Testing: "y", FO: "1:d:s"},
		"v=DMARC1; p=block; sp=x; np=; adkim=strict; aspf=; t=yes; fo=x;":   {P: "none", Testing: "n"},
		"v=DMARC1; p=reject; p=none; sp=reject; sp=none":                    {P: "none", Testing: "n"},
	} {
		r := Report{Domain: "a.example", Rows: []Row{{Policy: "a.example", Record: record, Last: day}}}
		want.Domain, want.Discovery = "a.example", "treewalk"
		if got := r.published(); got != want {
			t.Errorf("%s: %+v, want %+v", record, got, want)
		}
	}
	unread := row("a.example", "192.0.2.7", day)
	unread.Signatures = append(unread.Signatures, Auth{Result: "neutral"}, Auth{Domain: "a.example", Result: "permerror"})
	if x := unread.record(); len(x.Signatures) != 1 {
		t.Errorf("%+v", x.Signatures)
	}
}

// Whatever somebody publishes, the report is well-formed.
func FuzzXML(f *testing.F) {
	f.Add("v=DMARC1; p=reject; p=none; sp=<x>;;=; rua=mailto:a@b", "a\x00b", "]]>&\xff")
	f.Fuzz(func(t *testing.T, record, domain, result string) {
		r := row("a.example", "192.0.2.7", day)
		r.Record, r.HeaderFrom, r.Signatures[0].Selector, r.SPFResult.Result = record, domain, domain, result
		got, err := Report{Reporter: "mx.example", Domain: "a.example", Day: day, Rows: []Row{r}}.XML()
		if err != nil {
			t.Fatal(err)
		}
		var back feedback
		if err := xml.Unmarshal(got, &back); err != nil || len(back.Records) != 1 || back.Records[0].Count != 1 {
			t.Fatalf("%v of\n%s", err, got)
		}
	})
}

func TestDestinations(t *testing.T) {
	zone := dns.Zone{
		"TXT a.example._report._dmarc.taker.example": {"v=DMARC1;"},
		"TXT a.example._report._dmarc.odd.example":   {"hello"},
		"TXT a.example._report._dmarc.sick.example":  {"SERVFAIL"},
	}
	record := "v=DMARC1; p=none; rua=mailto:r@a.example!10m, mailto:r@sub.A.example,mailto:x@taker.example, mailto:x@odd.example,mailto:x@other.example,mailto:x@sick.example,https://a.example/r,mailto:@a.example"
	var got []string
	for _, d := range Destinations(t.Context(), zone, "a.example", record) {
		got = append(got, d.URI+": "+d.Problem)
	}
	const want = `mailto:r@a.example: 
mailto:r@sub.A.example: 
mailto:x@taker.example: 
mailto:x@odd.example: odd.example does not want reports about a.example
mailto:x@other.example: other.example does not want reports about a.example
mailto:x@sick.example: no answer from the DNS about a.example._report._dmarc.sick.example
https://a.example/r: only mailto is known
mailto:@a.example: no address`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if all := Destinations(t.Context(), zone, "a.example", "rua="+strings.Repeat("mailto:a@a.example,", 50)); len(all) != maxDestinations {
		t.Errorf("%d destinations", len(all))
	}
}
