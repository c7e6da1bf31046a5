// Package logging makes the log that a server writes: lines on stderr, or, where
// systemd has connected that with its journal, entries with priorities and fields.
package logging

import (
	"io"
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
)

// New returns a log of that format, "text" or "json". Where w is our stderr and
// systemd has connected that with its journal, the journal gets priorities and
// fields.
func New(w io.Writer, format string, level slog.Level) *slog.Logger {
	if w == io.Writer(os.Stderr) {
		if connected, err := journal.StderrIsJournalStream(); connected && err == nil {
			return slog.New(journalLog(w, format, level))
		}
	}
	return slog.New(lines(w, format, &slog.HandlerOptions{Level: level}))
}

// lines returns a handler that writes lines in the format of the configuration.
func lines(w io.Writer, format string, options *slog.HandlerOptions) slog.Handler {
	if format == "json" {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// journalLog is for the journal, or else for w. A line for people has no time, for
// journalctl shows it.
func journalLog(w io.Writer, format string, level slog.Level) *journalHandler {
	options := &slog.HandlerOptions{Level: level}
	if format != "json" {
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return newJournalHandler(w, func(w io.Writer) slog.Handler { return lines(w, format, options) })
}
