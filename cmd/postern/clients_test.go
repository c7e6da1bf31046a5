package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postern/internal/peer"
)

// A parcel is a message with its envelope.
type parcel struct {
	kind   string // its column in the table
	from   string
	to     []string
	octets string
	utf8   bool // the addresses are not ASCII
}

// text returns it as a client that converts line ends wants it.
func (p parcel) text() string { return strings.ReplaceAll(p.octets, "\r\n", "\n") }

// unended returns it for a client that ends the last line itself.
func (p parcel) unended() string { return strings.TrimSuffix(p.text(), "\n") }

// body returns what follows the header.
func (p parcel) body() string {
	_, body, _ := strings.Cut(p.text(), "\n\n")
	return body
}

// kinds are the columns of the table, in their order.
var kinds = []string{"8-bit", "dots", "long line", "empty", "100 recipients", "UTF-8"}

const utf8User = "jürgen"

// parcels returns what each client sends to the mailbox of name.
func parcels(name string) []parcel {
	box := []string{name + "@example.com"}
	header := func(kind string) string {
		return "From: Someone <" + name + "@sender.example>\r\nTo: somebody@example.com\r\nSubject: " + kind + "\r\n" +
			"Date: Thu, 26 Nov 2026 12:00:00 +0000\r\nMessage-ID: <" + strings.ReplaceAll(kind, " ", "-") + "." + name + "@sender.example>\r\n" +
			"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
	}
	all := []parcel{
		{kind: "8-bit", octets: "Grüße, здравствуйте, \U0001F600\r\n\r\n\u00a0\u2028x\r\n"},
		{kind: "dots", octets: ".\r\n..\r\n.x\r\n...\r\n\r\n. \r\n.\r\nQUIT\r\n.\r\n.end\r\n"},
		{kind: "long line", octets: strings.Repeat("0123456789", 100) + "\r\n" + strings.Repeat("x.", 3000) + "\r\n" + strings.Repeat("y", 998) + "\r\n"},
		{kind: "empty", octets: ""},
		{kind: "100 recipients", octets: "to many\r\n"},
		{kind: "UTF-8", octets: "to Jürgen\r\n", utf8: true},
	}
	for i := range all {
		p := &all[i]
		p.from, p.to = name+"@sender.example", box
		p.octets = header(p.kind) + "\r\n" + p.octets
		switch p.kind {
		case "100 recipients":
			p.to = manyRecipients
		case "UTF-8":
			p.from, p.to = name+".é@sender.example", []string{utf8User + "@example.com"}
		}
	}
	return all
}

var manyRecipients = func() (all []string) {
	for i := range 100 {
		all = append(all, fmt.Sprintf("m%d@example.com", i))
	}
	return all
}()

// A job says where a client sends to.
type job struct {
	addr string // host:port, and the certificate is for localhost
	tls  bool   // insist on STARTTLS; else do without it
	ca   string // the file with the certificate
}

// A client is a program or a library that sends mail.
type client struct {
	name    string
	version func(t *testing.T) string
	// open returns what sends a parcel, and what waits until all have arrived, if
	// the client has a queue.
	open func(t *testing.T, j job) (send func(parcel), wait func())
	// composes says that the client writes messages itself, so that the text of
	// the message is all that can be compared.
	composes bool
	// cannot are the kinds that it is unable to send.
	cannot []string
}

// Real clients send to us, in the clear and under STARTTLS, and what arrives is
// what they were given, to the last octet. contrib/clients.md says so.
func TestRealClients(t *testing.T) {
	cert, key := peer.Certificate(t, peer.Dir(t))
	s := newSite(t, fmt.Sprintf("mx: tls = { cert = %q, key = %q }", cert, key))
	boxes := []string{fmt.Sprintf("%q", utf8User)}
	for i := range 100 {
		boxes = append(boxes, fmt.Sprintf(`"m%d"`, i))
	}
	for _, c := range clients {
		boxes = append(boxes, fmt.Sprintf("%q, %q", c.slug(false), c.slug(true)))
	}
	s.write("recipients.d/example.com.toml", "domain = \"example.com\"\nmailboxes = ["+strings.Join(boxes, ", ")+"]\naliases.postmaster = [\"m0\"]\n")
	s.start("serve")
	rows := make([]string, 0, len(clients))
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			observer := peer.Observe(t, s.smtp)
			clear := c.sendAll(t, s, job{addr: observer.Addr, ca: cert})
			used := observer.Used()
			secure := c.sendAll(t, s, job{addr: observer.Addr, ca: cert, tls: true})
			if under := observer.Used(); !slices.Contains(under, "STARTTLS") || slices.Contains(under, "MAIL") || len(under) != 1 {
				t.Errorf("before TLS the client used %v", under)
			}
			rows = append(rows, c.row(t, used, clear, secure))
		})
	}
	if !t.Failed() {
		checkTable(t, filepath.Join("..", "..", "contrib", "clients.md"), clientsIntro, rows)
	}
}

// slug names the client's mailbox, and the sender.
func (c client) slug(tls bool) string {
	name := strings.ToLower(strings.NewReplacer(" ", "-", "/", "-").Replace(c.name))
	if tls {
		name += "-tls"
	}
	return name
}

// arrived is what became of a client's parcels.
type arrived struct {
	tls   string            // version and cipher, by our trace field
	cells map[string]string // by kind
}

