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

	"postern/config"
	"postern/internal/control"
)

// timeForServers bounds what check waits for each server that runs here.
const timeForServers = 10 * time.Second

// A hearing is what is said to the files of a configuration by the server that runs
// here, or that would be started.
type hearing struct {
	*checklist
	config *config.Config
	by     string
	heard  bool // somebody has said something to these files
	said   sayings
	passes sayings  // what goes away by itself
	held   sayings  // what was taken back
	old    []string // domains of which an old version goes on
	others []string // what is no Mistake
}

// served returns err, which is what is wrong with the files by themselves, with what
// the server says to them that runs here, or that would be started: what it would
// refuse as an accident, and which of two maps it goes by. Its word counts where both
// speak of the same.
func (l *checklist) served(ctx context.Context, c *config.Config, err error) error {
	h := &hearing{checklist: l, config: c}
	if hint, failure := h.ask(ctx); failure != nil && !isNothing(failure) {
		l.add(toKnow, hint, "what a server would say to these maps is not known: %s", strings.ReplaceAll(failure.Error(), "\n", "; "))
	}
	h.tellMore()
	ours, others := sortOut(err)
	h.said.add(ours)
	var all []error
	if len(h.said.all) > 0 {
		all = append(all, h.said.all)
	}
	for _, other := range append(others, h.others...) {
		all = append(all, errors.New(other))
	}
	return errors.Join(all...)
}

// ask hears whoever runs, or else goes by what is kept; why that failed comes with the
// way out.
func (h *hearing) ask(ctx context.Context) (hint string, failure error) {
	h.by, hint = "the server that runs", "postern status and the log of the server know more"
	ask := &asking{stdio: stdio{err: io.Discard}, config: h.config.File, chosen: true, patience: timeForServers}
	failure = ask.each(ctx, request{verb: "diff"}, h.hear)
	if !h.heard && (failure == nil || control.NotRunning(failure)) {
		h.by, hint = "a server that is started now", "the next server that starts writes anew what is kept"
		failure = h.recall()
	}
	if errors.Is(failure, fs.ErrPermission) {
		hint = "as root, postern check and postern diff know"
	}
	return hint, failure
}

// hear notes what a server that runs says, unless it has other files.
func (h *hearing) hear(name string, answer json.RawMessage) error {
	var d Diff
	if err := json.Unmarshal(answer, &d); err != nil {
		return err
	}
	if d.Folder != "" && d.Folder != h.config.Recipients {
		h.add(toKnow, "", "%s serves another folder, %s, and was not asked about this one", name, d.Folder)
		return nil
	}
	if d.File != "" && d.File != h.config.File { // whose mistakes are another's
		d.Mistakes = slices.DeleteFunc(d.Mistakes, func(m config.Mistake) bool { return m.File == d.File })
		d.Errors = slices.DeleteFunc(d.Errors, func(e string) bool { return strings.Contains(e, d.File) })
	}
	h.note(d)
	for _, e := range d.Errors {
		if e = fmt.Sprintf("%s: %s", h.by, e); !slices.Contains(h.others, e) {
			h.others = append(h.others, e)
		}
	}
	return nil
}

// recall notes what a server would say to the files that is started now.
func (h *hearing) recall() error {
	d, err := diffOfKept(h.config.File)
	if err == nil {
		h.note(d) // its Errors are those of reading the files by themselves
	}
	return err
}

func (h *hearing) note(d Diff) {
	h.heard = true
	for _, m := range d.Mistakes {
		if m.Passing {
			h.passes.add(config.Mistakes{m})
		} else {
			h.said.add(config.Mistakes{m})
		}
	}
	h.held.add(d.Held)
	h.old = append(append(h.old, d.Old...), d.Rules.Old...)
}

// tellMore tells what is no mistake.
func (h *hearing) tellMore() {
	for _, m := range h.held.all {
		h.found = append(h.found, Found{shouldMend, h.about, m})
	}
	for _, m := range h.passes.all {
		h.found = append(h.found, Found{toKnow, h.about, m})
	}
	until := "until that is mended"
	if len(h.said.all) == 0 && len(h.passes.all) > 0 {
		until = "until then"
	}
	if slices.Sort(h.old); len(h.old) > 0 {
		h.add(toKnow, "", "%s, %s goes on with the old version of %s", until, h.by, strings.Join(slices.Compact(h.old), ", "))
	}
}

// isNothing reports whether err says of all that was looked for that it is not there.
func isNothing(err error) bool {
	var several interface{ Unwrap() []error }
	if !errors.As(err, &several) {
		return errors.Is(err, fs.ErrNotExist)
	}
	return !slices.ContainsFunc(several.Unwrap(), func(err error) bool { return !errors.Is(err, fs.ErrNotExist) })
}

// sayings are what several say of the same files, each thing once.
type sayings struct {
	all config.Mistakes
	at  map[string][]int // which of them are at a place
}

func (s *sayings) add(more config.Mistakes) {
	if s.at == nil {
		s.at = make(map[string][]int)
	}
	for _, m := range more {
		here := m.Place()
		same := func(i int) bool { return s.all[i].Same(m) }
		if slices.ContainsFunc(s.at[here], same) || m.Other != "" && slices.ContainsFunc(s.at[m.Other], same) {
			continue
		}
		s.at[here] = append(s.at[here], len(s.all))
		s.all = append(s.all, m)
	}
}
