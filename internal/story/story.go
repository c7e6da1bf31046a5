// Package story tells people what became of mail, and why: a decision record becomes a
// story, which names the cause, what was seen of it, and the way out for the sender
// and for the administrator. It reads what was recorded and asks nobody.
package story

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/mail"
	"postern/policy"
)

// A Story tells of one transaction, or of what was refused before it came to one.
type Story struct {
	ID        string
	Time      time.Time
	End       string // "released", "taken", "set apart", "refused", "put off", "refused in part", "not finished"
	Client    string
	Sender    string
	Author    string // what the From field says, if that is another
	Message   string
	Said      string // what was not understood
	Answers   []Heard
	Reasons   []Reason
	Release   string // the command that delivers it after all; empty: it is not kept
	Shortened bool
}

// A Heard is what the client heard.
type Heard struct{ To, Reply string }

// A Reason is why something was not taken, or taken only so.
type Reason struct {
	Cause, What  string
	Sender, Here string // the way out
	Evidence     []string
}

// Tell returns the story of r.
func Tell(r *policy.Record) Story {
	f := r.Facts
	s := Story{ID: r.ID, Time: f.Time, Client: clientOf(f.Client), Sender: f.From.Path(), Said: strings.TrimPrefix(r.Note, "said "), Shortened: r.Cut}
	if v := r.Verdict; v != nil && v.IPRev.Verdict == "pass" {
		s.Client = strings.Replace(s.Client, " ", " ("+v.IPRev.Name+") ", 1)
	}
	if r.Author != "" && !strings.Contains(strings.ToLower(r.Author), folded(f.From)) {
		s.Author = r.Author
	}
	if r.MessageID != "" {
		s.Message = "<" + r.MessageID + ">, "
	}
	if r.Size > 0 {
		s.Message += fmt.Sprintf("%d octets", r.Size)
	}
	s.Message = strings.TrimSuffix(s.Message, ", ")
	s.answers(r)
	s.reasons(r)
	s.End = endOf(r)
	if r.Kept {
		s.Release = "postern release " + r.ID
	}
	return s
}

// clientOf says who connected.
func clientOf(c mail.Client) string {
	text := "local"
	if c.IP.IsValid() {
		text = c.IP.String()
	}
	if c.Hello != "" {
		text += " as " + mail.Printable(c.Hello, 255)
	}
	if c.TLS == "" {
		return text + ", without TLS"
	}
	return text + ", " + c.TLS
}

func folded(a mail.Address) string { return strings.ToLower(a.String()) }

// answers lists what the client heard, and what the next hop said that it did not.
func (s *Story) answers(r *policy.Record) {
	if r.Refused != "" {
		s.Answers = append(s.Answers, Heard{r.Refused, r.Reply.String()})
		return
	}
	for _, to := range r.Recipients {
		s.Answers = append(s.Answers, Heard{to.To.Path(), to.Reply.String()})
	}
	for _, d := range r.Deliveries {
		s.Answers = append(s.Answers, Heard{"mailbox " + d.To.String(), d.Reply.String()})
	}
	if r.Reply.Code != 0 {
		s.Answers = append(s.Answers, Heard{"the message", r.Reply.String()})
	}
}

// endOf says in a word how it ended.
func endOf(r *policy.Record) string {
	if r.Released && r.Reply.OK() {
		return "released"
	}
	refused := slices.ContainsFunc(r.Recipients, func(to policy.RecipientRecord) bool { return !to.Reply.OK() })
	switch taken := r.Reply.OK(); {
	case taken && r.Verdict != nil && r.Verdict.Action == policy.Quarantine:
		return "set apart"
	case taken && refused:
		return "refused in part"
	case taken:
		return "taken"
	}
	worst := r.Reply
	for _, to := range r.Recipients {
		if worst.Code == 0 && !to.Reply.OK() {
			worst = to.Reply
		}
	}
	switch {
	case worst.Code == 0:
		return "not finished"
	case worst.Temporary():
		return "put off"
	}
	return "refused"
}

