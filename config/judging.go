package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// Policy says what judgements lead to.
type Policy struct {
	Enforce         bool   // false: annotate only
	OnTemperror     string // Accept or Defer
	DMARCReject     string // what becomes of mail that its author's domain wants refused: Reject, Quarantine or Mark
	DMARCQuarantine string // and of mail that it wants set apart
	SeveralFrom     string // and of mail with more than one From field
	ReceivedSPF     bool   // add that field too
	Junk            string // the folder of mail that is set apart
	Access          string // the folder of access rules; empty: there are none
	Forwarders      Forwarders
	ARCTrusted      []string      // domains whose seals may excuse mail that fails DMARC
	KeepRefused     time.Duration // how long a message is kept that was refused; 0: none is
	KeepRefusedSize int64         // what all of them may take together
}

// What becomes of a message that cannot be judged for now.
const (
	Accept = "accept"
	Defer  = "defer"
)

// What becomes of a message that failed. The first is Reject.
const (
	Quarantine = "quarantine"
	Mark       = "mark"
)

// Forwarders are those whose mail may fail SPF and DMARC.
type Forwarders struct {
	Networks []netip.Prefix
	Domains  []string // that sign by DKIM
}

// DNSLists are lists of clients in the DNS.
type DNSLists struct {
	Lists     []DNSList
	Threshold int    // from which sum of weights on a client counts as listed
	OnListed  string // Reject, Quarantine or Mark
}

// A DNSList is one of them.
type DNSList struct {
	Zone   string
	Name   string   // what clients hear; empty: Zone
	Allow  bool     // it lists good clients
	Weight int      // may be negative
	Codes  []string // the answers that count; empty: the usual ones
}

// Greylist says how strangers are put off (RFC 6647).
type Greylist struct {
	Enable bool
	Delay  time.Duration // how long a stranger has to wait
	Window time.Duration // how long he may take to come back
	Keep   time.Duration // how long he is known, after his last message
}

// A Filter is a program that speaks milter.
type Filter struct {
	Name      string
	Connect   Endpoint
	Timeout   time.Duration // for all that is asked about one message
	OnFailure string        // Accept or Defer
	MaxSize   int64         // larger messages are not shown to it
}

// Reports says what is counted for others to hear of.
type Reports struct {
	DMARC bool // RFC 9990
	Keep  int  // days
}

// Records says how much is kept of what was decided.
type Records struct {
	Keep time.Duration // 0: nothing is
	Size int64
}

// Limits bound what one client may take.
type Limits struct {
	Exempt               []netip.Prefix // these have no bounds of their own
	ConnectionsPerClient int            // at the same time, from one network
	ErrorsPerClient      int            // in an hour; 0: any number, as in those below
	MessagesPerClient    int            // in an hour
	MessagesPerRecipient int            // in an hour
}

func (r reader) policy(t *table, p *Policy) {
	t.flag("enforce", &p.Enforce)
	t.oneOf("on_temperror", &p.OnTemperror, Accept, Defer)
	t.oneOf("dmarc_reject", &p.DMARCReject, Reject, Quarantine, Mark)
	t.oneOf("dmarc_quarantine", &p.DMARCQuarantine, Reject, Quarantine, Mark)
	t.oneOf("several_from", &p.SeveralFrom, Reject, Quarantine, Mark)
	t.flag("received_spf", &p.ReceivedSPF)
	parsed(t, "junk", `junk = "Junk"`, &p.Junk, func(s string) (string, error) {
		if s == "" || len(s) > 100 || strings.ContainsAny(s, "./*%") || strings.ContainsFunc(s, unicode.IsControl) {
			return s, hinted{fmt.Sprintf("%q is not fit for the name of a folder", s), `write junk = "Junk"`}
		}
		return s, nil
	})
	if t.has("access") {
		p.Access = "access.d"
		r.path(t, "access", &p.Access)
	}
	list(t, "arc_trusted", `arc_trusted = ["google.com"]`, &p.ARCTrusted, checkDomain)
	t.duration("keep_refused", &p.KeepRefused, 0, 90*day)
	t.size("keep_refused_size", &p.KeepRefusedSize, 1<<20, 1<<50)
	f := t.sub("forwarders")
	list(f, "networks", `networks = ["192.0.2.0/24"]`, &p.Forwarders.Networks, parseNetwork)
	list(f, "domains", `domains = ["lists.example.org"]`, &p.Forwarders.Domains, checkDomain)
}

