// Package report counts what DMARC found about messages, and writes the aggregate
// reports that domains ask for (RFC 9990). It sends nothing.
//
// What was counted is in one file for each day of UTC, a line of JSON for each
// kind of message and each minute in which there was one, so that a crash costs
// what came in its last minute. Days are forgotten after some time, and a day
// that grows beyond all measure is counted no further.
package report

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Row is a kind of message, and how many there were of it.
type Row struct {
	Policy       string    // the domain at which the record was found
	Record       string    // the record
	SourceIP     string    // of the client
	Disposition  string    // "none", "pass", "quarantine" or "reject"
	DKIM, SPF    bool      // whether an aligned identifier was authenticated
	Reasons      []Reason  // why Disposition is not what the record asks for
	HeaderFrom   string    // the author domain
	EnvelopeFrom string    // the domain of the reverse-path; empty for the null one
	Signatures   []Auth    // what DKIM found
	SPFResult    Auth      // what SPF found
	Count        int       // of messages
	Last         time.Time // of the newest
}

// A Reason says why the policy of the record was not applied.
type Reason struct {
	Type    string // "local_policy", "trusted_forwarder", "policy_test_mode", "other"
	Comment string
}

// An Auth is what one check found.
type Auth struct {
	Domain   string
	Selector string // of a signature
	Scope    string // of SPF: "mfrom" or "helo"
	Result   string
}

// key returns what tells kinds of messages apart.
func (r Row) key() string {
	r.Count, r.Last = 0, time.Time{}
	b, _ := json.Marshal(r) // it holds strings
	return string(b)
}

const (
	// flushEvery is how long what was counted is in memory alone.
	flushEvery = time.Minute
	// maxPending bounds the kinds of messages in memory.
	maxPending = 10_000
	// maxDay bounds the file of a day, in octets.
	maxDay = 256 << 20
	// maxLine bounds a line of it.
	maxLine = 64 << 10

	suffix = ".jsonl"
)

// A Counter counts. It may be used by several goroutines. A nil Counter counts
// nothing.
type Counter struct {
	dir  string
	keep int // days
	log  *slog.Logger

	mu   sync.Mutex
	rows map[string]*Row // that were counted since the last flush
	full bool            // the day is, and the log was told
}

// NewCounter returns a Counter that writes into the folder dir, which is made if
// it is not there, and forgets what is older than so many days.
func NewCounter(dir string, keep int, log *slog.Logger) (*Counter, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("count for reports: %w", err)
	}
	return &Counter{dir: dir, keep: keep, log: log, rows: make(map[string]*Row)}, nil
}

// Add counts a message.
func (c *Counter) Add(r Row) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := dayOf(r.Last) + r.key()
	if old := c.rows[key]; old != nil {
		old.Count += r.Count
		old.Last = r.Last
		return
	}
	c.rows[key] = &r
	if len(c.rows) >= maxPending {
		c.flush()
	}
}

// Run writes down what was counted, again and again until ctx ends.
func (c *Counter) Run(ctx context.Context) {
	if c == nil {
		return
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for done := false; !done; {
		c.forget(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			done = true
		}
		c.Flush()
	}
}

// Flush writes down what was counted. What cannot be written is not counted, and
// the log hears why.
func (c *Counter) Flush() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
}

func (c *Counter) flush() {
	days := make(map[string][]byte)
	for _, key := range slices.Sorted(maps.Keys(c.rows)) {
		r := c.rows[key]
		line, _ := json.Marshal(r) // it holds strings
		day := dayOf(r.Last)
		days[day] = append(append(days[day], line...), '\n')
	}
	clear(c.rows)
	for day, lines := range days {
		if err := c.write(day, lines); err != nil {
			c.log.Warn("messages are not counted for reports", "day", day, "cause", err)
		}
	}
}

// errFull says that a day has all that it may have.
var errFull = errors.New("the file of the day is full")

func (c *Counter) write(day string, lines []byte) error {
	f, err := os.OpenFile(filepath.Join(c.dir, day+suffix), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size()+int64(len(lines)) > maxDay && c.full:
		return nil
	case info.Size()+int64(len(lines)) > maxDay:
		c.full = true
		return errFull
	}
	c.full = false
	_, err = f.Write(lines)
	return err
}

// forget removes the files of old days.
func (c *Counter) forget(now time.Time) {
	oldest := dayOf(now.AddDate(0, 0, -c.keep))
	days, err := Days(c.dir)
	if err != nil {
		c.log.Warn("old counts for reports are not removed", "cause", err)
	}
	for _, day := range days {
		if day < oldest {
			_ = os.Remove(filepath.Join(c.dir, day+suffix)) // it is tried again
		}
	}
}

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Days returns the days, as "2026-11-22", of which something was counted into
// dir, in order.
func Days(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var days []string
	for _, e := range entries {
		day, ok := strings.CutSuffix(e.Name(), suffix)
		if _, err := time.Parse(time.DateOnly, day); ok && err == nil {
			days = append(days, day)
		}
	}
	return days, nil
}

// Read returns what was counted into dir on a day, each kind of message once, in
// a fixed order. Lines that cannot be read are left out. An error wraps
// fs.ErrNotExist where nothing was counted.
func Read(dir, day string) ([]Row, error) {
	f, err := os.Open(filepath.Join(dir, filepath.Base(day)+suffix))
	if err != nil {
		return nil, fmt.Errorf("read counts: %w", err)
	}
	defer f.Close()
	rows := make(map[string]*Row)
	r := bufio.NewReaderSize(f, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		var row Row
		if err == nil && json.Unmarshal(line, &row) == nil && row.Count > 0 {
			if old := rows[row.key()]; old == nil {
				rows[row.key()] = &row
			} else {
				old.Count += row.Count
				if row.Last.After(old.Last) {
					old.Last = row.Last
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF): // what has no end was not written in whole
			return sorted(rows), nil
		case errors.Is(err, bufio.ErrBufferFull), err == nil:
		default:
			return nil, fmt.Errorf("read counts: %w", err)
		}
	}
}

func sorted(rows map[string]*Row) []Row {
	all := make([]Row, 0, len(rows))
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		all = append(all, *rows[key])
	}
	return all
}