// reasons lists why something was not taken, each once.
func (s *Story) reasons(r *policy.Record) {
	if r.Refused != "" {
		s.because(r, policy.Decision{}, mail.Address{}, policy.BySession, r.Reply)
		return
	}
	if s.Said != "" {
		s.because(r, policy.Decision{}, mail.Address{}, policy.BySession, mail.BadArgument)
	}
	for _, to := range r.Recipients {
		if !to.Reply.OK() {
			s.because(r, to.Decision, to.To, to.By, to.Reply)
		}
	}
	switch v := r.Verdict; {
	case v != nil && (v.Refusal() != nil || v.Action == policy.Quarantine):
		s.because(r, v.Decision, mail.Address{}, policy.ByPolicy, r.Reply)
	case r.Reply.Code != 0 && !r.Reply.OK():
		to := mail.Address{}
		for _, d := range r.Deliveries {
			if !d.Reply.OK() {
				to = d.To
			}
		}
		s.because(r, policy.Decision{}, to, policy.ByNextHop, r.Reply)
	}
}

// because adds the reason for a reply, unless it is there.
func (s *Story) because(r *policy.Record, d policy.Decision, to mail.Address, by policy.Answerer, reply mail.Reply) {
	name, why := causeOf(reply, by), ""
	if by == policy.ByPolicy {
		demand := decisive(d)
		name, why = byCheck[demand.By], mail.Printable(demand.Why, 400)
	}
	c, words := causes[name], strings.NewReplacer(s.words(r, to, why, reply)...)
	add := Reason{Cause: name, What: words.Replace(c.what), Sender: words.Replace(c.sender), Here: words.Replace(c.here)}
	if slices.ContainsFunc(s.Reasons, func(old Reason) bool { return old.What == add.What }) {
		return
	}
	add.Evidence = evidenceFor(r, strings.Fields(c.checks))
	s.Reasons = append(s.Reasons, add)
}

// words are what replaces the words in braces of a cause.
func (s *Story) words(r *policy.Record, to mail.Address, why string, reply mail.Reply) []string {
	f, author := r.Facts, ""
	if to.IsNull() && len(f.To) > 0 {
		to = f.To[0]
	}
	if r.Verdict != nil {
		author = r.Verdict.DMARC.Author
	}
	trouble := "it is in the log"
	if reply.Err != nil {
		trouble = mail.Printable(reply.Err.Error(), 400)
	}
	size := fmt.Sprintf("of %d octets", r.Size)
	if r.Size == 0 {
		size = "as the client announced it"
	}
	return []string{
		"{to}", to.String(), "{domain}", to.Domain, "{from}", f.From.String(), "{sender}", f.From.Domain, "{ip}", f.Client.IP.String(),
		"{author}", author, "{why}", why, "{text}", reply.Text, "{size}", size, "{said}", s.Said, "{cause}", trouble,
	}
}

// decisive returns the demand that was done.
func decisive(d policy.Decision) policy.Demand {
	for _, demand := range d.Demands {
		if demand.Pardon == "" && demand.Action == d.Action {
			return demand
		}
	}
	return policy.Demand{}
}

// evidenceFor returns what those checks found. What was not looked at further, for
// a client that is on a list, is what the DNS said.
func evidenceFor(r *policy.Record, checks []string) []string {
	var lines []string
	for _, e := range Evidence(r) {
		if slices.Contains(checks, e.Check) {
			lines = append(lines, e.What+"\t"+e.Verdict+"\t"+e.Why)
		}
	}
	if r.Verdict == nil && slices.Contains(checks, "dnsbl") {
		for _, e := range r.Asked {
			lines = append(lines, "DNS "+e.Type+" "+e.Name+"\t"+string(e.Outcome)+"\t"+strings.Join(e.Answers, " / "))
		}
	}
	return lines
}
