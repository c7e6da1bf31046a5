package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxMapSize bounds one recipient map, in octets. A million names take 15 MB.
const maxMapSize = 512 << 20

// A source is one recipient map as it was read.
type source struct {
	name string
	text string
	err  error // instead of the text
}

// LoadRecipients reads and checks the recipient maps in the folder dir: its
// files called *.toml, but for those that begin with a dot. hostname says whose
// postmaster answers without a domain: that of the host's own domain, or else of
// the nearest one above it, or else of the first in alphabetical order.
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

func readMaps(dir string) ([]source, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read recipient maps: %w", err)
	}
	var sources []source
	for _, e := range entries {
		if isMap(e.Name()) {
			name := filepath.Join(dir, e.Name())
			text, err := readMap(name)
			sources = append(sources, source{name, text, err})
		}
	}
	if len(sources) == 0 {
		return nil, Mistakes{{File: dir, Message: "there is no recipient map in this folder", Hint: "write one file for each domain, as example.com.toml"}}
	}
	return sources, nil
}

// isMap reports whether a file of this name is a recipient map, and not what an
// editor left.
func isMap(name string) bool {
	return strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".")
}

// readMap reads a file, and nothing that would make it wait.
func readMap(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("cannot be read: %w", err) // a link that leads nowhere
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", errors.New("is not a file")
	case info.Size() > maxMapSize:
		return "", fmt.Errorf("is larger than %s", formatSize(maxMapSize))
	}
	text, err := os.ReadFile(name)
	if err == nil && len(text) == 0 {
		err = errors.New("is empty, as a file is that is being written, and would leave a domain without recipients")
	}
	return string(text), err
}

// digest names what sources hold.
func digest(sources []source) string {
	h := sha256.New()
	for _, s := range sources {
		for _, part := range []string{filepath.Base(s.name), s.text, fmt.Sprint(s.err)} {
			var size [8]byte
			h.Write(binary.BigEndian.AppendUint64(size[:0], uint64(len(part))))
			h.Write([]byte(part))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// build makes a generation of sources, or all their mistakes.
func build(sources []source, hostname string) (*Recipients, error) {
	b := builder{Recipients: &Recipients{
		id:       digest(sources),
		loaded:   time.Now(),
		domains:  make(map[string]*domain),
		hostname: string(foldDomain(nil, hostname)),
	}, names: make(map[string]place), paths: make(map[string]place)}
	for _, s := range sources {
		b.read(s)
	}
	if len(sources) == 0 {
		return nil, errors.New("there is no recipient map")
	}
	b.resolve()
	if err := locate(b.docs).sorted(); err != nil {
		return nil, err
	}
	b.postmaster = b.closest()
	return b.Recipients, nil
}

// closest returns the domain that is the host's, or above it, or first.
func (r *Recipients) closest() *domain {
	for name := r.hostname; name != ""; _, name, _ = strings.Cut(name, ".") {
		if d := r.domains[name]; d != nil {
			return d
		}
	}
	return r.domains[r.Domains()[0]]
}

// A builder makes Recipients of several files.
type builder struct {
	*Recipients
	docs    []*document
	maps    []*domainMap
	names   map[string]place // where each domain was named first
	paths   map[string]place // where each path of a mailbox was
	partial bool             // a file did not say which domain it is for
}

// A domainMap is one file, while it is read.
type domainMap struct {
	*domain
	top       *table
	places    map[string]place // where its entries are
	aliases   []*alias         // in order
	mailboxes int
}

func (b *builder) read(s source) {
	doc, top := parse(s.name, s.text)
	b.docs = append(b.docs, doc)
	if s.err != nil {
		doc.found, doc.broken = []flaw{{where: place{doc: doc}, message: s.err.Error(), err: s.err}}, true
	}
	if doc.broken {
		b.partial = true
		return
	}
	m := &domainMap{domain: &domain{file: s.name, delimiter: '+', entries: make(map[string]*entry), storage: defaultStorage()}, places: make(map[string]place), top: top}
	b.readDomain(m)
	parsed(top, "delimiter", `delimiter = "+"`, &m.delimiter, parseDelimiter)
	b.readMailboxes(m)
	m.readStorage(top, &m.storage)
	b.readMailboxTables(m)
	m.checkNames()
	m.readAliases()
	m.readRefusals()
	doc.unknown()
	b.mailboxes += m.mailboxes
	b.maps = append(b.maps, m)
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
func (b *builder) readDomain(m *domainMap) {
	t := m.top
	if !t.has("domain") {
		t.doc.flaw(flaw{message: "domain is missing", hint: `write domain = "example.com"`})
	}
	parsed(t, "domain", `domain = "example.com"`, &m.name, checkDomain)
	if m.name == "" {
		b.partial = true
	} else {
		b.serve(m, m.name, t.at("domain").value())
	}
	t.each("alias_domains", `alias_domains = ["example.net"]`, func(i int, s string) error {
		name, err := checkDomain(s)
		if err == nil {
			b.serve(m, name, t.element("alias_domains", i))
		}
		return err
	})
}

func (b *builder) serve(m *domainMap, name string, where place) {
	if first, taken := b.names[name]; taken {
		m.top.doc.flaw(flaw{where: where, message: fmt.Sprintf("the domain %q is there already", name), other: first,
			hint: "each domain has one map, and is an alias of one"})
		return
	}
	b.names[name] = where
	b.domains[name] = m.domain
}

// readMailboxes reads the mailboxes that are names alone.
func (b *builder) readMailboxes(m *domainMap) {
	t := m.top
	if s, ok := t.values["mailboxes"].(string); ok {
		t.known["mailboxes"] = true
		if m.nextHop = s == "next-hop"; !m.nextHop {
			t.complain("mailboxes", hinted{fmt.Sprintf("%q is neither an array of names nor \"next-hop\"", s), fmt.Sprintf("write mailboxes = [%q]", s)})
		}
		return
	}
	count, octets := 0, 0
	array, _ := t.values["mailboxes"].([]any)
	for _, v := range array {
		s, _ := v.(string)
		count, octets = count+1, octets+len(s)
	}
	m.names = newNames(count, octets)
	there := t.each("mailboxes", `mailboxes = ["alice", "bob"]`, func(i int, s string) error {
		name, err := checkMailbox(s)
		if err == nil && !m.names.add(name) {
			m.twice(name, i)
		}
		return err
	})
	m.mailboxes = m.names.len()
	if !there && !t.has("mailbox") && !t.has("aliases") && !t.has("mailboxes") {
		t.doc.flaw(flaw{message: "there are no mailboxes and no aliases", hint: `list them, as mailboxes = ["alice"]; or write mailboxes = "next-hop" if the LMTP server knows them`})
	}
}

// twice notes that element i of mailboxes has been there before.
func (m *domainMap) twice(name string, i int) {
	first := m.names.number(name) - 1 // or later, if some names were wrong
	array, _ := m.top.values["mailboxes"].([]any)
	for ; first < i; first++ {
		s, _ := array[first].(string)
		if folded, err := checkMailbox(s); err == nil && folded == name {
			break
		}
	}
	m.top.doc.flaw(flaw{where: m.top.element("mailboxes", i), other: m.top.element("mailboxes", first),
		message: fmt.Sprintf("the mailbox %q is there already", name), hint: "remove one of them; case does not tell names apart"})
}
