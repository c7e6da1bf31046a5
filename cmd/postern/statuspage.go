package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A statusPage prints a Status for people: a row for each thing, and in capitals
// what somebody should look at.
type statusPage struct {
	Status
	before *Status // some time ago; nil: nobody knows
	*tabwriter.Writer
}

// printStatus prints now, and how much came to be since before if that is known.
func printStatus(w io.Writer, now Status, before *Status) error {
	p := statusPage{Status: now, before: before, Writer: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	p.row("postern "+p.Server, "%s as %s, up %s%s", p.Version, p.Hostname, time.Since(p.Started).Round(time.Second),
		map[bool]string{true: ", confined"}[p.Confined])
	p.configuration()
	p.traffic()
	p.judging()
	p.certificates()
	p.places()
	p.refusals()
	return p.Flush()
}

func (p statusPage) row(what, format string, args ...any) {
	fmt.Fprintf(p, what+"\t"+format+"\n", args...)
}

// configuration tells what serves, and what of the files does not.
func (p statusPage) configuration() {
	p.row("recipients", "%s in %s; generation %s, loaded %s ago", quantity(p.Mailboxes, "mailbox"), quantity(p.Domains, "domain"), p.Generation, time.Since(p.Loaded).Round(time.Second))
	if p.Refused != "" {
		p.row("NOT SERVED", "%s\n%s", cmp.Or(strings.Trim(oldVersions(p.Old), " ()"), "no map is the worse for it"), p.Refused)
	}
	if !p.Until.IsZero() {
		p.row("ON PROBATION", "generation %s serves again at %s, unless you say: postern reload --confirmed", p.OrElse, p.Until.Local().Format(time.TimeOnly))
	}
	if len(p.Restart) > 0 {
		p.row("NEEDS A RESTART", "%s", strings.Join(p.Restart, ", "))
	}
	if len(p.Outside) > 0 {
		p.row("NEEDS A RESTART", "%v", p.Outside)
	}
	if p.Broken != "" {
		p.row("BROKEN", "a restart would fail:\n%s", p.Broken)
	}
}

// traffic tells who is connected, and what was answered.
func (p statusPage) traffic() {
	if p.Remembered > 0 {
		p.row("remembered", "%s whose clients may not have heard of them", quantity(p.Remembered, "delivery"))
	}
	if p.Room > 0 { // there is an MX
		p.row("clients", "%d connected, of %d at most", p.Connections, p.Room)
	}
	if p.LMTPClients > 0 {
		p.row("LMTP", "%s connected", quantity(p.LMTPClients, "client"))
	}
	if p.HiddenBy != "" {
		p.row("CLIENTS HIDDEN", "nearly all seem to come from %s, so nothing is judged by that address:\n"+
			"let what is in front say who they are, by PROXY (mx.listen_proxy) or XCLIENT (mx.xclient), or go round it", p.HiddenBy)
	}
	if p.Panics > 0 {
		p.row("PANICS", "%s ended in a defect of ours: the log has it as \"panic\", with its stack", quantity(p.Panics, "session"))
	}
	p.row("in flight", "%d octets in memory, %d in files", p.InMemory, p.InFiles)
	for _, what := range []string{"messages", "refused", "deliveries", "connections"} {
		n := p.Replies[what]
		p.row(what, "%d taken, %d told to try again, %d refused%s", n.OK, n.Later, n.Never, p.rate(what))
	}
	if p.Unrecorded > 0 {
		p.row("NOT RECORDED", "%d decisions, of %d; the log says why", p.Unrecorded, p.Recorded+p.Unrecorded)
	}
}

// rate tells how many there were of something in a second since before.
func (p statusPage) rate(what string) string {
	if p.before == nil {
		return ""
	}
	a, b := p.before.Replies[what], p.Replies[what]
	n := b.OK + b.Later + b.Never - a.OK - a.Later - a.Never
	return fmt.Sprintf("; %.1f a second", float64(n)/max(p.Now.Sub(p.before.Now).Seconds(), 0.001))
}

// judging tells who is asked about a message, and whether they answer.
func (p statusPage) judging() {
	if p.AccessRules > 0 {
		p.row("access", "%d rules", p.AccessRules)
	}
	if p.AccessRefused != "" {
		p.row("NOT SERVED", "access rules that are broken; each such file keeps its old version:\n%s", p.AccessRefused)
	}
	for _, list := range slices.Sorted(maps.Keys(p.DNSLists)) {
		state := "in use"
		if why := p.DNSLists[list]; why != "" {
			state = "NOT IN USE: " + why
		}
		p.row("DNS list", "%s: %s", list, state)
	}
	if p.DNSSilent {
		p.row("DNS", "SILENT: nobody is refused for what it would say")
	}
	if q := p.DNSQuestions; q["answered"]+q["cached"]+q["failed"] > 0 {
		p.row("DNS", "%d questions answered, %d more from memory, %d failed", q["answered"], q["cached"]+q["shared"], q["failed"]+q["spared"])
	}
	for _, filter := range slices.Sorted(maps.Keys(p.Filters)) {
		state := "in use"
		if !p.Filters[filter] {
			state = "HANGS: it is asked now and then"
		}
		p.row("filter", "%s: %s", filter, state)
	}
}

func (p statusPage) certificates() {
	for _, c := range p.Certificates {
		p.row("certificate", "%s: %s for %s, until %s", c.File, c.Key, strings.Join(c.Names, " "), c.Expires.Format(time.DateOnly))
		if c.Refused != "" {
			p.row("NOT SHOWN", "what is in the file now: %s", c.Refused)
		}
	}
}

// places tells of the folders that mail is written to.
func (p statusPage) places() {
	for _, at := range p.Places {
		p.row(at.What, "%s: %s, %d MiB free", at.Path, cmp.Or(at.Type, "unknown"), at.Free>>20)
		if at.Trouble != "" {
			p.row("NO MAIL IS TAKEN", "%s", at.Trouble)
		}
		for _, danger := range at.Dangers {
			p.row("MAY LOSE MESSAGES", "%s", danger)
		}
	}
}

// shownRefusals is how many of them people are shown.
const shownRefusals = 8

// refusals tells of the last, each with its reason.
func (p statusPage) refusals() {
	for i, r := range p.LastRefusals[:min(shownRefusals, len(p.LastRefusals))] {
		what := ""
		if i == 0 {
			what = "last refusals"
		}
		to := r.To
		if r.More > 0 {
			to += fmt.Sprintf(" and %d more", r.More)
		}
		said := fmt.Sprintf("%d %s %s", r.Code, r.Status, r.Text)
		p.row(what, "%s  %s %s %s -> %s: %s", r.Time.Local().Format(time.TimeOnly), r.Event, r.Client, r.From, to, said)
		if why := strings.Join(slices.DeleteFunc([]string{r.Why, r.Note}, func(s string) bool { return s == "" }), "; "); why != "" {
			p.row("", "          %s", why)
		}
	}
	if len(p.LastRefusals) > 0 {
		p.row("", "postern why tells more of each")
	}
}
