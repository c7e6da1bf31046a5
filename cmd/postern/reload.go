package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"postern/config"
)

func reloadCommand(stdio stdio) *cobra.Command {
	var (
		ask    reloadRequest
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "reload [--confirm TIME | --confirmed]",
		Short: "Have a running server read recipients, access rules and certificates again",
		Long:  reloadLong,
		Example: `  postern diff                  # what would change
  postern reload --confirm 5m   # try it
  postern reload --confirmed    # it is right`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("confirm") && ask.Confirm < leastProbation {
				return usage("--confirm=%v: it must be at least %v", ask.Confirm, leastProbation)
			}
			return askingOf(cmd, stdio).acting().reload(cmd.Context(), ask, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&ask.Force, "force", false, "serve the new recipients although domains, or many names, are gone")
	flags.DurationVar(&ask.Confirm, "confirm", 0, "serve what served before again after this `time`, unless it is confirmed")
	flags.BoolVar(&ask.Confirmed, "confirmed", false, "confirm what is on probation")
	flags.BoolVar(&asJSON, "json", false, "print JSON, one line for each server")
	cmd.MarkFlagsMutuallyExclusive("confirm", "confirmed")
	cmd.MarkFlagsMutuallyExclusive("force", "confirmed")
	return withControl(cmd)
}

// leastProbation is what an edit may be put on probation for: nothing at all would
// be none, and no time to confirm it.
const leastProbation = time.Second

// A reloadRequest is the argument of the verb "reload".
type reloadRequest struct {
	Force     bool          `json:"force,omitempty"`
	Confirm   time.Duration `json:"confirm,omitempty"`
	Confirmed bool          `json:"confirmed,omitempty"` // instead: read nothing
}

// Reloaded is what came of a reload.
type Reloaded struct {
	Server     string `json:"server"`
	Generation string `json:"generation"`
	Before     string `json:"before"` // the generation that served until then
	Domains    int    `json:"domains"`
	Mailboxes  int    `json:"mailboxes"`
	Added      int    `json:"added"` // addresses
	Removed    int    `json:"removed"`
	Changed    int    `json:"changed"`

	Mistakes config.Mistakes    `json:"mistakes,omitempty"`
	Errors   []string           `json:"errors,omitempty"`        // others
	Old      []string           `json:"old_versions,omitempty"`  // domains, and files of access rules, of which an old version serves
	Restart  []config.KeyChange `json:"needs_restart,omitempty"` // keys of postern.toml
	Outside  config.Mistakes    `json:"outside,omitempty"`       // mailboxes that are served after a restart

	Until  time.Time `json:"confirm_until,omitzero"` // or else
	OrElse string    `json:"or_else,omitempty"`      // this generation serves again

	Confirmed bool `json:"confirmed,omitempty"` // what was on probation serves for good
}

func (s *asking) reload(ctx context.Context, ask reloadRequest, asJSON bool) error {
	wrong := false
	var all telling
	err := s.each(ctx, request{"reload", ask}, func(name string, answer json.RawMessage) error {
		r := Reloaded{Server: name}
		if err := json.Unmarshal(answer, &r); err != nil {
			return err
		}
		wrong = wrong || len(r.Mistakes)+len(r.Errors)+len(r.Outside) > 0
		if asJSON {
			return json.NewEncoder(s.out).Encode(r)
		}
		all.add(name, r.text())
		return nil
	})
	all.print(s.out)
	if err == nil && wrong {
		err = errors.New("not all that is in the files serves")
	}
	return err
}

// A telling is what several servers answered, each text once.
type telling struct{ names, texts []string }

func (a *telling) add(name, text string) {
	for i := range a.texts {
		if a.texts[i] == text {
			a.names[i] += " and " + name
			return
		}
	}
	a.names, a.texts = append(a.names, name), append(a.texts, text)
}

func (a *telling) print(w io.Writer) {
	for i, text := range a.texts {
		fmt.Fprintf(w, "%s: %s", a.names[i], text)
	}
}

// text returns what an administrator is to know.
func (r Reloaded) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "serving generation %s, %s in %s\n", r.Generation, quantity(r.Mailboxes, "mailbox"), quantity(r.Domains, "domain"))
	switch {
	case r.Confirmed:
		b.WriteString("  confirmed: it serves for good\n")
	case r.Before == r.Generation:
		b.WriteString("  nothing has changed in what serves\n")
	default:
		fmt.Fprintf(&b, "  addresses: %d added, %d removed, %d changed; before it served %s\n", r.Added, r.Removed, r.Changed, r.Before)
	}
	if len(r.Restart) > 0 {
		keys := make([]string, len(r.Restart))
		for i, k := range r.Restart {
			keys[i] = k.Key
		}
		fmt.Fprintf(&b, "  NEEDS A RESTART: %s changed in postern.toml\n", strings.Join(keys, ", "))
	}
	if len(r.Outside) > 0 {
		b.WriteString("  NEEDS A RESTART:\n\n")
		printMistakes(&b, r.Outside)
	}
	if !r.Until.IsZero() {
		fmt.Fprintf(&b, "  generation %s serves again at %s, unless you say: postern reload --confirmed\n", r.OrElse, r.Until.Local().Format(time.TimeOnly))
	}
	if len(r.Mistakes) > 0 {
		fmt.Fprintf(&b, "  NOT SERVED%s:\n\n", oldVersions(r.Old))
		printMistakes(&b, r.Mistakes)
	}
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "  NOT SERVED: %s\n", config.Visible(e))
	}
	return b.String()
}

