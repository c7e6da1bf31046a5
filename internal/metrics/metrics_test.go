package metrics

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/mail"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestRecord(t *testing.T) {
	m := New("v1")
	m.Record(mail.Outcome{Event: mail.EndOfData, Size: 1000, Took: time.Second, Reply: mail.Accepted, Client: mail.Client{TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256"}})
	m.Record(mail.Outcome{Event: mail.EndOfData, Size: 500, Reply: mail.Accepted})
	m.Record(mail.Outcome{Event: mail.Refused, Size: 7, Reply: mail.NoSuchUser})
	m.Stage("verify", time.Millisecond)
	m.Gauges(func() []Gauge {
		return []Gauge{
			{Name: "postern_held_octets", Help: "h", Label: "where", Value: "memory", Now: 5},
			{Name: "postern_held_octets", Help: "h", Label: "where", Value: "files", Now: 6},
			{Name: "postern_connections", Help: "c", Now: 2},
		}
	})
	text := scrape(t, m)
	for _, line := range []string{
		`postern_outcomes_total{code="250",event="message",status="2.0.0"} 2`,
		`postern_outcomes_total{code="550",event="refused",status="5.1.1"} 1`,
		`postern_accepted_octets_total{event="message"} 1500`,
		`postern_outcome_seconds_count{event="message"} 1`,
		`postern_stage_seconds_bucket{stage="verify",le="0.001"} 1`,
		`postern_accepted_by_tls_total{version="1.3"} 1`,
		`postern_accepted_by_tls_total{version="none"} 1`,
		`postern_build_info{version="v1"} 1`,
		`postern_held_octets{where="files"} 6`,
		`postern_held_octets{where="memory"} 5`,
		`postern_connections 2`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	if strings.Contains(text, `event="refused"} 7`) {
		t.Error("octets of what was refused are counted as accepted")
	}
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Whatever a next hop or a client says, the number of series stays bounded.
func TestLabelsAreBounded(t *testing.T) {
	m := New("v1")
	for i := range 2000 {
		m.Record(mail.Outcome{
			Event:  mail.EndOfData,
			Client: mail.Client{TLS: fmt.Sprint("TLSv", i), Hello: fmt.Sprint("host", i)},
			From:   mail.Address{Local: fmt.Sprint(i), Domain: "example.org"},
			Reply:  mail.Reply{Code: 200 + i, Status: mail.Status{i, i % 1000, i}, Text: fmt.Sprint(i)},
		})
	}
	if n := testutil.CollectAndCount(m.outcomes); n > 450 {
		t.Errorf("%d series of outcomes", n)
	}
	if n := testutil.CollectAndCount(m.tls); n > 6 {
		t.Errorf("%d series of TLS versions", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	m := New("v1")
	o := mail.Outcome{Event: mail.EndOfData, Size: 1000, Took: time.Second, Reply: mail.Accepted}
	b.ReportAllocs()
	for b.Loop() {
		m.Record(o)
	}
}

func TestMerge(t *testing.T) {
	mx, mda := New("v1"), New("v1")
	mx.Record(mail.Outcome{Event: mail.EndOfData, Reply: mail.Accepted})
	mda.Record(mail.Outcome{Event: mail.Delivery, Took: time.Second, Reply: mail.Accepted})
	var out strings.Builder
	if err := Merge(&out, map[string]string{"mx": scrape(t, mx), "mda": scrape(t, mda)}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`postern_outcomes_total{code="250",event="message",status="2.0.0",half="mx"} 1`,
		`postern_outcomes_total{code="250",event="delivery",status="2.0.0",half="mda"} 1`,
		`postern_outcome_seconds_count{event="delivery",half="mda"} 1`,
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no line %s in\n%s", line, out.String())
		}
	}
	if n := strings.Count(out.String(), "# TYPE postern_outcomes_total"); n != 1 {
		t.Errorf("%d declarations of one family", n)
	}
	if err := Merge(&out, map[string]string{"mx": "not metrics {"}); err == nil || !strings.Contains(err.Error(), "mx") {
		t.Errorf("nonsense: %v", err)
	}
}
