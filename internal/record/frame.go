package record

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"strings"
	"time"
)

// A frame is a batch of entries in a segment:
//
//	magic   4 octets, by which one is found behind damage
//	length  4, of all that follows the sum
//	sum     4, CRC-32C of that
//	entries 2, their number; then for each
//	  time  8, microseconds since 1970
//	  size  4, octets of its JSON
//	  keys  2, their number; then 8 for each, a hash of the word
//	payload their JSON, one behind the other, deflated with the sample of the
//	        segment as dictionary
//
// Numbers are big-endian. A search reads what stands before the payload alone.
const (
	magic     = "\xd5\x9aRB"
	frameHead = 12 // before what the sum is of
	entryHead = 14 // time, size and number of keys
	maxKeys   = 2000
	// maxEntries is how many share a frame: what damage costs at most, and enough
	// that preparing the compressor for a frame, which costs more than an entry, is
	// not felt.
	maxEntries = 64
	maxText    = maxEntry + maxBatch                                         // the last entry may be a large one
	maxFrame   = maxText + maxText/16 + 2 + maxEntries*(entryHead+8*maxKeys) // what does not compress grows a little
)

// level is the fastest that makes use of the sample: level 2 does not, and level 5
// makes 150 octets of a record in place of 250, but takes half as long again.
const level = 3

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hash returns what stands for a word in a frame.
func hash(word string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, strings.ToLower(word)) // never fails
	return h.Sum64()
}

// A packer makes frames.
type packer struct {
	w       *flate.Writer
	entries int
	heads   []byte // of the entries
	texts   []byte
	buf     bytes.Buffer
}

func newPacker(sample []byte) *packer {
	p := new(packer)
	p.w, _ = flate.NewWriterDict(&p.buf, level, sample[:min(len(sample), maxSample)]) // fails for an unknown level alone
	return p
}

// add makes e part of the next frame. After an error it is not.
func (p *packer) add(e Entry) error {
	text, err := marshal(e)
	if err != nil {
		return err
	}
	keys := e.Keys()
	keys = keys[:min(len(keys), maxKeys)]
	p.heads = binary.BigEndian.AppendUint64(p.heads, uint64(e.When().UnixMicro()))
	p.heads = binary.BigEndian.AppendUint32(p.heads, uint32(len(text)))
	p.heads = binary.BigEndian.AppendUint16(p.heads, uint16(len(keys)))
	for _, k := range keys {
		p.heads = binary.BigEndian.AppendUint64(p.heads, hash(k))
	}
	p.texts = append(p.texts, text...)
	p.entries++
	return nil
}

// frame returns that of all entries since the last one. It is valid until the
// next call.
func (p *packer) frame() ([]byte, error) {
	defer func() { p.entries, p.heads, p.texts = 0, p.heads[:0], p.texts[:0] }()
	p.buf.Reset()
	p.buf.WriteString(magic)
	p.buf.Write(make([]byte, frameHead-len(magic)))
	p.buf.Write(binary.BigEndian.AppendUint16(nil, uint16(p.entries)))
	p.buf.Write(p.heads)
	p.w.Reset(&p.buf)
	if _, err := p.w.Write(p.texts); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := p.w.Close(); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	frame := p.buf.Bytes()
	binary.BigEndian.PutUint32(frame[len(magic):], uint32(len(frame)-frameHead))
	binary.BigEndian.PutUint32(frame[len(magic)+4:], crc32.Checksum(frame[frameHead:], castagnoli))
	return frame, nil
}

// A frame as it is found.
type frame struct {
	entries []found
	data    []byte // deflated
}

// A found entry: its JSON is octets from to to of what data holds.
type found struct {
	at       time.Time
	keys     []byte
	from, to int
}

var errDamaged = errors.New("record: a damaged entry")

// next returns the first frame of b, and how many octets it takes. Where b does
// not begin with a whole frame, the error is errDamaged, and n leads to the next
// that may be one.
func next(b []byte) (f frame, n int, err error) {
	if len(b) >= frameHead && string(b[:len(magic)]) == magic {
		length := int(binary.BigEndian.Uint32(b[len(magic):]))
		if length <= maxFrame && length <= len(b)-frameHead {
			body := b[frameHead : frameHead+length]
			whole := crc32.Checksum(body, castagnoli) == binary.BigEndian.Uint32(b[len(magic)+4:])
			if whole && f.parse(body) {
				return f, frameHead + length, nil
			}
		}
	}
	i := -1
	if len(b) > 1 {
		i = bytes.Index(b[1:], []byte(magic))
	}
	if i < 0 {
		return frame{}, len(b), errDamaged
	}
	return frame{}, 1 + i, errDamaged
}

// parse reads what stands behind the sum, and reports whether it can be a frame.
func (f *frame) parse(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	n, at := int(binary.BigEndian.Uint16(b)), 0
	if n > maxEntries {
		return false
	}
	f.entries = make([]found, 0, n)
	b = b[2:]
	for range n {
		if len(b) < entryHead {
			return false
		}
		size, keys := int(binary.BigEndian.Uint32(b[8:])), 8*int(binary.BigEndian.Uint16(b[12:]))
		if size > maxEntry || keys > len(b)-entryHead {
			return false
		}
		f.entries = append(f.entries, found{
			at:   time.UnixMicro(int64(binary.BigEndian.Uint64(b))),
			keys: b[entryHead : entryHead+keys],
			from: at, to: at + size,
		})
		at += size
		b = b[entryHead+keys:]
	}
	f.data = b
	return true
}

// has reports whether the entry has a key of that hash.
func (e found) has(key uint64) bool {
	for k := e.keys; len(k) >= 8; k = k[8:] {
		if binary.BigEndian.Uint64(k) == key {
			return true
		}
	}
	return false
}

// An unpacker reads what frames hold.
type unpacker struct {
	sample []byte
	r      io.ReadCloser
	buf    bytes.Buffer
}

// unpack returns the JSON that data holds. It is valid until the next call.
func (u *unpacker) unpack(data []byte) ([]byte, error) {
	if u.r == nil {
		u.r = flate.NewReaderDict(bytes.NewReader(data), u.sample)
	} else if err := u.r.(flate.Resetter).Reset(bytes.NewReader(data), u.sample); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	u.buf.Reset()
	n, err := u.buf.ReadFrom(io.LimitReader(u.r, maxText+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("record: %w", err)
	case n > maxText:
		return nil, errDamaged
	}
	return u.buf.Bytes(), nil
}
