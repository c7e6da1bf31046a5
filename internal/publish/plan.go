// Package publish knows the DNS records by which mail finds a domain, and is believed:
// which ones it should have, and what those that are there say.
package publish

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// A Plan is what a domain should publish in the DNS, whose mail comes to Hostname.
type Plan struct {
	Domain   string   `json:"domain"`
	Hostname string   `json:"hostname"`
	Notes    []string `json:"notes,omitempty"`
	Records  []Record `json:"records"`
	Policy   *Policy  `json:"mta_sts_policy,omitempty"` // nil: there is no certificate to insist on

	Enforce bool               `json:"-"` // of MTA-STS
	Chains  []*tls.Certificate `json:"-"` // of the certificates in use, without their keys
}

// A Record is one of them, beside what is there now.
type Record struct {
	Name  string   `json:"name"`
	Type  string   `json:"type"`
	TTL   int      `json:"ttl"`
	Data  string   `json:"data"`
	State string   `json:"state"`
	Now   []string `json:"now,omitempty"` // the others of this kind that are there
	Note  string   `json:"note"`
	alone bool     // there must be no other of this kind
}

// The states of a record.
const (
	Present = "present"
	Differs = "differs" // there are others of this kind, and not this one
	Missing = "missing"
	Unknown = "unknown" // nobody answered
)

// A Policy is that of MTA-STS (RFC 8461, section 3.2), as it is to be served.
type Policy struct {
	URL  string `json:"url"`
	Text string `json:"text"`
}

// publishedFor is the time to live of the records, in seconds: short enough to
// take a mistake back within the hour.
const publishedFor = 3600

// Note adds what is to be known beside the records.
func (p *Plan) Note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Plan) add(r Record) {
	r.TTL = publishedFor
	p.Records = append(p.Records, r)
}

// Look asks for what is there, and adds what should be.
func (p *Plan) Look(ctx context.Context, ask Ask) {
	p.addressOf(ctx, ask, p.Hostname, "that is this host, and mail does not find it")
	hosts := p.mx(ctx, ask)
	domain := p.Domain
	p.tagged(ctx, ask, domain, "v=spf1", "v=spf1 mx -all", "SPF: who sends for the domain; if others than its MX do, name them before -all")
	p.tagged(ctx, ask, "_dmarc."+domain, "v=DMARC1", "v=DMARC1; p=none; rua=mailto:postmaster@"+domain,
		"DMARC: p=quarantine or p=reject once the reports show that all of your own mail passes")
	if len(p.Chains) > 0 {
		p.mtaSTS(ctx, ask, hosts)
	} else {
		p.Note("there is no certificate (mx.tls), so that MTA-STS and TLSA would keep mail out")
	}
	p.tagged(ctx, ask, "_smtp._tls."+domain, "v=TLSRPTv1", "v=TLSRPTv1; rua=mailto:postmaster@"+domain,
		"TLSRPT: where senders report that TLS failed")
	for _, chain := range p.Chains {
		p.tlsa(ctx, ask, chain)
	}
}

// addressOf notes that a host has no address.
func (p *Plan) addressOf(ctx context.Context, ask Ask, host, why string) {
	v4, known4 := ask.Records(ctx, "A", host)
	v6, known6 := ask.Records(ctx, "AAAA", host)
	if known4 && known6 && len(v4)+len(v6) == 0 {
		p.Note("%s has no address, A or AAAA: %s", host, why)
	}
}

// mx adds the MX record, and returns the hosts that a policy must have: ours, and
// those beside it.
func (p *Plan) mx(ctx context.Context, ask Ask) (hosts []string) {
	r := Record{Name: p.Domain, Type: "MX", Data: "10 " + p.Hostname, Note: "where mail comes to"}
	records, known := ask.Records(ctx, "MX", p.Domain)
	hosts = []string{p.Hostname}
	r.State = stateOf(known, records)
	for _, now := range records {
		_, host, _ := strings.Cut(now, " ")
		if SameName(host, p.Hostname) {
			r.State, r.Data = Present, now
			continue
		}
		r.Now = append(r.Now, now)
		hosts = append(hosts, host)
	}
	if r.State == Differs {
		r.Note = "add it, if mail is to come here without another host before it"
	}
	p.add(r)
	slices.Sort(hosts[1:])
	return hosts
}

