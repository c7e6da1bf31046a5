package lmtp

import (
	"fmt"
	"io"

	"postern/mail"
	"postern/smtp"
)

// A transaction hands one message over.
type transaction struct {
	env *mail.Envelope
	msg *mail.Message
	// replies are for the recipients, by their index in env.To: an address may
	// come twice. The zero Reply is none yet.
	replies []mail.Reply
}

// run says MAIL, RCPT and DATA and sends the message. Its error holds for all recipients
// that are left without a reply. It can be called again if the next hop answered nothing.
func (t *transaction) run(cn *conn) error {
	t.env = inUTF8(cn.offer, t.env, t.env.To...)
	if err := unfit(cn.offer, t.env, t.msg.Size()); err != nil {
		t.answer(mail.ReplyTo(err))
		return nil
	}
	for i, rcpt := range t.env.To {
		if err := unspeakable(t.env, rcpt.Address); err != nil {
			t.replies[i] = mail.ReplyTo(err)
		}
	}
	asked := t.unanswered()
	if len(asked) == 0 {
		return nil
	}
	if cn.takesChunks() {
		return t.whole(cn, asked)
	}
	if err := t.envelope(cn, asked); err != nil {
		return err
	}
	accepted := t.unanswered()
	if len(accepted) == 0 {
		return nil
	}
	return t.data(cn, accepted)
}

// unanswered returns the recipients that have no reply yet.
func (t *transaction) unanswered() []int {
	rcpts := make([]int, 0, len(t.replies))
	for i, r := range t.replies {
		if r.Code == 0 {
			rcpts = append(rcpts, i)
		}
	}
	return rcpts
}

// answer gives r to the recipients that have no reply yet.
func (t *transaction) answer(r mail.Reply) {
	for i := range t.replies {
		if t.replies[i].Code == 0 {
			t.replies[i] = r
		}
	}
}

// envelope says MAIL, RCPT for the recipients asked, and DATA. If there is no error, and
// some still have no reply, the server waits for the message for these.
func (t *transaction) envelope(cn *conn, asked []int) error {
	commands := t.commands(cn, asked)
	if cn.offer.Pipelining {
		commands = append(commands, "DATA")
	}
	replies, err := cn.begin(commands, nil)
	t.heed(replies, asked)
	if err != nil {
		return err
	}
	if !cn.offer.Pipelining {
		if len(t.unanswered()) == 0 {
			return nil
		}
		if replies, err = cn.ask([]string{"DATA"}, nil); err != nil {
			return err
		}
	}
	return t.start(cn, replies[len(replies)-1])
}

// commands returns MAIL, and RCPT for those asked.
func (t *transaction) commands(cn *conn, asked []int) []string {
	commands := make([]string, 0, len(asked)+2)
	commands = append(commands, cn.mailCommand(t.env, t.msg.Size()))
	for _, i := range asked {
		commands = append(commands, cn.rcptCommand(t.env.To[i]))
	}
	return commands
}

// heed takes in the replies to MAIL and RCPT, as far as they came.
func (t *transaction) heed(replies []mail.Reply, asked []int) {
	if len(replies) == 0 {
		return
	}
	if v := verdict(replies[0]); !v.OK() {
		t.answer(v)
		return
	}
	for k, i := range asked[:min(len(asked), len(replies)-1)] {
		if v := verdict(replies[k+1]); !v.OK() {
			t.replies[i] = v
		}
	}
}

// start takes in the reply to DATA.
func (t *transaction) start(cn *conn, r mail.Reply) error {
	accepted := len(t.unanswered())
	switch {
	case r.Code/100 != 3:
		// If all recipients were refused, it says no more than that.
		t.answer(verdict(r))
		cn.broken = accepted > 0 && aboutUs(r)
	case accepted == 0:
		// A server that wants a message for nobody gets an empty one (RFC 2920,
		// section 3.1). Nobody knows how many replies it will then send.
		cn.broken = true
		if err := cn.WriteLine("."); err == nil {
			_ = cn.Flush()
		}
	case r.Code != mail.StartData.Code:
		return mail.TryAgain.Because(fmt.Errorf("lmtp: DATA: unexpected reply: %w", r))
	}
	return nil
}

// data sends the message and takes in one reply for each accepted recipient, in
// their order (RFC 2033, section 4.2).
func (t *transaction) data(cn *conn, accepted []int) error {
	data := cn.DataWriter()
	w := watched{w: data}
	_, err := t.msg.WriteTo(&w)
	if err != nil && w.err == nil {
		// The end of the data must not be sent: what is there is not the message.
		return unreadable(err)
	}
	if err == nil {
		err = data.End()
	}
	if err == nil {
		err = cn.Flush()
	}
	if err != nil {
		// The server closed the connection, and may have said why.
		last := &conn{Conn: smtp.NewConn(cn.NetConn())}
		defer last.Release()
		_ = t.takeReplies(last, accepted, false)
		return fmt.Errorf("lmtp: send the message: %w", err)
	}
	return t.takeReplies(cn, accepted, true)
}

// takeReplies reads the replies after the data. Those that come before the connection
// breaks stand. For the others nobody knows whether the message was delivered, and to try
// again is the lesser evil. If the message was not sent to its end, no reply can mean
// that it was delivered.
func (t *transaction) takeReplies(cn *conn, accepted []int, sent bool) error {
	for _, i := range accepted {
		r, err := cn.ReadReply()
		if err != nil {
			return fmt.Errorf("lmtp: reply for %v: %w", t.env.To[i], err)
		}
		if err := t.takeReply(cn, i, r, sent); err != nil {
			return err
		}
	}
	cn.inTransaction = false
	return nil
}

// takeReply takes in the reply after the data for recipient i.
func (t *transaction) takeReply(cn *conn, i int, r mail.Reply, sent bool) error {
	switch {
	case r.Code/100 == 3, aboutUs(r), r.OK() && !sent:
		return mail.TryAgain.Because(fmt.Errorf("lmtp: reply for %v unexpected: %w", t.env.To[i], r))
	case r.Code == mail.ShuttingDown.Code:
		cn.broken = true // but what is still said is read
	}
	t.replies[i] = verdict(r)
	return nil
}

// A watched writer remembers its own error, to tell it from one of the source of the
// octets.
type watched struct {
	w   io.Writer
	err error
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}
