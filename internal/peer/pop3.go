package peer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// FetchPOP3 logs in to the POP3 server at addr (RFC 1939) and returns all
// messages. It deletes none.
func FetchPOP3(addr, user, password string) ([]Stored, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("fetch mail of %s: %w", user, err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, fmt.Errorf("fetch mail of %s: %w", user, err)
	}
	all, err := (&pop3{textproto.NewConn(nc)}).fetch(user, password)
	if err != nil {
		return nil, fmt.Errorf("fetch mail of %s by POP3: %w", user, err)
	}
	return all, nil
}

type pop3 struct{ *textproto.Conn }

func (c *pop3) fetch(user, password string) ([]Stored, error) {
	if err := c.ok("greeting"); err != nil {
		return nil, err
	}
	for _, cmd := range []string{"USER " + user, "PASS " + password} {
		if err := c.command(cmd); err != nil {
			return nil, err
		}
	}
	sizes, err := c.listing("LIST")
	if err != nil {
		return nil, err
	}
	ids, err := c.listing("UIDL")
	if err != nil {
		return nil, err
	}
	if len(ids) != len(sizes) {
		return nil, fmt.Errorf("LIST has %d messages, UIDL %d", len(sizes), len(ids))
	}
	all := make([]Stored, len(sizes))
	for i := range all {
		all[i].ID = ids[i]
		if all[i].Size, err = strconv.ParseInt(sizes[i], 10, 64); err != nil {
			return nil, fmt.Errorf("LIST: %w", err)
		}
		if all[i].Octets, err = c.retrieve(i + 1); err != nil {
			return nil, err
		}
	}
	return all, c.command("QUIT")
}

func (c *pop3) command(cmd string) error {
	if err := c.PrintfLine("%s", cmd); err != nil {
		return fmt.Errorf("%.4s: %w", cmd, err)
	}
	return c.ok(cmd)
}

func (c *pop3) ok(cmd string) error {
	line, err := c.ReadLine()
	if err != nil {
		return fmt.Errorf("%.4s: %w", cmd, err)
	}
	if !strings.HasPrefix(line, "+OK") {
		return fmt.Errorf("%.4s: %s", cmd, line)
	}
	return nil
}

// listing returns the second word of each line of the answer.
func (c *pop3) listing(cmd string) ([]string, error) {
	if err := c.command(cmd); err != nil {
		return nil, err
	}
	lines, err := c.ReadDotLines()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	for i, line := range lines {
		_, lines[i], _ = strings.Cut(line, " ")
	}
	return lines, nil
}

// retrieve reads message n. The dot reader of textproto is of no use here: it
// turns CRLF into LF, and hides bare ones.
func (c *pop3) retrieve(n int) ([]byte, error) {
	if err := c.command("RETR " + strconv.Itoa(n)); err != nil {
		return nil, err
	}
	var msg bytes.Buffer
	for start := true; ; {
		line, err := c.R.ReadSlice('\n')
		if start && err == nil && string(line) == ".\r\n" {
			return msg.Bytes(), nil
		}
		if start && len(line) > 0 && line[0] == '.' {
			line = line[1:]
		}
		msg.Write(line)
		start = err == nil // else the line is longer than the buffer, and goes on
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("RETR %d: %w", n, err)
		}
	}
}
