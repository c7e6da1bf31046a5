package mailbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"path"
	"strconv"
	"strings"
	"time"
)

// Check yields what is wrong with an mbox: lines that begin with "From " but no
// message, which somebody must read to know what they are; a message that is there
// only in part; what deliveries that died left beside it; owner and mode. It
// changes nothing but by Finding.Repair. An error comes last, and once.
func (m *Mbox) Check(now time.Time) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		c := &checker{now: now, yield: yield, group: m.store.opts.Group}
		if err := c.mbox(m); err != nil && !errors.Is(err, errStopped) {
			yield(Finding{}, fmt.Errorf("check %v: %w", m, err))
		}
	}
}

func (c *checker) mbox(m *Mbox) (err error) {
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
	at := path.Dir(m.String())
	if err := c.beside(m, dir, at); err != nil {
		return err
	}
	info, err := dir.Stat(m.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Regular {
		return c.found(Finding{Path: at, Problem: NotAMessage, Text: "is no file"}, m.name)
	}
	if c.owner, err = ownerOf(fsys, m.dir, info); err != nil {
		return err
	}
	if err := c.modes(dir, at, m.name, info); err != nil {
		return err
	}
	return c.fromLines(m, dir, at)
}

// ownerOf returns to whom an mbox should belong: in the store, to the owner of its
// folder. In a folder of the system, as /var/mail, its owner is right whoever it is.
func ownerOf(fsys FS, dir string, mbox Info) (uint32, error) {
	if dir == "." {
		return mbox.Owner, nil
	}
	above, err := fsys.OpenDir(path.Dir(dir))
	if err != nil {
		return 0, err
	}
	defer above.Close()
	info, err := above.Stat(path.Base(dir))
	return info.Owner, err
}

// beside checks the files that deliveries have beside the mbox.
func (c *checker) beside(m *Mbox, dir Dir, at string) error {
	for name, err := range dir.Names() {
		if err != nil {
			return err
		}
		isLock := name == m.name+".lock"
		if !isLock && !strings.HasPrefix(name, m.waiting()) && name != m.journal() {
			continue
		}
		info, err := dir.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && name == m.journal() {
			err = c.journal(m, dir, at, info)
		} else if err == nil && isLock && c.now.Sub(info.Changed) > dotlockStale {
			err = c.found(Finding{Path: at, Problem: Stale, Text: "a lock whose holder died",
				repair: func() error { return dir.Remove(name) }}, name)
		} else if err == nil && !isLock {
			err = c.stale(dir, at, name, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// journal checks whether the mbox ends in a part of the message that a journal is
// about. While a delivery is under way it does, so a young one is left alone.
func (c *checker) journal(m *Mbox, dir Dir, at string, info Info) error {
	if c.now.Sub(info.Changed) < dotlockStale {
		return nil
	}
	return c.found(Finding{Path: at, Problem: Torn, Text: "tells of a delivery that died: the next one, or a repair, takes away what there is of its message",
		repair: func() error {
			box, err := m.lock(dir)
			if err != nil {
				return err
			}
			return errors.Join(box.repair(), box.unlock())
		}}, m.journal())
}

func (c *checker) fromLines(m *Mbox, dir Dir, at string) error {
	file, err := dir.Open(m.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrInvalid) {
		return c.found(Finding{Path: at, Problem: NotAMessage, Text: "has a second name, or is no file"}, m.name)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	text := io.NewSectionReader(file, 0, info.Size)
	return checkMbox(text, text, func(line int64, text string) bool {
		return c.found(Finding{Path: at, Problem: BrokenFrom, Text: fmt.Sprintf("line %d %s", line, text)}, m.name) == nil
	})
}

// checkMbox tells yield of the lines of r that begin with "From " and are no
// separators (RFC 4155), counted from one, and of a first line that is none. The
// body of a message whose Content-Length is right (mboxcl2) has lines that begin so.
// At is r, to look ahead in.
func checkMbox(r io.Reader, at io.ReaderAt, yield func(line int64, text string) bool) error {
	b := bufio.NewReaderSize(r, 64<<10)
	m := mboxLines{at: at, blank: true}
	begun := true
	for line := int64(1); ; {
		part, err := b.ReadSlice('\n')
		if len(part) > 0 && begun {
			text, aerr := m.begin(part, line)
			if aerr != nil {
				return aerr
			}
			if text != "" && !yield(line, text) {
				return errStopped
			}
		}
		m.pos += int64(len(part))
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

// mboxLines is how far the lines of an mbox have been looked at.
type mboxLines struct {
	at       io.ReaderAt
	pos      int64 // where the line begins
	blank    bool  // the line before it is empty
	inHeader bool
	length   int64 // what the header says of the body, from unstated on
	next     int64 // where the next message begins, or the end is; up to there it is a body
}

// The lengths of a header that states none, and of one that states several.
const (
	unstated int64 = -1
	disputed int64 = -2
)

// begin looks at the beginning of a line, and says what is wrong with it.
func (m *mboxLines) begin(part []byte, line int64) (text string, err error) {
	if m.pos < m.next {
		return "", nil
	}
	isFrom := bytes.HasPrefix(part, []byte("From "))
	after := m.blank // of the header, where a body was passed over
	m.blank = len(bytes.TrimRight(part, "\r\n")) == 0
	switch {
	case line == 1 && !isFrom:
		return `does not begin with "From "`, nil
	case isFrom && !isSeparator(string(part)):
		return `begins with "From ", and has no date`, nil
	case isFrom && !after:
		return `begins with "From ", and follows no empty line`, nil
	case isFrom:
		m.inHeader, m.length = true, unstated
	case m.inHeader && m.blank:
		m.inHeader = false
		m.next, err = m.bodyEnd(m.pos + int64(len(part)))
	case m.inHeader:
		m.state(part)
	}
	return "", err
}

// state notes what a line of the header says of the length of the body.
func (m *mboxLines) state(field []byte) {
	name, value, _ := bytes.Cut(field, []byte(":"))
	if !strings.EqualFold(string(bytes.TrimRight(name, " \t")), "Content-Length") {
		return
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 62)
	if err != nil || m.length != unstated && m.length != int64(n) {
		m.length = disputed
		return
	}
	m.length = int64(n)
}

// bodyEnd returns where the message after the body that begins at start is, if what
// the header says of its length is right: just behind it, or after an empty line, is
// a separator, or nothing. Otherwise it returns 0. Anybody may have written the
// field, and readers trust it no further.
func (m *mboxLines) bodyEnd(start int64) (int64, error) {
	if m.length < 0 || m.length > math.MaxInt64-start {
		return 0, nil
	}
	const enough = 1 << 10 // for a separator, and what is around it
	before := min(m.length, 1)
	end := start + m.length
	buf := make([]byte, enough)
	n, err := m.at.ReadAt(buf, end-before)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if int64(n) < before {
		return 0, nil // it would end beyond the file
	}
	rest, lineEnds := buf[before:n], before == 0 || buf[0] == '\n'
	for range 3 {
		if len(rest) == 0 || lineEnds && bytes.HasPrefix(rest, []byte("From ")) && isSeparator(firstLine(rest)) {
			return end - before + int64(n) - int64(len(rest)), nil
		}
		if rest, lineEnds = bytes.CutPrefix(bytes.TrimPrefix(rest, []byte("\r")), []byte("\n")); !lineEnds {
			break
		}
	}
	return 0, nil
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(line)
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
