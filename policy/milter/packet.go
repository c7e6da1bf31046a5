package milter

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The commands that a filter is sent.
const (
	cmdNegotiate = 'O'
	cmdMacros    = 'D'
	cmdConnect   = 'C'
	cmdHello     = 'H'
	cmdMail      = 'M'
	cmdRcpt      = 'R'
	cmdData      = 'T'
	cmdField     = 'L'
	cmdEndHeader = 'N'
	cmdBody      = 'B'
	cmdEnd       = 'E'
	cmdQuit      = 'Q'
)

// What a filter answers.
const (
	ansContinue   = 'c'
	ansAccept     = 'a'
	ansReject     = 'r'
	ansTempFail   = 't'
	ansDiscard    = 'd'
	ansReply      = 'y'
	ansSkip       = 's'
	ansProgress   = 'p'
	ansShutdown   = '4'
	ansConnFail   = 'f'
	ansAddField   = 'h'
	ansInsert     = 'i'
	ansAlter      = 'm'
	ansBody       = 'b'
	ansQuarantine = 'q'
)

const (
	// maxPacket bounds a packet from a filter, in octets. Those that Sendmail
	// knows have 65,535.
	maxPacket = 1 << 20
	// chunk is how much of the body goes into a packet.
	chunk = 65535
	// version is the newest of the protocol that we speak, and oldest the one
	// that filters may have.
	version, oldest = 6, 2
)

// What we let a filter do: add and change fields, replace the body, set apart.
const actions = 0x01 | 0x02 | 0x10 | 0x20

// What a filter may ask of us: to leave out steps, or not to wait for the answer
// to one, or to hear no more of the body (skip).
const (
	noConnect, noHello, noMail, noRcpt      = 0x01, 0x02, 0x04, 0x08
	noBody, noHeader, noEndHeader           = 0x10, 0x20, 0x40
	noData                                  = 0x200
	maySkip                                 = 0x400
	quietField                              = 0x80
	quietConnect, quietHello, quietMail     = 0x1000, 0x2000, 0x4000
	quietRcpt, quietData                    = 0x8000, 0x10000
	quietEndHeader, quietBody, leadingSpace = 0x40000, 0x80000, 0x100000

	protocol = noConnect | noHello | noMail | noRcpt | noBody | noHeader | noEndHeader | 0x100 | noData |
		maySkip | quietField | quietConnect | quietHello | quietMail | quietRcpt | quietData | 0x20000 |
		quietEndHeader | quietBody | leadingSpace
)

// A wire reads and writes packets: their length, a command, and its data.
type wire struct {
	r *bufio.Reader
	w *bufio.Writer
}

func newWire(rw io.ReadWriter) wire {
	return wire{bufio.NewReader(rw), bufio.NewWriterSize(rw, 4096)}
}

// write gathers a packet. It is sent before the next one is read.
func (w wire) write(cmd byte, data []byte) error {
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(data)+1))
	head[4] = cmd
	if _, err := w.w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.w.Write(data)
	return err
}

// read reads a packet.
func (w wire) read() (cmd byte, data []byte, err error) {
	if err := w.w.Flush(); err != nil {
		return 0, nil, err
	}
	var head [5]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return 0, nil, cutOff(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxPacket {
		return 0, nil, fmt.Errorf("a packet of %d octets", n)
	}
	data = make([]byte, n-1)
	_, err = io.ReadFull(w.r, data)
	return head[4], data, cutOff(err)
}

// cutOff returns err, or where the connection has ended an error that says so.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// list returns words as they are sent, each with a NUL after it, and without
// one in it.
func list(words ...string) []byte {
	var b []byte
	for _, w := range words {
		b = append(b, strings.ReplaceAll(w, "\x00", "")...)
		b = append(b, 0)
	}
	return b
}

// unlist returns the n words that data begins with.
func unlist(data []byte, n int) ([]string, bool) {
	words := strings.SplitN(string(data), "\x00", n+1)
	return words[:min(n, len(words))], len(words) == n+1
}
