package peer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// patience is how long the clients wait for a server, from the first octet of
// a conversation about one mailbox to the last.
const patience = 2 * time.Minute

// A Stored is a message as a mailbox server gives it to its user.
type Stored struct {
	ID       string // its UID (IMAP) or unique-id (POP3, UIDL)
	Size     int64  // as the server states it: RFC822.SIZE or LIST
	Flags    []string
	Received time.Time // INTERNALDATE; zero by POP3
	Octets   []byte    // with CRLF line ends
}

// FetchIMAP logs in to the IMAP server at addr and returns all messages of the
// folder. It marks none as seen.
func FetchIMAP(addr, user, password, folder string) ([]Stored, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("fetch mail of %s: %w", user, err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, fmt.Errorf("fetch mail of %s: %w", user, err)
	}
	c := &imap{r: bufio.NewReader(nc), w: nc}
	all, err := c.fetch(user, password, folder)
	if err != nil {
		return nil, fmt.Errorf("fetch mail of %s by IMAP: %w", user, err)
	}
	return all, nil
}

// ListIMAP logs in to the IMAP server at addr and returns the names of all
// folders, as the server writes them.
func ListIMAP(addr, user, password string) ([]string, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("list folders of %s: %w", user, err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, fmt.Errorf("list folders of %s: %w", user, err)
	}
	c := &imap{r: bufio.NewReader(nc), w: nc}
	names, err := c.list(user, password)
	if err != nil {
		return nil, fmt.Errorf("list folders of %s by IMAP: %w", user, err)
	}
	return names, nil
}

func (c *imap) list(user, password string) (names []string, err error) {
	if _, _, err := c.response(); err != nil { // the greeting
		return nil, err
	}
	if _, err := c.command("LOGIN %q %q", user, password); err != nil {
		return nil, err
	}
	lines, err := c.command(`LIST "" "*"`)
	for _, line := range lines {
		if strings.HasPrefix(line.text, "* LIST ") {
			name := line.text[strings.LastIndexByte(line.text, ' ')+1:]
			names = append(names, strings.Trim(name, `"`))
		}
	}
	return names, err
}

// imap is the client's side of the little IMAP (RFC 3501) that a test needs.
type imap struct {
	r    *bufio.Reader
	w    io.Writer
	tags int
}

func (c *imap) fetch(user, password, folder string) ([]Stored, error) {
	if _, _, err := c.response(); err != nil { // the greeting
		return nil, err
	}
	if _, err := c.command("LOGIN %q %q", user, password); err != nil {
		return nil, err
	}
	lines, err := c.command("EXAMINE %q", folder)
	if err != nil || exists(lines) == 0 {
		return nil, err
	}
	lines, err = c.command("FETCH 1:* (UID RFC822.SIZE INTERNALDATE FLAGS BODY.PEEK[])")
	if err != nil {
		return nil, err
	}
	var all []Stored
	for _, line := range lines {
		if m, ok := parseFetch(line.text, line.literal); ok {
			all = append(all, m)
		}
	}
	if n := exists(lines); n > 0 && n != len(all) {
		return nil, fmt.Errorf("%d of %d messages came", len(all), n)
	}
	_, err = c.command("LOGOUT")
	return all, err
}

// An untagged response. At most one literal is in what we ask for; in text its
// octets are missing.
type untagged struct {
	text    string
	literal []byte
}

// exists returns the number of messages that the folder has.
func exists(lines []untagged) int {
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line.text, "* %d EXISTS", &n); err == nil {
			return n
		}
	}
	return 0
}

func (c *imap) command(format string, args ...any) ([]untagged, error) {
	c.tags++
	tag := "a" + strconv.Itoa(c.tags)
	verb, _, _ := strings.Cut(format, " ")
	if _, err := fmt.Fprintf(c.w, tag+" "+format+"\r\n", args...); err != nil {
		return nil, fmt.Errorf("%s: %w", verb, err)
	}
	var lines []untagged
	for {
		text, literal, err := c.response()
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", verb, err)
		case strings.HasPrefix(text, tag+" OK"):
			return lines, nil
		case strings.HasPrefix(text, tag+" "):
			return nil, fmt.Errorf("%s: %s", verb, text)
		}
		lines = append(lines, untagged{text, literal})
	}
}

// response reads one response with the literal in it, if there is one.
func (c *imap) response() (text string, literal []byte, err error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		line = strings.TrimSuffix(line, "\r\n")
		text += line
		size, ok := literalSize(line)
		if !ok {
			return text, literal, nil
		}
		literal = make([]byte, size)
		if _, err := io.ReadFull(c.r, literal); err != nil {
			return "", nil, err
		}
	}
}

// literalSize returns the number in the "{number}" that ends a line before a
// literal.
func literalSize(line string) (int, bool) {
	inner, ok := strings.CutSuffix(line, "}")
	i := strings.LastIndexByte(inner, '{')
	if !ok || i < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(inner[i+1:])
	return n, err == nil && n >= 0
}

// parseFetch reads "* 1 FETCH (UID 1 FLAGS (\Recent) ... BODY[] {12})".
func parseFetch(text string, literal []byte) (m Stored, ok bool) {
	_, items, ok := strings.Cut(text, " FETCH (")
	if !ok {
		return m, false
	}
	m.Octets = literal
	m.ID = word(items, "UID ")
	m.Size, _ = strconv.ParseInt(word(items, "RFC822.SIZE "), 10, 64)
	if _, after, ok := strings.Cut(items, "FLAGS ("); ok {
		flags, _, _ := strings.Cut(after, ")")
		m.Flags = strings.Fields(flags)
	}
	if _, after, ok := strings.Cut(items, `INTERNALDATE "`); ok {
		date, _, _ := strings.Cut(after, `"`)
		m.Received, _ = time.Parse("_2-Jan-2006 15:04:05 -0700", date)
	}
	return m, true
}

// word returns the word that follows key in s.
func word(s, key string) string {
	_, after, _ := strings.Cut(s, key)
	end := strings.IndexAny(after, " )")
	if end < 0 {
		return after
	}
	return after[:end]
}
