package mail

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// A Reply is what a server answers to a command (RFC 5321, section 4.2). It is
// an error, so that whoever understands why something is refused can return the
// refusal itself.
type Reply struct {
	Code   int
	Status Status // RFC 3463; the zero Status is left out
	Text   string // ASCII, for strangers; lines are separated by "\n"
	Err    error  // the cause: logged, never sent
}

// A Status is an enhanced status code: class, subject, detail (RFC 3463).
type Status [3]int

// String returns s as "5.1.1", and the zero Status as "".
func (s Status) String() string {
	if s == (Status{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", s[0], s[1], s[2])
}

// Everything that Postern says of its own accord.
var (
	Help         = Reply{Code: 214, Status: Status{2, 0, 0}, Text: "see RFC 5321"}
	ReadyForTLS  = Reply{Code: 220, Status: Status{2, 0, 0}, Text: "ready to start TLS"}
	Bye          = Reply{Code: 221, Status: Status{2, 0, 0}, Text: "bye"}
	Accepted     = Reply{Code: 250, Status: Status{2, 0, 0}, Text: "OK"}
	SenderOK     = Reply{Code: 250, Status: Status{2, 1, 0}, Text: "sender OK"}
	RecipientOK  = Reply{Code: 250, Status: Status{2, 1, 5}, Text: "recipient OK"}
	CannotVerify = Reply{Code: 252, Status: Status{2, 5, 0}, Text: "cannot VRFY a user, but will take messages and attempt delivery"}
	StartReplies = Reply{Code: 353, Text: "a reply for each recipient follows"}
	StartData    = Reply{Code: 354, Text: "start mail input, end with <CRLF>.<CRLF>"}

	ShuttingDown       = Reply{Code: 421, Status: Status{4, 3, 2}, Text: "shutting down, try again later"}
	IdleTooLong        = Reply{Code: 421, Status: Status{4, 4, 2}, Text: "timeout"}
	ClientLost         = Reply{Code: 421, Status: Status{4, 4, 2}, Text: "connection lost"}
	Broken             = Reply{Code: 421, Status: Status{4, 3, 0}, Text: "local error, closing the connection"}
	NotFromHere        = Reply{Code: 421, Status: Status{4, 7, 1}, Text: "access denied"}
	TooManyErrors      = Reply{Code: 421, Status: Status{4, 7, 0}, Text: "too many errors"}
	TooManyConnections = Reply{Code: 421, Status: Status{4, 7, 0}, Text: "too many connections, try again later"}
	EarlyTalker        = Reply{Code: 554, Status: Status{5, 5, 0}, Text: "you spoke before it was your turn"}

	LocalError        = Reply{Code: 451, Status: Status{4, 3, 0}, Text: "local error in processing"}
	TryAgain          = Reply{Code: 451, Status: Status{4, 3, 0}, Text: "temporary failure, try again later"}
	NextHopDown       = Reply{Code: 451, Status: Status{4, 4, 1}, Text: "mailboxes cannot be reached, try again later"}
	NextHopSlow       = Reply{Code: 451, Status: Status{4, 4, 2}, Text: "mailboxes took too long to answer, try again later"}
	PolicyTempError   = Reply{Code: 451, Status: Status{4, 4, 3}, Text: "DNS failure while checking the sender, try again later"}
	MixedResult       = Reply{Code: 451, Status: Status{4, 5, 0}, Text: "some recipients were refused, try again"}
	NoSpace           = Reply{Code: 452, Status: Status{4, 3, 1}, Text: "insufficient system storage, try again later"}
	MailboxBusy       = Reply{Code: 450, Status: Status{4, 2, 0}, Text: "mailbox is locked by another, try again later"}
	FullForNow        = Reply{Code: 452, Status: Status{4, 2, 2}, Text: "mailbox full, try again later"}
	TooManyMessages   = Reply{Code: 450, Status: Status{4, 7, 1}, Text: "too many messages, try again later"}
	Greylisted        = Reply{Code: 451, Status: Status{4, 7, 1}, Text: "greylisted, try again in some minutes"}
	TooManyRecipients = Reply{Code: 452, Status: Status{4, 5, 3}, Text: "too many recipients"}
	TLSUnavailable    = Reply{Code: 454, Status: Status{4, 7, 0}, Text: "TLS not available"}

	BadCommand       = Reply{Code: 500, Status: Status{5, 5, 2}, Text: "command not recognized"}
	BadLine          = Reply{Code: 500, Status: Status{5, 5, 2}, Text: "line end must be CRLF"}
	LineTooLong      = Reply{Code: 500, Status: Status{5, 5, 2}, Text: "line too long"}
	BadArgument      = Reply{Code: 501, Status: Status{5, 5, 4}, Text: "syntax error in arguments"}
	BadChunk         = Reply{Code: 501, Status: Status{5, 5, 4}, Text: "chunk size not understood, closing the connection"}
	NotSMTP          = Reply{Code: 521, Status: Status{5, 5, 1}, Text: "this is no web server"}
	BadSender        = Reply{Code: 501, Status: Status{5, 1, 7}, Text: "syntax error in sender address"}
	BadRecipient     = Reply{Code: 501, Status: Status{5, 1, 3}, Text: "syntax error in recipient address"}
	NotImplemented   = Reply{Code: 502, Status: Status{5, 5, 1}, Text: "command not implemented"}
	BadSequence      = Reply{Code: 503, Status: Status{5, 5, 1}, Text: "bad sequence of commands"}
	NoRecipients     = Reply{Code: 503, Status: Status{5, 5, 1}, Text: "no valid recipients"}
	BadParameter     = Reply{Code: 555, Status: Status{5, 5, 4}, Text: "parameter not recognized or not implemented"}
	NoSuchUser       = Reply{Code: 550, Status: Status{5, 1, 1}, Text: "no such user here"}
	NoRelay          = Reply{Code: 550, Status: Status{5, 7, 1}, Text: "we do not relay"}
	BareNewline      = Reply{Code: 550, Status: Status{5, 5, 2}, Text: "bare LF in message: lines must end in CRLF"}
	NotAuthorized    = Reply{Code: 550, Status: Status{5, 7, 0}, Text: "insufficient authorization"}
	AccessDenied     = Reply{Code: 550, Status: Status{5, 7, 1}, Text: "refused by local policy"}
	Listed           = Reply{Code: 550, Status: Status{5, 7, 1}, Text: "your address is listed"}
	Filtered         = Reply{Code: 550, Status: Status{5, 7, 1}, Text: "refused by a content filter"}
	SPFFail          = Reply{Code: 550, Status: Status{5, 7, 23}, Text: "SPF: the sender's domain sends no mail"}
	DMARCFail        = Reply{Code: 550, Status: Status{5, 7, 26}, Text: "DMARC: the author's domain wants such mail refused"}
	MailboxFull      = Reply{Code: 552, Status: Status{5, 2, 2}, Text: "mailbox full"}
	FarTooBig        = Reply{Code: 552, Status: Status{5, 3, 4}, Text: "message far too big, closing the connection"}
	TooBig           = Reply{Code: 552, Status: Status{5, 3, 4}, Text: "message too big"}
	NonASCIISender   = Reply{Code: 550, Status: Status{5, 6, 7}, Text: "non-ASCII sender needs SMTPUTF8"}
	NonASCIIAddress  = Reply{Code: 553, Status: Status{5, 6, 7}, Text: "non-ASCII address needs SMTPUTF8"}
	TransactionLost  = Reply{Code: 554, Status: Status{5, 5, 0}, Text: "transaction failed"}
	MailLoop         = Reply{Code: 554, Status: Status{5, 4, 6}, Text: "too many hops, the message is looping"}
	HeaderTooBig     = Reply{Code: 552, Status: Status{5, 3, 4}, Text: "message header too big"}
	SeveralFrom      = Reply{Code: 550, Status: Status{5, 7, 1}, Text: "more than one From field"}
	BodyNotSupported = Reply{Code: 555, Status: Status{5, 5, 4}, Text: "body type not supported"}
)

// Because returns r with err as its cause.
func (r Reply) Because(err error) Reply {
	r.Err = err
	return r
}

// Saying returns r with another text.
func (r Reply) Saying(format string, args ...any) Reply {
	r.Text = fmt.Sprintf(format, args...)
	return r
}

// OK reports whether r is a positive completion (2xx).
func (r Reply) OK() bool { return r.Code/100 == 2 }

// Temporary reports whether the client may try again (4xx).
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Final reports whether r refuses for good (5xx).
func (r Reply) Final() bool { return r.Code/100 == 5 }

// Refuses reports whether r says no, for now (4xx) or for good (5xx).
func (r Reply) Refuses() bool { return r.Code/100 == 4 || r.Code/100 == 5 }

// Closes reports whether the server closes the connection after r: with 221 and
// 421 (RFC 5321, section 3.8), and after what can only be followed by nonsense. A
// 521 that somebody behind us chose is about a recipient, or a message.
func (r Reply) Closes() bool {
	return r.Code == Bye.Code || r.Code == ShuttingDown.Code ||
		r.Is(EarlyTalker) || r.Is(FarTooBig) || r.Is(BadChunk) || r.Is(NotSMTP)
}

// By returns r as a server of that name sends it: the reply with which a session
// ends says whose it is, as the greeting does (RFC 5321, section 4.2.3). The result no
// longer matches Is: its text has changed.
func (r Reply) By(host string) Reply {
	if host != "" && r.Closes() {
		r.Text = host + " " + r.Text
	}
	return r
}

// Error implements error: the reply as it is sent, and its cause.
func (r Reply) Error() string {
	if r.Err != nil {
		return r.String() + " (" + r.Err.Error() + ")"
	}
	return r.String()
}

// String returns the reply as it is sent, on one line.
func (r Reply) String() string {
	text := strings.ReplaceAll(r.Text, "\n", " / ")
	if r.Status == (Status{}) {
		return fmt.Sprintf("%d %s", r.Code, text)
	}
	return fmt.Sprintf("%d %v %s", r.Code, r.Status, text)
}

// Unwrap returns the cause.
func (r Reply) Unwrap() error { return r.Err }

// Is reports whether target is the same reply, whatever the causes.
func (r Reply) Is(target error) bool {
	t, ok := target.(Reply)
	return ok && r.Code == t.Code && r.Status == t.Status && r.Text == t.Text
}

// LogValue implements slog.LogValuer.
func (r Reply) LogValue() slog.Value { return slog.StringValue(r.String()) }

// A plainReply is a Reply as it is kept: its cause has become a text.
type plainReply struct {
	Code   int
	Status Status
	Text   string
	Cause  string `json:",omitempty"`
}

// MarshalJSON implements json.Marshaler. The zero Reply is null, and a cause its
// text.
func (r Reply) MarshalJSON() ([]byte, error) {
	if r.Code == 0 {
		return []byte("null"), nil
	}
	p := plainReply{Code: r.Code, Status: r.Status, Text: r.Text}
	if r.Err != nil {
		p.Cause = Printable(strings.ReplaceAll(r.Err.Error(), "\n", "; "), maxCause)
	}
	return json.Marshal(p)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Reply) UnmarshalJSON(b []byte) error {
	var p plainReply
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*r = Reply{Code: p.Code, Status: p.Status, Text: p.Text}
	if p.Cause != "" {
		r.Err = errors.New(p.Cause)
	}
	return nil
}

// maxCause is how much of a cause is kept, in octets.
const maxCause = 1000

// ReplyTo is the one place where an error becomes a reply. A Reply in err's
// tree is the refusal that somebody chose who understood the reason. Whatever
// else happened is our own trouble, and the client keeps the mail meanwhile: an
// error that holds a Reply which refuses nothing is trouble, too.
func ReplyTo(err error) Reply {
	if err == nil {
		return Accepted
	}
	var r Reply
	if errors.As(err, &r) && r.Refuses() {
		return r
	}
	return LocalError.Because(err)
}

// Merge returns the one reply for a client that cannot hear one per recipient:
// 250 if all were served, the first 4xx if there is one, the first 5xx if all
// were refused for good, and MixedResult if some were served and the others
// refused for good: with 2xx the client would believe that all have the
// message, and with 5xx it would tell those who have it that they do not.
func Merge(replies []Reply) Reply {
	var served, refused *Reply
	for i, r := range replies {
		switch {
		case r.Temporary():
			return r
		case r.OK() && served == nil:
			served = &replies[i]
		case !r.OK() && refused == nil:
			refused = &replies[i]
		}
	}
	switch {
	case served != nil && refused != nil:
		return MixedResult.Because(*refused)
	case refused != nil:
		return *refused
	case served != nil:
		return *served
	}
	return LocalError.Because(errors.New("mail: no replies to merge"))
}

// Worst returns the reply that a recipient gets whose mail goes to several
// mailboxes: 4xx over 5xx over 2xx.
func Worst(replies []Reply) Reply {
	rank := func(r Reply) int {
		switch {
		case r.Temporary():
			return 2
		case !r.OK():
			return 1
		}
		return 0
	}
	if len(replies) == 0 {
		return LocalError.Because(errors.New("mail: no replies to choose from"))
	}
	worst := replies[0]
	for _, r := range replies[1:] {
		if rank(r) > rank(worst) {
			worst = r
		}
	}
	return worst
}

// WorstOf returns the Worst of some of replies: of those with the indexes members.
func WorstOf(replies []Reply, members []int) Reply {
	some := make([]Reply, len(members))
	for i, m := range members {
		some[i] = replies[m]
	}
	return Worst(some)
}
