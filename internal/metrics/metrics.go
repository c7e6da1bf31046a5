// Package metrics counts what ended, for Prometheus. It is a subscriber of
// outcomes, as the log is, and asks at each scrape for the gauges that it was
// given.
//
// No label holds what a stranger said: not an address, a domain or a text. The
// values of each label are a list of its own, and whatever is not in it counts
// as "other", so that nobody can make the server remember more by sending more.
package metrics

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"postern/mail"
)

// Metrics are the counts of one process. Its methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry
	outcomes *prometheus.CounterVec
	octets   *prometheus.CounterVec
	took     *prometheus.HistogramVec
	stages   *prometheus.HistogramVec
	tls      *prometheus.CounterVec
}

// seconds are the buckets of all durations: from what a local file system takes
// to what a client waits for at most (RFC 5321, section 4.5.3.2.6).
var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 600}

// New returns metrics in which nothing happened yet.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_outcomes_total",
			Help: "What ended: a refused connection, a refused command, a message, a delivery; by code and enhanced status of the reply.",
		}, []string{"event", "code", "status"}),
		octets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_accepted_octets_total",
			Help: "Octets of what was answered with 2xx.",
		}, []string{"event"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_outcome_seconds", Buckets: seconds,
			Help: "From MAIL to the reply of a message, and from its end to that of a delivery.",
		}, []string{"event"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_stage_seconds", Buckets: seconds,
			Help: "What each stage of a message's way took.",
		}, []string{"stage"}),
		tls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_accepted_by_tls_total",
			Help: "Accepted messages by the version of TLS that they came under.",
		}, []string{"version"}),
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "postern_build_info", Help: "1; its label says what runs."}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.outcomes, m.octets, m.took, m.stages, m.tls, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Record counts o.
func (m *Metrics) Record(o mail.Outcome) {
	event := o.Event.String()
	m.outcomes.WithLabelValues(event, code(o.Reply.Code), status(o.Reply.Status)).Inc()
	if o.Took > 0 {
		m.took.WithLabelValues(event).Observe(o.Took.Seconds())
	}
	if !o.Reply.OK() {
		return
	}
	m.octets.WithLabelValues(event).Add(float64(o.Size))
	if o.Event == mail.EndOfData {
		m.tls.WithLabelValues(tlsVersion(o.Client.TLS)).Inc()
	}
}

// Stage notes that a stage took so long. Its name is one of a few constants.
func (m *Metrics) Stage(name string, took time.Duration) {
	m.stages.WithLabelValues(name).Observe(took.Seconds())
}

// A Gauge is a value that is asked for at each scrape. The label, "" for none,
// tells apart those of the same name, which share their help.
type Gauge struct {
	Name, Help   string
	Label, Value string // the label's name, and its value
	Now          float64
}

// Gauges adds what now returns at each scrape.
func (m *Metrics) Gauges(now func() []Gauge) { m.registry.MustRegister(gauges(now)) }

type gauges func() []Gauge

// Describe implements prometheus.Collector: what there will be is not known
// beforehand.
func (gauges) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (now gauges) Collect(to chan<- prometheus.Metric) {
	for _, g := range now() {
		var labels prometheus.Labels
		if g.Label != "" {
			labels = prometheus.Labels{g.Label: g.Value}
		}
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(g.Name, g.Help, nil, labels), prometheus.GaugeValue, g.Now)
	}
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// code returns a reply code as a label.
func code(c int) string {
	if c < 200 || c > 599 {
		return "other"
	}
	return strconv.Itoa(c)
}

// status returns an enhanced status as a label: the next hop may say any, so
// only those of which RFC 3463 and its registry speak stay.
func status(s mail.Status) string {
	switch {
	case s == (mail.Status{}):
		return ""
	case s[0] < 2 || s[0] > 5 || s[1] < 0 || s[1] > 7 || s[2] < 0 || s[2] > 30:
		return "other"
	}
	return s.String()
}

// tlsVersion returns the version in a description of TLS as a label.
func tlsVersion(tls string) string {
	version, _, _ := strings.Cut(tls, " ")
	switch version {
	case "":
		return "none"
	case "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3":
		return strings.TrimPrefix(version, "TLSv")
	}
	return "other"
}
