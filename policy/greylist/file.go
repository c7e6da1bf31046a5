package greylist

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// A record of the file: key, since, last, and the CRC-32 of these. Of two for one
// key the later one holds.
const recordSize = len(key{}) + 4 + 4 + 4

// slack is how many records a file may have beyond twice what is remembered.
const slack = 1000

// Open opens the Store that is kept in the file path, which is made if it is not
// there. Without a path nothing is kept. Records that are damaged are left out.
func Open(path string, opt Options) (*Store, error) {
	if opt.Max == 0 {
		opt.Max = DefaultMax
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{opt: opt, path: path, entries: make(map[key]entry)}
	if path == "" {
		return s, nil
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open greylist: %w", err)
	}
	if opt.ReadOnly {
		return s, nil
	}
	if err := s.rewrite(); err != nil {
		return nil, fmt.Errorf("open greylist: %w", err)
	}
	return s, nil
}

// load reads the file.
func (s *Store) load() error {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	now := time.Now()
	r := bufio.NewReader(f)
	for {
		var b [recordSize]byte
		_, err := io.ReadFull(r, b[:])
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // a torn record is none
			return nil
		case err != nil:
			return err
		}
		k, e, ok := decode(b)
		if !ok || s.expired(e, now) {
			continue
		}
		if _, found := s.entries[k]; !found && len(s.entries) >= s.opt.Max {
			s.forget(now)
		}
		s.entries[k] = e
	}
}

func encode(k key, e entry) []byte {
	b := append(make([]byte, 0, recordSize), k[:]...)
	b = binary.BigEndian.AppendUint32(b, e.since)
	b = binary.BigEndian.AppendUint32(b, e.last)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func decode(b [recordSize]byte) (k key, e entry, ok bool) {
	body := b[:recordSize-4]
	copy(k[:], body)
	e.since = binary.BigEndian.Uint32(body[len(k):])
	e.last = binary.BigEndian.Uint32(body[len(k)+4:])
	return k, e, binary.BigEndian.Uint32(b[recordSize-4:]) == crc32.ChecksumIEEE(body)
}

// write appends a record, in one write, so that another process which has the
// file open does not come between. What cannot be written is remembered all the
// same, until the end of this process.
func (s *Store) write(k key, e entry) {
	if s.file == nil {
		return
	}
	var err error
	if s.written > 2*len(s.entries)+slack {
		err = s.rewrite() // with the new entry
	} else {
		_, err = s.file.Write(encode(k, e))
		s.written++
	}
	if broken := err != nil; broken != s.broken {
		s.broken = broken
		if broken {
			s.opt.Log.Warn("the greylist would not survive a restart; is the state folder full, or not ours to write?", "cause", err)
		}
	}
}

// rewrite puts a file with nothing but the newest records in the place of the
// old one.
func (s *Store) rewrite() error {
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for k, e := range s.entries {
		_, _ = w.Write(encode(k, e)) // Flush tells of an error
	}
	if err = w.Flush(); err == nil {
		err = f.Sync() // else a crash may leave an empty file under the name
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return err
	}
	if s.file != nil {
		_ = s.file.Close() // its records are in the new one
	}
	s.file, s.written = f, len(s.entries)
	return nil
}

// Close closes the file. The Store must not be used after it.
func (s *Store) Close() error {
	if s == nil || s.file == nil {
		return nil
	}
	return s.file.Close()
}
