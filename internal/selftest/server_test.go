package selftest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A server is a small and correct SMTP or LMTP server, but for its fault.
// It takes mail for ann and postmaster of example.com, and for nobody else.
type server struct {
	protocol Protocol
	fault    fault
	config   *tls.Config
	patience int // commands that a blind server sees
}

// A fault is what a server does wrong; see TestFaults.
type fault string

const (
	sizeLimit      = 100 << 10
	serverPatience = 6 * time.Minute
)

// A dialog is one session of a server.
type dialog struct {
	*server
	nc  net.Conn
	r   *bufio.Reader
	w   *bufio.Writer
	tls bool

	hello  string // the verb
	mail   bool   // there is a transaction
	utf8   bool
	binary bool
	rcpts  []bool // whether it was accepted
	chunks []byte // of BDAT; nil: none came
	said   int    // commands
}

func (srv *server) serve(nc net.Conn) {
	d := &dialog{server: srv, nc: nc, r: bufio.NewReader(nc), w: bufio.NewWriter(nc)}
	defer nc.Close()
	greeting := "220 mx.example.com ready"
	switch srv.fault {
	case "greets nameless":
		greeting = "220 *** ready"
	case "greets with 554":
		greeting = "554 no"
	}
	for d.say("%s", greeting); ; {
		line, err := d.line()
		if err != nil {
			break
		}
		if !d.handle(line) {
			break
		}
	}
	_ = d.w.Flush()
	if srv.fault == "stays open" {
		_, _ = io.Copy(io.Discard, nc)
	}
}

// say gathers a reply line, and sends it when nothing else is to be answered.
func (d *dialog) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	switch d.fault {
	case "reply ends with LF":
		fmt.Fprint(d.w, line+"\n")
	case "reply with 8 bits":
		fmt.Fprint(d.w, line+" gr\xfc\xdfe\r\n")
	case "reply of 600 octets":
		fmt.Fprint(d.w, line+strings.Repeat("x", 600)+"\r\n")
	case "reply without status":
		fmt.Fprint(d.w, statusWord.ReplaceAllString(line, "$1")+"\r\n")
	case "reply of another class":
		fmt.Fprint(d.w, strings.Replace(line, " 5.", " 4.", 1)+"\r\n")
	case "reply with code 999":
		fmt.Fprint(d.w, strings.Replace(line, "500 ", "999 ", 1)+"\r\n")
	case "reply with a tab":
		fmt.Fprint(d.w, strings.Replace(line, "500 ", "500\t", 1)+"\r\n")
	default:
		fmt.Fprint(d.w, line+"\r\n")
	}
	if d.fault == "one write per reply" {
		_ = d.w.Flush()
	}
}

var statusWord = regexp.MustCompile(`^(\d{3}[ -])\d\.\d\.\d `)

// fill waits for octets, and sends what was gathered before that.
func (d *dialog) fill() error {
	if d.r.Buffered() > 0 {
		return nil
	}
	if err := d.w.Flush(); err != nil {
		return err
	}
	patience := serverPatience
	if strings.HasPrefix(string(d.fault), "impatient") {
		patience = time.Minute
	}
	if err := d.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := d.r.Peek(1)
	if os.IsTimeout(err) && d.fault != "impatient and silent" {
		d.say("421 4.4.2 mx.example.com timeout")
	}
	return err
}

func (d *dialog) octet() (byte, error) {
	if err := d.fill(); err != nil {
		return 0, err
	}
	return d.r.ReadByte()
}

// line reads a line without its CRLF; nothing else ends it.
func (d *dialog) line() (string, error) {
	end := "\r\n"
	if d.fault == "LF ends a command" {
		end = "\n"
	}
	var line []byte
	for !bytes.HasSuffix(line, []byte(end)) {
		c, err := d.octet()
		if err != nil {
			return "", err
		}
		line = append(line, c)
	}
	return strings.TrimSuffix(string(line), end), nil
}

