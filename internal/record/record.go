// Package record keeps what was decided, for a while: a log of JSON values in a
// folder, bounded in time and in size, that is searched by the words which each
// entry names.
//
// It is for looking back, and never costs what it tells of: an entry that cannot
// be taken at once, or not be written, is dropped and counted. Nothing is synced,
// so a loss of power costs the newest. What is damaged is skipped, is written to
// no more, and goes when its time has come.
//
// The folder holds segments, each of a size; the oldest is removed as a whole.
// Anybody may read them while they are written.
package record

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// An Entry is something to be kept: it is marshalled as JSON. It does not change
// any more.
type Entry interface {
	When() time.Time
	// Keys are the words that it is found by.
	Keys() []string
}

// Options say how much is kept.
type Options struct {
	Keep time.Duration // how long an entry is kept
	Size int64         // what all may take together, in octets
	// Sample is what entries look like: what they have in common with it takes
	// next to no room. At most 32 KiB of it count.
	Sample []byte
	Log    *slog.Logger
}

const (
	// maxQueue bounds the entries that wait to be written.
	maxQueue = 1024
	// maxEntry bounds one, as JSON.
	maxEntry = 1 << 20
	// maxBatch is how much JSON is compressed and written at once, or one entry
	// more.
	maxBatch = 256 << 10
	// gatherFor is how long the first of a batch waits for company. The queue holds
	// what comes meanwhile, even of ten times the mail that a server of many cores
	// takes.
	gatherFor = 20 * time.Millisecond
	// retryAfter is how long nothing is tried after a failure: a disk that is
	// full stays so for a while.
	retryAfter = 30 * time.Second
	// tidyEvery is how often old segments are looked for.
	tidyEvery = time.Hour
)

// A Store takes entries. It may be used by several goroutines. A nil Store takes
// nothing.
type Store struct {
	dir   string
	opt   Options
	queue chan Entry
	pack  *packer

	segment *segment // that is written to; nil: none is
	failed  time.Time

	written, dropped atomic.Int64
}

// Open returns a Store that keeps entries in the folder dir, which is made when
// it is needed. Nothing is written before Run.
func Open(dir string, opt Options) *Store {
	return &Store{dir: dir, opt: opt, queue: make(chan Entry, maxQueue), pack: newPacker(opt.Sample)}
}

// Add has e kept, if it can be taken at once.
func (s *Store) Add(e Entry) {
	if s == nil {
		return
	}
	select {
	case s.queue <- e:
	default:
		s.dropped.Add(1)
	}
}

// Counts returns how many entries were written, and how many could not be kept,
// since the Store was opened.
func (s *Store) Counts() (written, dropped int64) {
	if s == nil {
		return 0, 0
	}
	return s.written.Load(), s.dropped.Load()
}

// Waiting returns how many entries wait to be written.
func (s *Store) Waiting() int { return len(s.queue) }

// Run writes what was added, until ctx ends and all of it is written.
func (s *Store) Run(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	s.resume()
	defer s.close()
	for {
		select {
		case e := <-s.queue:
			if len(s.queue) < maxEntries {
				time.Sleep(gatherFor)
			}
			s.writeWith(e)
		case <-tick.C:
			s.tidy(time.Now())
		case <-ctx.Done():
			for len(s.queue) > 0 {
				s.writeWith(<-s.queue)
			}
			return
		}
	}
}

// writeWith writes e and those that wait behind it.
func (s *Store) writeWith(e Entry) {
	s.pack1(e)
	for s.pack.entries < maxEntries && len(s.pack.texts) < s.batchSize() && len(s.queue) > 0 {
		s.pack1(<-s.queue)
	}
	n := int64(s.pack.entries)
	if n == 0 {
		return
	}
	frame, err := s.pack.frame()
	if err == nil {
		err = s.write(frame, time.Now())
	}
	if err != nil {
		s.dropped.Add(n)
		return
	}
	s.written.Add(n)
}

// pack1 makes e part of the batch, if it is fit for it.
func (s *Store) pack1(e Entry) {
	if err := s.pack.add(e); err != nil {
		s.dropped.Add(1)
		s.opt.Log.Warn("a decision is not recorded", "cause", err)
	}
}

// write appends a frame to the segment, or to a new one. After a failure the
// segment is left as it is, and another begun in a while.
func (s *Store) write(frame []byte, now time.Time) error {
	if !s.failed.IsZero() && now.Sub(s.failed) < retryAfter && now.After(s.failed) {
		return errWaiting
	}
	err := s.room(int64(len(frame)), now)
	if err == nil {
		err = s.segment.append(frame)
	}
	switch {
	case err != nil && s.failed.IsZero():
		s.opt.Log.Warn("decisions are not recorded for now", "folder", s.dir, "cause", err)
		fallthrough
	case err != nil:
		s.failed = now
		s.close()
	case !s.failed.IsZero():
		s.failed = time.Time{}
		s.opt.Log.Info("decisions are recorded again", "folder", s.dir)
	}
	return err
}

var errWaiting = fmt.Errorf("record: nothing is tried for %v after a failure", retryAfter)

// room makes sure that there is a segment that takes n octets more.
func (s *Store) room(n int64, now time.Time) error {
	if s.segment != nil && s.segment.size+n <= s.segmentSize() && now.Sub(s.segment.began) < s.segmentAge() {
		return nil
	}
	s.close()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	s.tidy(now)
	var err error
	s.segment, err = create(s.dir, now, s.opt.Sample)
	return err
}

// Sixteen segments or more make up the whole, so that removing one is no loss.
func (s *Store) segmentSize() int64 {
	return min(max(s.opt.Size/16, 64<<10), 8<<20)
}

func (s *Store) batchSize() int { return int(min(s.segmentSize()/4, maxBatch)) }

func (s *Store) segmentAge() time.Duration { return min(s.opt.Keep/8, 24*time.Hour) }

// resume goes on with the newest segment, if nothing is wrong with it.
func (s *Store) resume() {
	s.tidy(time.Now())
	names, err := segments(s.dir)
	if err != nil || len(names) == 0 {
		return // room will tell why, or there is nothing yet
	}
	seg, err := reopen(s.dir, names[len(names)-1], s.opt.Sample)
	if err != nil {
		s.opt.Log.Warn("what was recorded last is left as it is, and a new file begun", "folder", s.dir, "cause", err)
		return
	}
	s.segment = seg
}

// tidy removes the segments that are too old, and the oldest until there is room
// for another.
func (s *Store) tidy(now time.Time) {
	names, err := segments(s.dir)
	if err != nil {
		return // there is none
	}
	most := max(0, s.opt.Size-2*s.segmentSize()) // the last batch may be a large one
	if err := removeOld(s.dir, names, s.segment.name(), now.Add(-s.opt.Keep), most); err != nil {
		s.opt.Log.Warn("old records are not removed", "folder", s.dir, "cause", err)
	}
}

func (s *Store) close() {
	if s.segment != nil {
		_ = s.segment.file.Close() // all was written
		s.segment = nil
	}
}

// marshal returns e as JSON. What an entry makes of itself is JSON already, and
// json.Marshal would go over it once more.
func marshal(e Entry) (b []byte, err error) {
	if m, ok := e.(json.Marshaler); ok {
		b, err = m.MarshalJSON()
	} else {
		b, err = json.Marshal(e)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("record: %w", err)
	case len(b) > maxEntry:
		return nil, fmt.Errorf("record: an entry of %d octets", len(b))
	}
	return b, nil
}
