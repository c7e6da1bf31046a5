// Package refused keeps messages that were refused, for whoever wants one after all. It
// is a favour: nobody was told that we have them, nothing is synced, and what goes
// wrong changes no reply.
package refused

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/mail"
)

const (
	suffix = ".msg"
	// maxKeeping is how many are written at a time. What comes when so many are is
	// not kept: nobody waits for a disk for the sake of a message that is refused.
	maxKeeping = 4
	// maxEnvelope bounds the envelope of one, in octets.
	maxEnvelope = 4 << 20
)

// A Keeper keeps messages in a folder, a file for each, which begins with a line of
// JSON, its envelope. Their names are the IDs of their transactions, which sort by
// time. A nil Keeper has none.
type Keeper struct {
	dir     string
	age     time.Duration
	size    int64
	log     *slog.Logger
	writing chan struct{}

	mu     sync.Mutex
	loaded bool
	files  []file // what is in the folder, the oldest first
	total  int64  // octets of them
}

type file struct {
	name string
	size int64
	at   time.Time
}

// New returns a Keeper of what is in dir. There are at most size octets, and what is
// older than age goes when the next message comes, or when Run looks.
func New(dir string, age time.Duration, size int64, log *slog.Logger) *Keeper {
	return &Keeper{dir: dir, age: age, size: size, log: log, writing: make(chan struct{}, maxKeeping)}
}

// Keep keeps a message, if there is room and time for it, and reports whether it
// does. What goes wrong is in the log alone.
func (k *Keeper) Keep(env *mail.Envelope, msg *mail.Message) bool {
	select {
	case k.writing <- struct{}{}:
		defer func() { <-k.writing }()
	default:
		k.log.Warn("a refused message is not kept: too many come at once", "id", env.ID)
		return false
	}
	err := k.makeRoom(msg.Size()+maxEnvelope/64, time.Now())
	if err == nil {
		err = k.Replace(env, msg)
	}
	if err != nil {
		k.log.Warn("a refused message is not kept", "id", env.ID, "cause", err)
	}
	return err == nil
}

// Replace writes the file of a message, whole, over the one that it had, if any. It is not synced: the client was told that we do not have it.
func (k *Keeper) Replace(env *mail.Envelope, msg *mail.Message) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(k.dir, "tmp-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	err = json.NewEncoder(w).Encode(env)
	if err == nil {
		_, err = msg.WriteTo(w)
	}
	if err == nil {
		err = w.Flush()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), k.path(env.ID))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(env.ID)
	return k.note(env.ID + suffix)
}

// note adds a file to what is known to be in the folder.
func (k *Keeper) note(name string) error {
	info, err := os.Stat(filepath.Join(k.dir, name))
	if err != nil {
		return err
	}
	k.files = append(k.files, file{name, info.Size(), info.ModTime()})
	k.total += info.Size()
	return nil
}

// forget takes the message id out of what is known to be in the folder.
func (k *Keeper) forget(id string) {
	k.files = slices.DeleteFunc(k.files, func(f file) bool {
		gone := f.name == id+suffix
		if gone {
			k.total -= f.size
		}
		return gone
	})
}

// Remove removes the message id.
func (k *Keeper) Remove(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(id)
	return os.Remove(k.path(id))
}

func (k *Keeper) path(id string) string { return filepath.Join(k.dir, id+suffix) }

// errTooLarge says that a message is larger than all that may be kept.
var errTooLarge = errors.New("it is larger than policy.keep_refused_size")

// makeRoom removes what is too old, and the oldest until n octets fit.
func (k *Keeper) makeRoom(n int64, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n > k.size {
		return errTooLarge
	}
	if err := k.load(); err != nil {
		return err
	}
	for len(k.files) > 0 && (k.total+n > k.size || now.Sub(k.files[0].at) > k.age) {
		if err := os.Remove(filepath.Join(k.dir, k.files[0].name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		k.total -= k.files[0].size
		k.files = k.files[1:]
	}
	return nil
}

// load reads what is in the folder, once, and removes what was left half written.
func (k *Keeper) load() error {
	if k.loaded {
		return nil
	}
	entries, err := os.ReadDir(k.dir) // sorted by name, and so by time
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, "tmp-"):
			_ = os.Remove(filepath.Join(k.dir, name)) // it is tried again at the next start
		case strings.HasSuffix(name, suffix):
			if err := k.note(name); err != nil {
				return err
			}
		}
	}
	k.loaded = true
	return nil
}

// Run removes what is too old, again and again until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := k.makeRoom(0, time.Now()); err != nil {
			k.log.Warn("refused messages are not removed", "folder", k.dir, "cause", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Open returns the envelope of a message that is kept, and what stands behind it. The
// error says what to do, for whoever asked for it.
func (k *Keeper) Open(id string) (*mail.Envelope, io.ReadCloser, error) {
	if k == nil {
		return nil, nil, errors.New("refused messages are not kept: policy.keep_refused is 0")
	}
	if filepath.Base(id) != id || strings.HasPrefix(id, ".") {
		return nil, nil, fmt.Errorf("%q is not the ID of a message", id)
	}
	f, err := os.Open(k.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("no refused message %s is kept; those of the last %v are (policy.keep_refused)", id, k.age)
	}
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(f, 64<<10)
	line, err := readLine(r, maxEnvelope)
	env := new(mail.Envelope)
	if err == nil {
		err = json.Unmarshal(line, env)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("the envelope of %s: %w", id, err), f.Close())
	}
	return env, struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// readLine reads a line of at most so many octets.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > most:
			return nil, errors.New("a line without an end")
		}
	}
}