// handle answers a command, and reports whether the session goes on.
func (d *dialog) handle(line string) bool {
	verb, arg, _ := strings.Cut(strings.TrimRight(line, " \t"), " ")
	if d.fault != "case matters" {
		verb = strings.ToUpper(verb)
	}
	switch {
	case d.answersBlindly(verb):
	case len(line) > 4000, d.fault == "short commands" && len(line) > 256:
		d.say("500 5.5.2 line too long")
	case slices.Contains([]string{"RSET", "DATA", "QUIT", "STARTTLS"}, verb) && arg != "" && d.fault != "arguments pass":
		d.say("501 5.5.4 no argument, please")
	case verb == "QUIT":
		d.say("221 2.0.0 bye")
		return false
	case verb == "STARTTLS":
		return d.startTLS()
	default:
		d.command(verb, arg)
	}
	return true
}

// blind are servers that answer everything alike, but for what leads to it.
var blind = map[fault]string{
	"says yes": "250 2.0.0 yes", "offers little, says yes": "250 2.0.0 yes", "says no": "554 5.0.0 no", "says later": "451 4.0.0 later", "talks nonsense": "*** what",
	"hangs up": "", "says wrong": "299 4.0 wr\xfcng",
}

// answersBlindly answers a command so, and reports whether it did. A server that
// hangs up takes nothing more.
func (d *dialog) answersBlindly(verb string) bool {
	reply, ok := blind[d.fault]
	d.said++
	if !ok || d.said <= d.patience {
		return false
	}
	if reply == "" {
		_ = d.nc.Close()
		return true
	}
	d.say("%s", reply)
	return true
}

func (d *dialog) command(verb, arg string) {
	switch verb {
	case "EHLO", "HELO", "LHLO":
		d.sayHello(verb, arg)
	case "MAIL":
		d.mailFrom(arg)
	case "RCPT":
		d.rcptTo(arg)
	case "DATA":
		d.data()
	case "BDAT":
		d.bdat(arg)
	case "RSET":
		d.reset()
		d.say("250 2.0.0 ok")
	case "NOOP":
		if d.say("250 2.0.0 ok"); d.fault == "answers twice" {
			d.say("250 2.0.0 ok")
		}
	case "HELP":
		d.help()
	case "VRFY":
		d.vrfy(arg)
	case "EXPN", "TURN", "SEND":
		d.say("502 5.5.1 not implemented")
	default:
		d.say("500 5.5.1 what?")
		if d.fault == "forgets input after an error" {
			_, _ = d.r.Discard(d.r.Buffered())
		}
	}
}

func (d *dialog) help() {
	d.say("214-2.0.0 see")
	switch d.fault {
	case "two codes in a reply":
		d.say("211 2.0.0 RFC 5321")
	case "two states in a reply":
		d.say("214 2.1.0 RFC 5321")
	default:
		d.say("214 2.0.0 RFC 5321")
	}
}

func (d *dialog) vrfy(arg string) {
	switch {
	case d.fault == "no VRFY":
		d.say("502 5.5.1 not implemented")
	case arg == "":
		d.say("501 5.5.4 whom?")
	default:
		d.say("252 2.0.0 perhaps")
	}
}

func (d *dialog) reset() {
	if d.fault == "RSET does nothing" {
		return
	}
	if d.fault != "RSET keeps recipients" {
		d.rcpts = nil
	}
	d.mail, d.chunks, d.utf8, d.binary = false, nil, false, false
}

func (d *dialog) sayHello(verb, name string) {
	foreign := (verb == "LHLO") != (d.protocol == LMTP) && d.fault != "says hello to all"
	switch {
	case foreign:
		d.say("500 5.5.1 wrong protocol")
		return
	case name == "":
		d.say("501 5.5.4 who?")
		return
	}
	if d.fault != "EHLO keeps the transaction" {
		d.reset()
	}
	d.hello = verb
	if verb == "HELO" {
		d.say("250 mx.example.com")
		return
	}
	d.say("250-mx.example.com")
	keywords := d.keywords()
	last := len(keywords) - 1
	for _, keyword := range keywords[:last] {
		d.say("250-%s", keyword)
	}
	d.say("250 %s", keywords[last])
}

