package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"postern/config"
)

// served returns err, which is what is wrong with the files by themselves, with what
// the server says to them that runs here, or that would be started: what it would
// refuse as an accident, and which of two maps it goes by. Its word counts where both
// speak of the same.
func (l *checklist) served(ctx context.Context, c *config.Config, err error) error {
	var (
		said config.Mistakes
		old  []string
		by   = "a server that is started now"
	)
	ask := &asking{stdio: stdio{err: io.Discard}, config: c.File, chosen: true}
	failure := ask.eachDiff(ctx, func(name string, d Diff) error {
		if name != lastGood {
			by = "the server that runs"
		}
		said, old = merge(said, d.Mistakes), append(append(old, d.Old...), d.Rules.Old...)
		return nil
	})
	if failure != nil && !isNothing(failure) {
		l.add(toKnow, "as root, postern check and postern diff know", "what a server would say to these maps is not known: %s", strings.ReplaceAll(failure.Error(), "\n", "; "))
	}
	if slices.Sort(old); len(old) > 0 {
		l.add(toKnow, "", "until that is mended, %s goes on with the old version of %s", by, strings.Join(slices.Compact(old), ", "))
	}
	ours, others := sortOut(err)
	var all []error
	if said = merge(said, ours); len(said) > 0 {
		all = append(all, said)
	}
	for _, other := range others {
		all = append(all, errors.New(other))
	}
	return errors.Join(all...)
}

// isNothing reports whether err says of all that was looked for that it is not there.
func isNothing(err error) bool {
	var several interface{ Unwrap() []error }
	if !errors.As(err, &several) {
		return errors.Is(err, fs.ErrNotExist)
	}
	return !slices.ContainsFunc(several.Unwrap(), func(err error) bool { return !errors.Is(err, fs.ErrNotExist) })
}

// merge returns all that is in one of them, once.
func merge(all, more config.Mistakes) config.Mistakes {
	for _, m := range more {
		if !slices.ContainsFunc(all, m.Same) {
			all = append(all, m)
		}
	}
	return all
}
