// Package spool holds messages while they are in flight: in memory while small,
// then in an unlinked file, so that nothing is left behind by a crash. What
// all of them hold together is bounded. Nothing here is durable, nor need it
// be: until the mailbox has it, the client has it.
package spool

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrFull says that messages in flight hold as much as they may.
var ErrFull = errors.New("spool: full")

// A Spool makes Buffers, and bounds what they hold together. The fields are set
// before the first use and not changed after it.
type Spool struct {
	Dir       string // where large messages wait; "" is the default folder for temporary files
	InMemory  int64  // octets of one message that stay in memory
	MaxMemory int64  // octets in memory, of all messages; those beyond go to files
	MaxFiles  int64  // octets in files, of all messages; beyond, a write fails with ErrFull

	memory, files atomic.Int64
}

// Held returns how many octets the messages in flight hold in memory and in
// files.
func (s *Spool) Held() (memory, files int64) { return s.memory.Load(), s.files.Load() }

// New returns an empty Buffer. It holds nothing before it is written to.
func (s *Spool) New() *Buffer { return &Buffer{spool: s} }

// take reserves n octets of *held, unless that would be more than limit.
func take(held *atomic.Int64, n, limit int64) bool {
	if held.Add(n) <= limit {
		return true
	}
	held.Add(-n)
	return false
}

// Memory comes in chunks of two sizes: most messages fit the small one.
const (
	smallChunk = 8 << 10
	largeChunk = 64 << 10
)

var smallChunks = sync.Pool{New: func() any { return new([smallChunk]byte) }}
var largeChunks = sync.Pool{New: func() any { return new([largeChunk]byte) }}

// newChunk returns a chunk with nothing in it, and room.
func newChunk(first bool) []byte {
	if first {
		return smallChunks.Get().(*[smallChunk]byte)[:0]
	}
	return largeChunks.Get().(*[largeChunk]byte)[:0]
}

func freeChunk(c []byte) {
	switch cap(c) {
	case smallChunk:
		smallChunks.Put((*[smallChunk]byte)(c[:smallChunk]))
	case largeChunk:
		largeChunks.Put((*[largeChunk]byte)(c[:largeChunk]))
	}
}

// openUnlinked returns a new file in dir that has no name.
func openUnlinked(dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	file, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err == nil {
		return file, nil
	}
	// Not every file system has files without a name.
	file, createErr := os.CreateTemp(dir, "postern-")
	if createErr != nil {
		return nil, fmt.Errorf("spool: %w", createErr)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, fmt.Errorf("spool: %w", errors.Join(err, file.Close()))
	}
	return file, nil
}