func (d *dialog) keywords() []string {
	switch d.fault {
	case "offers little, says yes":
		return []string{"8BITMIME"}
	case "bad keywords":
		return []string{"SIZE many", "LIMITS RCPTMAX=none", "BINARYMIME", "SMTPUTF8", "X=Y Z"}
	}
	keywords := []string{"ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "LIMITS RCPTMAX=1000", fmt.Sprintf("SIZE %d", sizeLimit)}
	if d.protocol == SMTP {
		keywords = append(keywords, "PRDR")
	}
	if d.fault != "no PIPELINING" {
		keywords = append(keywords, "PIPELINING")
	}
	if d.tls || d.fault == "REQUIRETLS in the clear" {
		keywords = append(keywords, "REQUIRETLS")
	}
	if !d.tls || d.fault == "STARTTLS again" {
		keywords = append(keywords, "STARTTLS")
	}
	return keywords
}

func (d *dialog) startTLS() bool {
	switch {
	case d.tls && d.fault != "STARTTLS again":
		d.say("503 5.5.1 again?")
		return true
	case d.fault == "STARTTLS keeps the input":
	case d.r.Buffered() > 0:
		d.say("554 5.5.1 too early")
		return false
	}
	d.say("220 2.0.0 go on")
	if err := d.w.Flush(); err != nil {
		return false
	}
	early, _ := d.r.Peek(d.r.Buffered())
	config := d.config.Clone()
	if d.fault == "old TLS" {
		config.MinVersion = tls.VersionTLS10
	}
	conn := tls.Server(d.nc, config)
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return false
	}
	if err := conn.Handshake(); err != nil {
		if d.fault == "STARTTLS in the clear" {
			d.say("250 2.0.0 never mind")
			_ = d.w.Flush()
		}
		return false
	}
	_ = conn.SetDeadline(time.Time{})
	d.nc, d.tls = conn, true
	d.r = bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn))
	d.w = bufio.NewWriter(conn)
	if d.fault != "STARTTLS keeps the transaction" {
		d.reset()
	}
	if d.fault != "STARTTLS keeps EHLO" && d.fault != "STARTTLS keeps the transaction" {
		d.hello = ""
	}
	return true
}

const (
	label   = `[A-Za-z0-9\x80-\xff]([A-Za-z0-9\x80-\xff-]*[A-Za-z0-9\x80-\xff])?`
	domain  = label + `(\.` + label + `)*`
	octet   = `(25[0-5]|2[0-4]\d|1?\d?\d)`
	literal = `\[(` + octet + `(\.` + octet + `){3}|(?i:IPv6:)[0-9A-Fa-f:.]+)\]`
	atom    = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\x80-\\xff-]+"
	local   = `(` + atom + `(\.` + atom + `)*|"([ !#-\[\]-~\x80-\xff]|\\[ -~])*")`
	xtext   = `([!-*,-<>-~]|\+[0-9A-F]{2})`
)

var (
	pathSyntax = regexp.MustCompile(`^<(@` + domain + `(,@` + domain + `)*:)?(` + local + `)@(` + domain + `|` + literal + `)>`)
	mailParams = map[string]*regexp.Regexp{
		"SIZE":       regexp.MustCompile(`^=\d{1,20}$`),
		"BODY":       regexp.MustCompile(`^(?i)=(7BIT|8BITMIME|BINARYMIME)$`),
		"SMTPUTF8":   regexp.MustCompile(`^$`),
		"REQUIRETLS": regexp.MustCompile(`^$`),
		"PRDR":       regexp.MustCompile(`^$`),
		"RET":        regexp.MustCompile(`^(?i)=(FULL|HDRS)$`),
		"ENVID":      regexp.MustCompile(`^=` + xtext + `{1,100}$`),
	}
	rcptParams = map[string]*regexp.Regexp{
		"NOTIFY": regexp.MustCompile(`^(?i)=(NEVER|(SUCCESS|FAILURE|DELAY)(,(SUCCESS|FAILURE|DELAY))*)$`),
		"ORCPT":  regexp.MustCompile(`^=[A-Za-z0-9-]+;` + xtext + `+$`),
	}
)

