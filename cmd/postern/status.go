package main

import (
	"context"
	"encoding/json"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/certificate"
	"postern/internal/control"
	"postern/lmtp"
	"postern/mda"
	"postern/mx"
)

// A Status is what a running server says of itself.
type Status struct {
	Server     string           `json:"server"` // "mx", which may be both halves in one process, or "mda"
	Version    string           `json:"version"`
	Hostname   string           `json:"hostname"`
	Started    time.Time        `json:"started"`
	Now        time.Time        `json:"now"`
	Generation string           `json:"generation"` // of the recipients
	Loaded     time.Time        `json:"loaded"`
	Domains    int              `json:"domains"`
	Mailboxes  int              `json:"mailboxes"`
	Refused    string           `json:"reload_refused,omitempty"` // why not all that is in the maps serves
	Old        []string         `json:"old_versions,omitempty"`   // domains of which an old version serves
	Until      time.Time        `json:"confirm_until,omitzero"`   // or else
	OrElse     string           `json:"or_else,omitempty"`        // this generation serves again
	Restart    []string         `json:"needs_restart,omitempty"`  // keys of postern.toml that have changed
	Outside    config.Mistakes  `json:"outside,omitempty"`        // mailboxes that are served after a restart
	Broken     string           `json:"config_broken,omitempty"`  // why a restart would fail
	Replies    map[string]Tally `json:"replies"`

	Remembered  int    `json:"deliveries_remembered"` // whose clients may not have heard of them
	Connections int    `json:"connections"`
	Room        int    `json:"max_connections,omitempty"`
	LMTPClients int    `json:"lmtp_connections"`
	Panics      int    `json:"panics"` // sessions that ended in one
	Goroutines  int    `json:"goroutines"`
	HiddenBy    string `json:"clients_hidden_by,omitempty"` // the private address that nearly all clients seem to have
	InMemory    int64  `json:"held_in_memory"`              // octets of messages in flight
	InFiles     int64  `json:"held_in_files"`

	Certificates []certificate.Status `json:"certificates,omitempty"`
	CertExpires  *time.Time           `json:"certificate_expires,omitempty"` // the first of them

	AccessRules   int               `json:"access_rules"`
	AccessRefused string            `json:"access_refused,omitempty"` // why the newest edit does not serve
	DNSLists      map[string]string `json:"dns_lists,omitempty"`      // why each is not in use; "" if it is
	DNSQuestions  map[string]uint64 `json:"dns_questions,omitempty"`  // by how they ended
	DNSSilent     bool              `json:"dns_silent"`               // no server answers, and none is asked
	Filters       map[string]bool   `json:"filters,omitempty"`        // whether each answers; one that hangs is spared

	Recorded   int64 `json:"decisions_recorded"`
	Unrecorded int64 `json:"decisions_not_recorded"` // since the queue or the disk was full

	Confined     bool      `json:"confined"` // by Landlock
	Places       []Place   `json:"places,omitempty"`
	LastRefusals []Refusal `json:"last_refusals,omitempty"` // the newest first
}

// An mxHalf is an MX that runs.
type mxHalf struct {
	srv   *mx.Server
	certs *certificate.Set // nil: none
	judge *judging
	next  *nextHop
}

// tell adds to st what the MX knows.
func (h mxHalf) tell(st *Status) {
	st.addMX(h.srv, h.certs)
	st.addJudging(h.judge)
	st.Remembered += h.next.ledger.Len()
	st.Places = append(st.Places, spoolPlace(h.srv.Spool.Dir))
}

// An mdaHalf is a delivery agent that runs.
type mdaHalf struct {
	srv    *lmtp.Server
	ledger *mda.Ledger
	store  *store
}

// tell adds to st what the delivery agent knows.
func (h mdaHalf) tell(st *Status) {
	st.Remembered += h.ledger.Len()
	st.Panics += h.srv.Panics()
	st.LMTPClients = h.srv.Connections()
	st.Places = append(st.Places, h.store.place())
}

func (st *Status) addMX(srv *mx.Server, certs *certificate.Set) {
	st.Connections, st.Room = srv.Connections(), srv.MaxConnections
	st.Panics += srv.Panics()
	if ip := srv.ClientsHidden(); ip.IsValid() {
		st.HiddenBy = ip.String()
	}
	st.InMemory, st.InFiles = srv.Spool.Held()
	if certs == nil {
		return
	}
	st.Certificates = certs.Status()
	for _, c := range st.Certificates {
		if !c.Expires.IsZero() && (st.CertExpires == nil || c.Expires.Before(*st.CertExpires)) {
			st.CertExpires = &c.Expires
		}
	}
}

