// Package selftest holds an SMTP or LMTP server to its standards from the
// outside: it connects, says what a client may say and what it may not, and
// judges what it hears. Each check has a session of its own, names the section
// that it checks, and keeps the dialogue for whoever wants to see it.
//
// It imports nothing of Postern, so that no mistake of ours is on both sides,
// and it can be pointed at any server. It mails only recipients that the caller
// has named; without them the checks that need one are skipped.
package selftest

import (
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"time"
)

// A Protocol is what the server speaks.
type Protocol string

// The protocols: RFC 5321 and RFC 2033.
const (
	SMTP Protocol = "SMTP"
	LMTP Protocol = "LMTP"
)

// A Level says how much a standard insists (RFC 2119).
type Level string

// Who breaks a Must fails; who breaks a Should is warned.
const (
	Must   Level = "MUST"
	Should Level = "SHOULD"
)

// A Check is one rule and the dialogue that shows whether a server keeps it.
type Check struct {
	ID      string // "mail.nested"
	Section string // "RFC 5321, 4.1.4"
	Level   Level
	Title   string // the rule, in at most 50 characters

	on    Protocol // whose rule it is; "": both
	needs string   // words: see Run.lacks
	play  string   // the dialogue; see session.play
	run   func(*session)
}

// Checks returns the checks of a protocol, in the order in which they run.
func Checks(p Protocol) []Check {
	var of []Check
	for _, c := range slices.Concat(
		helloChecks, orderChecks, commandChecks, mailChecks, rcptChecks, relayChecks, limitChecks,
		sizeChecks, pipeliningChecks, dataChecks, endChecks, chunkChecks, tlsChecks, bodyChecks,
		utf8Checks, dsnChecks, otherChecks, lmtpChecks, slowChecks, replyChecks,
	) {
		if c.on == "" || c.on == p {
			of = append(of, c)
		}
	}
	return of
}

// Select returns those of checks that patterns name, as path.Match does: "data.*".
// Without patterns it returns all. A pattern that names none is an error.
func Select(checks []Check, patterns []string) ([]Check, error) {
	if len(patterns) == 0 {
		return checks, nil
	}
	named := make(map[string]bool)
	for _, p := range patterns {
		found := false
		for _, c := range checks {
			match, err := path.Match(p, c.ID)
			if err != nil {
				return nil, fmt.Errorf("selftest: pattern %q: %w", p, err)
			}
			if match {
				found, named[c.ID] = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("selftest: there is no check %q", p)
		}
	}
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return !named[c.ID] }), nil
}

// A Target is a server, and what the caller tells of it.
type Target struct {
	Protocol Protocol
	Dial     func(ctx context.Context) (net.Conn, error)
	Host     string // its name, for the certificate
	Port     string // "25"; empty on a UNIX socket

	Hello   string // what we call ourselves: a domain or an address literal
	From    string // an address that may send to it; empty: the null reverse-path
	To      string // an address that it takes mail for
	Unknown string // an address in its domain that does not exist

	Timeout  time.Duration // for each reply
	Insecure bool          // let its certificate be what it may
	Slow     bool          // wait for its timeouts, too

	// MaxSend is how large a message may be that is sent only to be refused.
	MaxSend int64
}

// A Status is what came of a check.
type Status string

// Passed is the status of a rule that is kept. Failed is that of a MUST that is
// broken, and Warning of a SHOULD. Skipped says that the rule does not apply or
// that something was not asked for; Unclear that the server refused what the
// check has to begin with.
const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Warning Status = "warning"
	Skipped Status = "skipped"
	Unclear Status = "unclear"
)

// A Result is what came of one check.
type Result struct {
	ID       string   `json:"id"`
	Section  string   `json:"section"`
	Level    Level    `json:"level"`
	Title    string   `json:"title"`
	Status   Status   `json:"status"`
	Expected string   `json:"expected,omitempty"` // by the step that decided
	Heard    string   `json:"heard,omitempty"`    // the code and the status that decided, or "closed"
	Detail   string   `json:"detail,omitempty"`   // why it was not passed
	Dialogue []string `json:"dialogue,omitempty"` // as it went: "C: ", "S: ", "-- "
}

// A Server is what the target said of itself.
type Server struct {
	Greeting string   `json:"greeting"`
	Keywords []string `json:"keywords"` // of its answer to EHLO or LHLO
}

// A Run goes through the checks of one target. It is used by one goroutine.
type Run struct {
	target   Target
	server   Server
	keywords map[string]string // in upper case, to the parameters
	broken   map[string]string // rules of form (see rules), and the first reply that broke each
	absent   int               // how often in a row the server did not greet
}

// maxAbsent is how often a server need not greet before it is taken for gone.
const maxAbsent = 3

// Start connects to the target and asks what it offers. Its error says why no
// check can be made.
func Start(ctx context.Context, t Target) (*Run, error) {
	r := &Run{target: t, keywords: make(map[string]string), broken: make(map[string]string)}
	s := &session{run: r}
	defer s.close()
	s.connect(ctx)
	r.server.Greeting = s.last.text()
	s.need("2xx", s.helloWord()+" "+t.Hello)
	if s.decided() {
		return nil, fmt.Errorf("selftest: %s", s.result.Detail)
	}
	r.server.Keywords = s.last.Lines[1:]
	for _, line := range r.server.Keywords {
		word, params, _ := strings.Cut(line, " ")
		r.keywords[strings.ToUpper(word)] = params
	}
	s.ask("QUIT")
	return r, nil
}

// Server returns what the target said of itself.
func (r *Run) Server() Server { return r.server }

// Check makes one check. It returns when the server has been heard or the
// target's timeout is over. A server that greets no more is not waited for again
// and again.
func (r *Run) Check(ctx context.Context, c Check) Result {
	s := &session{run: r, check: &c}
	s.result = Result{ID: c.ID, Section: c.Section, Level: c.Level, Title: c.Title}
	if lacks := r.lacks(c.needs); lacks != "" {
		s.result.Status, s.result.Detail = Skipped, lacks
		return s.result
	}
	defer s.close()
	s.connect(ctx)
	switch {
	case s.decided():
	case c.run != nil:
		c.run(s)
	default:
		s.play(c.play)
	}
	s.leave()
	if !s.decided() {
		s.result.Status = Passed
	}
	if s.wire != nil {
		s.result.Dialogue = s.wire.log
	}
	return s.result
}

// lacks says which of the words in needs is not there, or "". An upper-case word
// is a keyword that the server must offer, with "!" before it one that it must
// not. A lower-case word is what the caller must have given.
func (r *Run) lacks(needs string) string {
	t := &r.target
	given := map[string]struct {
		ok   bool
		lack string
	}{
		"to":      {t.To != "", "needs --to"},
		"from":    {t.From != "", "needs --from"},
		"unknown": {t.Unknown != "", "needs --unknown"},
		"slow":    {t.Slow, "needs --slow"},
		"secure":  {!t.Insecure, "--tls-insecure"},
		"tcp":     {t.Port != "", "not over TCP"},
	}
	for word := range strings.FieldsSeq(needs) {
		_, offered := r.keywords[strings.TrimPrefix(word, "!")]
		option, isOption := given[word]
		switch {
		case isOption && !option.ok:
			return option.lack
		case isOption:
		case word[0] == '!' && offered:
			return word[1:] + " is offered"
		case word[0] != '!' && !offered:
			return "not offered: " + word
		}
	}
	return ""
}
