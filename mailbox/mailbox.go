// Package mailbox makes a message durable and visible in a mailbox, whole or
// not at all.
//
// A Delivery goes through three phases, so that an agent with many recipients
// can go through each of them for all at once, and let the file system commit
// them together:
//
//	d, err := box.Begin(arrival)
//	defer d.Abort()          // after Commit it does nothing
//	msg.WriteTo(d)           // octets as on the wire, lines ending in CRLF
//	d.Sync()                 // the content is on stable storage, unseen
//	d.Commit()               // it has its name, and the name is on stable storage
//
// When Commit returns nil, a loss of power cannot take the message away. Before
// Commit no reader sees any of it; while Commit runs, one may see the whole message
// before it is durable. After a crash a Maildir has the whole message or nothing; an
// mbox may end in a part of one, which the next delivery removes.
//
// The package stores octets. It does not know what a recipient or a reply is;
// its errors are those of the file system, wrapped with what was being done to
// what, and the agent decides what they mean to the sender.
package mailbox

import (
	"io"
	"time"
)

// A Mailbox is a place that messages are delivered into. It holds nothing open
// and is safe for use by many goroutines.
type Mailbox interface {
	// Begin begins a delivery, whose Abort the caller must defer. What the
	// mailbox needs of folders is made first and is durable by then.
	Begin(a Arrival) (Delivery, error)
}

// An Arrival is what a mailbox keeps of a message beside its octets.
type Arrival struct {
	Sender string    // the envelope's, without angle brackets; "" is the null reverse-path
	Time   time.Time // of receipt, which IMAP shows as INTERNALDATE; the zero Time is now

	// Same is a Delivery of the same octets whose Sync has returned nil; nil: there
	// is none. A Maildir beside the one that Same goes to gives the file of Same
	// another name, instead of one of its own: one write and one sync for both. It
	// must be begun before Same is committed or aborted. Other mailboxes ignore it.
	Same Delivery
}

// A Delivery is one message on its way into one mailbox. Its methods are called
// by one goroutine at a time, in this order: Write as often as needed, Sync,
// Commit. After an error only Abort makes sense, and the others return the
// error again: nothing is tried twice, for a sync that failed once may succeed
// the second time without having written anything.
type Delivery interface {
	// Write takes octets of the message as they are on the wire: CRLF ends a
	// line, and may be cut by the end of p. What does not fit a line of text
	// (a lone CR or LF, NUL, octets above 127) is stored as it is.
	io.Writer

	// Sync makes what was written durable, or has it so far on its way that
	// Commit makes it so. Nothing is visible yet.
	Sync() error

	// Commit makes the message visible and that durable. After an error the
	// message is not in the mailbox; should even taking it back fail, it may
	// be there after all, as a whole.
	Commit() error

	// Abort ends the delivery and leaves no trace of it. After Commit, and the
	// second time, it does nothing.
	Abort()
}