// stateOf is the state of a record that is not among those that were found.
func stateOf(known bool, others []string) string {
	switch {
	case !known:
		return Unknown
	case len(others) > 0:
		return Differs
	}
	return Missing
}

// tagged adds the one TXT record at name that begins with tag: the one that is
// there, or else data.
func (p *Plan) tagged(ctx context.Context, ask Ask, name, tag, data, note string) {
	r := Record{Name: name, Type: "TXT", Data: data, Note: note, alone: true}
	all, known := ask.Records(ctx, "TXT", name)
	found := Tagged(all, tag)
	switch r.State = stateOf(known, found); len(found) {
	case 0:
	case 1:
		r.State, r.Data = Present, found[0]
	default:
		r.Now, r.Note = found, fmt.Sprintf("there are %d, which is as good as none: leave one", len(found))
	}
	p.add(r)
}

// mtaSTS adds the policy of RFC 8461, and the record that says which one it is.
func (p *Plan) mtaSTS(ctx context.Context, ask Ask, hosts []string) {
	mode, age := "testing", 86400 // a day: what is tried is changed soon
	if p.Enforce {
		mode, age = "enforce", 30*86400 // RFC 8461, section 3.2: weeks, or it does not protect
	}
	var text strings.Builder
	fmt.Fprintf(&text, "version: STSv1\r\nmode: %s\r\n", mode)
	for _, host := range hosts {
		fmt.Fprintf(&text, "mx: %s\r\n", host)
	}
	fmt.Fprintf(&text, "max_age: %d\r\n", age)
	p.Policy = &Policy{URL: STSURL(p.Domain), Text: text.String()}
	sum := sha256.Sum256([]byte(p.Policy.Text))
	p.tagged(ctx, ask, "_mta-sts."+p.Domain, "v=STSv1", "v=STSv1; id="+hex.EncodeToString(sum[:8]),
		"MTA-STS: that there is a policy, at the end of this; the id must change whenever that does")
	p.addressOf(ctx, ask, "mta-sts."+p.Domain, "it must be that of the web server that has the MTA-STS policy")
	if !slices.ContainsFunc(p.Chains, func(chain *tls.Certificate) bool { return Trusted(chain, p.Hostname) == nil }) {
		p.Note("no certificate is trusted by others for %s (%v): with MTA-STS in mode enforce, no mail would come", p.Hostname, Trusted(p.Chains[0], p.Hostname))
	}
}

// tlsa adds the record for the key of a certificate (RFC 7672).
func (p *Plan) tlsa(ctx context.Context, ask Ask, chain *tls.Certificate) {
	r := Record{
		Name: "_25._tcp." + p.Hostname, Type: "TLSA", Data: TLSA(chain.Leaf),
		Note: fmt.Sprintf("DANE: the %v key of the certificate that ends on %s; in a zone signed with DNSSEC alone", chain.Leaf.PublicKeyAlgorithm, chain.Leaf.NotAfter.Format("2006-01-02")),
	}
	if !strings.HasSuffix("."+p.Hostname, "."+p.Domain) {
		r.Note += ": that of " + p.Hostname + ", which is not part of this one"
	}
	records, known := ask.Records(ctx, "TLSA", r.Name)
	r.State = stateOf(known, records)
	for _, now := range records {
		switch {
		case FitsTLSA(chain, now):
			r.State, r.Data = Present, now
		case !slices.ContainsFunc(p.Chains, func(other *tls.Certificate) bool { return FitsTLSA(other, now) }):
			r.Now = append(r.Now, now)
		}
	}
	if r.State != Present && r.State != Unknown && len(r.Now) == 0 {
		r.State = Missing // what is there is for another certificate in use
	}
	p.add(r)
}
