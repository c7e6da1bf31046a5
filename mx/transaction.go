package mx

import (
	"crypto/sha256"
	"hash"
	"io"
	"slices"
	"time"

	"postern/internal/serve"
	"postern/internal/spool"
	"postern/mail"
	"postern/policy"
)

// A transaction is what MAIL and RCPT said, whom it is for, and what came of
// the message so far.
type transaction struct {
	env       mail.Envelope // To: the mailboxes, as the next hop is to hear them, each once
	began     time.Time
	directory Directory
	judged    *policy.Case
	rcpts     []recipient // in the order of their RCPT

	body     *spool.Buffer  // nil before DATA or the first BDAT
	digest   hash.Hash      // of what is in body
	incoming serve.Incoming // what writes to both
	reply    mail.Reply     // to the end of data; zero before it
}

// A recipient is one that was accepted at RCPT.
type recipient struct {
	addr    mail.Address
	members []int // the mailboxes that it stands for, as indexes of env.To
}

// end ends the transaction, if there is one, and gives back what it holds.
func (s *session) end() {
	tx := s.tx
	if tx == nil {
		return
	}
	s.tx = nil // first, so that it is over whatever happens below
	if tx.body != nil {
		defer tx.body.Close() // it has no name, and nobody reads it any more
	}
	tx.judged.Close(tx.reply)
}

// add accepts a recipient, whose mailboxes join those of the envelope.
func (tx *transaction) add(to mail.Recipient, mailboxes []mail.Recipient) {
	r := recipient{addr: to.Address}
	for _, m := range mailboxes {
		i := slices.IndexFunc(tx.env.To, func(known mail.Recipient) bool { return known.Address == m.Address })
		if i < 0 {
			i = len(tx.env.To)
			member := to
			member.Address, member.Known = m.Address, m.Known
			tx.env.To = append(tx.env.To, member)
		}
		r.members = append(r.members, i)
	}
	tx.rcpts = append(tx.rcpts, r)
}

// begin makes room for the message, whose octets go to the body and to the digest, as
// the client sends them.
func (tx *transaction) begin(srv *Server) {
	tx.body, tx.digest = srv.Spool.New(), sha256.New()
	tx.incoming = srv.incoming(io.MultiWriter(tx.body, tx.digest))
}

// addresses returns the recipients as the client named them.
func (tx *transaction) addresses() []mail.Address {
	addrs := make([]mail.Address, len(tx.rcpts))
	for i, r := range tx.rcpts {
		addrs[i] = r.addr
	}
	return addrs
}

// each returns the reply for each recipient: the worst of those for the
// mailboxes that it stands for.
func (tx *transaction) each(replies []mail.Reply) []mail.Reply {
	each := make([]mail.Reply, len(tx.rcpts))
	for i, r := range tx.rcpts {
		each[i] = mail.WorstOf(replies, r.members)
	}
	return each
}

// conclude merges the replies to the message, one for each recipient or one for all,
// into the one that most clients hear.
func (tx *transaction) conclude(replies []mail.Reply) {
	tx.reply = mail.Merge(replies)
	if tx.reply.OK() {
		tx.reply = mail.Accepted.Saying("OK %s", tx.env.ID)
	}
}
