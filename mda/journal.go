package mda

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// A journal is the file of a ledger. It has a line for each entry and each
// strike, in their order. An entry is "+", the seconds since 1970, the transaction, the
// keys and a check sum; a strike is "-", the transaction and a check sum; each behind a
// space.
//
// The check sum is the CRC-32C of what is before it, with the space. A line that
// does not end, or whose check sum is wrong, is skipped: it cannot be part of a
// later one. Nothing is ever synced; see Ledger.
type journal struct {
	path  string
	file  *os.File
	lines int // in the file
	kept  int // of them, when it was written anew
}

const (
	// lineKeys is how many keys are on one line at most.
	lineKeys = 100
	// maxLine is longer than any line, in octets.
	maxLine = 8 << 10
	// spareLines is how many lines are added, beside as many as there were, before
	// the file is written anew without those that say nothing any more.
	spareLines = 10_000
)

// load enters what the file says into b. A file that is not there says nothing.
func (j *journal) load(b *book) error {
	file, err := os.Open(j.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	defer file.Close()
	return replay(file, b)
}

// replay enters what r says into b. Its error is that of reading.
func replay(r io.Reader, b *book) error {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == nil:
			enterLine(string(line[:len(line)-1]), b)
		case errors.Is(err, io.EOF):
			return nil // what is left of it is torn
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// enterLine enters what a line says, if it is whole.
func enterLine(line string, b *book) {
	end := strings.LastIndexByte(line, ' ')
	if end < 0 || checksum(line[:end]) != line[end+1:] {
		return
	}
	words := strings.Split(line[:end], " ")
	switch {
	case words[0] == "-" && len(words) == 2:
		b.strike(words[1])
	case words[0] == "+" && len(words) >= 4:
		if e, ok := parseEntry(words[1:]); ok {
			b.enter(e)
		}
	}
}

// parseEntry reads the words of an entry: time, transaction, keys.
func parseEntry(words []string) (entry, bool) {
	seconds, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil || words[1] == "" {
		return entry{}, false
	}
	e := entry{id: strings.Clone(words[1]), at: time.Unix(seconds, 0)} // a part of the line would keep all of it
	for _, word := range words[2:] {
		var k key
		if len(word) != hex.EncodedLen(len(k)) {
			return entry{}, false
		}
		if _, err := hex.Decode(k[:], []byte(word)); err != nil {
			return entry{}, false
		}
		e.keys = append(e.keys, k)
	}
	return e, true
}

// lines returns e as it is written.
func (e *entry) lines() string {
	var b strings.Builder
	for start := 0; start < len(e.keys); start += lineKeys {
		line := fmt.Sprintf("+ %d %s", e.at.Unix(), e.id)
		for _, k := range e.keys[start:min(start+lineKeys, len(e.keys))] {
			line += " " + hex.EncodeToString(k[:])
		}
		b.WriteString(checked(line))
	}
	return b.String()
}

// strikeLine returns the strike of a transaction as it is written.
func strikeLine(id string) string { return checked("- " + id) }

func checked(line string) string { return line + " " + checksum(line) + "\n" }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(line string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(line), castagnoli))
}

// append writes lines at the end, in one write. After an error the file may end
// in a part of a line.
func (j *journal) append(lines string) error {
	j.lines += strings.Count(lines, "\n")
	_, err := io.WriteString(j.file, lines)
	return err
}

// wasteful reports whether the file has grown so much that it should be written
// anew.
func (j *journal) wasteful() bool { return j.lines > 2*j.kept+spareLines }

// rewrite puts a file in the place of the old one that says what b does. If that
// fails, the old one stays.
func (j *journal) rewrite(b *book) error {
	file, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	lines := 0
	for place := b.byAge.Front(); place != nil; place = place.Next() {
		text := place.Value.(*entry).lines()
		lines += strings.Count(text, "\n")
		_, _ = w.WriteString(text) // Flush returns its error
	}
	err = w.Flush()
	if err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	_ = j.close() // it has no name any more
	j.file, j.lines, j.kept = file, lines, lines
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
