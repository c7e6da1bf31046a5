package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// A publication is what a domain should publish in the DNS.
type publication struct {
	Domain   string        `json:"domain"`
	Hostname string        `json:"hostname"`
	Notes    []string      `json:"notes,omitempty"`
	Records  []dnsRecord   `json:"records"`
	Policy   *mtaSTSPolicy `json:"mta_sts_policy,omitempty"` // nil: there is no certificate to insist on

	servers []string
	enforce bool
	chains  []*tls.Certificate // of the certificates in use, without their keys
}

// A dnsRecord is one of them, beside what is there now.
type dnsRecord struct {
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
	present = "present"
	differs = "differs" // there are others of this kind, and not this one
	missing = "missing"
	unknown = "unknown" // nobody answered
)

// A mtaSTSPolicy is that of RFC 8461, section 3.2.
type mtaSTSPolicy struct {
	URL  string `json:"url"`
	Text string `json:"text"`
}

// publishedFor is the time to live of the records, in seconds: short enough to
// take a mistake back within the hour.
const publishedFor = 3600

func (p *publication) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *publication) add(r dnsRecord) {
	r.TTL = publishedFor
	p.Records = append(p.Records, r)
}

// look asks for what is there, and adds what should be.
func (p *publication) look(ctx context.Context, ask asker) {
	p.addressOf(ctx, ask, p.Hostname, "that is this host, and mail does not find it")
	hosts := p.mx(ctx, ask)
	domain := p.Domain
	p.tagged(ctx, ask, domain, "v=spf1", "v=spf1 mx -all", "SPF: who sends for the domain; if others than its MX do, name them before -all")
	p.tagged(ctx, ask, "_dmarc."+domain, "v=DMARC1", "v=DMARC1; p=none; rua=mailto:postmaster@"+domain,
		"DMARC: p=quarantine or p=reject once the reports show that all of your own mail passes")
	if len(p.chains) > 0 {
		p.mtaSTS(ctx, ask, hosts)
	} else {
		p.note("there is no certificate (mx.tls), so that MTA-STS and TLSA would keep mail out")
	}
	p.tagged(ctx, ask, "_smtp._tls."+domain, "v=TLSRPTv1", "v=TLSRPTv1; rua=mailto:postmaster@"+domain,
		"TLSRPT: where senders report that TLS failed")
	for _, chain := range p.chains {
		p.tlsa(ctx, ask, chain)
	}
}

// addressOf notes that a host has no address.
func (p *publication) addressOf(ctx context.Context, ask asker, host, why string) {
	v4, known4 := ask.ask(ctx, "A", host)
	v6, known6 := ask.ask(ctx, "AAAA", host)
	if known4 && known6 && len(v4)+len(v6) == 0 {
		p.note("%s has no address, A or AAAA: %s", host, why)
	}
}

// mx adds the MX record, and returns the hosts that a policy must have: ours, and
// those beside it.
func (p *publication) mx(ctx context.Context, ask asker) (hosts []string) {
	r := dnsRecord{Name: p.Domain, Type: "MX", Data: "10 " + p.Hostname, Note: "where mail comes to"}
	records, known := ask.ask(ctx, "MX", p.Domain)
	hosts = []string{p.Hostname}
	r.State = stateOf(known, records)
	for _, now := range records {
		_, host, _ := strings.Cut(now, " ")
		if sameName(host, p.Hostname) {
			r.State, r.Data = present, now
			continue
		}
		r.Now = append(r.Now, now)
		hosts = append(hosts, host)
	}
	if r.State == differs {
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
		return unknown
	case len(others) > 0:
		return differs
	}
	return missing
}

// tagged adds the one TXT record at name that begins with tag: the one that is
// there, or else data.
func (p *publication) tagged(ctx context.Context, ask asker, name, tag, data, note string) {
	r := dnsRecord{Name: name, Type: "TXT", Data: data, Note: note, alone: true}
	all, known := ask.ask(ctx, "TXT", name)
	found := tagged(all, tag)
	switch r.State = stateOf(known, found); len(found) {
	case 0:
	case 1:
		r.State, r.Data = present, found[0]
	default:
		r.Now, r.Note = found, fmt.Sprintf("there are %d, which is as good as none: leave one", len(found))
	}
	p.add(r)
}

// mtaSTS adds the policy of RFC 8461, and the record that says which one it is.
func (p *publication) mtaSTS(ctx context.Context, ask asker, hosts []string) {
	mode, age := "testing", 86400 // a day: what is tried is changed soon
	if p.enforce {
		mode, age = "enforce", 30*86400 // RFC 8461, section 3.2: weeks, or it does not protect
	}
	var text strings.Builder
	fmt.Fprintf(&text, "version: STSv1\r\nmode: %s\r\n", mode)
	for _, host := range hosts {
		fmt.Fprintf(&text, "mx: %s\r\n", host)
	}
	fmt.Fprintf(&text, "max_age: %d\r\n", age)
	p.Policy = &mtaSTSPolicy{URL: stsURL(p.Domain), Text: text.String()}
	sum := sha256.Sum256([]byte(p.Policy.Text))
	p.tagged(ctx, ask, "_mta-sts."+p.Domain, "v=STSv1", "v=STSv1; id="+hex.EncodeToString(sum[:8]),
		"MTA-STS: that there is a policy, at the end of this; the id must change whenever that does")
	p.addressOf(ctx, ask, "mta-sts."+p.Domain, "it must be that of the web server that has the MTA-STS policy")
	if !slices.ContainsFunc(p.chains, func(chain *tls.Certificate) bool { return trusted(chain, p.Hostname) == nil }) {
		p.note("no certificate is trusted by others for %s (%v): with MTA-STS in mode enforce, no mail would come", p.Hostname, trusted(p.chains[0], p.Hostname))
	}
}

// tlsa adds the record for the key of a certificate (RFC 7672).
func (p *publication) tlsa(ctx context.Context, ask asker, chain *tls.Certificate) {
	r := dnsRecord{
		Name: "_25._tcp." + p.Hostname, Type: "TLSA", Data: "3 1 1 " + keyDigest(chain.Leaf),
		Note: fmt.Sprintf("DANE: the %v key of the certificate that ends on %s; in a zone signed with DNSSEC alone", chain.Leaf.PublicKeyAlgorithm, chain.Leaf.NotAfter.Format("2006-01-02")),
	}
	if !strings.HasSuffix("."+p.Hostname, "."+p.Domain) {
		r.Note += ": that of " + p.Hostname + ", which is not part of this one"
	}
	records, known := ask.ask(ctx, "TLSA", r.Name)
	r.State = stateOf(known, records)
	for _, now := range records {
		switch {
		case fitsTLSA(chain, now):
			r.State, r.Data = present, now
		case !slices.ContainsFunc(p.chains, func(other *tls.Certificate) bool { return fitsTLSA(other, now) }):
			r.Now = append(r.Now, now)
		}
	}
	if r.State != present && r.State != unknown && len(r.Now) == 0 {
		r.State = missing // what is there is for another certificate in use
	}
	p.add(r)
}
