package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// A Protocol is SMTP or LMTP; its value is the verb that opens a session.
type Protocol string

// The protocols that a Client speaks: RFC 5321 and RFC 2033.
const (
	SMTP Protocol = "EHLO"
	LMTP Protocol = "LHLO"
)

// A Reply is what a server answered: RFC 5321, section 4.2.
type Reply struct {
	Code  int      // 0: none came
	Lines []string // the texts, one or more
}

// Positive tells whether the reply is of the class 2xx.
func (r Reply) Positive() bool { return r.Code/100 == 2 }

func (r Reply) String() string { return fmt.Sprint(r.Code, " ", strings.Join(r.Lines, "/")) }

// A Client is a plain SMTP or LMTP client that forgives nothing: a reply that
// is not written as RFC 5321 says, or that nobody asked for, is an error. After
// an error the session is of no use any more.
type Client struct {
	Greeting   Reply
	Extensions map[string]string // what the server offers: EHLO keyword (in capitals) to parameters

	// Pipeline sends MAIL, all RCPT and DATA at once (RFC 2920), if the server
	// offers that.
	Pipeline bool

	// MailParams and RcptParams go behind each MAIL and each RCPT, as
	// "SMTPUTF8" or "NOTIFY=NEVER", whether the server offers them or not.
	MailParams, RcptParams string

	// Timeout is how long the client waits for each reply.
	Timeout time.Duration

	proto Protocol
	nc    net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
}

// maxReplyLine is what RFC 5321, section 4.5.3.1.5, allows a reply line to
// have, CRLF included.
const maxReplyLine = 512

// Dial connects to addr by network, "tcp" or "unix", and opens a session.
func Dial(ctx context.Context, proto Protocol, network, addr string) (*Client, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &Client{proto: proto, Timeout: time.Minute}
	c.use(nc)
	if c.Greeting, err = c.reply(); err == nil && c.Greeting.Code != 220 {
		err = fmt.Errorf("greeted with %v", c.Greeting)
	}
	if err == nil {
		err = c.hello()
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open session with %s: %w", addr, err)
	}
	return c, nil
}

func (c *Client) use(nc net.Conn) {
	c.nc, c.r, c.w = nc, bufio.NewReaderSize(nc, maxReplyLine), bufio.NewWriterSize(nc, 32<<10)
}

func (c *Client) hello() error {
	r, err := c.Command("%s mail.%s", c.proto, SenderDomain)
	if err != nil {
		return err
	}
	if r.Code != 250 {
		return fmt.Errorf("%s: %v", c.proto, r)
	}
	c.Extensions = make(map[string]string)
	for _, line := range r.Lines[1:] {
		keyword, params, _ := strings.Cut(line, " ")
		c.Extensions[strings.ToUpper(keyword)] = params
	}
	return nil
}

// StartTLS turns the session into one under TLS and says hello again.
func (c *Client) StartTLS(config *tls.Config) error {
	r, err := c.Command("STARTTLS")
	if err != nil {
		return err
	}
	if r.Code != 220 {
		return fmt.Errorf("STARTTLS: %v", r)
	}
	nc := tls.Client(c.nc, config)
	if err := nc.Handshake(); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	c.use(nc)
	return c.hello()
}

// Command sends one command line and returns the reply to it. The line must
// not end with CRLF.
func (c *Client) Command(format string, args ...any) (Reply, error) {
	if err := c.write(format, args...); err != nil {
		return Reply{}, err
	}
	return c.flush()
}

// write puts a command into the buffer.
func (c *Client) write(format string, args ...any) error {
	_, err := fmt.Fprintf(c.w, format+"\r\n", args...)
	return err
}

// flush sends what is in the buffer and reads the first reply to it.
func (c *Client) flush() (Reply, error) {
	if err := c.send(); err != nil {
		return Reply{}, err
	}
	return c.reply()
}

// send sends what is in the buffer. The server must have said all it had to.
func (c *Client) send() error {
	if n := c.r.Buffered(); n > 0 {
		b, _ := c.r.Peek(n)
		return fmt.Errorf("the server spoke out of turn: %q", b)
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	return c.w.Flush()
}

// reply reads one reply.
func (c *Client) reply() (Reply, error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		return Reply{}, err
	}
	var r Reply
	for more := true; more; {
		line, err := c.r.ReadSlice('\n')
		if err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)) {
			return Reply{}, fmt.Errorf("read reply: %w", err)
		}
		code, text, last, ok := parseReplyLine(line)
		if !ok || r.Code != 0 && r.Code != code {
			return Reply{}, fmt.Errorf("malformed reply line %q", line)
		}
		r.Code, more = code, !last
		r.Lines = append(r.Lines, text)
	}
	return r, nil
}

