package spool

import (
	"fmt"
	"io"
	"os"

	"postern/mail"
)

// A Buffer holds one message. It is written by one goroutine; when that is done,
// many may read. It is a mail.Source.
type Buffer struct {
	spool  *Spool
	chunks [][]byte // all full but the last; once there is a file, only what is not in it yet
	memory int64    // reserved for chunks
	file   *os.File // nil while all is in memory
	inFile int64    // octets of the message in file
	size   int64
}

var _ mail.Source = (*Buffer)(nil)

// Write implements io.Writer. It fails with ErrFull, or as the file system does;
// what was written before it failed remains.
func (b *Buffer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		chunk, err := b.room()
		if err != nil {
			return len(p) - len(rest), err
		}
		n := min(len(rest), cap(*chunk)-len(*chunk))
		*chunk = append(*chunk, rest[:n]...)
		rest = rest[n:]
		b.size += int64(n)
	}
	return len(p), nil
}

// room returns a chunk that is not full.
func (b *Buffer) room() (*[]byte, error) {
	if n := len(b.chunks); n > 0 && len(b.chunks[n-1]) < cap(b.chunks[n-1]) {
		return &b.chunks[n-1], nil
	}
	if b.file == nil && b.size < b.spool.InMemory {
		chunk := newChunk(b.size == 0)
		if take(&b.spool.memory, int64(cap(chunk)), b.spool.MaxMemory) {
			b.memory += int64(cap(chunk))
			b.chunks = append(b.chunks, chunk)
			return &b.chunks[len(b.chunks)-1], nil
		}
		freeChunk(chunk)
	}
	return b.spill()
}

// spill moves what is in memory to the file, and returns a chunk to go on with.
// That one is not counted: with it, a message in a file holds no more than a
// connection does.
func (b *Buffer) spill() (*[]byte, error) {
	if b.file == nil {
		file, err := openUnlinked(b.spool.Dir)
		if err != nil {
			return nil, err
		}
		b.file = file
	}
	if err := b.flush(); err != nil {
		return nil, err
	}
	b.freeChunks()
	b.chunks = append(b.chunks, newChunk(false))
	return &b.chunks[0], nil
}

// flush writes the chunks to the file.
func (b *Buffer) flush() error {
	for i, chunk := range b.chunks {
		if !take(&b.spool.files, int64(len(chunk)), b.spool.MaxFiles) {
			return ErrFull
		}
		if _, err := b.file.WriteAt(chunk, b.inFile); err != nil {
			b.spool.files.Add(-int64(len(chunk)))
			return fmt.Errorf("spool: %w", err)
		}
		b.inFile += int64(len(chunk))
		b.chunks[i] = chunk[:0]
	}
	return nil
}

func (b *Buffer) freeChunks() {
	for _, chunk := range b.chunks {
		freeChunk(chunk)
	}
	b.chunks = b.chunks[:0]
	b.spool.memory.Add(-b.memory)
	b.memory = 0
}

// Close gives everything back. The Buffer, and every Message made of it, must
// not be used after it. Closing twice does nothing more.
func (b *Buffer) Close() error {
	b.freeChunks()
	if b.file == nil {
		return nil
	}
	b.spool.files.Add(-b.inFile)
	b.inFile = 0
	err := b.file.Close()
	b.file = nil
	return err
}

// Size implements mail.Source.
func (b *Buffer) Size() int64 { return b.size }

// ReadAt implements io.ReaderAt.
func (b *Buffer) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	err := b.each(mail.Range{Start: off, End: min(off+int64(len(p)), b.size)}, func(octets []byte) error {
		n += copy(p[n:], octets)
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// WriteRange implements mail.Source.
func (b *Buffer) WriteRange(w io.Writer, r mail.Range) error {
	return b.each(r, func(octets []byte) error {
		_, err := w.Write(octets)
		return err
	})
}

// each calls f with the octets of r, piece by piece.
func (b *Buffer) each(r mail.Range, f func([]byte) error) error {
	if err := b.eachInFile(&r, f); err != nil {
		return err
	}
	start := b.inFile // of the chunk, in the message
	for _, chunk := range b.chunks {
		end := start + int64(len(chunk))
		if from, to := max(r.Start, start), min(r.End, end); from < to {
			if err := f(chunk[from-start : to-start]); err != nil {
				return err
			}
		}
		start = end
	}
	return nil
}

// eachInFile does each for what of r is in the file, and takes it off r.
func (b *Buffer) eachInFile(r *mail.Range, f func([]byte) error) error {
	if b.file == nil || r.Start >= b.inFile {
		return nil
	}
	chunk := newChunk(false)
	defer freeChunk(chunk)
	for r.Start < min(r.End, b.inFile) {
		want := min(r.End, b.inFile) - r.Start
		n, err := b.file.ReadAt(chunk[:min(want, int64(cap(chunk)))], r.Start)
		if n == 0 {
			return fmt.Errorf("spool: read back: %w", err)
		}
		if err := f(chunk[:n]); err != nil {
			return err
		}
		r.Start += int64(n)
	}
	return nil
}
