package logging

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
)

// A journalHandler is a slog.Handler that writes to systemd's journal: the line as
// its message, the level as its priority, and each attribute as a field of its own,
// POSTERN_ID= and the like, by which journalctl selects.
type journalHandler struct {
	line   slog.Handler // writes it to out
	fields map[string]string
	prefix string // of the names of fields: their groups
	out    *journalOut
}

// A journalOut is where the lines go, one at a time.
type journalOut struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	send func(message string, priority journal.Priority, fields map[string]string) error
	// instead is where a line goes that the journal does not take: to the same
	// journal in the end, with its priority and without fields.
	instead io.Writer
}

// newJournalHandler returns one whose line is what line makes, a handler that
// writes to its argument.
func newJournalHandler(instead io.Writer, line func(io.Writer) slog.Handler) *journalHandler {
	out := &journalOut{send: journal.Send, instead: instead}
	return &journalHandler{line: line(&out.buf), fields: map[string]string{"SYSLOG_IDENTIFIER": "postern"}, out: out}
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.line.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	fields := h.with(func(add func(slog.Attr)) {
		r.Attrs(func(a slog.Attr) bool { add(a); return true })
	})
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.buf.Reset()
	if err := h.line.Handle(ctx, r); err != nil {
		return err
	}
	message, priority := strings.TrimSuffix(h.out.buf.String(), "\n"), priorityOf(r.Level)
	if h.out.send(message, priority, fields) == nil {
		return nil
	}
	_, err := fmt.Fprintf(h.out.instead, "<%d>%s\n", priority, message)
	return err
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.line = h.line.WithAttrs(attrs)
	more.fields = h.with(func(add func(slog.Attr)) {
		for _, a := range attrs {
			add(a)
		}
	})
	return &more
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	more := *h
	more.line = h.line.WithGroup(name)
	if name != "" {
		more.prefix += name + "_"
	}
	return &more
}

// with returns the fields of h and those that each adds.
func (h *journalHandler) with(each func(add func(slog.Attr))) map[string]string {
	fields := make(map[string]string, len(h.fields)+12)
	for name, value := range h.fields {
		fields[name] = value
	}
	each(func(a slog.Attr) {
		if name := fieldName(h.prefix + a.Key); a.Key != "" {
			fields[name] = a.Value.Resolve().String()
		}
	})
	return fields
}

// fieldName returns the name of a field for a key: capitals, digits and "_", of
// which there may be 64.
func fieldName(key string) string {
	name := "POSTERN_" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
	return name[:min(len(name), 64)]
}

// priorityOf returns the priority of syslog(3) for a level.
func priorityOf(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