// sendAll has the client send all it can, and compares what arrives.
func (c client) sendAll(t *testing.T, s *site, j job) arrived {
	t.Helper()
	send, wait := c.open(t, j)
	all := parcels(c.slug(j.tls))
	for _, p := range all {
		if !slices.Contains(c.cannot, p.kind) {
			send(p)
		}
	}
	if wait != nil {
		wait()
	}
	a := arrived{cells: make(map[string]string)}
	for _, p := range all {
		if slices.Contains(c.cannot, p.kind) {
			a.cells[p.kind] = "cannot"
			continue
		}
		a.cells[p.kind] = c.compare(t, s, p, j, &a)
	}
	return a
}

// compare looks for the parcel in the mailboxes that it was for, once in each.
func (c client) compare(t *testing.T, s *site, p parcel, j job, a *arrived) string {
	t.Helper()
	cell := "the same"
	for _, to := range p.to {
		user, _, _ := strings.Cut(to, "@")
		var found [][]byte
		for _, f := range s.mailbox(user) {
			stored := f.Read(t)
			if bytes.HasPrefix(stored, []byte("Return-Path: <"+p.from+">\n")) && bytes.Contains(stored, []byte("\nSubject: "+p.kind+"\n")) {
				found = append(found, stored)
			}
		}
		if len(found) != 1 {
			t.Fatalf("%s: %d copies for %s", p.kind, len(found), to)
		}
		trace, exact := bytes.CutSuffix(found[0], []byte(p.text()))
		if !exact {
			if cell = "the text"; !c.composes {
				t.Fatalf("%s for %s is not as it was sent:\nsent   %.3000q\nstored %.3000q", p.kind, to, p.text(), found[0])
			}
			trace = c.sameText(t, p, found[0])
		}
		a.tls = checkTrace(t, p, trace, j.tls)
	}
	return cell
}

// sameText fails the test unless the text of a message that the client composed
// is that of the parcel, in whatever encoding. It returns the header.
func (c client) sameText(t *testing.T, p parcel, stored []byte) []byte {
	t.Helper()
	text, err := decoded(stored)
	if err != nil || text != p.body() {
		t.Fatalf("%s: the text is %q, %v; want %q", p.kind, text, err, p.body())
	}
	header, _, _ := bytes.Cut(stored, []byte("\n\n"))
	return append(header, '\n')
}

var ourTrace = regexp.MustCompile(`(?m)^Received: from .*\n\tby mx\.example\.com (?:\((.*)\) )?with ((?:E|UTF8)?SMTPS?)\n`)

// checkTrace fails the test unless our field tells how the message came, and
// returns what it says of TLS.
func checkTrace(t *testing.T, p parcel, trace []byte, tls bool) string {
	t.Helper()
	m := ourTrace.FindSubmatch(trace)
	if m == nil {
		t.Fatalf("%s: no trace field of ours in\n%s", p.kind, trace)
	}
	with := string(m[2]) // after HELO it has no S (RFC 3848)
	if tls != strings.HasSuffix(with, "S") && with != "SMTP" || tls != (len(m[1]) > 0) || p.utf8 && !strings.HasPrefix(with, "UTF8") {
		t.Fatalf("%s: TLS %v, but with %s (%s)", p.kind, tls, with, m[1])
	}
	return string(m[1])
}

// row writes a line of the table. What came through STARTTLS has come the same
// way as what did not.
func (c client) row(t *testing.T, used []string, clear, secure arrived) string {
	t.Helper()
	if len(used) == 0 {
		used = []string{"none"}
	}
	cells := []string{c.name, c.version(t), strings.Join(used, ", "), strings.ReplaceAll(secure.tls, "_", `\_`)}
	for _, kind := range kinds {
		if clear.cells[kind] != secure.cells[kind] {
			t.Errorf("%s: %s in the clear, %s under TLS", kind, clear.cells[kind], secure.cells[kind])
		}
		cells = append(cells, clear.cells[kind])
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

const clientsIntro = `# Who can send to Postern

Each of these sends the same messages to ` + "`postern serve`" + `, in the clear and through STARTTLS, and what lies in
the mailboxes is compared with what the client was given. *The same* is octet for octet, with our trace fields on
top (and the client's, if it is a server). *The text*: the client writes the header itself, or encodes the text; it
is compared decoded. *Cannot*: the client has no way to send it. Where a client can check our certificate, it does.

| message | |
|---|---|
| 8-bit | UTF-8 beyond the BMP in the body, sent as it is |
| dots | lines of one and more dots, and what looks like an end of the data |
| long line | lines of 998, 1000 and 6000 octets |
| empty | a header, and a body of no octets |
| 100 recipients | as many as one transaction takes |
| UTF-8 | sender and recipient are not ASCII (RFC 6531) |

*Uses* is what a proxy between the two saw of extensions (RFC 5321, section 2.2) in the clear.

%s
The test that makes this table is ` + "`TestRealClients` (`go test ./cmd/postern -run TestRealClients -update`)" + `.
`

// checkTable compares the rows with those in the file at path, or writes the file.
// A row of which the file knows another version of the program is only told.
func checkTable(t *testing.T, path, intro string, rows []string) {
	t.Helper()
	var table strings.Builder
	fmt.Fprintf(&table, "| client | version | uses | TLS | %s |\n|%s\n", strings.Join(kinds, " | "), strings.Repeat("---|", 4+len(kinds)))
	for _, row := range rows {
		table.WriteString(row + "\n")
	}
	text := fmt.Sprintf(intro, table.String())
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		cells := strings.SplitN(row, "|", 4)
		known := strings.Contains(string(written), "\n"+strings.Join(cells[:3], "|")+"|")
		switch {
		case strings.Contains(string(written), row+"\n"):
		case known:
			t.Errorf("%s is stale (go test -run %s -update): now %s", path, t.Name(), row)
		default:
			t.Logf("%s does not know %s", path, row)
		}
	}
}
