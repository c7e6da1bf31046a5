package policy

import (
	"strings"
	"time"

	"postern/mail"
	"postern/policy/access"
	"postern/policy/milter"
)

// Facts are what a message is judged by, besides what is in it, what the DNS
// says and what the Policy is.
type Facts struct {
	Time   time.Time
	Client mail.Client
	From   mail.Address
	UTF8   bool           // the message is an internationalised one (RFC 6531)
	To     []mail.Address // the recipients, as the client named them
	// Unused are the names of the DNS lists that are out of use.
	Unused []string
	// Over are the rates that this transaction would exceed.
	Over []Rate
	// Greylist is what is known of the sender; nil: nobody was asked.
	Greylist *Acquaintance
	// Filters are the answers of those that were asked, in order.
	Filters []FilterAnswer
}

// A Rate is a bound on how much may come in an hour.
type Rate struct {
	Of    string // "client" or "recipient"
	Whose string // the network or the address that it is the rate of
	Limit int    // messages in an hour
}

// An Acquaintance is what the greylist knows of a sender.
type Acquaintance struct {
	Origin string // the network that it writes from, or the domain whose network that is
	Sender string
	Known  bool
	// Since is when an unknown one was put off first; the zero Time: never.
	Since time.Time
	// Waited reports whether that was long enough ago, and not too long.
	Waited bool
}

// A FilterAnswer is what a filter says of a message.
type FilterAnswer struct {
	Name   string
	Action Action     // Accept, Mark, Quarantine, Defer or Reject
	Reply  mail.Reply // zero unless Action is Defer or Reject
	Why    string     // for administrators
	Failed bool       // it did not answer, and Action is what then is to be done
	// Changes are those of the header, and Body is the size of what it put in
	// the place of the body; 0: it stayed.
	Changes []milter.Change
	Body    int64
}

// rule returns the access rule that holds for a recipient, or for a message
// with nobody to be named.
func (p *Policy) rule(f Facts, to mail.Address) (access.Match, bool) {
	return p.Access.Match(access.Query{
		Client: f.Client.IP, Hello: f.Client.Hello, Sender: f.From, Recipient: to,
	})
}

// allowed returns why everybody in f.To is to get the message, whatever it is;
// empty: not everybody is.
func (p *Policy) allowed(f Facts) string {
	why := ""
	for _, to := range f.To {
		m, found := p.rule(f, to)
		if !found || m.Action != access.Allow {
			return ""
		}
		why = "allowed by " + m.Rule
	}
	return why
}

// forOffice reports whether all recipients are ones that must be reachable for
// those who are refused (RFC 5321, section 4.5.1; RFC 2142, section 4).
func (f Facts) forOffice() bool {
	for _, to := range f.To {
		if !isOffice(to) {
			return false
		}
	}
	return len(f.To) > 0
}

// folded returns a as what counts as one recipient.
func folded(a mail.Address) string { return strings.ToLower(a.Local + "@" + a.Domain) }
