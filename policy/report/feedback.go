package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/mail"
)

// A Report is what one domain is told about one day.
type Report struct {
	Reporter string // our host name
	Contact  string // the address of somebody who can answer questions
	Domain   string // whose record the messages fell under
	Day      time.Time
	Rows     []Row // those of the domain; others are left out
}

// day returns when the day begins, and its last second.
func (r Report) day() (begin, end int64) {
	start := r.Day.UTC().Truncate(24 * time.Hour)
	return start.Unix(), start.Add(24*time.Hour - time.Second).Unix()
}

// Name returns the name of the file (RFC 9990, section 3.4), without what says
// whether it is compressed.
func (r Report) Name() string {
	begin, end := r.day()
	return fmt.Sprintf("%s!%s!%d!%d.xml", r.Reporter, r.Domain, begin, end)
}

// XML returns the file (RFC 9990, section 3.1). The error says that there is
// nothing to report.
func (r Report) XML() ([]byte, error) {
	f := feedback{Version: "1.0"}
	begin, end := r.day()
	f.Metadata = metadata{
		Org: r.Reporter, Email: r.Contact, Generator: "Postern", Range: dateRange{begin, end},
		ID: fmt.Sprintf("%d.%s@%s", begin, r.Domain, r.Reporter),
	}
	for _, row := range r.Rows {
		if row.Policy == r.Domain {
			f.Records = append(f.Records, row.record())
		}
	}
	if len(f.Records) == 0 {
		return nil, fmt.Errorf("nothing was counted for %s on %s", r.Domain, dayOf(r.Day))
	}
	f.Policy = r.published()
	b, err := xml.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("report for %s: %w", r.Domain, err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

// The elements of a report (RFC 9990, appendix A).
type (
	feedback struct {
		XMLName  xml.Name    `xml:"urn:ietf:params:xml:ns:dmarc-2.0 feedback"`
		Version  string      `xml:"version"`
		Metadata metadata    `xml:"report_metadata"`
		Policy   policy      `xml:"policy_published"`
		Records  []xmlRecord `xml:"record"`
	}
	metadata struct {
		Org       string    `xml:"org_name"`
		Email     string    `xml:"email"`
		ID        string    `xml:"report_id"`
		Range     dateRange `xml:"date_range"`
		Generator string    `xml:"generator"`
	}
	dateRange struct {
		Begin int64 `xml:"begin"`
		End   int64 `xml:"end"`
	}
	policy struct {
		Domain    string `xml:"domain"`
		Discovery string `xml:"discovery_method"`
		P         string `xml:"p"`
		SP        string `xml:"sp,omitempty"`
		NP        string `xml:"np,omitempty"`
		FO        string `xml:"fo,omitempty"`
		ADKIM     string `xml:"adkim,omitempty"`
		ASPF      string `xml:"aspf,omitempty"`
		Testing   string `xml:"testing"`
	}
	xmlRecord struct {
		Source      string      `xml:"row>source_ip"`
		Count       int         `xml:"row>count"`
		Disposition string      `xml:"row>policy_evaluated>disposition"`
		DKIM        string      `xml:"row>policy_evaluated>dkim"`
		SPF         string      `xml:"row>policy_evaluated>spf"`
		Reasons     []xmlReason `xml:"row>policy_evaluated>reason"`
		HeaderFrom  string      `xml:"identifiers>header_from"`
		Envelope    string      `xml:"identifiers>envelope_from"`
		Signatures  []xmlDKIM   `xml:"auth_results>dkim"`
		SPFResult   *xmlSPF     `xml:"auth_results>spf"`
	}
	xmlReason struct {
		Type    string `xml:"type"`
		Comment string `xml:"comment,omitempty"`
	}
	xmlDKIM struct {
		Domain   string `xml:"domain"`
		Selector string `xml:"selector"`
		Result   string `xml:"result"`
	}
	xmlSPF struct {
		Domain string `xml:"domain"`
		Scope  string `xml:"scope,omitempty"`
		Result string `xml:"result"`
	}
)

// Record returns the record of the domain, as the newest message found it.
func (r Report) Record() string {
	var newest Row
	for _, row := range r.Rows {
		if row.Policy == r.Domain && !row.Last.Before(newest.Last) {
			newest = row
		}
	}
	return newest.Record
}

// published tells of the record of the domain. Where a value of it is not valid,
// the default holds (RFC 9989, section 4.8), for which nothing is told; without a
// valid p it is none (section 4.10.1).
func (r Report) published() policy {
	tags := Tags(r.Record())
	valid := func(name string, values ...string) string {
		v := strings.ToLower(tags[name])
		if !slices.Contains(values, v) {
			return ""
		}
		return v
	}
	request := func(name string) string { return valid(name, "none", "quarantine", "reject") }
	p := policy{
		Domain: r.Domain, Discovery: "treewalk", P: request("p"), SP: request("sp"), NP: request("np"),
		ADKIM: valid("adkim", "r", "s"), ASPF: valid("aspf", "r", "s"), Testing: valid("t", "y", "n"),
	}
	if fo := strings.ToLower(tags["fo"]); strings.Trim(fo, "01ds:") == "" {
		p.FO = fo
	}
	p.P, p.Testing = cmp.Or(p.P, "none"), cmp.Or(p.Testing, "n")
	return p
}

func (r Row) record() xmlRecord {
	x := xmlRecord{
		Source: r.SourceIP, Count: r.Count, Disposition: r.Disposition, DKIM: passed(r.DKIM), SPF: passed(r.SPF),
		HeaderFrom: r.HeaderFrom, Envelope: r.EnvelopeFrom,
	}
	for _, reason := range r.Reasons {
		x.Reasons = append(x.Reasons, xmlReason{reason.Type, mail.Printable(reason.Comment, 200)})
	}
	for _, s := range r.Signatures {
		if s.Domain == "" || s.Selector == "" {
			continue // it could not be read
		}
		x.Signatures = append(x.Signatures, xmlDKIM{s.Domain, s.Selector, s.Result})
	}
	if r.SPFResult.Domain != "" {
		x.SPFResult = &xmlSPF{r.SPFResult.Domain, r.SPFResult.Scope, r.SPFResult.Result}
	}
	return x
}

func passed(yes bool) string {
	if yes {
		return "pass"
	}
	return "fail"
}

// Tags returns the tags of a DMARC record by their names, in lower case. Of a tag
// that is there twice it has neither.
func Tags(record string) map[string]string {
	tags := make(map[string]string)
	seen := make(map[string]bool)
	for tag := range strings.SplitSeq(record, ";") {
		name, value, ok := strings.Cut(tag, "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		switch {
		case !ok || name == "":
		case seen[name]:
			delete(tags, name)
		default:
			tags[name] = strings.Trim(value, " \t")
		}
		seen[name] = true
	}
	return tags
}
