package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"
)

// A Lock is a way in which programs keep each other out of an mbox. All programs
// that touch it must use the same ones, in the same order.
type Lock int

// The locks.
const (
	Dotlock Lock = iota // a file with .lock added to its name
	Fcntl               // fcntl(2)
	Flock               // flock(2)
)

// ParseLock returns the lock whose String is s.
func ParseLock(s string) (Lock, error) {
	for l := Dotlock; l <= Flock; l++ {
		if l.String() == s {
			return l, nil
		}
	}
	return 0, fmt.Errorf("mailbox: no lock is called %q", s)
}

// String returns the name that Dovecot and Postfix have for l.
func (l Lock) String() string {
	switch l {
	case Dotlock:
		return "dotlock"
	case Fcntl:
		return "fcntl"
	case Flock:
		return "flock"
	}
	return fmt.Sprintf("lock %d", int(l))
}

// dotlockStale is the age at which the holder of a dotlock is taken for dead.
const dotlockStale = 5 * time.Minute

// ErrLocked tells that another holds a lock, on an mbox or the list of folders, for
// longer than one waits.
var ErrLocked = errors.New("mailbox: locked by another")

// tryDotlock makes the file name, which must not exist. One whose
// holder has died is removed.
func tryDotlock(dir Dir, name string) (File, error) {
	file, err := dir.Create(name)
	if !errors.Is(err, fs.ErrExist) {
		return file, err
	}
	info, err := dir.Stat(name)
	if err == nil && time.Since(info.Changed) > dotlockStale {
		err = dir.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, fmt.Errorf("%s: %w", name, ErrLocked)
}

// patiently calls f until it returns anything but ErrLocked, or wait has passed. It
// pauses a little longer each time, at random, so as not to keep in step with others.
func patiently(wait time.Duration, f func() error) error {
	deadline := time.Now().Add(wait)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := f()
		if !errors.Is(err, ErrLocked) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause/2 + rand.N(pause))
	}
}

// signDotlock tells other programs in the dotlock file who holds it.
func signDotlock(file File, host string) error {
	_, err := io.WriteString(file, fmt.Sprintf("%d:%s\n", os.Getpid(), host))
	return err
}
