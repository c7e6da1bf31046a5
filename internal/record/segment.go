package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A segment is a file of frames. It begins with the sample that they are
// compressed by, so that it can be read whatever the program's own is meanwhile:
//
//	magic   8 octets
//	length  4
//	sum     4, CRC-32C of the sample
//	sample
const (
	segmentMagic = "PosternR"
	segmentHead  = len(segmentMagic) + 8
	maxSample    = 32 << 10
	suffix       = ".rec"
)

type segment struct {
	file  *os.File
	size  int64
	began time.Time
}

// name returns that of the file; "" for none.
func (s *segment) name() string {
	if s == nil {
		return ""
	}
	return filepath.Base(s.file.Name())
}

// segments returns the names of those in dir, the oldest first.
func segments(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, ok := began(e.Name()); ok && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// segmentName returns the name of a segment that begins at a moment. Names sort by
// time.
func segmentName(t time.Time) string { return t.UTC().Format("20060102T150405.000000") + suffix }

// began returns when the segment of that name began, and false if it is no name
// of one.
func began(name string) (time.Time, bool) {
	text, ok := strings.CutSuffix(name, suffix)
	t, err := time.Parse("20060102T150405.000000", text)
	return t, ok && err == nil
}

// create makes a segment. Nothing is left of one that cannot be written.
func create(dir string, now time.Time, sample []byte) (*segment, error) {
	path := filepath.Join(dir, segmentName(now))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	s := &segment{file: f, began: now}
	if err := s.append(header(sample)); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return s, nil
}

func header(sample []byte) []byte {
	sample = sample[:min(len(sample), maxSample)]
	b := append(make([]byte, 0, segmentHead+len(sample)), segmentMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(sample)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(sample, castagnoli))
	return append(b, sample...)
}

// append writes b at the end, in one piece.
func (s *segment) append(b []byte) error {
	n, err := s.file.Write(b)
	s.size += int64(n)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// reopen opens a segment to go on with it. It is an error if that has another
// sample, or is not whole.
func reopen(dir, name string, sample []byte) (*segment, error) {
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if !bytes.HasPrefix(text, header(sample)) {
		return nil, fmt.Errorf("record: %s was begun by another version", name)
	}
	for rest := text[len(header(sample)):]; len(rest) > 0; {
		_, n, err := next(rest)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		rest = rest[n:]
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	at, _ := began(name)
	return &segment{file: f, size: int64(len(text)), began: at}, nil
}

// removeOld removes the segments that were written to last before a moment, and
// the oldest as long as all together take more than most octets; but not the
// current one.
func removeOld(dir string, names []string, current string, before time.Time, most int64) error {
	var (
		errs  []error
		total int64
	)
	for _, name := range slices.Backward(names) {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			continue // somebody was faster
		}
		total += info.Size()
		if name != current && (total > most || info.ModTime().Before(before)) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
