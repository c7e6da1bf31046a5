package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// ErrOverQuota tells that a message does not fit into what a user may store.
var ErrOverQuota = errors.New("mailbox: over quota")

// A Quota is what a user may store, in all folders together. The zero Quota
// has no limits.
type Quota struct {
	Octets   int64 // on disk; 0: any number
	Messages int64 // 0: any number

	// Warn has percentages of a limit, ascending. Whenever a message brings what is
	// stored to one of them, Warned is called with the highest, once the message is
	// there. It may deliver into the mailbox, by Unrefused.
	Warn   []int
	Warned func(percent int, u Usage)
}

// A Usage is what a user stores.
type Usage struct{ Octets, Messages int64 }

// allows reports whether q lets a user store u.
func (q Quota) allows(u Usage) bool {
	return (q.Octets == 0 || u.Octets <= q.Octets) && (q.Messages == 0 || u.Messages <= q.Messages)
}

// reached returns the highest of q.Warn that u has come to; 0 is none.
func (q Quota) reached(u Usage) (percent int) {
	of := func(limit, percent int64) int64 { return limit/100*percent + limit%100*percent/100 }
	for _, p := range q.Warn {
		if q.Octets > 0 && u.Octets >= of(q.Octets, int64(p)) || q.Messages > 0 && u.Messages >= of(q.Messages, int64(p)) {
			percent = p
		}
	}
	return percent
}

// A Limited is a Maildir, or one of its folders, with a Quota that is kept in
// the file maildirsize of the Maildir, as Courier and Dovecot keep theirs
// (maildirquota(7)). Whoever else keeps it must count the same folders.
//
// The file is a cache: what a crash makes of it leads to a new count, and at
// worst to a user who may store a little more for a while. Deliveries at the
// same time may exceed the limit by what they store.
type Limited struct {
	*Maildir
	Quota     Quota
	unrefused bool
}

// Limit returns m with a quota.
func (m *Maildir) Limit(q Quota) *Limited { return &Limited{Maildir: m, Quota: q} }

// Unrefused returns l for what must not be refused, as a warning about the quota:
// it is counted, has room whatever there is, and warns of nothing.
func (l *Limited) Unrefused() *Limited {
	u := *l
	u.unrefused, u.Quota.Warn = true, nil
	return &u
}

// limits reports whether there is anything to keep.
func (l *Limited) limits() bool { return l.Quota.Octets > 0 || l.Quota.Messages > 0 }

// Room returns ErrOverQuota if a message of size octets does not fit. A size
// that is not known is 0.
func (l *Limited) Room(size int64) error {
	if !l.limits() {
		return nil
	}
	fsys, done, err := l.open()
	if err != nil {
		return fmt.Errorf("quota of %v: %w", l, err)
	}
	defer done()
	dir, err := fsys.OpenDir(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l.fits(Usage{}, max(size, 1)) // no delivery yet
	}
	if err != nil {
		return fmt.Errorf("quota of %v: %w", l, err)
	}
	defer dir.Close()
	_, err = l.room(fsys, dir, max(size, 1))
	return err
}

// fits returns ErrOverQuota if a message of size octets does not fit beside u.
func (l *Limited) fits(u Usage, size int64) error {
	if l.Quota.allows(Usage{u.Octets + size, u.Messages + 1}) {
		return nil
	}
	return fmt.Errorf("%v with %d octets in %d messages has no room for %d octets: %w", l, u.Octets, u.Messages, size, ErrOverQuota)
}

// room is Room with the Maildir open as dir; it returns what is stored. maildirsize
// is believed when it says that there is room, but that there is none only if the
// count is new, and nothing came or went since.
func (l *Limited) room(fsys FS, dir Dir, size int64) (Usage, error) {
	c, err := l.read(dir)
	if err != nil {
		return Usage{}, fmt.Errorf("quota of %v: %w", l, err)
	}
	if c != nil && (l.fits(c.usage, size) == nil || c.fresh && !l.changedSince(fsys, dir, c.written)) {
		return c.usage, l.fits(c.usage, size)
	}
	usage, err := l.recount(fsys, dir)
	if err != nil {
		return Usage{}, fmt.Errorf("count the messages in %v: %w", l, err)
	}
	return usage, l.fits(usage, size)
}

// record adds u to maildirsize, if it is there, in one write.
func (l *Limited) record(dir Dir, u Usage) error {
	f, err := dir.Open(maildirsize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(fmt.Appendf(nil, "%d %d\n", u.Octets, u.Messages))
	return errors.Join(err, f.Close())
}

// maildirsize is the name of the file, and maxMaildirsize the size at which it
// is written anew. recountAfter is how long a count is believed that leaves no
// room.
const (
	maildirsize    = "maildirsize"
	maxMaildirsize = 5120
	recountAfter   = 15 * time.Minute
)

// A count is what maildirsize says.
type count struct {
	usage   Usage
	fresh   bool // it is a new count, with nothing added
	written time.Time
}

// read returns what maildirsize says, nil if it says nothing that can be
// believed.
func (l *Limited) read(dir Dir) (c *count, err error) {
	f, err := dir.Open(maildirsize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text := make([]byte, maxMaildirsize)
	n, err := f.ReadAt(text, 0)
	if err == nil {
		return nil, nil // it is too large
	}
	if err != io.EOF {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	usage, lines, ok := parseMaildirsize(string(text[:n]), l.Quota)
	if !ok {
		return nil, nil
	}
	return &count{usage: usage, fresh: lines == 1 && time.Since(info.Modified) < recountAfter, written: info.Modified}, nil
}

// parseMaildirsize returns the sum of all lines of a maildirsize for q, and how
// many there are beside the first. It is not ok if any is broken, as after a
// crash, or if it was written for another quota.
func parseMaildirsize(text string, q Quota) (u Usage, lines int, ok bool) {
	first, rest, _ := strings.Cut(text, "\n")
	if octets, messages, ok := parseLimits(first); !ok || octets != q.Octets || messages != q.Messages {
		return Usage{}, 0, false
	}
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) != 2 || !strings.HasSuffix(line, "\n") {
			return Usage{}, 0, false
		}
		octets, err1 := strconv.ParseInt(fields[0], 10, 64)
		messages, err2 := strconv.ParseInt(fields[1], 10, 64)
		if err1 != nil || err2 != nil {
			return Usage{}, 0, false
		}
		u.Octets += octets
		u.Messages += messages
		lines++
	}
	return u, lines, lines > 0 && u.Octets >= 0 && u.Messages >= 0
}

// parseLimits reads the first line of a maildirsize, as "1000S,10C".
func parseLimits(line string) (octets, messages int64, ok bool) {
	for part := range strings.SplitSeq(line, ",") {
		if part == "" {
			return 0, 0, false
		}
		n, err := strconv.ParseInt(part[:len(part)-1], 10, 64)
		if err != nil || n < 0 {
			return 0, 0, false
		}
		switch part[len(part)-1] {
		case 'S':
			octets = n
		case 'C':
			messages = n
		default:
			return 0, 0, false
		}
	}
	return octets, messages, true
}

// formatMaildirsize returns a maildirsize for q with one count.
func formatMaildirsize(q Quota, u Usage) string {
	var limits []string
	if q.Octets > 0 || q.Messages == 0 {
		limits = append(limits, fmt.Sprintf("%dS", q.Octets))
	}
	if q.Messages > 0 {
		limits = append(limits, fmt.Sprintf("%dC", q.Messages))
	}
	return fmt.Sprintf("%s\n%d %d\n", strings.Join(limits, ","), u.Octets, u.Messages)
}
