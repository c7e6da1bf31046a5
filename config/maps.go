package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// LoadRecipients reads and checks the recipient maps in the folder dir: its
// files called *.toml, but for those that begin with a dot or "#". hostname says
// whose postmaster answers without a domain: that of the host's own domain, or
// else of the nearest one above it, or else of the first in alphabetical order.
//
// The error is Mistakes, or of reading the folder. No folder, no map in it, and
// an empty file are errors, for they are more likely an accident than meant.
func LoadRecipients(dir, hostname string) (*Recipients, error) {
	sources, err := readMaps(dir)
	if err != nil {
		return nil, err
	}
	return build(sources, hostname)
}

// build makes a generation of sources, or all their mistakes.
func build(sources []source, hostname string) (*Recipients, error) {
	if len(sources) == 0 {
		return nil, errors.New("there is no recipient map")
	}
	var (
		maps    []*domainMap
		found   []*findings
		partial bool
	)
	for _, s := range sources {
		m := compile(s)
		found = append(found, &m.doc.findings)
		partial = partial || m.name == ""
		if !m.doc.broken {
			maps = append(maps, m)
		}
	}
	r, together := link(maps, nil, hostname, partial)
	if err := locate(append(found, together...)...).sorted(); err != nil {
		return nil, err
	}
	return r, nil
}

// A domainMap is one file by itself, which never changes. What its aliases lead
// to is known once all maps are linked.
type domainMap struct {
	doc *document
	sum string      // names what the file holds
	at  fs.FileInfo // where that was read last; nil: nowhere. It alone changes, under the lock of Generations
	domain
	served  []claim // the names of the domain
	paths   []claim // those of its mailboxes
	aliases []*entry
	refs    map[string]bool  // the domains that aliases lead to, and perhaps its own
	users   place            // where it says that mailboxes are system users'
	owners  map[string]place // the system users that mailboxes name, and where

	doubtful bool // it may have names that could not be read

	// while it is read:
	top    *table
	places map[string]place // of the entries
}

// A claim is something that one map alone may have.
type claim struct {
	what    string
	where   place
	account string // of a path: the system user whose it is
}

// good reports whether nothing is wrong with the map by itself.
func (m *domainMap) good() bool { return len(m.doc.found) == 0 }

// base is how its file is called.
func (m *domainMap) base() string { return filepath.Base(m.file) }

// compile reads one file.
func compile(s source) *domainMap {
	doc, top := s.parse()
	m := &domainMap{
		doc: doc, sum: s.sum(), at: s.file, refs: make(map[string]bool), owners: make(map[string]place), top: top, places: make(map[string]place),
		domain: domain{file: s.name, delimiter: '+', entries: make(map[string]*entry), storage: defaultStorage()},
	}
	if !doc.broken {
		m.read()
	}
	m.top, m.places, doc.tables = nil, nil, nil // which would be large
	return m
}

func (m *domainMap) read() {
	m.readDomain()
	parsed(m.top, "delimiter", `delimiter = "+"`, &m.delimiter, parseDelimiter)
	m.readMailboxes()
	m.readUsers()
	m.readStorage(m.top, &m.storage)
	m.readMailboxTables()
	m.checkRoot()
	m.checkNames()
	m.readAliases()
	m.readRefusals()
	m.doc.unknown()
	for _, key := range []string{"mailboxes", "mailbox", "aliases", "delimiter"} {
		m.doubtful = m.doubtful || m.top.doubtful[key]
	}
}

func parseDelimiter(s string) (byte, error) {
	switch {
	case s == "":
		return 0, nil
	case len(s) > 1 || !strings.Contains("+-=_#.~!%&^", s):
		return 0, hinted{fmt.Sprintf("%q cannot part a name from its sub-address", s), `write "+", or "" for none`}
	}
	return s[0], nil
}

// readDomain reads by what names the domain is served.
func (m *domainMap) readDomain() {
	t := m.top
	if !t.has("domain") {
		t.missing("domain is missing", `write domain = "example.com"`, "domain")
	}
	parsed(t, "domain", `domain = "example.com"`, &m.name, checkDomain)
	if m.name != "" {
		m.served = append(m.served, claim{what: m.name, where: t.at("domain").value()})
	}
	t.each("alias_domains", `alias_domains = ["example.net"]`, func(i int, s string) error {
		name, err := checkDomain(s)
		if err == nil {
			m.served = append(m.served, claim{what: name, where: t.element("alias_domains", i)})
		}
		return err
	})
}

// readMailboxes reads the mailboxes that are names alone.
func (m *domainMap) readMailboxes() {
	t := m.top
	if s, ok := t.values["mailboxes"].(string); ok {
		t.known["mailboxes"] = true
		if m.nextHop = s == "next-hop"; !m.nextHop {
			t.doubt("mailboxes")
			t.complain("mailboxes", hinted{fmt.Sprintf("%q is neither an array of names nor \"next-hop\"", s), "write mailboxes = " + arrayOrNextHop(s)})
		}
		return
	}
	array, _ := t.values["mailboxes"].([]any)
	m.names = newNames(len(array))
	there := t.each("mailboxes", `mailboxes = ["alice", "bob"]`, func(i int, s string) error {
		name, err := checkMailbox(s)
		if err == nil && !m.names.add(name) {
			m.twice(name, i)
		}
		return err
	})
	m.mailboxes = m.names.len()
	if !there && !t.has("mailbox") && !t.has("aliases") && !t.has("mailboxes") {
		t.missing("there are no mailboxes and no aliases", `list them, as mailboxes = ["alice"]; or write mailboxes = "next-hop" if the LMTP server knows them`,
			"mailboxes", "mailbox", "aliases")
	}
}

// arrayOrNextHop returns how s may have been meant as a value of mailboxes.
func arrayOrNextHop(s string) string {
	if nearest(s, slices.Values([]string{"next-hop"})) != "" {
		return `"next-hop"`
	}
	return array(namesIn(s))
}

// twice notes that element i of mailboxes has been there before.
func (m *domainMap) twice(name string, i int) {
	if m.doc.full() { // spare the search for the first, which nobody would read
		m.doc.more++
		return
	}
	m.top.doc.flaw(flaw{where: m.top.element("mailboxes", i), other: m.listedAt(name),
		message: fmt.Sprintf("the mailbox %q is there already", name), hint: "remove one of them; case does not tell names apart"})
}

// listedAt returns the first element of mailboxes that is name.
func (m *domainMap) listedAt(name string) place {
	array, _ := m.top.values["mailboxes"].([]any)
	return m.top.element("mailboxes", slices.IndexFunc(array, func(a any) bool {
		s, _ := a.(string)
		folded, err := checkMailbox(s)
		return err == nil && folded == name
	}))
}
