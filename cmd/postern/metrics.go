package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"postern/config"
	"postern/internal/metrics"
	"postern/mail"
)

// The stages of a message's way that are timed, beside "sync" and "commit" of a
// delivery (mda.Agent).
const (
	stageVerify  = "verify"  // the next hop is asked about a recipient
	stageHandOn  = "hand_on" // the message, over LMTP, until it is durable
	stageDeliver = "deliver" // in the agent: from the end of the message until it is durable
)

// A timed Deliverer notes what its neighbour took.
type timed struct {
	mail.Deliverer
	metrics         *metrics.Metrics
	verify, deliver string // the names of the stages; "": not timed
}

// Verify implements mail.Deliverer.
func (t timed) Verify(ctx context.Context, env *mail.Envelope, rcpt mail.Recipient) error {
	defer t.since(t.verify, time.Now())
	return t.Deliverer.Verify(ctx, env, rcpt)
}

// Deliver implements mail.Deliverer.
func (t timed) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	defer t.since(t.deliver, time.Now())
	return t.Deliverer.Deliver(ctx, env, msg)
}

func (t timed) since(stage string, start time.Time) {
	if stage != "" {
		t.metrics.Stage(stage, time.Since(start))
	}
}

// gauges returns what the status says in numbers.
func (st Status) gauges() []metrics.Gauge {
	all := []metrics.Gauge{
		{Name: "postern_start_time_seconds", Help: "When the server started.", Now: float64(st.Started.Unix())},
		{Name: "postern_recipients_loaded_time_seconds", Help: "When the recipient maps that serve were read.", Now: float64(st.Loaded.Unix())},
		{Name: "postern_recipients_refused", Help: "1 if the newest edit of the recipient maps does not serve.", Now: oneIf(st.Refused != "")},
		{Name: "postern_domains", Help: "Domains that are served.", Now: float64(st.Domains)},
		{Name: "postern_mailboxes", Help: "Mailboxes in the recipient maps.", Now: float64(st.Mailboxes)},
		{Name: "postern_connections", Help: "Clients of the MX.", Now: float64(st.Connections)},
		{Name: "postern_panics", Help: "Sessions that ended in a defect of ours.", Now: float64(st.Panics)},
		{Name: "postern_clients_hidden", Help: "1 if nearly all clients seem to have one private address, by which nothing is judged.", Now: oneIf(st.HiddenBy != "")},
		{Name: "postern_held_octets", Help: "Octets of messages in flight.", Label: "where", Value: "memory", Now: float64(st.InMemory)},
		{Name: "postern_held_octets", Help: "Octets of messages in flight.", Label: "where", Value: "files", Now: float64(st.InFiles)},
		{Name: "postern_deliveries_remembered", Help: "Deliveries whose clients may not have heard of them.", Now: float64(st.Remembered)},
		{Name: "postern_decisions_not_recorded", Help: "Decisions that could not be recorded, since the server started.", Now: float64(st.Unrecorded)},
		{Name: "postern_access_rules", Help: "Access rules that serve.", Now: float64(st.AccessRules)},
		{Name: "postern_access_refused", Help: "1 if the newest edit of the access rules does not serve.", Now: oneIf(st.AccessRefused != "")},
	}
	all = append(all, metrics.Gauge{Name: "postern_dns_silent", Help: "1 if no DNS server answers, so that none is asked.", Now: oneIf(st.DNSSilent)})
	for filter, answers := range st.Filters {
		all = append(all, metrics.Gauge{
			Name: "postern_filter_hangs", Help: "1 if a filter does not answer, so that it is asked now and then.",
			Label: "filter", Value: filter, Now: oneIf(!answers),
		})
	}
	all = append(all, st.surroundings()...)
	all = append(all, st.configuration()...)
	if st.CertExpires != nil {
		all = append(all, metrics.Gauge{Name: "postern_certificate_expiry_time_seconds", Help: "When the certificate ends.", Now: float64(st.CertExpires.Unix())})
	}
	for list, why := range st.DNSLists {
		all = append(all, metrics.Gauge{
			Name: "postern_dns_list_in_use", Help: "0 if a DNS list is left alone, because it does not answer as one does.",
			Label: "list", Value: list, Now: oneIf(why == ""),
		})
	}
	return all
}

