package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postern/internal/peer"
)

// Prometheus asks the MX over TCP and the agent over a UNIX socket; the command
// shows both; and promtool has nothing to object to.
func TestMetrics(t *testing.T) {
	addr := peer.Addr(t)
	s := newSite(t, `mx: metrics = "`+addr+`"`, `mda: metrics = "unix:metrics.sock"`)
	s.start("mda")
	s.start("mx")
	s.sendOne("ann@client.example", "u1@example.com")

	mx := scrape(t, "tcp", addr)
	mda := scrape(t, "unix", filepath.Join(s.dir, "metrics.sock"))
	out, err := s.command("metrics").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ text, line string }{
		{mx, `postern_outcomes_total{code="250",event="message",status="2.0.0"} 1`},
		{mx, `postern_stage_seconds_count{stage="verify"} 1`},
		{mx, `postern_stage_seconds_count{stage="hand_on"} 1`},
		{mx, `postern_mailboxes 10`},
		{mda, `postern_outcomes_total{code="250",event="delivery",status="2.0.0"} 1`},
		{mda, `postern_stage_seconds_count{stage="deliver"} 1`},
		{mda, `postern_stage_seconds_count{stage="sync"} 1`},
		{mda, `postern_stage_seconds_count{stage="commit"} 1`},
		{mda, `postern_place_usable{place="store"} 1`},
		{mx, `postern_place_usable{place="spool"} 1`},
		{mx, `postern_dns_questions{end="failed"} 0`},
		{string(out), `postern_outcomes_total{code="250",event="message",status="2.0.0",half="mx"} 1`},
		{string(out), `postern_outcomes_total{code="250",event="delivery",status="2.0.0",half="mda"} 1`},
	} {
		if !strings.Contains(want.text, want.line+"\n") {
			t.Errorf("no line %s in\n%s", want.line, want.text)
		}
	}
	for name, text := range map[string]string{"mx": mx, "mda": mda} {
		lint := exec.Command("promtool", "check", "metrics")
		lint.Stdin = strings.NewReader(text)
		if out, err := lint.CombinedOutput(); err != nil {
			t.Errorf("promtool on the metrics of %s: %v\n%s", name, err, out)
		}
	}
}

// The rules and the dashboard speak of metrics that there are.
func TestMonitoringSpeaksOfWhatThereIs(t *testing.T) {
	folder := filepath.Join("..", "..", "contrib", "prometheus")
	if out, err := exec.Command("promtool", "test", "rules", filepath.Join(folder, "alerts_test.yml")).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	cert, key := peer.Certificate(t, t.TempDir())
	s := newSite(t, `mx: metrics = "unix:metrics.sock"`, fmt.Sprintf("mx: tls = { cert = %q, key = %q }", cert, key))
	s.start("serve")
	s.sendOne("ann@client.example", "u1@example.com")
	text := scrape(t, "unix", filepath.Join(s.dir, "metrics.sock"))
	for _, file := range []string{"alerts.yml", "dashboard.json"} {
		content, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`postern_[a-z_]+`).FindAllString(string(content), -1) {
			name = strings.TrimSuffix(name, "_bucket")
			always := name != "postern_dns_list_in_use" && name != "postern_filter_hangs" // which need a list, and a filter
			if always && !strings.Contains(text, "# TYPE "+name+" ") {
				t.Errorf("%s speaks of %s, which there is not", file, name)
			}
		}
	}
}

// scrape returns what a server answers Prometheus.
func scrape(t *testing.T, network, addr string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	resp, err := client.Get("http://postern/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, text)
	}
	return string(text)
}
