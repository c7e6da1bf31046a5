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
	Entries [][]byte // compressed; see Each
	Next    string   // where the next page goes on; empty: there is none
	Damaged int      // places in which something could not be read
}

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
		if len(page.Entries) > 0 || page.Damaged > 0 || page.Next == "" {
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
		switch {
		case err != nil:
			p.Damaged++
		case f.at.Before(q.Since) || q.Key != "" && !f.has(key):
		default:
			p.Entries = append(p.Entries, bytes.Clone(f.data))
			octets += len(f.data)
		}
		if octets > maxPage && at < len(text) {
			return p, at, nil
		}
	}
	return p, 0, nil
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
	for _, data := range p.Entries {
		text, err := u.unpack(data)
		if err != nil {
			continue
		}
		if err := do(text); err != nil {
			return err
		}
	}
	return nil
}
