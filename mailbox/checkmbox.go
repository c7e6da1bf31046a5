package mailbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"time"
)

// Check yields what is wrong with the lines of an mbox that begin with "From ".
// It changes nothing, and none of its Findings can be repaired: whether such a
// line begins a message is for somebody to say who has read it. An error comes
// last, and once.
func (m *Mbox) Check() iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		err := m.check(func(f Finding) bool { return yield(f, nil) })
		if err != nil && !errors.Is(err, errStopped) {
			yield(Finding{}, fmt.Errorf("check %v: %w", m, err))
		}
	}
}

func (m *Mbox) check(yield func(Finding) bool) (err error) {
	fsys := m.store.fs
	if m.home != "" {
		if fsys, err = m.store.home(m.home); err != nil {
			return err
		}
		defer fsys.Close()
	}
	dir, err := fsys.OpenDir(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no delivery yet
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	file, err := dir.Open(m.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return checkMbox(io.NewSectionReader(file, 0, info.Size), func(line int64, text string) bool {
		return yield(Finding{Path: m.String(), Problem: BrokenFrom, Text: fmt.Sprintf("line %d %s", line, text)})
	})
}

// checkMbox tells yield of the lines of r that begin with "From " and are no
// separators (RFC 4155), counted from one, and of a first line that is none.
func checkMbox(r io.Reader, yield func(line int64, text string) bool) error {
	b := bufio.NewReaderSize(r, 64<<10)
	blank, begun := true, true // before this line; it is the beginning of one
	for line := int64(1); ; {
		part, err := b.ReadSlice('\n')
		if len(part) > 0 && begun {
			text := ""
			isFrom := bytes.HasPrefix(part, []byte("From "))
			switch {
			case line == 1 && !isFrom:
				text = `does not begin with "From "`
			case isFrom && !isSeparator(string(part)):
				text = `begins with "From ", and has no date`
			case isFrom && !blank:
				text = `begins with "From ", and follows no empty line`
			}
			if text != "" && !yield(line, text) {
				return errStopped
			}
			blank = len(bytes.TrimRight(part, "\r\n")) == 0
		}
		begun = bytes.HasSuffix(part, []byte("\n"))
		if begun {
			line++
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// dates are how the date is written in separators, its words parted by one space.
var dates = []string{
	"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04 2006",
	"Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04:05 2006 MST",
	"Mon Jan 2 15:04:05 -0700 2006", "Mon Jan 2 15:04:05 2006 -0700",
}

// isSeparator reports whether line, which begins with "From ", ends in a date.
func isSeparator(line string) bool {
	words := strings.Fields(line)
	for _, n := range []int{5, 6} {
		if len(words) < n+1 {
			continue
		}
		date := strings.Join(words[len(words)-n:], " ")
		for _, layout := range dates {
			if _, err := time.Parse(layout, date); err == nil {
				return true
			}
		}
	}
	return false
}
