package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"

	"postern/mail"
)

// An entry is what the journal was sent.
type entry struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

// newTestJournal returns a log to a journal that keeps what it is sent, until it
// refuses it.
func newTestJournal(format string) (log *slog.Logger, entries *[]entry, refuses *error, instead *bytes.Buffer) {
	entries, refuses, instead = new([]entry), new(error), new(bytes.Buffer)
	h := journalLog(instead, format, slog.LevelDebug)
	h.out.send = func(message string, priority journal.Priority, fields map[string]string) error {
		*entries = append(*entries, entry{message, priority, fields})
		return *refuses
	}
	return slog.New(h), entries, refuses, instead
}

func TestJournal(t *testing.T) {
	log, entries, refuses, instead := newTestJournal("text")
	mail.Outcome{
		Event: mail.Refused, ID: "0123", From: mail.Address{Local: "a\nPRIORITY=0", Domain: "b.example"},
		To: []mail.Address{{Local: "c", Domain: "d.example"}}, Reply: mail.NoSuchUser,
	}.Log(log)
	log.Debug("d")
	log.Warn("w", "a-key.of mine", []string{"x", "y"})
	log.With("one", 1).WithGroup("g").Error("e", "two", 2, strings.Repeat("k", 100), 3)
	got := *entries
	for i, want := range []entry{
		{"level=INFO msg=refused id=0123 client=local from=\"<\\\"a\\nPRIORITY=0\\\"@b.example>\" to=<c@d.example> code=550 status=5.1.1 text=\"no such user here\"", journal.PriInfo,
			map[string]string{"POSTERN_ID": "0123", "POSTERN_CLIENT": "local", "POSTERN_FROM": mail.Address{Local: "a\nPRIORITY=0", Domain: "b.example"}.LogValue().String(),
				"POSTERN_TO": "<c@d.example>", "POSTERN_CODE": "550", "POSTERN_STATUS": "5.1.1", "POSTERN_TEXT": "no such user here"}},
		{"level=DEBUG msg=d", journal.PriDebug, map[string]string{}},
		{`level=WARN msg=w "a-key.of mine"="[x y]"`, journal.PriWarning, map[string]string{"POSTERN_A_KEY_OF_MINE": "[x y]"}},
		{"level=ERROR msg=e one=1 g.two=2 g." + strings.Repeat("k", 100) + "=3", journal.PriErr,
			map[string]string{"POSTERN_ONE": "1", "POSTERN_G_TWO": "2", "POSTERN_G_" + strings.Repeat("K", 64-10): "3"}},
	} {
		want.fields["SYSLOG_IDENTIFIER"] = "postern"
		if got[i].message != want.message || got[i].priority != want.priority || !maps.Equal(got[i].fields, want.fields) {
			t.Errorf("got  %+v\nwant %+v", got[i], want)
		}
	}
	if instead.Len() > 0 {
		t.Errorf("beside the journal: %s", instead)
	}
	*refuses = errors.New("no")
	log.Warn("lost?")
	if instead.String() != "<4>level=WARN msg=lost?\n" {
		t.Errorf("what the journal does not take: %q", instead)
	}
}

// With log.format = "json" the message is that, whole.
func TestJournalJSON(t *testing.T) {
	log, entries, _, _ := newTestJournal("json")
	log.Info("hello", "id", "x")
	var line map[string]any
	if err := json.Unmarshal([]byte((*entries)[0].message), &line); err != nil {
		t.Fatal(err)
	}
	if line["msg"] != "hello" || line["time"] == nil || (*entries)[0].fields["POSTERN_ID"] != "x" {
		t.Errorf("%+v", *entries)
	}
}

// Many write at once, each line whole.
func TestJournalTogether(t *testing.T) {
	log, entries, _, _ := newTestJournal("text")
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() { log.With("a", i).Info("m", "b", i) })
	}
	all.Wait()
	var want, got []string
	for i := range 100 {
		want = append(want, fmt.Sprintf("level=INFO msg=m a=%d b=%d", i, i))
	}
	for _, e := range *entries {
		got = append(got, e.message)
		if e.fields["POSTERN_A"] != e.fields["POSTERN_B"] || !strings.HasSuffix(e.message, "b="+e.fields["POSTERN_B"]) {
			t.Errorf("%+v", e)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Where stderr is no journal, the log has its times.
func TestNoJournal(t *testing.T) {
	var out bytes.Buffer
	New(&out, "text", slog.LevelInfo).Info("x")
	if !strings.HasPrefix(out.String(), "time=") {
		t.Errorf("%s", &out)
	}
}