func (r reader) dnsbl(t *table, d *DNSLists) {
	t.count("threshold", &d.Threshold, 1, 1000)
	t.oneOf("on_listed", &d.OnListed, Reject, Quarantine, Mark)
	for _, l := range t.tables("lists", `lists = [{ zone = "zen.spamhaus.org" }]`) {
		list := DNSList{Weight: 1}
		required(l, "zone", `zone = "zen.spamhaus.org"`)
		parsed(l, "zone", `zone = "zen.spamhaus.org"`, &list.Zone, checkDomain)
		parsed(l, "name", `name = "Spamhaus"`, &list.Name, checkText)
		l.flag("allow", &list.Allow)
		l.count("weight", &list.Weight, -1000, 1000)
		l.each("codes", `codes = ["127.0.0.[2..11]"]`, func(_ int, s string) error {
			list.Codes = append(list.Codes, s)
			return nil
		})
		d.Lists = append(d.Lists, list)
	}
}

func (t *table) greylist(g *Greylist) {
	t.flag("enable", &g.Enable)
	t.duration("delay", &g.Delay, 0, 24*time.Hour)
	t.duration("window", &g.Window, time.Hour, 30*24*time.Hour)
	t.duration("keep", &g.Keep, 24*time.Hour, 400*24*time.Hour)
	if g.Window <= g.Delay {
		key := "window"
		if !t.has(key) {
			key = "delay"
		}
		t.complain(key, fmt.Errorf("nobody can come back within %v who has to wait for %v", g.Window, g.Delay))
	}
}

func (r reader) filters(top *table, filters *[]Filter) {
	names := make(map[string]bool)
	for _, t := range top.tables("filter", "[[filter]]") {
		f := Filter{Timeout: 30 * time.Second, OnFailure: Accept, MaxSize: 20 << 20}
		required(t, "name", `name = "rspamd"`)
		required(t, "connect", `connect = "unix:/run/rspamd/milter.sock"`)
		parsed(t, "name", `name = "rspamd"`, &f.Name, func(s string) (string, error) {
			if names[s] {
				return s, fmt.Errorf("there is another filter called %q", s)
			}
			names[s] = true
			return checkText(s)
		})
		r.endpoint(t, "connect", &f.Connect)
		t.duration("timeout", &f.Timeout, time.Second, 5*time.Minute)
		t.oneOf("on_failure", &f.OnFailure, Accept, Defer)
		t.size("max_size", &f.MaxSize, 1<<10, 16<<30)
		*filters = append(*filters, f)
	}
}

func (t *table) reports(r *Reports) {
	t.flag("dmarc", &r.DMARC)
	t.count("keep", &r.Keep, 1, 400)
}

func (t *table) records(r *Records) {
	t.duration("keep", &r.Keep, 0, 400*day)
	if r.Keep > 0 && r.Keep < time.Hour {
		t.complain("keep", hinted{fmt.Sprintf("%v is less than an hour", r.Keep), `write "0s" to keep no records`})
	}
	t.size("size", &r.Size, 16<<20, 1<<50)
}

func (t *table) limits(l *Limits) {
	list(t, "exempt", `exempt = ["127.0.0.0/8", "::1"]`, &l.Exempt, parseNetwork)
	t.count("connections_per_client", &l.ConnectionsPerClient, 1, 1_000_000)
	t.count("errors_per_client", &l.ErrorsPerClient, 0, 1_000_000)
	t.count("messages_per_client", &l.MessagesPerClient, 0, 1_000_000_000)
	t.count("messages_per_recipient", &l.MessagesPerRecipient, 0, 1_000_000_000)
}

// checkText reads what strangers may see: a few printable characters.
func checkText(s string) (string, error) {
	if s == "" || len(s) > 400 {
		return s, fmt.Errorf("must have 1 to 400 characters, and has %d", len(s))
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return s, fmt.Errorf("%q has a character that is not printable ASCII", s)
		}
	}
	return s, nil
}

// required notes that key is missing.
func required(t *table, key, example string) {
	if !t.has(key) {
		t.missing(fmt.Sprintf("%s has no %s", t.name, key), "write "+example, key)
	}
}
