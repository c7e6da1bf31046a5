package policy

import (
	"fmt"
	"slices"
	"strings"

	"postern/policy/arc"
	"postern/policy/dmarc"
	"postern/policy/report"
)

// row returns what a report tells about the message of r, and false where nobody
// asked for a report, or nothing could be found out.
func (r *Record) row() (report.Row, bool) {
	v := r.Verdict
	if v == nil || v.Err != nil || !r.Facts.Client.IP.IsValid() {
		return report.Row{}, false
	}
	d := v.DMARC
	if d.Verdict != dmarc.Pass && d.Verdict != dmarc.Fail || report.Tags(d.Record)["rua"] == "" {
		return report.Row{}, false
	}
	row := report.Row{
		Policy: d.RecordDomain, Record: d.Record, SourceIP: r.Facts.Client.IP.String(),
		HeaderFrom: d.Author, EnvelopeFrom: strings.ToLower(r.Facts.From.Domain),
		SPFResult: report.Auth{Domain: v.SPF.Domain, Scope: "mfrom", Result: string(v.SPF.Verdict)},
		Count:     1, Last: r.Facts.Time,
	}
	if r.Facts.From.IsNull() {
		row.SPFResult.Scope = "helo"
	}
	for _, f := range d.Findings {
		aligned := f.Pass && (f.Alignment == dmarc.Strict || f.Alignment == dmarc.Relaxed)
		row.DKIM = row.DKIM || aligned && f.Method == dmarc.DKIM
		row.SPF = row.SPF || aligned && f.Method == dmarc.SPF
	}
	for _, s := range v.DKIM {
		row.Signatures = append(row.Signatures, report.Auth{Domain: s.Domain, Selector: s.Selector, Result: string(s.Verdict)})
	}
	row.Disposition, row.Reasons = v.disposition()
	return row, true
}

// sealers tells of a chain that was believed (RFC 8617, section 7.2.2).
func sealers(r arc.Result) string {
	text := "arc=" + string(r.Verdict)
	for _, s := range slices.Backward(r.Sets) {
		text += fmt.Sprintf(" as[%d].d=%s as[%d].s=%s", s.Instance, s.Domain, s.Instance, s.Selector)
	}
	return text
}

// disposition returns what the policy of the author's domain led to, and why that
// was not what it asks for.
func (v *Verdict) disposition() (string, []report.Reason) {
	d := v.DMARC
	switch {
	case d.Verdict == dmarc.Pass && d.Policy != dmarc.PolicyNone:
		return "pass", nil
	case d.Verdict == dmarc.Pass:
		return "none", nil // "pass" is for those who ask for more (RFC 9990, appendix A)
	}
	var reasons []report.Reason
	if d.Testing && d.Policy != d.Disposition {
		reasons = append(reasons, report.Reason{Type: "policy_test_mode"})
	}
	i := slices.IndexFunc(v.Demands, func(demand Demand) bool { return demand.By == "dmarc" })
	if i < 0 {
		return "none", reasons
	}
	demand := v.Demands[i]
	done := map[Action]string{Reject: "reject", Quarantine: "quarantine"}[demand.Action]
	switch {
	case strings.HasPrefix(demand.Pardon, forwarderPardon), strings.HasPrefix(demand.Pardon, forwardedPardon):
		return "none", append(reasons, report.Reason{Type: "trusted_forwarder"})
	case strings.HasPrefix(demand.Pardon, sealedPardon):
		return "none", append(reasons, report.Reason{Type: "local_policy", Comment: sealers(v.ARC)})
	case demand.Pardon != "":
		return "none", append(reasons, report.Reason{Type: "local_policy"})
	case done == "":
		done = "none"
	}
	if done != string(d.Disposition) {
		reasons = append(reasons, report.Reason{Type: "local_policy"})
	}
	return done, reasons
}