// params holds the parameters behind a path against their syntax, and returns
// the refusal, or "".
func (d *dialog) params(rest string, known map[string]*regexp.Regexp) string {
	seen := make(map[string]bool)
	if rest != "" && rest[0] != ' ' {
		return "501 5.5.4 what is behind the path?"
	}
	for word := range strings.FieldsSeq(rest) {
		key, _, _ := strings.Cut(word, "=")
		value := word[len(key):]
		key = strings.ToUpper(key)
		syntax := known[key]
		switch {
		case key == "":
			return "501 5.5.4 a parameter needs a name"
		case d.fault == "parameters pass":
		case syntax == nil, d.hello == "HELO", key == "PRDR" && d.protocol == LMTP:
			return "555 5.5.4 no such parameter"
		case seen[key] || !syntax.MatchString(value):
			return "501 5.5.4 bad parameter"
		}
		seen[key] = true
		d.utf8 = d.utf8 || key == "SMTPUTF8"
		d.binary = d.binary || strings.EqualFold(word, "BODY=BINARYMIME")
	}
	return ""
}

func (d *dialog) mailFrom(arg string) {
	path, isFrom := cutFold(arg, "FROM:")
	m := pathSyntax.FindString(path)
	if strings.HasPrefix(path, "<>") && d.fault != "no null sender" {
		m = "<>"
	}
	switch {
	case d.hello == "", d.mail && d.fault != "nested MAIL":
		d.say("503 5.5.1 not now")
		return
	case !isFrom, m == "", !utf8.ValidString(path):
		d.say("501 5.1.7 what sender?")
		return
	case strings.HasPrefix(m, "<@") && d.fault == "no source routes":
		d.say("501 5.1.7 no routes")
		return
	}
	if refusal := d.params(path[len(m):], mailParams); refusal != "" {
		d.say("%s", refusal)
		return
	}
	size, err := strconv.ParseInt(param(path[len(m):], "SIZE="), 10, 64)
	switch {
	case !d.utf8 && !isASCII(m) && d.fault != "UTF-8 unannounced":
		d.say("553 5.6.7 not in UTF-8")
	case (size > sizeLimit || err != nil && param(path[len(m):], "SIZE=") != "") && d.fault != "SIZE is ignored":
		d.say("552 5.3.4 too big")
	default:
		d.mail = true
		d.say("250 2.1.0 ok")
	}
}

func param(rest, key string) string {
	for word := range strings.FieldsSeq(rest) {
		if value, ok := cutFold(word, key); ok {
			return value
		}
	}
	return ""
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) }

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func (d *dialog) rcptTo(arg string) {
	path, isTo := cutFold(arg, "TO:")
	m := pathSyntax.FindStringSubmatch(path)
	postmaster := regexp.MustCompile(`^(?i)<postmaster>`).FindString(path)
	if postmaster != "" {
		m = []string{postmaster, "", "", "", "", "", "", "", ""}
	}
	switch {
	case !d.mail, d.chunks != nil:
		d.say("503 5.5.1 not now")
	case !isTo, m == nil, !utf8.ValidString(path):
		d.rcpts = append(d.rcpts, false)
		d.say("501 5.1.3 what recipient?")
	case !d.utf8 && !isASCII(path) && d.fault != "UTF-8 unannounced":
		d.say("553 5.6.7 not in UTF-8")
	default:
		refusal := d.params(path[len(m[0]):], rcptParams)
		if refusal == "" {
			refusal = d.verify(strings.Trim(m[0], "<>"))
		}
		d.rcpts = append(d.rcpts, refusal == "")
		if refusal == "" {
			refusal = "250 2.1.5 ok"
		}
		d.say("%s", refusal)
	}
}