// oldVersions says of which domains an old version serves.
func oldVersions(domains []string) string {
	switch {
	case len(domains) == 0:
		return ""
	case len(domains) > 10:
		return fmt.Sprintf(" (the old versions of %s and %d more go on)", strings.Join(domains[:10], ", "), len(domains)-10)
	case len(domains) > 1:
		return fmt.Sprintf(" (the old versions of %s go on)", strings.Join(domains, ", "))
	}
	return fmt.Sprintf(" (the old version of %s goes on)", domains[0])
}

// reloadVerb is what the control socket calls "reload".
func (s *server) reloadVerb(_ context.Context, arg json.RawMessage) (any, error) {
	var ask reloadRequest
	if err := json.Unmarshal(arg, &ask); err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	if ask.Confirm != 0 && ask.Confirm < leastProbation {
		return nil, fmt.Errorf("reload: a probation of %v is shorter than %v", ask.Confirm, leastProbation)
	}
	if ask.Confirmed {
		if err := s.recipients.Confirm(); err != nil {
			return nil, err
		}
		r := s.reloaded(s.recipients.Current(), nil)
		r.Confirmed = true
		return r, nil
	}
	before := s.recipients.Current()
	err := s.reload(config.Request{Force: ask.Force, Confirm: ask.Confirm})
	if errors.Is(err, config.ErrNothingToConfirm) {
		return nil, err
	}
	return s.reloaded(before, err), nil
}

// reload reads again whatever can be read again. What fails stays as it was.
func (s *server) reload(q config.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading)
	defer daemon.SdNotify(false, daemon.SdNotifyReady)
	errs := []error{s.recipients.Reload(q)}
	for _, reload := range s.reloads {
		errs = append(errs, reload())
	}
	if keys, err := s.needsRestart(); err != nil {
		errs = append(errs, err)
	} else if len(keys) > 0 {
		s.log.Warn("keys of postern.toml have changed, and wait for a restart", "keys", keys)
	}
	err := errors.Join(errs...)
	if s.confined.Load() && errors.Is(err, fs.ErrPermission) && !strings.Contains(err.Error(), errConfined.Error()) {
		err = errors.Join(err, errConfined)
	}
	switch {
	case errors.Is(err, config.ErrNothingToConfirm):
		s.log.Warn("reload: nothing was put on probation", "cause", err)
	case err != nil:
		s.log.Error("reload: what is broken stays as it was", "cause", err)
	}
	return err
}

// needsRestart returns the keys of postern.toml that are not as they were when it
// was read. The error is why a restart would fail.
func (p *parts) needsRestart() ([]config.KeyChange, error) {
	now, err := config.Load(p.config.File)
	if err != nil {
		return nil, err
	}
	return p.config.Changed(now), nil
}

// reloaded describes what came of a reload that ended in err.
func (s *server) reloaded(before *config.Recipients, err error) Reloaded {
	now := s.recipients.Current()
	until, orElse := s.recipients.Probation()
	if orElse != "" { // the edit may serve for a while already
		before = s.recipients.At(orElse)
	}
	n := config.Compare(before, now, 0)
	r := Reloaded{
		Generation: now.ID(), Before: before.ID(), Domains: len(now.Domains()), Mailboxes: now.Mailboxes(),
		Added: n.Added, Removed: n.Removed, Changed: n.Changed,
	}
	r.Mistakes, r.Errors = sortOut(err)
	r.Restart, _ = s.needsRestart() // of which err tells
	r.Outside = s.store.unreachable(now)
	r.Until, r.OrElse = until, orElse
	if f := s.recipients.Failure(); f != nil {
		r.Old = f.Old
	}
	if s.access != nil && s.access.Failure() != nil {
		r.Old = slices.Concat(r.Old, s.access.Failure().Old)
	}
	return r
}

// sortOut parts the mistakes in err from what else it is of.
func sortOut(err error) (ms config.Mistakes, others []string) {
	var joined interface{ Unwrap() []error }
	switch e, isMistakes := err.(config.Mistakes); {
	case err == nil:
		return nil, nil
	case isMistakes:
		return e, nil
	case !errors.As(err, &joined) || err.Error() == "":
		return nil, []string{err.Error()}
	}
	for _, e := range joined.Unwrap() {
		m, o := sortOut(e)
		ms, others = append(ms, m...), append(others, o...)
	}
	return ms, others
}

// watch reloads the recipients whenever their files change, and takes back in time
// what nobody confirms, until ctx ends.
func (p *parts) watch(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { p.recipients.Run(ctx); return nil })
	if p.config.Reload.Watch {
		group.Go(func() error { return p.recipients.Watch(ctx) })
	}
}

const reloadLong = `Has a running server read the recipient maps, the access rules and the certificates
again, and says what came of it. A server notices edits by itself (reload.watch);
this is for those who want to hear the answer.

A map that is broken keeps its old version, and the others serve. So does one that
is gone, that is empty, or that lost more than half of its names (reload.lose_names,
reload.lose_percent), which looks like an accident; --force says that it is none.
A broken file of access rules keeps its old version, too; the rules of one that is
gone are gone.

With --confirm 5m the maps of before serve again after five minutes, unless you
say "postern reload --confirmed" until then. If the edit serves already, it is put
on probation nevertheless. Nor does a restart confirm anything. What was taken
back serves when it is edited again, or by another postern reload.

postern.toml is read at start alone, and a broken one hides no server from this
command, unless it was named by --config and the sockets to ask at cannot be read of
it: then name one with --control. Which of its keys wait for a restart is told, and so is each mailbox at a
path that the delivery agent gave up when it started. The exit code is 1 if
something in the files does not serve.`
