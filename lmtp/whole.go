package lmtp

import (
	"fmt"
	"io"

	"postern/mail"
)

// takesChunks reports whether a message is to go in one write with its envelope, as
// one chunk (RFC 3030): that spares a round trip, and the looking for dots at both
// ends. Only a delivery agent of ours gets it so: it was asked about each recipient a
// moment ago, or all was well with it (cmd/postern/skipverify.go), and if it refuses all of
// them now, the message was sent in vain.
// To others that may happen any time, so they are asked before the message is
// sent, and with DATA, which they are used to.
func (cn *conn) takesChunks() bool {
	return cn.takes.id && cn.offer.Chunking && cn.offer.Pipelining
}

// whole says MAIL, RCPT for those asked, and BDAT with the message, all in one
// piece, and takes in the replies: after those to the commands one for each
// accepted recipient, or one in all if there is none.
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
