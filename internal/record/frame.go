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

// A frame is an entry in a segment:
//
//	magic   4 octets, by which one is found behind damage
//	length  4, of all that follows the sum
//	sum     4, CRC-32C of that
//	time    8, microseconds since 1970
//	keys    2, their number; then 8 for each, a hash of the word
//	payload its JSON, deflated, with the sample of the segment as dictionary
//
// Numbers are big-endian. A search reads the keys alone.
const (
	magic     = "\xd5\x9aRC"
	frameHead = 12 // before what the sum is of
	entryHead = 10 // time and number of keys
	maxKeys   = 2000
	maxFrame  = maxEntry + maxEntry/16 + 8*maxKeys // what does not compress grows a little
)

// level is the fastest that makes use of the sample; level 2 is not.
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
	w   *flate.Writer
	buf bytes.Buffer
}

func newPacker(sample []byte) *packer {
	p := new(packer)
	p.w, _ = flate.NewWriterDict(&p.buf, level, sample[:min(len(sample), maxSample)]) // fails for an unknown level alone
	return p
}

// frame returns that of e, which is valid until the next call.
func (p *packer) frame(e Entry) ([]byte, error) {
	text, err := marshal(e)
	if err != nil {
		return nil, err
	}
	keys := e.Keys()
	keys = keys[:min(len(keys), maxKeys)]
	p.buf.Reset()
	head := append(make([]byte, 0, frameHead+entryHead+8*len(keys)), magic...)
	head = append(head, make([]byte, frameHead-len(magic))...)
	head = binary.BigEndian.AppendUint64(head, uint64(e.When().UnixMicro()))
	head = binary.BigEndian.AppendUint16(head, uint16(len(keys)))
	for _, k := range keys {
		head = binary.BigEndian.AppendUint64(head, hash(k))
	}
	p.buf.Write(head)
	p.w.Reset(&p.buf)
	if _, err := p.w.Write(text); err != nil {
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
	at   time.Time
	keys []byte
	data []byte // deflated
}

var errDamaged = errors.New("record: a damaged entry")

// next returns the first frame of b, and how many octets it takes. Where b does
// not begin with a whole frame, the error is errDamaged, and n leads to the next
// that may be one.
func next(b []byte) (f frame, n int, err error) {
	if len(b) >= frameHead+entryHead && string(b[:len(magic)]) == magic {
		length := int(binary.BigEndian.Uint32(b[len(magic):]))
		if length >= entryHead && length <= maxFrame && length <= len(b)-frameHead {
			body := b[frameHead : frameHead+length]
			keys := 8 * int(binary.BigEndian.Uint16(body[8:]))
			whole := crc32.Checksum(body, castagnoli) == binary.BigEndian.Uint32(b[len(magic)+4:])
			if whole && entryHead+keys <= length {
				f.at = time.UnixMicro(int64(binary.BigEndian.Uint64(body)))
				f.keys, f.data = body[entryHead:entryHead+keys], body[entryHead+keys:]
				return f, frameHead + length, nil
			}
		}
	}
	i := -1
	if len(b) > 1 {
		i = bytes.Index(b[1:], []byte(magic))
	}
	if i < 0 {
		return f, len(b), errDamaged
	}
	return f, 1 + i, errDamaged
}

// has reports whether the frame has a key of that hash.
func (f frame) has(key uint64) bool {
	for k := f.keys; len(k) >= 8; k = k[8:] {
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
	n, err := u.buf.ReadFrom(io.LimitReader(u.r, maxEntry+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("record: %w", err)
	case n > maxEntry:
		return nil, errDamaged
	}
	return u.buf.Bytes(), nil
}
