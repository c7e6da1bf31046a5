package main

import (
	"cmp"
	"encoding/json"
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
	*tabwriter.Writer
}

func printStatus(w io.Writer, name string, answer json.RawMessage) error {
	p := statusPage{Writer: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if err := json.Unmarshal(answer, &p.Status); err != nil {
		return err
	}
	p.row("postern "+name, "%s as %s, up %s", p.Version, p.Hostname, time.Since(p.Started).Round(time.Second))
	p.configuration()
	p.traffic()
	p.judging()
	p.certificates()
	return p.Flush()
}

func (p statusPage) row(what, format string, args ...any) {
	fmt.Fprintf(p, what+"\t"+format+"\n", args...)
}

// configuration tells what serves, and what of the files does not.
func (p statusPage) configuration() {
	p.row("recipients", "%d mailboxes in %d domains; generation %s, loaded %s ago", p.Mailboxes, p.Domains, p.Generation, time.Since(p.Loaded).Round(time.Second))
	if p.Refused != "" {
		p.row("NOT SERVED", "%s\n%s", cmp.Or(strings.Trim(oldVersions(p.Old), " ()"), "no map is the worse for it"), p.Refused)
	}
	if !p.Until.IsZero() {
		p.row("ON PROBATION", "generation %s serves again at %s, unless you say: postern reload --confirmed", p.OrElse, p.Until.Local().Format(time.TimeOnly))
	}
	if len(p.Restart) > 0 {
		p.row("NEEDS A RESTART", "%s", strings.Join(p.Restart, ", "))
	}
	if p.Broken != "" {
		p.row("BROKEN", "a restart would fail:\n%s", p.Broken)
	}
}

// traffic tells who is connected, and what was answered.
func (p statusPage) traffic() {
	if p.Remembered > 0 {
		p.row("remembered", "%d deliveries whose clients may not have heard of them", p.Remembered)
	}
	p.row("clients", "%d connected", p.Connections)
	if p.HiddenBy != "" {
		p.row("CLIENTS HIDDEN", "nearly all seem to come from %s, so nothing is judged by that address:\n"+
			"let what is in front say who they are, by PROXY (mx.listen_proxy) or XCLIENT (mx.xclient), or go round it", p.HiddenBy)
	}
	if p.Panics > 0 {
		p.row("PANICS", "%d sessions ended in a defect of ours: the log has it as \"panic\", with its stack", p.Panics)
	}
	p.row("in flight", "%d octets in memory, %d in files", p.InMemory, p.InFiles)
	for _, what := range []string{"messages", "refused", "deliveries", "connections"} {
		n := p.Replies[what]
		p.row(what, "%d taken, %d told to try again, %d refused", n.OK, n.Later, n.Never)
	}
	if p.Unrecorded > 0 {
		p.row("NOT RECORDED", "%d decisions, of %d; the log says why", p.Unrecorded, p.Recorded+p.Unrecorded)
	}
}

// judging tells who is asked about a message, and whether they answer.
func (p statusPage) judging() {
	if p.AccessRules > 0 {
		p.row("access", "%d rules", p.AccessRules)
	}
	if p.AccessRefused != "" {
		p.row("NOT SERVED", "the newest edit of the access rules is broken:\n%s", p.AccessRefused)
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