// surroundings returns what the server needs of its host: room, and the DNS.
func (st Status) surroundings() (all []metrics.Gauge) {
	for _, at := range st.Places {
		all = append(all,
			metrics.Gauge{Name: "postern_free_octets", Help: "What the file system of the store or the spool has left.", Label: "place", Value: at.What, Now: float64(at.Free)},
			metrics.Gauge{Name: "postern_place_usable", Help: "0 if no mail is taken, because the store or the spool is full or gone.", Label: "place", Value: at.What, Now: oneIf(at.Trouble == "")})
	}
	for end, n := range st.DNSQuestions {
		all = append(all, metrics.Gauge{
			Name: "postern_dns_questions", Help: "Questions to the DNS since the server started, by how they ended.",
			Label: "end", Value: end, Now: float64(n),
		})
	}
	return all
}

// oneIf returns 1 for what is so.
func oneIf(set bool) float64 {
	if set {
		return 1
	}
	return 0
}

// configuration returns what serves of the configuration, and what does not.
func (st Status) configuration() []metrics.Gauge {
	refused := 0
	for _, c := range st.Certificates {
		if c.Refused != "" {
			refused++
		}
	}
	return []metrics.Gauge{
		{Name: "postern_generation", Help: "1 for the generation of the recipient maps that serves.", Label: "id", Value: st.Generation, Now: 1},
		{Name: "postern_domains_old", Help: "Domains of which an old version serves, since the newest is broken.", Now: float64(len(st.Old))},
		{Name: "postern_on_probation", Help: "1 while what serves waits for being confirmed.", Now: oneIf(!st.Until.IsZero())},
		{Name: "postern_keys_waiting", Help: "Keys of postern.toml that have changed, and wait for a restart.", Now: float64(len(st.Restart))},
		{Name: "postern_config_broken", Help: "1 if a restart would fail, since postern.toml is broken.", Now: oneIf(st.Broken != "")},
		{Name: "postern_certificates_refused", Help: "Certificates of which an old one is shown, since the newest is not good.", Now: float64(refused)},
	}
}

// startMetrics answers Prometheus where the configuration says. It is not worth
// a message: what goes wrong is in the log.
func (s *server) startMetrics(ctx context.Context, group *errgroup.Group) {
	s.metrics.Gauges(func() []metrics.Gauge { return s.statusNow().gauges() })
	if s.runs.mx {
		s.serveMetrics(ctx, group, "mx", s.config.MX.Metrics)
	}
	if s.runs.mda {
		s.serveMetrics(ctx, group, "mda", s.config.MDA.Metrics)
	}
}

func (s *server) serveMetrics(ctx context.Context, group *errgroup.Group, half string, at *config.Endpoint) {
	if at == nil {
		return
	}
	l, err := s.sockets.listen("metrics-"+half, *at)
	if err != nil {
		s.log.Error("metrics are not served: free the address, or change "+half+".metrics", "listen", at.String(), "cause", err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	srv := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	group.Go(func() error {
		defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("metrics are not served any more: restart the server", "listen", at.String(), "cause", err)
		}
		return nil
	})
}

// scrape answers the verb "metrics": the text that Prometheus would get.
func (s *server) scrape(ctx context.Context, _ json.RawMessage) (any, error) {
	w := httptest.NewRecorder()
	s.metrics.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", w.Body)
	}
	return w.Body.String(), nil
}

func metricsCommand(stdio stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the metrics of the running servers",
		Long: `Prints what the running MX and the running delivery agent count, in the text
format of Prometheus: for a look, or for the textfile collector of its node
exporter. Where Prometheus is to ask by itself, set mx.metrics and mda.metrics.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var mx, mda string
			err := askingOf(cmd, stdio).each(cmd.Context(), request{verb: "metrics"}, func(name string, answer json.RawMessage) error {
				if name == "mx" {
					return json.Unmarshal(answer, &mx)
				}
				return json.Unmarshal(answer, &mda)
			})
			if err != nil {
				return err
			}
			return metrics.Merge(stdio.out, map[string]string{"mx": mx, "mda": mda})
		},
	}
}