// verify returns why addr is no recipient, or "".
func (d *dialog) verify(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); addr[0] == '@' && i > 0 {
		addr = addr[i+1:]
	}
	at := strings.LastIndexByte(addr, '@')
	if strings.EqualFold(addr, "postmaster") {
		addr, at = "postmaster@example.com", len("postmaster")
		if d.fault == "no postmaster" {
			return "550 5.1.1 no such user"
		}
	}
	local := strings.ReplaceAll(strings.Trim(addr[:at], `"`), `\`, "")
	if d.fault == "quotes matter" {
		local = addr[:at]
	}
	count := len(slices.DeleteFunc(slices.Clone(d.rcpts), func(ok bool) bool { return !ok }))
	switch {
	case d.fault == "percent hack" && strings.Contains(local, "%"):
		return ""
	case !strings.EqualFold(addr[at+1:], "example.com") && d.fault != "open relay":
		return "550 5.7.1 no relaying"
	case count >= 50 && d.fault == "50 recipients":
		return "452 4.5.3 too many"
	case count >= 1000 && d.fault != "any number of recipients":
		return "452 4.5.3 too many"
	case !slices.Contains([]string{"ann", "postmaster", "abuse"}, strings.ToLower(local)) && d.fault != "open relay":
		return "550 5.1.1 no such user"
	}
	return ""
}

// accepted returns how many recipients have a reply to come after the message.
func (d *dialog) accepted() int {
	n := 0
	for _, ok := range d.rcpts {
		if ok || d.fault == "replies for the refused" {
			n++
		}
	}
	return n
}

func (d *dialog) data() {
	switch {
	case !d.mail, d.chunks != nil && d.fault != "DATA after BDAT", d.binary:
		d.say("503 5.5.1 not now")
		return
	case d.accepted() == 0 && d.fault != "DATA without recipients":
		d.say("503 5.5.1 for whom?")
		return
	}
	d.say("354 go on")
	text := []byte("\r\n") // that of the command
	for !d.isEnd(text) {
		c, err := d.octet()
		if err != nil {
			return
		}
		text = append(text, c)
	}
	d.finish(text)
}

// isEnd reports whether text ends here.
func (d *dialog) isEnd(text []byte) bool {
	ending, isEnding := strings.CutPrefix(string(d.fault), "ends with ")
	switch {
	case isEnding && bytes.HasSuffix(text, []byte(unescape(ending))):
		return true
	case d.fault == "CR CR LF unseen" && bytes.HasSuffix(text, []byte("\r\r\n.\r\n")):
		return false
	case d.fault == "no empty message" && len(text) == len("\r\n.\r\n"):
		return false
	}
	return bytes.HasSuffix(text, []byte("\r\n.\r\n"))
}

func unescape(s string) string {
	text, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		panic(err)
	}
	return text
}

// finish answers a message, which ends the transaction.
func (d *dialog) finish(text []byte) {
	reply := "250 2.0.0 stored"
	if len(text) > sizeLimit {
		reply = "552 5.3.4 too big"
	}
	for line := range bytes.Lines(text) {
		if d.fault == "short lines" && len(line) > 990 {
			reply = "554 5.6.0 line too long"
		}
	}
	replies := 1
	if d.protocol == LMTP && d.fault != "one reply for all" {
		replies = d.accepted()
	}
	for range replies {
		d.say("%s", reply)
	}
	if d.fault != "the dot ends nothing" {
		d.reset()
	}
}

func (d *dialog) bdat(arg string) {
	words := strings.Fields(arg)
	if len(words) == 0 {
		d.say("501 5.5.4 how much?")
		return
	}
	size, err := strconv.ParseUint(words[0], 10, 64)
	if d.fault == "sizes wrap" && errIsRange(err) {
		size, err = 6, nil
	}
	bad := len(words) > 2 || len(words) == 2 && !strings.EqualFold(words[1], "LAST")
	refused := bad || !d.mail || d.accepted() == 0
	switch {
	case err != nil:
		d.say("501 5.5.4 how much?")
		return
	case refused && d.fault == "BDAT is not drained":
		d.say("503 5.5.1 not now")
		return
	}
	if d.chunks == nil && !refused {
		d.chunks = []byte{}
	}
	for range size {
		c, err := d.octet()
		if err != nil {
			return
		}
		d.chunks = append(d.chunks, c)
	}
	switch {
	case refused:
		d.chunks = nil
		d.say("503 5.5.1 not now")
	case len(words) == 2:
		d.finish(d.chunks)
	case d.fault == "BDAT 0 ends" && size == 0:
		d.finish(d.chunks)
	default:
		d.say("250 2.0.0 go on")
	}
}

func errIsRange(err error) bool {
	numErr, ok := err.(*strconv.NumError)
	return ok && numErr.Err == strconv.ErrRange
}