// parseReplyLine reads Reply-line of RFC 5321, section 4.2:
// Reply-code ("-" / SP) [textstring] CRLF, or Reply-code CRLF.
func parseReplyLine(line []byte) (code int, text string, last, ok bool) {
	line, ok = bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || len(line) < 3 || bytes.ContainsAny(line, "\r\n\x00") {
		return 0, "", false, false
	}
	if line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '5' || line[2] < '0' || line[2] > '9' {
		return 0, "", false, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, "", true, true
	}
	return code, string(line[4:]), line[3] == ' ', line[3] == ' ' || line[3] == '-'
}

// Send sends one message from one sender to recipients. It returns a reply for
// each: the one that refused it, or the one that came after the message (LMTP:
// its own). A reply with Code 0 was not heard, which is so only after an error:
// then nobody can know what became of the message.
func (c *Client) Send(from string, to []string, octets []byte) ([]Reply, error) {
	replies := make([]Reply, len(to))
	accepted, err := c.envelope(from, to, len(octets), replies)
	if err != nil || len(accepted) == 0 {
		return replies, err
	}
	writeDots(c.w, octets) // an error stays in the writer, and flush returns it
	r, err := c.flush()
	for n, i := range accepted {
		if n > 0 && c.proto == LMTP && err == nil {
			r, err = c.reply()
		}
		if err != nil {
			return replies, fmt.Errorf("after the message: %w", err)
		}
		replies[i] = r
	}
	return replies, nil
}

// envelope sends MAIL, RCPT and DATA. It returns the indexes of the recipients
// that the server took, if it now waits for the message, and puts the refusals
// of the others into replies.
func (c *Client) envelope(from string, to []string, size int, replies []Reply) (accepted []int, err error) {
	lines := []string{"MAIL FROM:<" + from + ">" + c.params(size)}
	for _, rcpt := range to {
		lines = append(lines, strings.TrimSuffix("RCPT TO:<"+rcpt+"> "+c.RcptParams, " "))
	}
	lines = append(lines, "DATA")
	ask, pipelined := c.asker(lines)

	mail, err := ask()
	if err != nil {
		return nil, err
	}
	if !mail.Positive() && !pipelined {
		fill(replies, mail)
		return nil, nil
	}
	for i := range to {
		r, err := ask()
		switch {
		case err != nil:
			return nil, err
		case !mail.Positive():
			replies[i] = mail
		case !r.Positive():
			replies[i] = r
		default:
			accepted = append(accepted, i)
		}
	}
	if len(accepted) == 0 && !pipelined {
		_, err := c.Command("RSET")
		return nil, err
	}
	data, err := ask()
	switch {
	case err != nil:
		return nil, err
	case data.Code != 354:
		for _, i := range accepted {
			replies[i] = data
		}
		_, err = c.Command("RSET")
		return nil, err
	case len(accepted) == 0: // RFC 2920, section 3.1: an empty message must follow
		_, err = c.Command(".")
		return nil, err
	}
	return accepted, nil
}

func fill(replies []Reply, r Reply) {
	for i := range replies {
		replies[i] = r
	}
}

// asker returns a function that gives the reply to one line after the other,
// and tells whether all lines have been sent already.
func (c *Client) asker(lines []string) (ask func() (Reply, error), pipelined bool) {
	if _, offered := c.Extensions["PIPELINING"]; !c.Pipeline || !offered {
		next := 0
		return func() (Reply, error) {
			next++
			return c.Command("%s", lines[next-1])
		}, false
	}
	for _, line := range lines {
		c.write("%s", line) // an error stays in the writer, and send returns it
	}
	err := c.send()
	return func() (Reply, error) {
		if err != nil {
			return Reply{}, err
		}
		return c.reply()
	}, true
}

// params returns the parameters of MAIL that the server understands.
func (c *Client) params(size int) (params string) {
	if _, ok := c.Extensions["SIZE"]; ok {
		params += fmt.Sprint(" SIZE=", size)
	}
	if _, ok := c.Extensions["8BITMIME"]; ok {
		params += " BODY=8BITMIME"
	}
	if c.MailParams != "" {
		params += " " + c.MailParams
	}
	return params
}

// Quit ends the session and closes the connection.
func (c *Client) Quit() error {
	defer c.Close()
	r, err := c.Command("QUIT")
	if err == nil && r.Code != 221 {
		err = fmt.Errorf("QUIT: %v", r)
	}
	return err
}

// Close closes the connection without a word.
func (c *Client) Close() error { return c.nc.Close() }

// writeDots writes the message as DATA carries it: RFC 5321, section 4.5.2.
func writeDots(w *bufio.Writer, octets []byte) {
	for line := range bytes.Lines(octets) {
		if line[0] == '.' {
			w.WriteByte('.')
		}
		w.Write(line)
	}
	w.WriteString(".\r\n")
}
