package lmtp

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"postern/mail"
	"postern/smtp"
)

const (
	// maxPipelined is how many commands are under way at most. Their replies
	// fit any socket buffer, so that the server, whose replies we do not read
	// while we send, can go on reading (RFC 2920, section 3.1).
	maxPipelined = 100
	// quitTimeout is how long the end of a connection may take.
	quitTimeout = 2 * time.Second
)

// A conn is a connection of a Client.
type conn struct {
	*smtp.Conn
	offer         smtp.Offer
	takes         takes       // what the server takes of our extension
	heard         *heardQueue // what there is to tell the server; nil: nothing ever
	committed     bool        // what is under way must not be tried on another connection; see try
	inTransaction bool        // the server may have a transaction under way
	broken        bool        // out of step, or closed: good for nothing any more
	expires       time.Time   // while idle
}

// use calls f, cuts it short when ctx ends, and notes whether cn is broken after that.
func (cn *conn) use(ctx context.Context, f func(*conn) error) error {
	stop := context.AfterFunc(ctx, func() { _ = cn.Close() })
	err := f(cn)
	if !stop() || err != nil || cn.Buffered() > 0 {
		cn.broken = true
	}
	return err
}

// hello reads the greeting and says LHLO (RFC 2033, section 4.1). A server that refuses
// us does not refuse the message: the error is a temporary one.
func (cn *conn) hello(hostname string) error {
	greeting, err := cn.ReadReply()
	switch {
	case err != nil:
		return fmt.Errorf("lmtp: greeting: %w", err)
	case greeting.Code != 220:
		return mail.NextHopDown.Because(fmt.Errorf("lmtp: greeting: %w", greeting))
	}
	if err := cn.WriteLine("LHLO " + hostname); err != nil {
		return fmt.Errorf("lmtp: LHLO: %w", err)
	}
	r, err := cn.ReadReply()
	switch {
	case err != nil:
		return fmt.Errorf("lmtp: LHLO: %w", err)
	case r.Code != 250:
		return mail.NextHopDown.Because(fmt.Errorf("lmtp: LHLO: %w", r))
	}
	lines := strings.Split(r.Text, "\n")
	cn.offer, cn.takes = smtp.ParseOffer(lines[1:]), parseTakes(lines[1:])
	return nil
}

// begin is ask for commands of which the first is MAIL. If an earlier transaction may
// still be under way, it says RSET before that.
func (cn *conn) begin(commands []string, chunk io.WriterTo) ([]mail.Reply, error) {
	if !cn.inTransaction {
		cn.inTransaction = true
		return cn.askHeard(commands, chunk)
	}
	replies, err := cn.askHeard(append([]string{"RSET"}, commands...), chunk)
	if len(replies) == 0 {
		return nil, err
	}
	if !replies[0].OK() {
		return nil, mail.TryAgain.Because(fmt.Errorf("lmtp: RSET: %w", replies[0]))
	}
	return replies[1:], err
}

// ask sends commands, and the chunk that the last one, BDAT, announces; nil: there is
// none. If the server offers PIPELINING, they go out together. It returns the replies in
// order, and with an error those that came before it.
func (cn *conn) ask(commands []string, chunk io.WriterTo) ([]mail.Reply, error) {
	window := 1
	if cn.offer.Pipelining {
		window = maxPipelined
	}
	replies := make([]mail.Reply, 0, len(commands))
	left := len(commands)
	for batch := range slices.Chunk(commands, window) {
		for _, command := range batch {
			if err := cn.WriteLine(command); err != nil {
				return replies, fmt.Errorf("lmtp: %s: %w", verb(command), err)
			}
		}
		left -= len(batch)
		sent := left == 0 && chunk != nil
		if sent {
			if err := cn.sendChunk(chunk); err != nil {
				return replies, err
			}
		}
		for _, command := range batch {
			r, err := cn.reply(command)
			if err != nil {
				// A server that has a whole message and then says nothing may have delivered it.
				cn.committed = cn.committed || sent && r.Code == 0
				return replies, err
			}
			replies = append(replies, r)
		}
	}
	return replies, nil
}

// reply reads the reply to command. 421 answers no command: the server is
// leaving, and on a connection that was kept it may have said so long ago.
func (cn *conn) reply(command string) (mail.Reply, error) {
	r, err := cn.ReadReply()
	positive := 2
	if command == "DATA" {
		positive = 3
	}
	switch class := r.Code / 100; {
	case err != nil:
		return r, fmt.Errorf("lmtp: %s: %w", verb(command), err)
	case r.Code == mail.ShuttingDown.Code:
		return r, mail.NextHopDown.Because(fmt.Errorf("lmtp: %s: %w", verb(command), r))
	case class != positive && class != 4 && class != 5:
		return r, mail.TryAgain.Because(fmt.Errorf("lmtp: %s: unexpected reply: %w", verb(command), r))
	}
	cn.committed = true
	return r, nil
}

func verb(command string) string {
	verb, _, _ := strings.Cut(command, " ")
	return verb
}

// verify asks whether rcpt would be accepted. Answer is the refusal, or nil; err says
// that the next hop gave no answer.
func (cn *conn) verify(env *mail.Envelope, rcpt mail.Recipient) (answer, err error) {
	env = inUTF8(cn.offer, env, rcpt)
	if err := cmp.Or(unfit(cn.offer, env, env.Size), unspeakable(env, rcpt.Address)); err != nil {
		return err, nil
	}
	replies, err := cn.begin([]string{cn.mailCommand(env, env.Size), cn.rcptCommand(rcpt), "RSET"}, nil)
	cn.inTransaction = len(replies) < 3 || !replies[2].OK()
	for i, r := range replies {
		if v := verdict(r); !v.OK() || i == 1 { // the answer stands, whatever comes after it
			cn.broken = err != nil
			return answerOf(v), nil
		}
	}
	return nil, err
}

// answerOf returns the refusal that v is, or nil.
func answerOf(v mail.Reply) error {
	if v.OK() {
		return nil
	}
	return v
}

// quit ends a connection that is in step (RFC 5321, section 4.1.1.10).
func (cn *conn) quit() {
	cn.ReadTimeout, cn.WriteTimeout = quitTimeout, quitTimeout
	if cn.WriteLine("QUIT") == nil {
		_, _ = cn.ReadReply()
	}
	cn.close()
}

func (cn *conn) close() {
	_ = cn.Close()
	cn.Release()
}
