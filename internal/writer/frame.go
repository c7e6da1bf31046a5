// Package writer has the mailboxes of system users written by processes of theirs:
// the delivery agent's side of that is a mailbox.Mailbox, the other side serves one
// connection with mailboxes that are opened for it.
//
// One delivery at a time goes over a connection, as frames: an octet that says
// what it is, four of length, and that many octets.
//
//	agent                         writer
//	begin  {settings, sender}
//	                              ok, or error
//	data   octets                            any number of times
//	sync                                     the content is durable
//	                              ok, or error
//	commit                                   it has its name, durably
//	                              ok {warning}, or error
//
// abort takes the place of sync or commit, and is not answered; room {settings,
// size} stands alone. After an error there is no delivery. A connection that ends
// before commit is an abort. One that ends after it, unanswered, leaves open what
// became of the message, and for the agent that is an error: it may come twice,
// and is not lost.
package writer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"postern/mailbox"
)

// What a frame is.
const (
	frameBegin  = 'B'
	frameRoom   = 'R'
	frameData   = 'D'
	frameSync   = 'S'
	frameCommit = 'C'
	frameAbort  = 'A'
	frameOK     = 'O'
	frameError  = 'E'
)

const (
	// maxFrame bounds what is in one frame.
	maxFrame = 64 << 10
	// maxText bounds the text of an error.
	maxText = 2000
	// headerSize is that of what stands before.
	headerSize = 5
)

// errFrame tells that the other side does not speak as it should.
var errFrame = errors.New("writer: a frame that makes no sense")

// writeFrame writes a frame of at most maxFrame octets.
func writeFrame(w io.Writer, kind byte, payload []byte) error {
	var header [headerSize]byte
	header[0] = kind
	binary.BigEndian.PutUint32(header[1:], uint32(len(payload)))
	if _, err := w.Write(header[:]); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}

// readFrame reads a frame into buf, of maxFrame octets. At the end of the stream it
// returns io.EOF, within a frame io.ErrUnexpectedEOF.
func readFrame(r *bufio.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("%w: %d octets", errFrame, n)
	}
	payload = buf[:n]
	if _, err := io.ReadFull(r, payload); errors.Is(err, io.EOF) {
		return 0, nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return 0, nil, err
	}
	return header[0], payload, nil
}

// Settings say which mailbox is meant and how it is kept. They are the same for the
// whole of a connection, but for Detail, Folder and Unrefused.
type Settings struct {
	Path   string // absolute; empty: in the home of the account
	Mbox   bool
	Quota  int64  // octets; 0: any number
	Warn   []int  // percentages of it
	Detail string // mail goes to the folder of that sub-address, where it can be
	Folder string // by name; empty: none
	// Unrefused is for what a quota does not refuse.
	Unrefused bool

	Host        string
	Ordered     bool
	MboxFormat  string
	MboxLocks   []string
	UTF8Folders bool
	Confine     bool // the writer gives up writing elsewhere
}

// A request begins a delivery, or asks for room.
type request struct {
	Settings Settings
	Sender   string    `json:",omitempty"`
	Time     time.Time `json:",omitzero"`
	Size     int64     `json:",omitempty"`
}

// An answer goes with frameOK to a commit: that a level of the quota is reached.
type answer struct {
	Percent int           `json:",omitempty"`
	Usage   mailbox.Usage `json:",omitzero"`
}

// A fault is an error on its way to the agent, which has to know no more of it than
// a reply depends on.
type fault struct {
	Text      string
	OverQuota bool          `json:",omitempty"`
	Locked    bool          `json:",omitempty"`
	Errno     syscall.Errno `json:",omitempty"`
}

func faultOf(err error) fault {
	f := fault{Text: err.Error(), OverQuota: errors.Is(err, mailbox.ErrOverQuota), Locked: errors.Is(err, mailbox.ErrLocked)}
	if len(f.Text) > maxText {
		f.Text = strings.ToValidUTF8(f.Text[:maxText], "") + " ..."
	}
	errors.As(err, &f.Errno)
	return f
}

// Error implements error.
func (f fault) Error() string { return f.Text }

// Is reports whether the error was target at the other side.
func (f fault) Is(target error) bool {
	return f.OverQuota && target == mailbox.ErrOverQuota || f.Locked && target == mailbox.ErrLocked || f.Errno != 0 && errors.Is(f.Errno, target)
}

// As gives the number of the error, if it has one.
func (f fault) As(target any) bool {
	errno, ok := target.(*syscall.Errno)
	if ok = ok && f.Errno != 0; ok {
		*errno = f.Errno
	}
	return ok
}

// encode returns v as the payload of a frame.
func encode(v any) ([]byte, error) {
	payload, err := json.Marshal(v)
	if err == nil && len(payload) > maxFrame {
		err = fmt.Errorf("writer: %d octets do not fit a frame", len(payload))
	}
	return payload, err
}
