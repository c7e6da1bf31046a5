package publish

import (
	"fmt"
	"io"
	"strings"

	"postern/internal/dns"
	"postern/mail"
)

// Print writes p as a part of a zone file.
func (p *Plan) Print(w io.Writer) error {
	var b strings.Builder
	comment := func(format string, args ...any) { fmt.Fprintf(&b, "; "+format+"\n", args...) }
	comment("what to publish for %s, whose mail comes to %s", p.Domain, p.Hostname)
	for _, note := range p.Notes {
		comment("NOTE: %s", mail.Printable(note, 1000))
	}
	for _, r := range p.Records {
		fmt.Fprintln(&b)
		comment("%s: %s", r.State, r.Note)
		for _, now := range r.Now {
			comment("    now: %s", dns.ZoneLine(r.Name, r.TTL, r.Type, now))
		}
		line := dns.ZoneLine(r.Name, r.TTL, r.Type, r.Data)
		if r.alone && r.State == Differs { // another one beside those would not help
			line = "; " + line
		}
		fmt.Fprintln(&b, line)
	}
	if p.Policy != nil {
		fmt.Fprintln(&b)
		comment("the MTA-STS policy, the text to be served at %s:", p.Policy.URL)
		for line := range strings.Lines(p.Policy.Text) {
			comment("    %s", strings.TrimSpace(line))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
