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
	"strconv"
	"strings"
	"time"
)

// A Query says which entries are wanted.
type Query struct {
	Key   string    // a word that they are found by, in any case; empty: all
	Since time.Time // not older
	After string    // the Next of the page before; empty: from the oldest
}

// A Page is a part of an answer, in the order in which the entries were written.
// It may have none although there are more.
type Page struct {
	Sample  []byte
	Batches []Batch // see Each
	Next    string  // where the next page goes on; empty: there is none
	Damaged int     // places in which something could not be read
}

// A Batch is entries that were compressed together, and where those of them are
// that are wanted.
type Batch struct {
	Data   []byte
	Wanted []Span
}

// A Span is a part of what was compressed, in octets.
type Span struct{ From, To int }

// maxPage is how much of compressed entries a page has, or a little more.
const maxPage = 4 << 20

// Read returns what the folder dir holds, whether somebody writes to it or not. A
// folder that is not there holds nothing.
func Read(dir string, q Query) (Page, error) {
	names, err := segments(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Page{}, nil
	}
	if err != nil {
		return Page{}, err
	}
	name, offset := q.after()
	for i, n := range names {
		if n < name {
			continue
		}
		if n > name {
			offset = 0
		}
		page, at, err := readSegment(filepath.Join(dir, n), offset, q)
		switch {
		case errors.Is(err, fs.ErrNotExist): // its time had come
			continue
		case err != nil:
			return page, err
		case at > 0:
			page.Next = n + ":" + strconv.Itoa(at)
		case i+1 < len(names):
			page.Next = names[i+1] + ":0"
		}
		if len(page.Batches) > 0 || page.Damaged > 0 || page.Next == "" {
			return page, nil
		}
	}
	return Page{}, nil
}

// after returns where to go on.
func (q Query) after() (name string, offset int) {
	name, at, _ := strings.Cut(q.After, ":")
	offset, _ = strconv.Atoi(at) // what is no number is the beginning
	return name, max(0, offset)
}

// readSegment reads a page of a segment from an offset on, and returns the one of
// what is left; 0: nothing is.
func readSegment(path string, offset int, q Query) (p Page, rest int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return p, 0, fmt.Errorf("record: %w", err)
	}
	var start int
	if p.Sample, start = sampleOf(text); start == 0 {
		p.Damaged = 1
		return p, 0, nil
	}
	key, octets := hash(q.Key), 0
	for at := max(start, offset); at < len(text); {
		f, n, err := next(text[at:])
		at += n
		if err != nil {
			p.Damaged++
			continue
		}
		if wanted := f.wanted(q, key); len(wanted) > 0 {
			p.Batches = append(p.Batches, Batch{bytes.Clone(f.data), wanted})
			octets += len(f.data)
		}
		if octets > maxPage && at < len(text) {
			return p, at, nil
		}
	}
	return p, 0, nil
}

// wanted returns where the entries are that q asks for, and whose key has a hash.
func (f frame) wanted(q Query, key uint64) (spans []Span) {
	for _, e := range f.entries {
		if !e.at.Before(q.Since) && (q.Key == "" || e.has(key)) {
			spans = append(spans, Span{e.from, e.to})
		}
	}
	return spans
}

// sampleOf returns the sample of a segment, and where its frames begin; 0 if its
// head is damaged.
func sampleOf(text []byte) (sample []byte, start int) {
	if len(text) < segmentHead || string(text[:len(segmentMagic)]) != segmentMagic {
		return nil, 0
	}
	n := int(binary.BigEndian.Uint32(text[len(segmentMagic):]))
	if n > maxSample || n > len(text)-segmentHead {
		return nil, 0
	}
	sample = text[segmentHead : segmentHead+n]
	if crc32.Checksum(sample, castagnoli) != binary.BigEndian.Uint32(text[len(segmentMagic)+4:]) {
		return nil, 0
	}
	return bytes.Clone(sample), segmentHead + n
}

// Each calls do with the JSON of each entry, which is valid during the call, until
// that returns an error. What cannot be unpacked is left out.
func (p Page) Each(do func(text []byte) error) error {
	u := unpacker{sample: p.Sample}
	for _, b := range p.Batches {
		text, err := u.unpack(b.Data)
		if err != nil {
			continue
		}
		for _, w := range b.Wanted {
			if w.From < 0 || w.To < w.From || w.To > len(text) {
				break
			}
			if err := do(text[w.From:w.To]); err != nil {
				return err
			}
		}
	}
	return nil
}
