package lmtp

import (
	"fmt"
	"io"

	"postern/mail"
)

// takesChunks reports whether to send a message together with its envelope, as one chunk
// (RFC 3030). That saves a round trip, and the search for dots at both ends. If all
// recipients are then refused, the message was sent in vain. With a delivery agent of
// ours that is rare: a moment ago it was asked about each recipient, or all was well with
// it (cmd/postern/skipverify.go). With any other next hop it may happen at any time. So
// that one is asked first, and with DATA, which it is used to.
func (cn *conn) takesChunks() bool {
	return cn.takes.id && cn.offer.Chunking && cn.offer.Pipelining
}

// whole sends MAIL, RCPT for the recipients asked, and BDAT with the message, all at once.
// Then it reads the replies: those to the commands, and for the message one for each
// accepted recipient, or a single one if none was accepted.
func (t *transaction) whole(cn *conn, asked []int) error {
	commands := append(t.commands(cn, asked), fmt.Sprintf("BDAT %d LAST", t.msg.Size()))
	replies, err := cn.begin(commands, t.msg)
	t.heed(replies, asked)
	if err != nil {
		return err
	}
	accepted := t.unanswered()
	if len(accepted) == 0 {
		return nil
	}
	if err := t.takeReply(cn, accepted[0], replies[len(replies)-1], true); err != nil {
		return err
	}
	return t.takeReplies(cn, accepted[1:], true)
}

// sendChunk sends the octets that BDAT announced. If they cannot be read, the
// connection is out of step.
func (cn *conn) sendChunk(chunk io.WriterTo) error {
	w := watched{w: cn.ChunkWriter()}
	_, err := chunk.WriteTo(&w)
	switch {
	case err != nil && w.err == nil:
		return unreadable(err)
	case err == nil:
		err = cn.Flush()
	}
	if err != nil {
		return fmt.Errorf("lmtp: send the message: %w", err)
	}
	return nil
}

// unreadable is the reply to a message that our own side could not read.
func unreadable(err error) error {
	return mail.LocalError.Because(fmt.Errorf("lmtp: read the message: %w", err))
}