func (st *Status) addJudging(j *judging) {
	st.AccessRules = j.current.Load().Access.Len()
	if j.access != nil {
		if f := j.access.Failure(); f != nil {
			st.AccessRefused = f.Err.Error()
		}
	}
	for _, c := range j.Health.Conditions() {
		if st.DNSLists == nil {
			st.DNSLists = make(map[string]string)
		}
		st.DNSLists[c.List] = c.IPv4
	}
	asked := j.dns.Stats()
	st.DNSSilent = asked.Open
	st.DNSQuestions = map[string]uint64{
		"cached": asked.Hits, "shared": asked.Shared, "spared": asked.Spared, "left": asked.Left, "failed": asked.Failed,
		"answered": asked.Questions - min(asked.Questions, asked.Hits+asked.Shared+asked.Spared+asked.Failed),
	}
	for _, f := range j.Filters {
		if st.Filters == nil {
			st.Filters = make(map[string]bool)
		}
		st.Filters[f.Name] = !f.Hangs()
	}
}

// verbs returns what the control socket can be asked for.
func (s *server) verbs() map[string]control.Verb {
	verbs := map[string]control.Verb{
		"metrics":   s.scrape,
		verbRecords: s.readRecords,
		"status":    func(context.Context, json.RawMessage) (any, error) { return s.statusNow(), nil },
		"reload":    s.reloadVerb,
		"diff":      func(context.Context, json.RawMessage) (any, error) { return s.diff(s.access), nil },
	}
	if s.release != nil {
		verbs[verbRelease] = s.release
	}
	return verbs
}

func (s *server) statusNow() Status {
	r := s.recipients.Current()
	st := Status{
		Server: s.runs.name(), Version: version(), Hostname: s.config.Hostname, Started: s.started, Now: time.Now(), Goroutines: runtime.NumGoroutine(),
		Generation: r.ID(), Loaded: r.Loaded(), Domains: len(r.Domains()), Mailboxes: r.Mailboxes(),
		Replies: map[string]Tally{
			"messages":    s.tally.Messages.now(),
			"refused":     s.tally.Refused.now(),
			"deliveries":  s.tally.Deliveries.now(),
			"connections": s.tally.Broken.now(),
		},
	}
	if f := s.recipients.Failure(); f != nil {
		st.Refused, st.Old = f.Err.Error(), f.Old
	}
	st.Until, st.OrElse = s.recipients.Probation()
	keys, err := s.needsRestart()
	for _, k := range keys {
		st.Restart = append(st.Restart, k.Key)
	}
	if err != nil {
		st.Broken = err.Error()
	}
	st.Outside = s.store.unreachable(r)
	st.Recorded, st.Unrecorded = s.decisions.counts()
	st.LastRefusals = s.tally.Recent.last()
	st.Confined = s.confined.Load()
	for _, add := range s.status {
		add(&st)
	}
	return st
}

func statusCommand(stdio stdio) *cobra.Command {
	var (
		asJSON bool
		every  time.Duration
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what a running server does",
		Long:  statusLong,
		Example: `  postern status
  postern status --watch        # or --watch=10s
  postern status --json | jq 'select(.reload_refused or .config_broken)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := &statusView{out: stdio.out, asking: askingOf(cmd, stdio), asJSON: asJSON}
			switch {
			case !cmd.Flags().Changed("watch"):
				return v.show(cmd.Context(), stdio.out)
			case every < leastInterval:
				return usage("--watch=%v: it must be at least %v", every, leastInterval)
			}
			return v.watch(cmd.Context(), every)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one line for each server")
	cmd.Flags().DurationVar(&every, "watch", 0, "ask again after each `time`, until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return withControl(cmd)
}

// leastInterval spares a server that is asked again and again.
const leastInterval = 100 * time.Millisecond

const statusLong = `Asks the servers that run with this configuration what they do right now: who is
connected, what was taken and refused since they started, the last refusals with
their reasons, what of the files serves and what does not, certificates, DNS lists
and filters, and the folders that they write to. What somebody should look at is in
capitals. For programs, --json prints one line for each server; a field that is empty
is left out, so that a program can ask whether it is there, as the last example does.

With --watch the servers are asked every two seconds, or as often as you say, and
counts are also shown per second; a terminal is redrawn in place. Ctrl-C ends it.

Of the configuration nothing is needed but where the control sockets are, so that a
broken one is no hindrance: what it says nevertheless is used, or the default, and
that it is broken is said on standard error. --control names a socket itself.`
